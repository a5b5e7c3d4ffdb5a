/* How a block is laid out, and how a row is rebuilt in another one; for the store's own C files. */
#ifndef ONHAND_STORE_ROWS_H
#define ONHAND_STORE_ROWS_H

#include "onhand/store.h"

#define OH_WORD_COUNT_MASK 0xffffffULL

/* Where the columns of a block are, in bytes from its start. */
typedef struct {
    uint64_t count;
    uint64_t counters;
    uint64_t column_bytes;
    uint64_t incoming;
    uint64_t end;
} oh_layout_t;

static inline uint64_t oh_row_offset(uint64_t word)
{
    return word >> 32 << 4;
}

static inline uint32_t oh_row_class(uint64_t word)
{
    return (word >> 24) & 63;
}

static inline uint64_t oh_counter_width(uint16_t flags)
{
    return flags & OH_ROW_WIDE ? 8 : 4;
}

/* The header's field is 32 bits and its cells at most 44 bytes, so nothing here can overflow. */
static inline oh_layout_t oh_layout_of(uint16_t flags, uint64_t cell_capacity,
                                       uint64_t incoming_capacity)
{
    oh_layout_t at;
    uint64_t width = oh_counter_width(flags);
    at.count = sizeof(oh_row_t) + 8 * cell_capacity;
    at.counters = at.count + (flags & OH_ROW_COUNTED ? 4 * cell_capacity : 0);
    at.counters = (at.counters + width - 1) & ~(width - 1);
    at.column_bytes = width * cell_capacity;
    at.incoming = at.counters + at.column_bytes * (flags & OH_ROW_RARE ? 4 : 1);
    at.incoming = (at.incoming + 7) & ~7ULL;
    at.end = at.incoming + incoming_capacity * sizeof(oh_incoming_t);
    return at;
}

static inline void oh_view_columns(oh_row_view_t *view, uint8_t *block, const oh_layout_t *at)
{
    view->location = (uint32_t *)(block + sizeof(oh_row_t));
    view->history = view->location + (at->count - sizeof(oh_row_t)) / 8;
    view->count = view->flags & OH_ROW_COUNTED ? (uint32_t *)(block + at->count) : NULL;
    view->on_hand = block + at->counters;
    bool rare = view->flags & OH_ROW_RARE;
    view->held = rare ? block + at->counters + at->column_bytes : NULL;
    view->in_transit = rare ? block + at->counters + 2 * at->column_bytes : NULL;
    view->damaged = rare ? block + at->counters + 3 * at->column_bytes : NULL;
    view->incoming = (oh_incoming_t *)(block + at->incoming);
}

/* ---- columns ---- */

static inline void oh_column_store(const oh_row_view_t *view, void *column, uint32_t cell,
                                   int64_t value)
{
    if (view->flags & OH_ROW_WIDE)
        oh_race_store_i64((int64_t *)column + cell, value);
    else
        oh_race_store_i32((int32_t *)column + cell, (int32_t)value);
}

static inline void oh_incoming_store(oh_incoming_t *to, const oh_incoming_t *from)
{
    oh_race_store_u32(&to->location, from->location);
    oh_race_store_i32(&to->day, from->day);
    oh_race_store_i64(&to->quantity, from->quantity);
}

/* Two's complement on purpose: 2^63 units of one cell are beyond any stream of events. */
static inline int64_t oh_sum_of(int64_t value, int64_t delta)
{
    return (int64_t)((uint64_t)value + (uint64_t)delta);
}

static inline void oh_gauge_add(_Atomic uint64_t *gauge, uint64_t delta)
{
    uint64_t value = atomic_load_explicit(gauge, memory_order_relaxed);
    atomic_store_explicit(gauge, value + delta, memory_order_relaxed);
}

/* ---- blocks.c ---- */

/* A row being rebuilt: what it is now, and a block that nobody sees yet. */
typedef struct {
    oh_row_view_t old;            /* old.word 0: there was none */
    oh_row_view_t new;
} oh_rebuild_t;

/* Starts a block for the row with these flags and room for so many cells and incoming entries. A
 * row that outgrows its block skips a class: about 1.5 times as long, so that filling a row costs
 * little copying and leaves few small blocks behind. */
int oh_rebuild_begin(oh_store_t *store, uint32_t sku, oh_rebuild_t *rebuild, uint16_t flags,
                     uint32_t cells, uint32_t incoming_capacity);
/* One store shows the new block; only then is the old one anybody else's. */
void oh_rebuild_publish(oh_store_t *store, uint32_t sku, oh_rebuild_t *rebuild);

#endif
