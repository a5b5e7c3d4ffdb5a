/* Which events were applied: a ring of fingerprints in the order of applying, and an index over it. */
#include "supply/supply.h"

#include <string.h>

#define EVICT_AHEAD 16u

static inline uint32_t id_tag(const oh_id_t *id)
{
    return (uint32_t)(id->hi >> 32);
}

static inline oh_id_t *id_at(const oh_ids_t *ids, uint64_t position)
{
    return (oh_id_t *)ids->ring.base + (position & ids->slot_mask);
}

int oh_ids_open(oh_ids_t *ids, uint64_t limit)
{
    uint64_t slot_count = 1024;
    while (slot_count < limit)
        slot_count *= 2;
    if (slot_count > 1ULL << 31)
        return OH_IDS_FULL;
    ids->limit = limit;
    ids->slot_mask = slot_count - 1;
    int status = oh_region_grow(&ids->ring, slot_count * sizeof(oh_id_t));
    return status == OH_OK ? oh_index_reserve(&ids->index, 0) : status;
}

void oh_ids_close(oh_ids_t *ids)
{
    oh_region_free(&ids->ring);
    oh_index_free(&ids->index);
}

int oh_ids_reserve(oh_ids_t *ids, uint64_t more)
{
    if (ids->head - ids->tail + more > ids->limit)
        return OH_IDS_FULL;
    return oh_index_reserve(&ids->index, more);
}

bool oh_ids_add(oh_ids_t *ids, uint64_t hi, uint64_t lo, int64_t append_us)
{
    oh_id_t id = {hi, lo, append_us};
    uint32_t tag = id_tag(&id);
    oh_probe_t probe = {0, 0};
    for (;;) {
        uint32_t slot = oh_index_next(&ids->index, tag, &probe);
        if (slot == OH_NONE)
            break;
        const oh_id_t *known = (const oh_id_t *)ids->ring.base + slot;
        if (known->hi == hi && known->lo == lo)
            return false;
    }
    *id_at(ids, ids->head) = id;
    oh_index_put(&ids->index, tag, (uint32_t)(ids->head & ids->slot_mask));
    ids->head++;
    return true;
}

/* Room is made only when it is needed: past 3/4 of the limit, back to 5/8. */
void oh_ids_announce(oh_ids_t *ids, int64_t expired_us)
{
    oh_horizon_t *horizon = &ids->horizon;
    uint64_t used = ids->head - ids->tail;
    uint64_t upto = used > ids->limit / 4 * 3 ? ids->head - ids->limit / 8 * 5 : ids->tail;
    upto = upto > horizon->announced ? upto : horizon->announced;
    while (upto < ids->head && id_at(ids, upto)->append_us < expired_us)
        upto++;
    for (; horizon->announced < upto; horizon->announced++) {
        int64_t append_us = id_at(ids, horizon->announced)->append_us;
        if (append_us >= horizon->announced_us)
            horizon->announced_us = append_us + 1;
    }
}

/* A walk of the ring with the index prefetched ahead of it. */
void oh_ids_evict(oh_ids_t *ids)
{
    for (uint64_t upto = ids->horizon.granted; ids->tail < upto; ids->tail++) {
        if (ids->tail + EVICT_AHEAD < upto)
            oh_ids_prefetch(ids, id_at(ids, ids->tail + EVICT_AHEAD)->hi);
        oh_index_remove(&ids->index, id_tag(id_at(ids, ids->tail)),
                        (uint32_t)(ids->tail & ids->slot_mask));
    }
    oh_horizon_advance(&ids->horizon);
}

/* Takes a checkpoint's ids, which have been read into the ring from its beginning. */
int oh_ids_adopt(oh_ids_t *ids, uint64_t count)
{
    int status = oh_index_reserve(&ids->index, count);
    if (status != OH_OK)
        return status;
    for (uint64_t at = 0; at < count; at++) {
        if (at + EVICT_AHEAD < count)
            oh_ids_prefetch(ids, id_at(ids, at + EVICT_AHEAD)->hi);
        oh_index_put(&ids->index, id_tag(id_at(ids, at)), (uint32_t)at);
    }
    ids->head = count;
    return OH_OK;
}
