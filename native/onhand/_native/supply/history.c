/* The ring of recent movements, chained per cell from newest to oldest applied.
 *
 * Positions count up for ever; 32 bits of them are kept, and the value of OH_NONE is passed over. A
 * link is followed only to an entry that is still remembered, is the position it names, is of the same
 * cell and is older than where the link stood, so a link that outlived its entry leads nowhere.
 */
#include "supply/supply.h"

#include <string.h>

static inline uint64_t head_of(const oh_supply_t *supply)
{
    return atomic_load_explicit(&supply->store.header->history_head, memory_order_relaxed);
}

static inline uint64_t tail_of(const oh_supply_t *supply)
{
    return atomic_load_explicit(&supply->store.header->history_tail, memory_order_relaxed);
}

uint32_t oh_history_push(oh_supply_t *supply, const oh_step_t *step, uint32_t location,
                         uint32_t older, uint8_t effect)
{
    oh_header_t *header = supply->store.header;
    uint64_t position = head_of(supply);
    position += (uint32_t)position == OH_NONE;
    oh_movement_t *entry = oh_history_ring(supply) + (position & (header->history_ring_size - 1));
    const oh_event_t *event = step->event;
    atomic_store_explicit(&entry->position, OH_NONE, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    oh_race_store_u32(&entry->older, older);
    oh_race_store_u32(&entry->sku, step->sku);
    oh_race_store_u32(&entry->location, location);
    oh_race_store_i64(&entry->occurred_us, event->occurred_us);
    oh_race_store_i64(&entry->append_us, event->append_us);
    oh_race_store_i64(&entry->offset, event->offset);
    oh_race_store_i32(&entry->quantity, step->quantity);
    oh_race_store_u16(&entry->partition, event->partition);
    __atomic_store_n(&entry->type, event->type, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->effect, effect, __ATOMIC_RELAXED);
    atomic_store_explicit(&entry->position, (uint32_t)position, memory_order_release);
    atomic_store_explicit(&header->history_head, position + 1, memory_order_release);
    return (uint32_t)position;
}

/* How far behind the head a position is; what is not remembered is farther than all that is. */
static inline uint32_t age_of(uint64_t head, uint32_t position)
{
    return (uint32_t)head - position;
}

static int64_t on_hand_part(const oh_movement_t *entry)
{
    if (!(entry->effect & (OH_EFFECT_ON_HAND | OH_EFFECT_SUPERSEDED)) || entry->type == OH_COUNT)
        return 0;
    bool takes = entry->type == OH_SALE || entry->type == OH_TRANSFER_SHIPPED;
    return takes ? -(int64_t)entry->quantity : entry->quantity;
}

int64_t oh_history_after(const oh_supply_t *supply, uint32_t sku, uint32_t location, uint32_t newest,
                         int64_t occurred_us)
{
    uint64_t head = head_of(supply), remembered = head - tail_of(supply);
    uint64_t mask = supply->store.header->history_ring_size - 1;
    uint32_t position = newest, age = 0;
    int64_t sum = 0;
    while (position != OH_NONE && age_of(head, position) > age
           && age_of(head, position) <= remembered) {
        const oh_movement_t *entry = oh_history_ring(supply) + (position & mask);
        if (entry->position != position || entry->sku != sku || entry->location != location)
            break;
        if (entry->occurred_us > occurred_us)
            sum += on_hand_part(entry);
        age = age_of(head, position);
        position = entry->older;
    }
    return sum;
}

/* Room is made only when it is needed: past 5/8 of the ring, back to 1/2. */
void oh_history_announce(oh_supply_t *supply)
{
    oh_horizon_t *horizon = &supply->history_horizon;
    uint64_t size = supply->store.header->history_ring_size;
    uint64_t head = head_of(supply);
    uint64_t upto = oh_history_used(supply) > size / 8 * 5 ? head - size / 2 : horizon->announced;
    for (; horizon->announced < upto; horizon->announced++) {
        const oh_movement_t *entry = oh_history_ring(supply) + (horizon->announced & (size - 1));
        if (entry->position == (uint32_t)horizon->announced
            && entry->occurred_us > horizon->announced_us)
            horizon->announced_us = entry->occurred_us;
    }
}

void oh_history_evict(oh_supply_t *supply)
{
    if (supply->history_horizon.granted > tail_of(supply))
        atomic_store_explicit(&supply->store.header->history_tail, supply->history_horizon.granted,
                              memory_order_release);
    oh_horizon_advance(&supply->history_horizon);
}

void oh_history_expire(oh_supply_t *supply, int64_t expired_us, uint64_t more)
{
    oh_horizon_t *horizon = &supply->history_horizon;
    oh_header_t *header = supply->store.header;
    uint64_t size = header->history_ring_size, head = head_of(supply), tail = tail_of(supply);
    int64_t newest_us = horizon->evicted_us;
    for (; tail < head && head - tail + more > size / 2; tail++) {
        const oh_movement_t *entry = oh_history_ring(supply) + (tail & (size - 1));
        if (entry->position != (uint32_t)tail)
            continue;
        if (entry->occurred_us > expired_us)
            break;
        if (entry->occurred_us > newest_us)
            newest_us = entry->occurred_us;
    }
    if (tail == tail_of(supply))
        return;
    atomic_store_explicit(&header->history_tail, tail, memory_order_release);
    horizon->announced = horizon->announced > tail ? horizon->announced : tail;
    horizon->evicted_us = newest_us;
    horizon->in_force_us = horizon->in_force_us > newest_us ? horizon->in_force_us : newest_us;
    horizon->announced_us = horizon->announced_us > newest_us ? horizon->announced_us : newest_us;
    atomic_store_explicit(&header->counts_since_us, horizon->in_force_us, memory_order_relaxed);
}

/* A longer ring, when settings ask for one after a restart. The old one's space is not used again:
 * nobody reads this store yet, and the next checkpoint but grows by it. */
int oh_history_resize(oh_supply_t *supply, uint64_t ring_size)
{
    oh_header_t *header = supply->store.header;
    uint64_t old_size = header->history_ring_size;
    if (ring_size <= old_size)
        return OH_OK;
    int status;
    const oh_movement_t *old = oh_history_ring(supply);
    uint64_t offset = oh_store_allocate(&supply->store, ring_size * sizeof(oh_movement_t), &status);
    if (status != OH_OK)
        return status;
    oh_movement_t *grown = (oh_movement_t *)(supply->store.base + offset);
    for (uint64_t at = tail_of(supply); at < head_of(supply); at++)
        memcpy(&grown[at & (ring_size - 1)], &old[at & (old_size - 1)], sizeof *old);
    header->history_ring_off = offset;
    header->history_ring_size = ring_size;
    return OH_OK;
}
