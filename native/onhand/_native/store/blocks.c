/* Blocks: taken, freed, and filled with a copy of a row.
 *
 * A block is as large as its size class; how many cells fit follows from its flags. Freed blocks
 * are chained through their first 8 bytes, one list per class. A reader that still looks at a freed
 * block finds rubbish there, never leaves the block, and learns from the word to read again.
 */
#include "store/rows.h"

#include <string.h>

static uint64_t block_take(oh_store_t *store, uint32_t class, int *status)
{
    oh_header_t *header = store->header;
    uint64_t offset = atomic_load_explicit(&header->free_list[class], memory_order_relaxed);
    *status = OH_OK;
    if (offset != 0) {
        uint64_t next = oh_race_load_u64((uint64_t *)(store->base + offset));
        atomic_store_explicit(&header->free_list[class], next, memory_order_relaxed);
    } else {
        offset = oh_store_allocate(store, store->block_bytes[class], status);
    }
    if (offset != 0)
        oh_gauge_add(&header->row_bytes, store->block_bytes[class]);
    /* The next stores go where a reader of an older word may still look. */
    atomic_thread_fence(memory_order_release);
    return offset;
}

static void block_free(oh_store_t *store, uint64_t word)
{
    oh_header_t *header = store->header;
    uint32_t class = oh_row_class(word);
    uint64_t offset = oh_row_offset(word);
    uint64_t next = atomic_load_explicit(&header->free_list[class], memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    oh_race_store_u64((uint64_t *)(store->base + offset), next);
    atomic_store_explicit(&header->free_list[class], offset, memory_order_relaxed);
    oh_gauge_add(&header->row_bytes, 0 - store->block_bytes[class]);
}

/* The smallest class that holds so much, from `class` on; 64 when none does. */
static uint32_t class_for(const oh_store_t *store, uint32_t class, uint64_t bytes)
{
    while (class < 64 && store->block_bytes[class] < bytes)
        class++;
    return class;
}

static uint64_t cells_that_fit(uint64_t block_bytes, uint16_t flags, uint64_t incoming_capacity)
{
    uint64_t width = oh_counter_width(flags);
    uint64_t cell_bytes =
        8 + (flags & OH_ROW_COUNTED ? 4 : 0) + width * (flags & OH_ROW_RARE ? 4 : 1);
    uint64_t fixed = sizeof(oh_row_t) + incoming_capacity * sizeof(oh_incoming_t);
    uint64_t cells = (block_bytes - fixed) / cell_bytes;
    while (oh_layout_of(flags, cells, incoming_capacity).end > block_bytes)
        cells--;
    return cells;
}

/* ---- copies ---- */

static void column_copy(const oh_rebuild_t *rebuild, void *to, const void *from)
{
    if (to == NULL)
        return;
    for (uint32_t cell = 0; cell < rebuild->new.cell_count; cell++)
        oh_column_store(&rebuild->new, to, cell, oh_cell_get(&rebuild->old, from, cell));
}

static void column_copy_u32(uint32_t *to, const uint32_t *from, uint32_t cell_count)
{
    if (to == NULL)
        return;
    for (uint32_t cell = 0; cell < cell_count; cell++)
        oh_race_store_u32(to + cell, from == NULL ? OH_NONE : from[cell]);
}

static void rebuild_copy(oh_rebuild_t *rebuild)
{
    oh_row_view_t *old = &rebuild->old, *new = &rebuild->new;
    column_copy_u32(new->location, old->location, new->cell_count);
    column_copy_u32(new->history, old->history, new->cell_count);
    column_copy_u32(new->count, old->count, new->cell_count);
    column_copy(rebuild, new->on_hand, old->on_hand);
    column_copy(rebuild, new->held, old->held);
    column_copy(rebuild, new->in_transit, old->in_transit);
    column_copy(rebuild, new->damaged, old->damaged);
    for (uint16_t entry = 0; entry < new->incoming_count; entry++)
        oh_incoming_store(&new->incoming[entry], &old->incoming[entry]);
}

int oh_rebuild_begin(oh_store_t *store, uint32_t sku, oh_rebuild_t *rebuild, uint16_t flags,
                         uint32_t cells, uint32_t incoming_capacity)
{
    oh_row_view_t *old = &rebuild->old, *new = &rebuild->new;
    if (!oh_row_view(store, sku, old))
        memset(old, 0, sizeof *old);
    flags |= old->flags;
    uint32_t class = 0;
    if (old->word != 0 && cells > old->cell_count)
        class = oh_row_class(old->word) + 2;
    class = class_for(store, class, oh_layout_of(flags, cells, incoming_capacity).end);
    if (class >= 64)
        return OH_TABLE_FULL;
    int status;
    uint64_t offset = block_take(store, class, &status);
    if (offset == 0)
        return status;
    uint64_t capacity = cells_that_fit(store->block_bytes[class], flags, incoming_capacity);
    oh_layout_t at = oh_layout_of(flags, capacity, incoming_capacity);
    new->word = offset << 28 | (uint64_t)class << 24 | ((old->word + 1) & OH_WORD_COUNT_MASK);
    new->row = (oh_row_t *)(store->base + offset);
    new->flags = flags;
    new->cell_count = old->cell_count;
    new->incoming_count = old->incoming_count;
    oh_view_columns(new, (uint8_t *)new->row, &at);
    oh_race_store_u16(&new->row->reserved, 0);
    oh_race_store_u16(&new->row->incoming_capacity, (uint16_t)incoming_capacity);
    oh_race_store_u32(&new->row->cell_capacity, (uint32_t)capacity);
    rebuild_copy(rebuild);
    return OH_OK;
}

void oh_rebuild_publish(oh_store_t *store, uint32_t sku, oh_rebuild_t *rebuild)
{
    oh_row_view_t *new = &rebuild->new;
    oh_race_store_u16(&new->row->flags, new->flags);
    oh_race_store_u16(&new->row->incoming_count, new->incoming_count);
    oh_race_store_u32(&new->row->cell_count, new->cell_count);
    OH_INVARIANT(new->cell_count <= new->row->cell_capacity, "a row's cells fit its block");
    atomic_store_explicit(&oh_sku_at(store, sku)->word, new->word, memory_order_release);
    if (rebuild->old.word != 0)
        block_free(store, rebuild->old.word);
}
