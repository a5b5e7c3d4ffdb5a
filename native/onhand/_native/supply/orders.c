/* Purchase orders: what is expected, what has come, and what is therefore still due.
 *
 * A record stands for one (purchase order, sku, location). Receipts may come before the expectation
 * they belong to. The row of the store holds what is due by location and day, all orders together;
 * each change here moves it by the difference.
 */
#include "supply/supply.h"

#include <string.h>

static inline oh_order_t *order_at(const oh_orders_t *orders, uint64_t number)
{
    return (oh_order_t *)orders->region.base + number;
}

static uint32_t order_tag(const uint8_t *name, uint16_t name_len, const oh_step_t *step)
{
    uint64_t cell = (uint64_t)step->sku << 32 | step->location;
    return (uint32_t)(oh_hash_bytes(name, name_len, OH_HASH_SEED_ID_HI ^ cell) >> 32);
}

int oh_orders_reserve(oh_orders_t *orders, uint64_t more)
{
    if (orders->count + more > orders->limit)
        return OH_ORDERS_FULL;
    int status = oh_region_grow(&orders->region, (orders->count + more) * sizeof(oh_order_t));
    return status == OH_OK ? oh_index_reserve(&orders->index, more) : status;
}

int oh_orders_adopt(oh_orders_t *orders)
{
    int status = oh_index_reserve(&orders->index, orders->count);
    for (uint64_t at = 0; status == OH_OK && at < orders->count; at++)
        oh_index_put(&orders->index, order_at(orders, at)->tag, (uint32_t)at);
    return status;
}

static bool order_is(const oh_supply_t *supply, const oh_order_t *order, const uint8_t *name,
                     uint16_t name_len, const oh_step_t *step)
{
    const oh_text_t *known = oh_text_at(&supply->texts, order->name);
    return order->sku == step->sku && order->location == step->location
        && known->first_len == name_len && memcmp(known->bytes, name, name_len) == 0;
}

/* The record of the step's purchase order, made when there is none. Room has been reserved. */
static int order_resolve(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step,
                         oh_order_t **order)
{
    oh_orders_t *orders = &supply->orders;
    const uint8_t *name = batch->heap + step->event->reference_off;
    uint16_t name_len = step->event->reference_len;
    uint32_t tag = order_tag(name, name_len, step);
    oh_probe_t probe = {0, 0};
    uint32_t number;
    while ((number = oh_index_next(&orders->index, tag, &probe)) != OH_NONE) {
        *order = order_at(orders, number);
        if (order_is(supply, *order, name, name_len, step))
            return OH_OK;
    }
    uint32_t text;
    int status = oh_texts_add(&supply->texts, name, name_len, 0, &text);
    if (status != OH_OK)
        return status;
    oh_texts_hold(&supply->texts, text);
    number = (uint32_t)orders->count++;
    oh_index_put(&orders->index, tag, number);
    *order = order_at(orders, number);
    **order = (oh_order_t){.sku = step->sku, .location = step->location, .name = text, .tag = tag};
    return OH_OK;
}

static int64_t order_due(const oh_order_t *order)
{
    return order->expected > order->received ? order->expected - order->received : 0;
}

/* Moves what the row says is due from what `before` meant to what `order` means. */
static int due_move(oh_supply_t *supply, const oh_order_t *before, const oh_order_t *order)
{
    int64_t was = order_due(before), is = order_due(order);
    oh_store_t *store = &supply->store;
    if (before->day == order->day)
        return oh_incoming_add(store, order->sku, order->location, order->day, is - was);
    int status = oh_incoming_add(store, order->sku, order->location, order->day, is);
    if (status != OH_OK)
        return status;
    return oh_incoming_add(store, order->sku, order->location, before->day, -was);
}

int oh_effect_received(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step)
{
    oh_order_t *order;
    int status = order_resolve(supply, batch, step, &order);
    if (status != OH_OK)
        return status;
    oh_order_t before = *order;
    order->received += step->quantity;
    return due_move(supply, &before, order);
}

/* Above 0: the event is newer than what the order was expected by; 0: it is the same event, whose
 * lines may name a sku twice. */
static int expected_order(const oh_supply_t *supply, const oh_order_t *order,
                          const oh_event_t *event, const uint8_t *source_and_id)
{
    if (order->text == OH_NO_TEXT)
        return 1;
    if (event->occurred_us != order->occurred_us)
        return event->occurred_us > order->occurred_us ? 1 : -1;
    return oh_text_order(oh_text_at(&supply->texts, order->text), source_and_id, event->source_len,
                         event->id_len);
}

int oh_effect_expected(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step)
{
    const oh_event_t *event = step->event;
    oh_order_t *order;
    uint32_t text;
    int status = order_resolve(supply, batch, step, &order);
    if (status != OH_OK)
        return status;
    int newer = expected_order(supply, order, event, batch->heap + event->source_off);
    if (newer < 0)
        return OH_OK;
    status = oh_event_text(supply, batch, event, &text);
    if (status != OH_OK)
        return status;
    oh_texts_hold(&supply->texts, text);
    oh_texts_drop(&supply->texts, order->text);
    oh_order_t before = *order;
    order->text = text;
    order->occurred_us = event->occurred_us;
    order->expected = step->quantity + (newer == 0 ? before.expected : 0);
    order->day = event->expected_day;
    return due_move(supply, &before, order);
}
