/* Rows: how readers see them, how cells change under readers, and the ring of changes. */
#include "store/rows.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* False when the header cannot be that of this block, which a reader of a freed block may see. */
static inline bool view_header(const oh_store_t *store, oh_row_view_t *view)
{
    uint64_t offset = oh_row_offset(view->word);
    uint64_t block_bytes = store->block_bytes[oh_row_class(view->word)];
    if (offset + block_bytes > store->mapped_bytes)
        return false;
    oh_row_t *row = (oh_row_t *)(store->base + offset);
    uint32_t cell_capacity = oh_race_load_u32(&row->cell_capacity);
    uint16_t incoming_capacity = oh_race_load_u16(&row->incoming_capacity);
    view->row = row;
    view->flags = oh_race_load_u16(&row->flags);
    view->incoming_count = oh_race_load_u16(&row->incoming_count);
    view->cell_count = __atomic_load_n(&row->cell_count, __ATOMIC_ACQUIRE);
    oh_layout_t at = oh_layout_of(view->flags, cell_capacity, incoming_capacity);
    if (at.end > block_bytes || view->cell_count > cell_capacity
        || view->incoming_count > incoming_capacity)
        return false;
    oh_view_columns(view, (uint8_t *)row, &at);
    return true;
}

bool oh_row_view(const oh_store_t *store, uint32_t sku, oh_row_view_t *view)
{
    const _Atomic uint64_t *word = &oh_sku_at(store, sku)->word;
    view->word = atomic_load_explicit(word, memory_order_acquire);
    for (;;) {
        if (view->word == 0)
            return false;
        if (view_header(store, view))
            return true;
        uint64_t seen = view->word;
        atomic_thread_fence(memory_order_acquire);
        view->word = atomic_load_explicit(word, memory_order_acquire);
        if (view->word == seen) {
            OH_INVARIANT(false, "a row's header fits its block");
            return false;
        }
    }
}

uint32_t oh_row_find(const oh_row_view_t *view, uint32_t location)
{
    const uint32_t *column = view->location;
    uint32_t cell = 0;
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
    __m128i wanted = _mm_set1_epi32((int)location);
    for (; cell + 4 <= view->cell_count; cell += 4) {
        __m128i found = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *)(column + cell)), wanted);
        int bits = _mm_movemask_ps(_mm_castsi128_ps(found));
        if (bits != 0)
            return cell + (uint32_t)__builtin_ctz((unsigned)bits);
    }
#endif
    for (; cell < view->cell_count; cell++) {
        if (oh_race_load_u32(column + cell) == location)
            return cell;
    }
    return OH_NONE;
}

static void cell_write_zeros(const oh_row_view_t *view, uint32_t cell, uint32_t location)
{
    oh_race_store_u32(&view->location[cell], location);
    oh_race_store_u32(&view->history[cell], OH_NONE);
    if (view->count != NULL)
        oh_race_store_u32(&view->count[cell], OH_NONE);
    oh_column_store(view, view->on_hand, cell, 0);
    if (view->held == NULL)
        return;
    oh_column_store(view, view->held, cell, 0);
    oh_column_store(view, view->in_transit, cell, 0);
    oh_column_store(view, view->damaged, cell, 0);
}

/* ---- the writer's verbs ---- */

static inline void word_raise(oh_store_t *store, uint32_t sku, oh_row_view_t *view)
{
    view->word = (view->word & ~OH_WORD_COUNT_MASK) | ((view->word + 1) & OH_WORD_COUNT_MASK);
    atomic_store_explicit(&oh_sku_at(store, sku)->word, view->word, memory_order_release);
}

/* A cell of zeros behind the last one: beyond cell_count no reader looks. */
static void cell_append(oh_store_t *store, uint32_t sku, oh_row_view_t *view, uint32_t location)
{
    uint32_t cell = view->cell_count;
    atomic_thread_fence(memory_order_release);
    cell_write_zeros(view, cell, location);
    view->cell_count = cell + 1;
    __atomic_store_n(&view->row->cell_count, cell + 1, __ATOMIC_RELEASE);
    word_raise(store, sku, view);
    oh_gauge_add(&store->header->cell_count, 1);
}

static int cell_rebuild(oh_store_t *store, uint32_t sku, uint32_t location, uint16_t needs,
                        bool append, oh_row_view_t *view)
{
    oh_rebuild_t rebuild;
    oh_row_view_t now;
    bool exists = oh_row_view(store, sku, &now);
    uint32_t cells = (exists ? now.cell_count : 0) + append;
    int status = oh_rebuild_begin(store, sku, &rebuild, needs, cells,
                               exists ? now.row->incoming_capacity : 0);
    if (status != OH_OK)
        return status;
    if (append) {
        cell_write_zeros(&rebuild.new, rebuild.new.cell_count++, location);
        oh_gauge_add(&store->header->cell_count, 1);
    }
    oh_rebuild_publish(store, sku, &rebuild);
    *view = rebuild.new;
    return OH_OK;
}

int oh_cell_resolve(oh_store_t *store, uint32_t sku, uint32_t location, uint16_t needs,
                    oh_row_view_t *view, uint32_t *cell)
{
    bool exists = oh_row_view(store, sku, view);
    uint32_t found = exists ? oh_row_find(view, location) : OH_NONE;
    bool roomy = exists && (view->flags & needs) == needs;
    int status = OH_OK;
    if (found != OH_NONE && roomy) {
        *cell = found;
        return OH_OK;
    }
    if (found == OH_NONE && roomy && view->cell_count < view->row->cell_capacity)
        cell_append(store, sku, view, location);
    else
        status = cell_rebuild(store, sku, location, needs, found == OH_NONE, view);
    if (status == OH_OK)
        *cell = found == OH_NONE ? view->cell_count - 1 : found;
    return status;
}

static void *column_of(const oh_row_view_t *view, int counter)
{
    void *const columns[4] = {view->on_hand, view->held, view->in_transit, view->damaged};
    return columns[counter];
}

static inline bool narrow_holds(int64_t value)
{
    return value >= INT32_MIN && value <= INT32_MAX;
}

static void cell_store(oh_store_t *store, uint32_t sku, oh_row_view_t *view, int counter,
                       uint32_t cell, int64_t value)
{
    atomic_thread_fence(memory_order_release);
    oh_column_store(view, column_of(view, counter), cell, value);
    word_raise(store, sku, view);
}

static int cell_add_by_copy(oh_store_t *store, uint32_t sku, oh_row_view_t *view, uint32_t cell,
                            const int64_t value[4], uint16_t wide)
{
    oh_rebuild_t rebuild;
    int status = oh_rebuild_begin(store, sku, &rebuild, wide, view->cell_count,
                               view->row->incoming_capacity);
    if (status != OH_OK)
        return status;
    for (int counter = 0; counter < 4; counter++) {
        void *column = column_of(&rebuild.new, counter);
        if (column != NULL)
            oh_column_store(&rebuild.new, column, cell, value[counter]);
    }
    oh_rebuild_publish(store, sku, &rebuild);
    *view = rebuild.new;
    return OH_OK;
}

static int cell_add(oh_store_t *store, uint32_t sku, oh_row_view_t *view, uint32_t cell,
                    const int64_t delta[4])
{
    int64_t value[4];
    int changed = 0, last = 0;
    bool narrow = true;
    for (int counter = 0; counter < 4; counter++) {
        int64_t before = oh_cell_get(view, column_of(view, counter), cell);
        value[counter] = oh_sum_of(before, delta[counter]);
        narrow = narrow && narrow_holds(value[counter]);
        changed += delta[counter] != 0;
        last = delta[counter] != 0 ? counter : last;
    }
    if (changed == 0)
        return OH_OK;
    bool fits = narrow || view->flags & OH_ROW_WIDE;
    if (changed > 1 || !fits)
        return cell_add_by_copy(store, sku, view, cell, value, fits ? 0 : OH_ROW_WIDE);
    cell_store(store, sku, view, last, cell, value[last]);
    return OH_OK;
}

int oh_cell_add(oh_store_t *store, uint32_t sku, uint32_t location, const int64_t delta[4])
{
    oh_row_view_t view;
    uint32_t cell;
    bool rare = delta[OH_HELD] != 0 || delta[OH_IN_TRANSIT] != 0 || delta[OH_SCRAPPED] != 0;
    int status = oh_cell_resolve(store, sku, location, rare ? OH_ROW_RARE : 0, &view, &cell);
    return status == OH_OK ? cell_add(store, sku, &view, cell, delta) : status;
}

int oh_cell_add_on_hand(oh_store_t *store, uint32_t sku, oh_row_view_t *view, uint32_t cell,
                        int64_t delta)
{
    OH_INVARIANT(cell < view->cell_count, "a cell is one of its row's");
    int64_t value = oh_sum_of(oh_cell_get(view, view->on_hand, cell), delta);
    if (view->flags & OH_ROW_WIDE || !narrow_holds(value)) {
        const int64_t deltas[4] = {delta, 0, 0, 0};
        return cell_add(store, sku, view, cell, deltas);
    }
    atomic_thread_fence(memory_order_release);
    oh_race_store_i32((int32_t *)view->on_hand + cell, (int32_t)value);
    word_raise(store, sku, view);
    return OH_OK;
}

/* ---- change ring ---- */

void oh_change_push(oh_store_t *store, uint32_t sku, uint32_t location)
{
    oh_header_t *header = store->header;
    uint64_t seq = atomic_load_explicit(&header->change_seq, memory_order_relaxed) + 1;
    oh_change_t *ring = (oh_change_t *)(store->base + header->change_ring_off);
    oh_change_t *change = &ring[seq & (header->change_ring_size - 1)];
    atomic_store_explicit(&change->seq, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    oh_race_store_u32(&change->sku, sku);
    oh_race_store_u32(&change->location, location);
    atomic_store_explicit(&change->seq, seq, memory_order_release);
    atomic_store_explicit(&oh_sku_at(store, sku)->change_seq, seq, memory_order_relaxed);
    atomic_store_explicit(&header->change_seq, seq, memory_order_release);
}
