/* The image of a supply: copying it out between two batches, and reading one in.
 *
 * Apply stands still while it is copied, so everything here is copying into memory that is resident
 * already. The rings only ever grow at their heads: of them, what is new since the last freeze.
 */
#include "supply/supply.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void ring_copy(uint8_t *to, const uint8_t *from, uint64_t entry_bytes, uint64_t mask,
                      uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t slot = first & mask, count = mask + 1 - slot;
        count = count < end - first ? count : end - first;
        memcpy(to + slot * entry_bytes, from + slot * entry_bytes, count * entry_bytes);
        first += count;
    }
}

static void store_copy(oh_supply_t *supply, uint64_t used)
{
    const oh_header_t *header = supply->store.header;
    oh_frozen_t *frozen = &supply->frozen;
    uint64_t ring = header->history_ring_off;
    uint64_t ring_end = ring + header->history_ring_size * sizeof(oh_movement_t);
    uint64_t head = atomic_load_explicit(&header->history_head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&header->history_tail, memory_order_relaxed);
    uint64_t from = frozen->history_head > tail ? frozen->history_head : tail;
    memcpy(frozen->store.base, supply->store.base, ring);
    ring_copy(frozen->store.base + ring, supply->store.base + ring, sizeof(oh_movement_t),
              header->history_ring_size - 1, from, head);
    memcpy(frozen->store.base + ring_end, supply->store.base + ring_end, used - ring_end);
    frozen->history_head = head;
}

static void private_copy(oh_supply_t *supply)
{
    const oh_ids_t *ids = &supply->ids;
    oh_private_t *private = &supply->frozen.private;
    memset(private, 0, sizeof *private);
    private->ids_count = ids->head - ids->tail;
    private->ids_horizon = ids->horizon;
    private->ids_horizon.announced -= ids->tail;
    private->ids_horizon.granted -= ids->tail;
    private->history_horizon = supply->history_horizon;
    private->counts_count = supply->counts.count;
    private->orders_count = supply->orders.count;
    private->texts_bytes = supply->texts.used_bytes;
    memcpy(private->text_free_list, supply->texts.free_list, sizeof private->text_free_list);
}

typedef struct {                  /* a region of the standing buffer, and how much of it is needed */
    oh_region_t *region;
    uint64_t bytes;
} wanted_t;

#define REGION_COUNT 4

static void regions_wanted(oh_supply_t *supply, wanted_t wanted[REGION_COUNT])
{
    oh_frozen_t *frozen = &supply->frozen;
    const wanted_t all[REGION_COUNT] = {
        {&frozen->store, atomic_load_explicit(&supply->store.header->used_bytes, memory_order_relaxed)},
        {&frozen->counts, supply->counts.count * sizeof(oh_count_t)},
        {&frozen->orders, supply->orders.count * sizeof(oh_order_t)},
        {&frozen->texts, supply->texts.used_bytes},
    };
    memcpy(wanted, all, sizeof all);
}

static int regions_grow(oh_supply_t *supply)
{
    wanted_t wanted[REGION_COUNT];
    regions_wanted(supply, wanted);
    for (int at = 0; at < REGION_COUNT; at++) {
        int status = oh_region_grow(wanted[at].region, wanted[at].bytes);
        if (status != OH_OK)
            return status;
    }
    return OH_OK;
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Joins the next 2 MiB of the store's file into a huge page. Most hosts give shared memory none by
 * themselves, and a table that is hit at random then spends its time on translating addresses: in
 * virtual machines above all. One page at a time, since joining copies. */
static void store_join(oh_supply_t *supply)
{
    const oh_header_t *header = supply->store.header;
    uint64_t backed = atomic_load_explicit(&header->allocated_bytes, memory_order_relaxed);
    if (supply->joined_bytes + OH_HUGE_BYTES > backed)
        return;
    int status = madvise(supply->store.base + supply->joined_bytes, OH_HUGE_BYTES, MADV_COLLAPSE);
    /* A kernel before 6.1, or a file system without huge pages: they are a help and no need. */
    supply->joined_bytes = status != 0 && errno == EINVAL ? UINT64_MAX / 2
                                                          : supply->joined_bytes + OH_HUGE_BYTES;
}

void oh_supply_back(oh_supply_t *supply, uint64_t bytes)
{
    wanted_t wanted[REGION_COUNT];
    store_join(supply);
    if (supply->frozen.in_use || regions_grow(supply) != OH_OK)
        return; /* a freeze will say so */
    regions_wanted(supply, wanted);
    for (int at = 0; at < REGION_COUNT && bytes > 0; at++) {
        uint64_t *backed = &supply->frozen.backed[at];
        if (*backed >= wanted[at].bytes)
            continue;
        uint64_t step = wanted[at].bytes - *backed < bytes ? wanted[at].bytes - *backed : bytes;
        oh_region_touch(wanted[at].region, *backed, *backed + step);
        *backed += step;
        bytes -= step;
    }
}

static void sections_name(oh_supply_t *supply, uint64_t used, oh_section_t sections[OH_SECTION_COUNT])
{
    oh_frozen_t *frozen = &supply->frozen;
    const oh_ids_t *ids = &supply->ids;
    uint64_t ring = ids->slot_mask + 1;
    uint64_t first = ids->tail & ids->slot_mask, count = ids->head - ids->tail;
    uint64_t straight = count < ring - first ? count : ring - first;
    memset(sections, 0, sizeof *sections * OH_SECTION_COUNT);
    sections[OH_STORE] = (oh_section_t){{frozen->store.base}, {used}};
    sections[OH_PRIVATE] = (oh_section_t){{(uint8_t *)&frozen->private}, {sizeof(oh_private_t)}};
    sections[OH_IDS] = (oh_section_t){{ids->ring.base + first * sizeof(oh_id_t), ids->ring.base},
                                      {straight * sizeof(oh_id_t), (count - straight) * sizeof(oh_id_t)}};
    sections[OH_COUNTS] = (oh_section_t){{frozen->counts.base}, {supply->counts.count * sizeof(oh_count_t)}};
    sections[OH_ORDERS] = (oh_section_t){{frozen->orders.base}, {supply->orders.count * sizeof(oh_order_t)}};
    sections[OH_TEXTS] = (oh_section_t){{frozen->texts.base}, {supply->texts.used_bytes}};
}

int oh_supply_freeze(oh_supply_t *supply, int64_t ids_expired_us, oh_section_t sections[OH_SECTION_COUNT])
{
    oh_frozen_t *frozen = &supply->frozen;
    if (supply->broken)
        return OH_BROKEN;
    if (frozen->in_use)
        return OH_FROZEN;
    int status = regions_grow(supply);
    if (status != OH_OK)
        return status;
    oh_ids_announce(&supply->ids, ids_expired_us);
    oh_history_announce(supply);
    uint64_t used = atomic_load_explicit(&supply->store.header->used_bytes, memory_order_relaxed);
    store_copy(supply, used);
    private_copy(supply);
    memcpy(frozen->texts.base, supply->texts.region.base, supply->texts.used_bytes);
    if (supply->counts.count != 0)
        memcpy(frozen->counts.base, supply->counts.region.base,
               supply->counts.count * sizeof(oh_count_t));
    if (supply->orders.count != 0)
        memcpy(frozen->orders.base, supply->orders.region.base,
               supply->orders.count * sizeof(oh_order_t));
    sections_name(supply, used, sections);
    wanted_t wanted[REGION_COUNT];
    regions_wanted(supply, wanted);
    for (int at = 0; at < REGION_COUNT; at++)
        frozen->backed[at] = wanted[at].bytes;
    frozen->in_use = true;
    return OH_OK;
}

/* ---- reading one in ---- */

static int adopt_regions(oh_supply_t *supply, const oh_supply_options_t *options,
                         oh_section_t sections[OH_SECTION_COUNT])
{
    uint64_t ids_count = sections[OH_IDS].length[0] / sizeof(oh_id_t);
    uint64_t orders_count = sections[OH_ORDERS].length[0] / sizeof(oh_order_t);
    /* A limit below what is remembered waits until that much has been forgotten. */
    supply->orders.limit = orders_count > options->orders_max ? orders_count : options->orders_max;
    int status = oh_ids_open(&supply->ids, ids_count > options->ids_max ? ids_count : options->ids_max);
    oh_region_t *regions[] = {&supply->ids.ring, &supply->counts.region, &supply->orders.region,
                              &supply->texts.region};
    for (int at = 0; at < 4 && status == OH_OK; at++)
        status = oh_region_grow(regions[at], sections[OH_IDS + at].length[0]);
    for (int at = 0; at < 4 && status == OH_OK; at++)
        sections[OH_IDS + at].bytes[0] = regions[at]->base;
    return status;
}

int oh_supply_adopt(oh_supply_t *supply, const char *path, const oh_supply_options_t *options,
                    oh_section_t sections[OH_SECTION_COUNT])
{
    memset(supply, 0, sizeof *supply);
    supply->store.fd = -1;
    if (sections[OH_PRIVATE].length[0] != sizeof(oh_private_t)
        || sections[OH_TEXTS].length[0] < OH_TEXT_UNIT)
        return OH_CORRUPT;
    int status = oh_store_adopt(&supply->store, path, options->capacity_bytes,
                                sections[OH_STORE].length[0]);
    if (status != OH_OK)
        return status;
    sections[OH_STORE].bytes[0] = supply->store.base;
    sections[OH_PRIVATE].bytes[0] = (uint8_t *)&supply->frozen.private;
    return adopt_regions(supply, options, sections);
}

static bool private_sound(const oh_supply_t *supply, const oh_section_t sections[OH_SECTION_COUNT])
{
    const oh_private_t *private = &supply->frozen.private;
    const oh_horizon_t *ids = &private->ids_horizon, *history = &private->history_horizon;
    uint64_t head =
        atomic_load_explicit(&supply->store.header->history_head, memory_order_relaxed);
    return private->texts_bytes == sections[OH_TEXTS].length[0]
        && private->ids_count * sizeof(oh_id_t) == sections[OH_IDS].length[0]
        && private->counts_count * sizeof(oh_count_t) == sections[OH_COUNTS].length[0]
        && private->orders_count * sizeof(oh_order_t) == sections[OH_ORDERS].length[0]
        && ids->granted <= ids->announced && ids->announced <= private->ids_count
        && history->granted <= history->announced && history->announced <= head;
}

int oh_supply_adopted(oh_supply_t *supply, const oh_supply_options_t *options,
                      oh_section_t sections[OH_SECTION_COUNT])
{
    const oh_private_t *private = &supply->frozen.private;
    int status = oh_store_adopted(&supply->store, sections[OH_STORE].length[0]);
    if (status != OH_OK || !private_sound(supply, sections))
        return status == OH_OK ? OH_CORRUPT : status;
    oh_supply_name(supply, options);
    supply->texts.used_bytes = private->texts_bytes;
    memcpy(supply->texts.free_list, private->text_free_list, sizeof supply->texts.free_list);
    supply->counts.count = private->counts_count;
    supply->orders.count = private->orders_count;
    supply->ids.horizon = private->ids_horizon;
    supply->history_horizon = private->history_horizon;
    status = oh_ids_adopt(&supply->ids, private->ids_count);
    if (status == OH_OK)
        status = oh_orders_adopt(&supply->orders);
    if (status == OH_OK)
        status = oh_history_resize(supply, options->history_max);
    if (status == OH_OK)
        oh_supply_forget(supply); /* the checkpoint is durable, for it was just read */
    return status;
}
