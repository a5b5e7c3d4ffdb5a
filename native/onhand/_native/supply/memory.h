/* Private memory of the writer: regions that grow, and one kind of index over numbered records.
 *
 * Records in a region are named by number or offset, never by pointer, so a copy of a region's bytes
 * is its image and a loaded copy is the region.
 */
#ifndef ONHAND_SUPPLY_MEMORY_H
#define ONHAND_SUPPLY_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "onhand/store.h"

/* Zeroed anonymous memory, backed as it is touched. Growing may move it. */
typedef struct {
    uint8_t *base;
    uint64_t bytes;
} oh_region_t;

int oh_region_grow(oh_region_t *region, uint64_t bytes); /* to `bytes` or more */
void oh_region_free(oh_region_t *region);
/* Makes [from, to) resident now, so that writing it later costs no page faults. */
void oh_region_touch(oh_region_t *region, uint64_t from, uint64_t to);

/* Open addressing over 8-byte slots, {tag : 32 | number + 1 : 32}, 0 when empty. The home of a slot is
 * the top of its tag: growing and removing read slots and nothing else, and growing keeps the order. */
typedef struct {
    oh_region_t slots;
    uint32_t log2;                /* of the slot count; 0: none yet */
    uint64_t used;
} oh_index_t;

int oh_index_reserve(oh_index_t *index, uint64_t more); /* room for so many more, 5/8 full at most */
void oh_index_put(oh_index_t *index, uint32_t tag, uint32_t number);
void oh_index_remove(oh_index_t *index, uint32_t tag, uint32_t number);
void oh_index_free(oh_index_t *index);

static inline uint64_t *oh_index_slots(const oh_index_t *index)
{
    return (uint64_t *)index->slots.base;
}

static inline uint64_t oh_index_home(const oh_index_t *index, uint32_t tag)
{
    return tag >> (32 - index->log2);
}

static inline void oh_index_prefetch(const oh_index_t *index, uint32_t tag)
{
    __builtin_prefetch(oh_index_slots(index) + oh_index_home(index, tag), 1);
}

/* Where the search for a tag stands; start with zeros. */
typedef struct {
    uint64_t at;
    uint64_t step;
} oh_probe_t;

/* The next number filed under the tag, or OH_NONE when there are no more. The caller compares the
 * record itself. The index must have been reserved. */
static inline uint32_t oh_index_next(const oh_index_t *index, uint32_t tag, oh_probe_t *probe)
{
    const uint64_t *slots = oh_index_slots(index);
    uint64_t mask = (1ULL << index->log2) - 1;
    if (probe->step == 0)
        probe->at = oh_index_home(index, tag);
    for (; probe->step <= mask; probe->step++) {
        uint64_t slot = slots[probe->at];
        probe->at = (probe->at + 1) & mask;
        if (slot == 0)
            return OH_NONE;
        if (slot >> 32 == tag) {
            probe->step++;
            return (uint32_t)slot - 1;
        }
    }
    return OH_NONE;
}

#endif
