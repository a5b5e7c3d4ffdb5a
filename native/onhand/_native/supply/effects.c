/* What one line of an event does to its cells; the table of the contract, and counts. */
#include "supply/supply.h"

/* Signs on on_hand, held, in_transit and damaged at the event's location; `to` of a transfer. */
static const int8_t SIGNS[OH_TYPE_COUNT][4][4] = {
    [OH_SALE] = {{-1, 0, 0, 0}},
    [OH_RECEIPT] = {{1, 0, 0, 0}},
    [OH_TRANSFER_SHIPPED] = {{0, 0, 1, 0}},
    [OH_TRANSFER_RECEIVED] = {{1, 0, -1, 0}},
    [OH_TRANSFER_LOST] = {{0, 0, -1, 0}},
    [OH_RETURN] = {[OH_SELLABLE] = {1, 0, 0, 0}, [OH_INSPECT] = {0, 1, 0, 0}, [OH_DAMAGED] = {0, 0, 0, 1}},
    [OH_INSPECTED] = {[OH_SELLABLE] = {1, -1, 0, 0}, [OH_DAMAGED] = {0, -1, 0, 1}},
    [OH_ADJUSTMENT] = {{1, 0, 0, 0}},
};
static const int8_t SHIPPED_FROM[4] = {-1, 0, 0, 0};

static inline oh_count_t *count_at(const oh_supply_t *supply, uint32_t number)
{
    return (oh_count_t *)supply->counts.region.base + number;
}

/* The cell's newest count, NULL when it was never counted. */
static inline oh_count_t *count_of(const oh_supply_t *supply, const oh_row_view_t *view, uint32_t cell)
{
    if (view->count == NULL || view->count[cell] == OH_NONE)
        return NULL;
    return count_at(supply, view->count[cell]);
}

static uint8_t effect_bits(const int8_t signs[4])
{
    uint8_t bits = 0;
    for (int counter = 0; counter < 4; counter++)
        bits |= (uint8_t)((signs[counter] != 0) << counter);
    return bits;
}

static inline void remember(oh_supply_t *supply, const oh_step_t *step, const oh_row_view_t *view,
                            uint32_t cell, uint8_t effect)
{
    uint32_t position =
        oh_history_push(supply, step, view->location[cell], view->history[cell], effect);
    oh_race_store_u32(&view->history[cell], position);
}

/* A movement of one cell. Its part on on_hand has no effect when it occurred no later than the cell's
 * newest count; the other counters know no counts. */
static int movement(oh_supply_t *supply, const oh_step_t *step, uint32_t location,
                    const int8_t signs[4])
{
    oh_store_t *store = &supply->store;
    bool rare = signs[OH_HELD] | signs[OH_IN_TRANSIT] | signs[OH_SCRAPPED];
    oh_row_view_t view;
    uint32_t cell;
    int status =
        oh_cell_resolve(store, step->sku, location, rare ? OH_ROW_RARE : 0, &view, &cell);
    if (status != OH_OK)
        return status;
    const oh_count_t *count = signs[OH_ON_HAND] != 0 ? count_of(supply, &view, cell) : NULL;
    bool superseded = count != NULL && step->event->occurred_us <= count->occurred_us;
    uint8_t effect = effect_bits(signs);
    if (superseded)
        effect = (uint8_t)((effect & ~OH_EFFECT_ON_HAND) | OH_EFFECT_SUPERSEDED);
    remember(supply, step, &view, cell, effect);
    int64_t on_hand = superseded ? 0 : (int64_t)signs[OH_ON_HAND] * step->quantity;
    if (rare) {
        const int64_t delta[4] = {on_hand, (int64_t)signs[OH_HELD] * step->quantity,
                                  (int64_t)signs[OH_IN_TRANSIT] * step->quantity,
                                  (int64_t)signs[OH_SCRAPPED] * step->quantity};
        status = oh_cell_add(store, step->sku, location, delta);
    } else if (on_hand != 0) {
        status = oh_cell_add_on_hand(store, step->sku, &view, cell, on_hand);
    }
    if (status == OH_OK)
        oh_change_push(store, step->sku, location);
    return status;
}

int oh_event_text(oh_supply_t *supply, const oh_batch_t *batch, const oh_event_t *event,
                  uint32_t *number)
{
    if (supply->text_event != event) {
        oh_event_text_drop(supply);
        int status = oh_texts_add(&supply->texts, batch->heap + event->source_off,
                                  event->source_len, event->id_len, &supply->text_number);
        if (status != OH_OK)
            return status;
        oh_texts_hold(&supply->texts, supply->text_number);
        supply->text_event = event;
    }
    *number = supply->text_number;
    return OH_OK;
}

void oh_event_text_drop(oh_supply_t *supply)
{
    if (supply->text_event != NULL)
        oh_texts_drop(&supply->texts, supply->text_number);
    supply->text_event = NULL;
}

static bool count_is_newer(const oh_supply_t *supply, const oh_count_t *count,
                           const oh_batch_t *batch, const oh_event_t *event)
{
    if (count == NULL || event->occurred_us != count->occurred_us)
        return count == NULL || event->occurred_us > count->occurred_us;
    return oh_text_order(oh_text_at(&supply->texts, count->text), batch->heap + event->source_off,
                         event->source_len, event->id_len) > 0;
}

/* Makes the event the cell's newest count. */
static int count_take(oh_supply_t *supply, const oh_batch_t *batch, const oh_event_t *event,
                      oh_row_view_t *view, uint32_t cell)
{
    oh_counts_t *counts = &supply->counts;
    uint32_t text;
    int status = oh_event_text(supply, batch, event, &text);
    if (status != OH_OK)
        return status;
    oh_count_t *count = count_of(supply, view, cell);
    if (count == NULL) {
        status = oh_region_grow(&counts->region, (counts->count + 1) * sizeof(oh_count_t));
        if (status != OH_OK)
            return status;
        count = count_at(supply, (uint32_t)counts->count);
        count->text = OH_NO_TEXT;
        oh_race_store_u32(&view->count[cell], (uint32_t)counts->count++);
    }
    oh_texts_hold(&supply->texts, text);
    oh_texts_drop(&supply->texts, count->text);
    count->text = text;
    count->occurred_us = event->occurred_us;
    return OH_OK;
}

static int counted(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step)
{
    oh_store_t *store = &supply->store;
    oh_row_view_t view;
    uint32_t cell;
    int status =
        oh_cell_resolve(store, step->sku, step->location, OH_ROW_COUNTED, &view, &cell);
    if (status != OH_OK)
        return status;
    if (!count_is_newer(supply, count_of(supply, &view, cell), batch, step->event)) {
        remember(supply, step, &view, cell, OH_EFFECT_SUPERSEDED);
        return OH_OK;
    }
    int64_t on_hand = step->quantity
                    + oh_history_after(supply, step->sku, step->location, view.history[cell],
                                       step->event->occurred_us);
    status = count_take(supply, batch, step->event, &view, cell);
    if (status != OH_OK)
        return status;
    remember(supply, step, &view, cell, OH_EFFECT_ON_HAND);
    int64_t delta = on_hand - oh_cell_get(&view, view.on_hand, cell);
    if (delta != 0)
        status = oh_cell_add_on_hand(store, step->sku, &view, cell, delta);
    if (status == OH_OK)
        oh_change_push(store, step->sku, step->location);
    return status;
}

static int expected(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step)
{
    oh_row_view_t view;
    uint32_t cell;
    int status = oh_cell_resolve(&supply->store, step->sku, step->location, 0, &view, &cell);
    if (status != OH_OK)
        return status;
    remember(supply, step, &view, cell, OH_EFFECT_INCOMING);
    status = oh_effect_expected(supply, batch, step);
    if (status == OH_OK)
        oh_change_push(&supply->store, step->sku, step->location);
    return status;
}

int oh_effect_apply(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step)
{
    const oh_event_t *event = step->event;
    if (event->type == OH_COUNT)
        return counted(supply, batch, step);
    if (event->type == OH_EXPECTED)
        return expected(supply, batch, step);
    int status = OH_OK;
    if (event->type == OH_TRANSFER_SHIPPED)
        status = movement(supply, step, step->from, SHIPPED_FROM);
    else if (event->type == OH_RECEIPT && event->reference_len != 0)
        status = oh_effect_received(supply, batch, step);
    bool graded = event->type == OH_RETURN || event->type == OH_INSPECTED;
    if (status == OH_OK)
        status = movement(supply, step, step->location,
                          SIGNS[event->type][graded ? event->disposition : 0]);
    return status;
}
