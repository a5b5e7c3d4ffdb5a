/* What must hold of a batch before anything of it is applied. */
#include "supply/supply.h"

#define CLOCK_AHEAD_US 60000000LL /* an event is appended at most so long before it occurred */

static bool in_heap(const oh_batch_t *batch, uint32_t offset, uint32_t length)
{
    return (uint64_t)offset + length <= batch->heap_bytes;
}

static bool is_name(const oh_batch_t *batch, uint32_t offset, uint32_t length)
{
    return length > 0 && length <= OH_TEXT_BYTES_MAX && in_heap(batch, offset, length);
}

static bool disposition_fits(const oh_event_t *event)
{
    if (event->type == OH_RETURN)
        return event->disposition >= OH_SELLABLE && event->disposition <= OH_DAMAGED;
    if (event->type == OH_INSPECTED)
        return event->disposition == OH_SELLABLE || event->disposition == OH_DAMAGED;
    return true;
}

static bool event_sound(const oh_batch_t *batch, const oh_event_t *event)
{
    bool transfer = event->type >= OH_TRANSFER_SHIPPED && event->type <= OH_TRANSFER_LOST;
    return event->type >= OH_SALE && event->type < OH_TYPE_COUNT
        && event->partition < OH_PARTITION_MAX && disposition_fits(event)
        && (uint64_t)event->first_line + event->line_count <= batch->line_count
        && event->source_len <= OH_TEXT_PAIR_MAX && event->id_len <= OH_TEXT_PAIR_MAX
        && in_heap(batch, event->source_off, (uint32_t)event->source_len + event->id_len)
        && event->reference_len <= OH_TEXT_PAIR_MAX
        && in_heap(batch, event->reference_off, event->reference_len)
        && (event->type != OH_EXPECTED || event->reference_len > 0)
        && is_name(batch, event->location_off, event->location_len)
        && (!transfer || is_name(batch, event->from_off, event->from_len));
}

static bool line_sound(const oh_batch_t *batch, const oh_line_t *line)
{
    bool sound = line->event < batch->event_count && is_name(batch, line->sku_off, line->sku_len);
    OH_INVARIANT(!sound || line->sku_hash == oh_hash_bytes(batch->heap + line->sku_off, line->sku_len, OH_HASH_SEED_SKU),
                 "decoding hashes skus as the store does");
    return sound;
}

/* Judged with an older horizon than what is evicted by now, and in need of what may be gone. */
static bool is_forgotten(const oh_supply_t *supply, const oh_batch_t *batch, const oh_event_t *event)
{
    int64_t ids_us = supply->ids.horizon.evicted_us;
    int64_t counts_us = supply->history_horizon.evicted_us;
    if (batch->ids_since_us < ids_us && event->sequence == 0
        && event->occurred_us <= ids_us + CLOCK_AHEAD_US)
        return true;
    return batch->counts_since_us < counts_us && event->type == OH_COUNT
        && event->occurred_us < counts_us;
}

typedef struct {                  /* the most that the batch may add */
    uint64_t ids;
    uint64_t movements;
    uint64_t orders;
} need_t;

static int event_check(oh_supply_t *supply, const oh_batch_t *batch, const oh_event_t *event,
                       oh_applied_t *applied, need_t *need)
{
    const oh_header_t *header = supply->store.header;
    if (!event_sound(batch, event))
        return OH_BATCH_INVALID;
    if (event->offset < atomic_load_explicit(&header->applied_offset[event->partition],
                                             memory_order_relaxed))
        return OH_OK;
    if (event->sequence > applied->ledger_sequence) {
        applied->expected = applied->ledger_sequence + 1;
        applied->found = event->sequence;
        if (applied->found != applied->expected)
            return OH_SEQUENCE_GAP;
        applied->ledger_sequence = event->sequence;
    }
    if (is_forgotten(supply, batch, event))
        return OH_FORGOTTEN;
    bool ordered = event->type == OH_EXPECTED
                || (event->type == OH_RECEIPT && event->reference_len != 0);
    need->ids += event->sequence == 0;
    need->movements += event->type == OH_TRANSFER_SHIPPED ? 2ULL * event->line_count : event->line_count;
    need->orders += ordered ? event->line_count : 0;
    return OH_OK;
}

static int room_check(oh_supply_t *supply, const oh_batch_t *batch, const need_t *need)
{
    oh_history_expire(supply, batch->expired_us, need->movements + 1);
    /* One position in 2^32 is passed over. */
    if (oh_history_used(supply) + need->movements + 1 > supply->store.header->history_ring_size)
        return OH_HISTORY_FULL;
    int status = oh_ids_reserve(&supply->ids, need->ids);
    if (status == OH_OK && need->orders != 0)
        status = oh_orders_reserve(&supply->orders, need->orders);
    return status == OH_OK ? oh_room_reserve(supply, batch) : status;
}

int oh_batch_check(oh_supply_t *supply, const oh_batch_t *batch, oh_applied_t *applied)
{
    need_t need = {0, 0, 0};
    for (uint64_t at = 0; at < batch->event_count; at++) {
        int status = event_check(supply, batch, &batch->events[at], applied, &need);
        if (status != OH_OK) {
            applied->at = (int64_t)at;
            return status;
        }
    }
    for (uint64_t at = 0; at < batch->line_count; at++) {
        if (!line_sound(batch, &batch->lines[at])) {
            applied->at = batch->lines[at].event;
            return OH_BATCH_INVALID;
        }
    }
    return room_check(supply, batch, &need);
}
