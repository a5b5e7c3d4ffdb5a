/* Making, forgetting and ending a supply; see supply.h first. */
#include "supply/supply.h"

#include <string.h>

void oh_supply_name(oh_supply_t *supply, const oh_supply_options_t *options)
{
    oh_header_t *header = supply->store.header;
    header->shard = options->shard;
    header->shard_count = options->shard_count;
    header->generation = options->generation;
    memcpy(header->cluster_id, options->cluster_id, sizeof header->cluster_id);
    supply->shard = options->shard;
    supply->shard_count = options->shard_count;
}

static int private_open(oh_supply_t *supply, const oh_supply_options_t *options)
{
    supply->orders.limit = options->orders_max;
    int status = oh_ids_open(&supply->ids, options->ids_max);
    if (status == OH_OK)
        status = oh_texts_open(&supply->texts);
    if (status == OH_OK)
        status = oh_orders_reserve(&supply->orders, 0);
    return status;
}

int oh_supply_create(oh_supply_t *supply, const char *path, const oh_supply_options_t *options)
{
    memset(supply, 0, sizeof *supply);
    int status = oh_store_create(&supply->store, path, options->capacity_bytes,
                                 options->change_ring_size, options->history_max);
    if (status != OH_OK)
        return status;
    oh_supply_name(supply, options);
    return private_open(supply, options);
}

void oh_supply_close(oh_supply_t *supply)
{
    oh_frozen_t *frozen = &supply->frozen;
    oh_region_t *regions[] = {&frozen->store, &frozen->counts, &frozen->orders, &frozen->texts,
                              &supply->texts.region, &supply->counts.region,
                              &supply->orders.region};
    for (unsigned at = 0; at < sizeof regions / sizeof *regions; at++)
        oh_region_free(regions[at]);
    oh_index_free(&supply->orders.index);
    oh_ids_close(&supply->ids);
    oh_store_close(&supply->store);
}

/* Once more than 3/4 of the ids or 5/8 of the history are in use with nothing announced to go; once
 * 7/8 or 3/4 are, for what is announced goes with the checkpoint after, and applying should not have to
 * wait for it; and whenever two batches as large as the largest so far might not fit. */
bool oh_supply_needs_checkpoint(const oh_supply_t *supply)
{
    const oh_ids_t *ids = &supply->ids;
    const oh_header_t *header = supply->store.header;
    uint64_t ids_used = ids->head - ids->tail;
    uint64_t history_used = oh_history_used(supply), history_size = header->history_ring_size;
    uint64_t tail = atomic_load_explicit(&header->history_tail, memory_order_relaxed);
    if (ids_used > ids->limit / 4 * 3 && ids->horizon.announced == ids->tail)
        return true;
    if (history_used > history_size / 8 * 5 && supply->history_horizon.announced <= tail)
        return true;
    if (ids_used > ids->limit / 8 * 7 || history_used > history_size / 4 * 3)
        return true;
    return ids_used + 2 * supply->batch_events_max > ids->limit
        || history_used + 4 * supply->batch_lines_max > history_size;
}

void oh_supply_forget(oh_supply_t *supply)
{
    oh_header_t *header = supply->store.header;
    oh_ids_evict(&supply->ids);
    oh_history_evict(supply);
    atomic_store_explicit(&header->ids_since_us, supply->ids.horizon.in_force_us,
                          memory_order_release);
    atomic_store_explicit(&header->counts_since_us, supply->history_horizon.in_force_us,
                          memory_order_release);
}
