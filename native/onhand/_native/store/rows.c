/* Rows: blocks of cells, how they change under readers, and the ring of changes.
 *
 * A block is as large as its size class; how many cells fit follows from its flags. Freed blocks are
 * chained through their first 8 bytes, one list per class. A reader that still looks at a freed block
 * finds rubbish there, never leaves the block, and learns from the word that it must read again.
 */
#include "onhand/store.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define WORD_COUNT_MASK 0xffffffULL
#define INCOMING_MAX 65535u

/* Where the columns of a block are, in bytes from its start. */
typedef struct {
    uint64_t count;
    uint64_t counters;
    uint64_t column_bytes;
    uint64_t incoming;
    uint64_t end;
} layout_t;

static inline uint64_t row_offset(uint64_t word)
{
    return word >> 32 << 4;
}

static inline uint32_t row_class(uint64_t word)
{
    return (word >> 24) & 63;
}

static inline uint64_t counter_width(uint16_t flags)
{
    return flags & OH_ROW_WIDE ? 8 : 4;
}

/* The header's field is 32 bits and its cells at most 44 bytes, so nothing here can overflow. */
static inline layout_t layout_of(uint16_t flags, uint64_t cell_capacity, uint64_t incoming_capacity)
{
    layout_t at;
    uint64_t width = counter_width(flags);
    at.count = sizeof(oh_row_t) + 8 * cell_capacity;
    at.counters = at.count + (flags & OH_ROW_COUNTED ? 4 * cell_capacity : 0);
    at.counters = (at.counters + width - 1) & ~(width - 1);
    at.column_bytes = width * cell_capacity;
    at.incoming = at.counters + at.column_bytes * (flags & OH_ROW_RARE ? 4 : 1);
    at.incoming = (at.incoming + 7) & ~7ULL;
    at.end = at.incoming + incoming_capacity * sizeof(oh_incoming_t);
    return at;
}

static inline void view_columns(oh_row_view_t *view, uint8_t *block, const layout_t *at)
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

/* False when the header cannot be that of this block, which a reader of a freed block may see. */
static inline bool view_header(const oh_store_t *store, oh_row_view_t *view)
{
    uint64_t offset = row_offset(view->word);
    uint64_t block_bytes = store->block_bytes[row_class(view->word)];
    if (offset + block_bytes > store->mapped_bytes)
        return false;
    oh_row_t *row = (oh_row_t *)(store->base + offset);
    uint32_t cell_capacity = oh_race_load_u32(&row->cell_capacity);
    uint16_t incoming_capacity = oh_race_load_u16(&row->incoming_capacity);
    view->row = row;
    view->flags = oh_race_load_u16(&row->flags);
    view->incoming_count = oh_race_load_u16(&row->incoming_count);
    view->cell_count = __atomic_load_n(&row->cell_count, __ATOMIC_ACQUIRE);
    layout_t at = layout_of(view->flags, cell_capacity, incoming_capacity);
    if (at.end > block_bytes || view->cell_count > cell_capacity
        || view->incoming_count > incoming_capacity)
        return false;
    view_columns(view, (uint8_t *)row, &at);
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

/* ---- blocks ---- */

static void gauge_add(_Atomic uint64_t *gauge, uint64_t delta)
{
    uint64_t value = atomic_load_explicit(gauge, memory_order_relaxed);
    atomic_store_explicit(gauge, value + delta, memory_order_relaxed);
}

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
        gauge_add(&header->row_bytes, store->block_bytes[class]);
    /* The next stores go where a reader of an older word may still look. */
    atomic_thread_fence(memory_order_release);
    return offset;
}

static void block_free(oh_store_t *store, uint64_t word)
{
    oh_header_t *header = store->header;
    uint32_t class = row_class(word);
    uint64_t offset = row_offset(word);
    uint64_t next = atomic_load_explicit(&header->free_list[class], memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    oh_race_store_u64((uint64_t *)(store->base + offset), next);
    atomic_store_explicit(&header->free_list[class], offset, memory_order_relaxed);
    gauge_add(&header->row_bytes, 0 - store->block_bytes[class]);
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
    uint64_t width = counter_width(flags);
    uint64_t cell_bytes =
        8 + (flags & OH_ROW_COUNTED ? 4 : 0) + width * (flags & OH_ROW_RARE ? 4 : 1);
    uint64_t fixed = sizeof(oh_row_t) + incoming_capacity * sizeof(oh_incoming_t);
    uint64_t cells = (block_bytes - fixed) / cell_bytes;
    while (layout_of(flags, cells, incoming_capacity).end > block_bytes)
        cells--;
    return cells;
}

/* ---- copies ---- */

/* A row being rebuilt: what it is now, and a block that nobody sees yet. */
typedef struct {
    oh_row_view_t old;            /* old.word 0: there was none */
    oh_row_view_t new;
} rebuild_t;

static void column_store(const oh_row_view_t *view, void *column, uint32_t cell, int64_t value)
{
    if (view->flags & OH_ROW_WIDE)
        oh_race_store_i64((int64_t *)column + cell, value);
    else
        oh_race_store_i32((int32_t *)column + cell, (int32_t)value);
}

static void column_copy(const rebuild_t *rebuild, void *to, const void *from)
{
    if (to == NULL)
        return;
    for (uint32_t cell = 0; cell < rebuild->new.cell_count; cell++)
        column_store(&rebuild->new, to, cell, oh_cell_get(&rebuild->old, from, cell));
}

static void column_copy_u32(uint32_t *to, const uint32_t *from, uint32_t cell_count)
{
    if (to == NULL)
        return;
    for (uint32_t cell = 0; cell < cell_count; cell++)
        oh_race_store_u32(to + cell, from == NULL ? OH_NONE : from[cell]);
}

static void incoming_store(oh_incoming_t *to, const oh_incoming_t *from)
{
    oh_race_store_u32(&to->location, from->location);
    oh_race_store_i32(&to->day, from->day);
    oh_race_store_i64(&to->quantity, from->quantity);
}

static void rebuild_copy(rebuild_t *rebuild)
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
        incoming_store(&new->incoming[entry], &old->incoming[entry]);
}

/* Starts a block for the row with these flags and room for so many cells and incoming entries. A row
 * that outgrows its block skips a class: about 1.5 times as long, so that filling a row costs little
 * copying and leaves few small blocks behind. */
static int rebuild_begin(oh_store_t *store, uint32_t sku, rebuild_t *rebuild, uint16_t flags,
                         uint32_t cells, uint32_t incoming_capacity)
{
    oh_row_view_t *old = &rebuild->old, *new = &rebuild->new;
    if (!oh_row_view(store, sku, old))
        memset(old, 0, sizeof *old);
    flags |= old->flags;
    uint32_t class = 0;
    if (old->word != 0 && cells > old->cell_count)
        class = row_class(old->word) + 2;
    class = class_for(store, class, layout_of(flags, cells, incoming_capacity).end);
    if (class >= 64)
        return OH_TABLE_FULL;
    int status;
    uint64_t offset = block_take(store, class, &status);
    if (offset == 0)
        return status;
    uint64_t capacity = cells_that_fit(store->block_bytes[class], flags, incoming_capacity);
    layout_t at = layout_of(flags, capacity, incoming_capacity);
    new->word = offset << 28 | (uint64_t)class << 24 | ((old->word + 1) & WORD_COUNT_MASK);
    new->row = (oh_row_t *)(store->base + offset);
    new->flags = flags;
    new->cell_count = old->cell_count;
    new->incoming_count = old->incoming_count;
    view_columns(new, (uint8_t *)new->row, &at);
    oh_race_store_u16(&new->row->reserved, 0);
    oh_race_store_u16(&new->row->incoming_capacity, (uint16_t)incoming_capacity);
    oh_race_store_u32(&new->row->cell_capacity, (uint32_t)capacity);
    rebuild_copy(rebuild);
    return OH_OK;
}

/* One store shows the new block; only then is the old one anybody else's. */
static void rebuild_publish(oh_store_t *store, uint32_t sku, rebuild_t *rebuild)
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

static void cell_write_zeros(const oh_row_view_t *view, uint32_t cell, uint32_t location)
{
    oh_race_store_u32(&view->location[cell], location);
    oh_race_store_u32(&view->history[cell], OH_NONE);
    if (view->count != NULL)
        oh_race_store_u32(&view->count[cell], OH_NONE);
    column_store(view, view->on_hand, cell, 0);
    if (view->held == NULL)
        return;
    column_store(view, view->held, cell, 0);
    column_store(view, view->in_transit, cell, 0);
    column_store(view, view->damaged, cell, 0);
}

/* ---- the writer's verbs ---- */

static inline void word_raise(oh_store_t *store, uint32_t sku, oh_row_view_t *view)
{
    view->word = (view->word & ~WORD_COUNT_MASK) | ((view->word + 1) & WORD_COUNT_MASK);
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
    gauge_add(&store->header->cell_count, 1);
}

static int cell_rebuild(oh_store_t *store, uint32_t sku, uint32_t location, uint16_t needs,
                        bool append, oh_row_view_t *view)
{
    rebuild_t rebuild;
    oh_row_view_t now;
    bool exists = oh_row_view(store, sku, &now);
    uint32_t cells = (exists ? now.cell_count : 0) + append;
    int status = rebuild_begin(store, sku, &rebuild, needs, cells,
                               exists ? now.row->incoming_capacity : 0);
    if (status != OH_OK)
        return status;
    if (append) {
        cell_write_zeros(&rebuild.new, rebuild.new.cell_count++, location);
        gauge_add(&store->header->cell_count, 1);
    }
    rebuild_publish(store, sku, &rebuild);
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

/* Two's complement on purpose: 2^63 units of one cell are beyond any stream of events. */
static inline int64_t sum_of(int64_t value, int64_t delta)
{
    return (int64_t)((uint64_t)value + (uint64_t)delta);
}

static inline bool narrow_holds(int64_t value)
{
    return value >= INT32_MIN && value <= INT32_MAX;
}

static void cell_store(oh_store_t *store, uint32_t sku, oh_row_view_t *view, int counter,
                       uint32_t cell, int64_t value)
{
    atomic_thread_fence(memory_order_release);
    column_store(view, column_of(view, counter), cell, value);
    word_raise(store, sku, view);
}

static int cell_add_by_copy(oh_store_t *store, uint32_t sku, oh_row_view_t *view, uint32_t cell,
                            const int64_t value[4], uint16_t wide)
{
    rebuild_t rebuild;
    int status = rebuild_begin(store, sku, &rebuild, wide, view->cell_count,
                               view->row->incoming_capacity);
    if (status != OH_OK)
        return status;
    for (int counter = 0; counter < 4; counter++) {
        void *column = column_of(&rebuild.new, counter);
        if (column != NULL)
            column_store(&rebuild.new, column, cell, value[counter]);
    }
    rebuild_publish(store, sku, &rebuild);
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
        value[counter] = sum_of(oh_cell_get(view, column_of(view, counter), cell), delta[counter]);
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
    int64_t value = sum_of(oh_cell_get(view, view->on_hand, cell), delta);
    if (view->flags & OH_ROW_WIDE || !narrow_holds(value)) {
        const int64_t deltas[4] = {delta, 0, 0, 0};
        return cell_add(store, sku, view, cell, deltas);
    }
    atomic_thread_fence(memory_order_release);
    oh_race_store_i32((int32_t *)view->on_hand + cell, (int32_t)value);
    word_raise(store, sku, view);
    return OH_OK;
}

/* ---- incoming ---- */

static bool incoming_before(const oh_incoming_t *entry, uint32_t location, int32_t day)
{
    return entry->location != location ? entry->location < location : entry->day < day;
}

/* Where (location, day) is, or where it belongs. */
static uint16_t incoming_place(const oh_row_view_t *view, uint32_t location, int32_t day)
{
    uint16_t low = 0, high = view->incoming_count;
    while (low < high) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (incoming_before(&view->incoming[middle], location, day))
            low = (uint16_t)(middle + 1);
        else
            high = middle;
    }
    return low;
}

static void incoming_insert(oh_row_view_t *view, uint16_t place, const oh_incoming_t *entry)
{
    for (uint16_t at = view->incoming_count; at > place; at--)
        incoming_store(&view->incoming[at], &view->incoming[at - 1]);
    incoming_store(&view->incoming[place], entry);
    view->incoming_count++;
}

static void incoming_remove(oh_row_view_t *view, uint16_t place)
{
    view->incoming_count--;
    for (uint16_t at = place; at < view->incoming_count; at++)
        incoming_store(&view->incoming[at], &view->incoming[at + 1]);
}

static void incoming_apply(oh_row_view_t *view, uint32_t location, int32_t day, int64_t delta)
{
    uint16_t place = incoming_place(view, location, day);
    oh_incoming_t entry = {location, day, delta};
    bool found = place < view->incoming_count && view->incoming[place].location == location
              && view->incoming[place].day == day;
    if (!found) {
        incoming_insert(view, place, &entry);
        return;
    }
    entry.quantity = sum_of(view->incoming[place].quantity, delta);
    if (entry.quantity == 0)
        incoming_remove(view, place);
    else
        incoming_store(&view->incoming[place], &entry);
}

int oh_incoming_add(oh_store_t *store, uint32_t sku, uint32_t location, int32_t day, int64_t delta)
{
    if (delta == 0)
        return OH_OK;
    rebuild_t rebuild;
    oh_row_view_t now;
    bool exists = oh_row_view(store, sku, &now);
    uint32_t count = exists ? now.incoming_count : 0;
    uint32_t capacity = exists ? now.row->incoming_capacity : 0;
    if (count == capacity)
        capacity = count + 1 + count / 2 > INCOMING_MAX ? INCOMING_MAX : count + 1 + count / 2;
    if (count == capacity)
        return OH_TABLE_FULL;
    int status = rebuild_begin(store, sku, &rebuild, 0, exists ? now.cell_count : 0, capacity);
    if (status != OH_OK)
        return status;
    incoming_apply(&rebuild.new, location, day, delta);
    rebuild_publish(store, sku, &rebuild);
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
