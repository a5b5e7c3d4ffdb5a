/* What is promised of a SKU: rows of the demand table, in the slots of a shard.
 *
 * Demand is read before supply, always. When promised goods are handed over, supply loses the units
 * first, and only when the order writer has seen that does demand lose the promise. A reader that
 * sees the second is then sure to see the first as well, so that goods on their way out never look
 * available; the other way round they would, for as long as a reader is held up between its reads.
 */
#include "reader/reader.h"

#include <stdlib.h>

/* ---- by SKU ---- */

#define BLOCK 64u

static void find_block(const oh_shard_t *shard, const uint32_t *skus, uint32_t count,
                       uint32_t *promised)
{
    const oh_store_t *demand = shard->demand.store;
    const uint8_t *text[BLOCK];
    uint32_t length[BLOCK];
    uint64_t hash[BLOCK];
    /* Each pass asks for the memory that the next one reads. */
    for (uint32_t at = 0; at < count; at++)
        __builtin_prefetch(oh_sku_at(shard->store, skus[at]));
    for (uint32_t at = 0; at < count; at++) {
        text[at] = oh_sku_text(shard->store, skus[at], &length[at]);
        hash[at] = oh_hash_bytes(text[at], length[at], OH_HASH_SEED_SKU);
        oh_sku_prefetch(demand, hash[at]);
    }
    for (uint32_t at = 0; at < count; at++)
        oh_sku_prefetch_record(demand, hash[at]);
    for (uint32_t at = 0; at < count; at++) {
        promised[at] = oh_sku_find(demand, hash[at], text[at], length[at]);
        if (promised[at] != OH_NONE)
            oh_row_prefetch(demand, promised[at]);
    }
}

void oh_promised_find_many(const oh_shard_t *shard, const uint32_t *skus, uint32_t count,
                           uint32_t *promised)
{
    if (!oh_demand_any(shard)) {
        for (uint32_t at = 0; at < count; at++)
            promised[at] = OH_NONE;
        return;
    }
    for (uint32_t at = 0; at < count; at += BLOCK)
        find_block(shard, skus + at, count - at < BLOCK ? count - at : BLOCK, promised + at);
}

/* ---- live rows ---- */

int64_t oh_promised_units(const oh_item_t *item, uint32_t slot)
{
    const oh_store_t *store = item->shard->demand.store;
    uint32_t location = item->shard->demand.number_of[slot];
    if (location == OH_NONE)
        return 0;
    for (;;) {
        oh_row_view_t row;
        if (!oh_row_view(store, item->promised, &row))
            return 0;
        uint32_t cell = oh_row_find(&row, location);
        int64_t units = cell == OH_NONE ? 0 : oh_cell_get(&row, row.on_hand, cell);
        if (oh_row_confirm(store, item->promised, &row))
            return units;
    }
}

static bool few_copy(const oh_shard_t *shard, const oh_row_view_t *row,
                     oh_promised_t places[OH_FEW], uint32_t *count)
{
    *count = 0;
    for (uint32_t cell = 0; cell < row->cell_count; cell++) {
        int64_t units = oh_cell_get(row, row->on_hand, cell);
        if (units == 0)
            continue;
        if (*count == OH_FEW)
            return false;
        places[*count].slot = oh_demand_slot(shard, oh_race_load_u32(&row->location[cell]));
        places[(*count)++].units = units;
    }
    return true;
}

bool oh_promised_few(const oh_item_t *item, oh_promised_t places[OH_FEW], uint32_t *count)
{
    const oh_store_t *store = item->shard->demand.store;
    *count = 0;
    if (item->promised == OH_NONE)
        return true;
    for (;;) {
        oh_row_view_t row;
        if (!oh_row_view(store, item->promised, &row)) {
            *count = 0;
            return true;
        }
        bool all = few_copy(item->shard, &row, places, count);
        if (oh_row_confirm(store, item->promised, &row))
            return all;
    }
}

/* ---- copied rows ---- */

void oh_room_free(oh_room_t *room)
{
    free(room->supply.bytes);
    free(room->demand.bytes);
    free(room->by_slot);
    *room = (oh_room_t){0};
}

int oh_room_slots(oh_room_t *room, uint32_t slot_count)
{
    if (room->slot_count >= slot_count)
        return OH_OK;
    free(room->by_slot);
    room->by_slot = calloc(slot_count, sizeof *room->by_slot);
    room->slot_count = room->by_slot == NULL ? 0 : slot_count;
    return room->by_slot == NULL ? OH_NO_MEMORY : OH_OK;
}

static int reserved_spread(const oh_item_t *item, oh_room_t *room, oh_rows_t *rows)
{
    const oh_row_view_t *row = rows->demand;
    int status = oh_room_slots(room, item->shard->slot_count);
    if (status != OH_OK)
        return status;
    rows->reserved = room->by_slot;
    for (uint32_t cell = 0; cell < row->cell_count; cell++)
        room->by_slot[oh_demand_slot(item->shard, row->location[cell])] +=
            oh_cell_get(row, row->on_hand, cell);
    return OH_OK;
}

int oh_rows_read(const oh_item_t *item, bool by_slot, oh_room_t *room, oh_rows_t *rows)
{
    const oh_shard_t *shard = item->shard;
    int status = OH_OK;
    rows->supply = rows->demand = NULL;
    rows->reserved = NULL;
    if (item->promised != OH_NONE
        && oh_row_copy(shard->demand.store, item->promised, &room->demand, &rows->demand_view,
                       &status))
        rows->demand = &rows->demand_view;
    if (status == OH_OK && by_slot && rows->demand != NULL)
        status = reserved_spread(item, room, rows);
    if (status == OH_OK && item->number != OH_NONE
        && oh_row_copy(shard->store, item->number, &room->supply, &rows->supply_view, &status))
        rows->supply = &rows->supply_view;
    return status;
}

void oh_rows_done(const oh_item_t *item, oh_room_t *room, const oh_rows_t *rows)
{
    const oh_row_view_t *row = rows->demand;
    for (uint32_t cell = 0; rows->reserved != NULL && cell < row->cell_count; cell++)
        room->by_slot[oh_demand_slot(item->shard, row->location[cell])] = 0;
}
