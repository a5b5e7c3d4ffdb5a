/* Regions and indexes; see memory.h first. */
#include "supply/memory.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096ULL
#define HUGE_BYTES (2ULL << 20)
#define INDEX_LOG2_MIN 10u
#define INDEX_LOG2_MAX 31u

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

int oh_region_grow(oh_region_t *region, uint64_t bytes)
{
    if (bytes <= region->bytes)
        return OH_OK;
    if (bytes > UINT64_MAX / 4)
        return OH_NO_MEMORY;
    uint64_t wanted = region->bytes + region->bytes / 2;
    wanted = bytes > wanted ? bytes : wanted;
    wanted = round_up(wanted, wanted >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES);
    void *base = region->base == NULL
        ? mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        : mremap(region->base, region->bytes, wanted, MREMAP_MAYMOVE);
    if (base == MAP_FAILED)
        return OH_NO_MEMORY;
    if (wanted >= HUGE_BYTES)
        (void)madvise(base, wanted, MADV_HUGEPAGE); /* a hint: fewer TLB misses */
    region->base = base;
    region->bytes = wanted;
    return OH_OK;
}

void oh_region_free(oh_region_t *region)
{
    if (region->base != NULL)
        munmap(region->base, region->bytes);
    region->base = NULL;
    region->bytes = 0;
}

void oh_region_touch(oh_region_t *region, uint64_t from, uint64_t to)
{
    from = from / PAGE_BYTES * PAGE_BYTES;
    to = round_up(to, PAGE_BYTES);
    to = to > region->bytes ? region->bytes : to;
    if (from >= to)
        return;
#ifdef MADV_POPULATE_WRITE
    if (madvise(region->base + from, to - from, MADV_POPULATE_WRITE) == 0)
        return;
#endif
    for (uint64_t at = from; at < to; at += PAGE_BYTES) {
        volatile uint8_t *page = region->base + at;
        *page = *page;
    }
}

static void slot_put(uint64_t *slots, uint64_t mask, uint64_t home, uint64_t slot)
{
    while (slots[home] != 0)
        home = (home + 1) & mask;
    slots[home] = slot;
}

static int index_resize(oh_index_t *index, uint32_t log2)
{
    oh_index_t grown = {.log2 = log2, .used = index->used};
    int status = oh_region_grow(&grown.slots, 8ULL << log2);
    if (status != OH_OK)
        return status;
    uint64_t slot_count = index->log2 == 0 ? 0 : 1ULL << index->log2;
    for (uint64_t at = 0; at < slot_count; at++) {
        uint64_t slot = oh_index_slots(index)[at];
        if (slot != 0)
            slot_put(oh_index_slots(&grown), (1ULL << log2) - 1,
                     oh_index_home(&grown, (uint32_t)(slot >> 32)), slot);
    }
    oh_region_free(&index->slots);
    *index = grown;
    return OH_OK;
}

int oh_index_reserve(oh_index_t *index, uint64_t more)
{
    uint32_t log2 = index->log2 == 0 ? INDEX_LOG2_MIN : index->log2;
    while ((index->used + more) * 8 > (1ULL << log2) * 5) {
        if (++log2 > INDEX_LOG2_MAX)
            return OH_TABLE_FULL;
    }
    return log2 == index->log2 ? OH_OK : index_resize(index, log2);
}

void oh_index_put(oh_index_t *index, uint32_t tag, uint32_t number)
{
    slot_put(oh_index_slots(index), (1ULL << index->log2) - 1, oh_index_home(index, tag),
             (uint64_t)tag << 32 | (number + 1));
    index->used++;
}

/* Closes the gap at `gap`: whatever stands behind it and may stand in it moves up. */
static void index_close_gap(oh_index_t *index, uint64_t gap)
{
    uint64_t *slots = oh_index_slots(index);
    uint64_t mask = (1ULL << index->log2) - 1;
    for (uint64_t at = (gap + 1) & mask; slots[at] != 0; at = (at + 1) & mask) {
        uint64_t home = oh_index_home(index, (uint32_t)(slots[at] >> 32));
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            slots[gap] = slots[at];
            gap = at;
        }
    }
    slots[gap] = 0;
}

void oh_index_remove(oh_index_t *index, uint32_t tag, uint32_t number)
{
    uint64_t *slots = oh_index_slots(index);
    uint64_t mask = (1ULL << index->log2) - 1;
    uint64_t wanted = (uint64_t)tag << 32 | (number + 1);
    for (uint64_t at = oh_index_home(index, tag); slots[at] != 0; at = (at + 1) & mask) {
        if (slots[at] == wanted) {
            index_close_gap(index, at);
            index->used--;
            return;
        }
    }
    OH_INVARIANT(false, "what is removed from an index is in it");
}

void oh_index_free(oh_index_t *index)
{
    oh_region_free(&index->slots);
    index->log2 = 0;
    index->used = 0;
}
