/* The two rings as readers see them: changes to follow, and the recent history of a cell. */
#include "reader/reader.h"

/* ---- changes ---- */

/* An entry is overwritten while we look at it only if its sequence does not survive the reading. */
static bool change_read(const oh_store_t *store, uint64_t seq, uint32_t *sku, uint32_t *location)
{
    const oh_header_t *header = store->header;
    const oh_change_t *ring = (const oh_change_t *)(store->base + header->change_ring_off);
    const oh_change_t *change = &ring[seq & (header->change_ring_size - 1)];
    if (atomic_load_explicit(&change->seq, memory_order_acquire) != seq)
        return false;
    *sku = oh_race_load_u32(&change->sku);
    *location = oh_race_load_u32(&change->location);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&change->seq, memory_order_relaxed) == seq;
}

bool oh_changes_read(const oh_store_t *store, uint64_t since, uint32_t *skus, uint32_t *locations,
                     uint32_t count_max, uint32_t *count, uint64_t *last_seq)
{
    uint64_t newest = atomic_load_explicit(&store->header->change_seq, memory_order_acquire);
    *count = 0;
    *last_seq = newest;
    /* A sequence from the future is that of another generation: nothing can be told from it. */
    if (since > newest || newest - since > store->header->change_ring_size)
        return false;
    while (since < newest && *count < count_max) {
        if (!change_read(store, since + 1, &skus[*count], &locations[*count])) {
            *count = 0;
            return false;
        }
        *count += 1;
        since++;
    }
    *last_seq = since;
    return true;
}

uint32_t oh_changed_skus(const oh_store_t *store, uint64_t since, uint64_t *next, uint32_t *skus,
                         uint32_t count_max)
{
    uint64_t sku_count = atomic_load_explicit(&store->header->sku_count, memory_order_acquire);
    uint32_t count = 0;
    for (; *next < sku_count && count < count_max; (*next)++) {
        const oh_sku_t *sku = oh_sku_at(store, (uint32_t)*next);
        if (atomic_load_explicit(&sku->change_seq, memory_order_relaxed) > since)
            skus[count++] = (uint32_t)*next;
    }
    return count;
}

/* ---- history ---- */

/* Links hold the low half of a position; the head tells the rest. */
static uint64_t position_whole(uint64_t head, uint32_t low)
{
    return head - (uint32_t)((uint32_t)head - low);
}

static bool position_live(const oh_header_t *header, uint64_t position, uint64_t *head)
{
    *head = atomic_load_explicit(&header->history_head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&header->history_tail, memory_order_acquire);
    return position < *head && position >= tail && *head - position <= header->history_ring_size;
}

static void movement_copy(oh_movement_t *to, const oh_movement_t *from)
{
    const oh_word_t *words = (const oh_word_t *)from;
    oh_word_t *copy = (oh_word_t *)to;
    for (size_t at = 0; at < sizeof *to / 8; at++)
        copy[at] = __atomic_load_n(words + at, __ATOMIC_RELAXED);
}

/* A movement is as it was written when its position is still its own after the reading. */
static bool movement_read(const oh_store_t *store, uint64_t position, oh_movement_t *movement)
{
    const oh_header_t *header = store->header;
    const oh_movement_t *ring = (const oh_movement_t *)(store->base + header->history_ring_off);
    const oh_movement_t *entry = &ring[position & (header->history_ring_size - 1)];
    if (atomic_load_explicit(&entry->position, memory_order_acquire) != (uint32_t)position)
        return false;
    movement_copy(movement, entry);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&entry->position, memory_order_relaxed) == (uint32_t)position;
}

static uint32_t newest_movement(const oh_store_t *store, uint32_t sku, uint32_t location)
{
    oh_row_view_t row;
    uint32_t newest;
    do {
        if (!oh_row_view(store, sku, &row))
            return OH_NONE;
        uint32_t cell = oh_row_find(&row, location);
        newest = cell == OH_NONE ? OH_NONE : oh_race_load_u32(&row.history[cell]);
    } while (!oh_row_confirm(store, sku, &row));
    return newest;
}

uint32_t oh_history_read(const oh_store_t *store, uint32_t sku, uint32_t location, uint64_t before,
                         oh_movement_t *movements, uint64_t *positions, uint32_t count_max)
{
    uint32_t low = newest_movement(store, sku, location);
    uint64_t above = UINT64_MAX;
    uint32_t count = 0;
    while (low != OH_NONE && count < count_max) {
        uint64_t head = atomic_load_explicit(&store->header->history_head, memory_order_acquire);
        uint64_t position = position_whole(head, low);
        oh_movement_t movement;
        /* Each link leads to an older movement; anything else is a slot that was used again. */
        if (position >= above || !position_live(store->header, position, &head)
            || !movement_read(store, position, &movement)
            || movement.sku != sku || movement.location != location)
            break;
        if (position < before) {
            movements[count] = movement;
            positions[count++] = position;
        }
        above = position;
        low = movement.older;
    }
    return count;
}
