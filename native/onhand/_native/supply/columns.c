/* Applying plain columns: names resolved, no ids, no history; for loading and for measuring.
 *
 * Two stages run ahead of the change itself: the sku's record, then the block that its word names.
 */
#include "supply/supply.h"

#define RECORD_AHEAD 48u
#define BLOCK_AHEAD 24u

static bool columns_sound(const oh_supply_t *supply, const uint32_t *sku, const uint32_t *location,
                          uint64_t count)
{
    const oh_header_t *header = supply->store.header;
    uint64_t skus = atomic_load_explicit(&header->sku_count, memory_order_relaxed);
    uint64_t locations = atomic_load_explicit(&header->location_count, memory_order_relaxed);
    uint32_t beyond = 0;
    for (uint64_t at = 0; at < count; at++)
        beyond |= (uint32_t)(sku[at] >= skus) | (uint32_t)(location[at] >= locations);
    return beyond == 0;
}

static void block_prefetch(const oh_store_t *store, uint32_t sku)
{
    uint64_t word = atomic_load_explicit(&oh_sku_at(store, sku)->word, memory_order_relaxed);
    const uint8_t *block = store->base + (word >> 32 << 4);
    for (uint32_t line = 0; line < 3; line++)
        __builtin_prefetch(block + 64 * line, 1);
}

static int column_apply(oh_store_t *store, uint32_t sku, uint32_t location, int32_t delta)
{
    oh_row_view_t view;
    uint32_t cell;
    int status = oh_cell_resolve(store, sku, location, 0, &view, &cell);
    if (status == OH_OK)
        status = oh_cell_add_on_hand(store, sku, &view, cell, delta);
    if (status == OH_OK)
        oh_change_push(store, sku, location);
    return status;
}

int oh_columns_apply(oh_supply_t *supply, const uint32_t *sku, const uint32_t *location,
                     const int32_t *delta, uint64_t count)
{
    oh_store_t *store = &supply->store;
    if (supply->broken)
        return OH_BROKEN;
    if (!columns_sound(supply, sku, location, count))
        return OH_BATCH_INVALID;
    int status = OH_OK;
    for (uint64_t at = 0; at < count && status == OH_OK; at++) {
        if (at + RECORD_AHEAD < count)
            __builtin_prefetch(oh_sku_at(store, sku[at + RECORD_AHEAD]), 1);
        if (at + BLOCK_AHEAD < count)
            block_prefetch(store, sku[at + BLOCK_AHEAD]);
        status = column_apply(store, sku[at], location[at], delta[at]);
    }
    supply->broken = supply->broken || status != OH_OK;
    return status;
}
