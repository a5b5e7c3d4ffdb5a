/* Applying a batch: a pipeline whose stages hide each other's cache misses.
 *
 *   64 events    the index of ids is prefetched for all, then each is looked up and remembered
 *   their lines  as they come in: slot of the sku index
 *   64 lines     1. the record that the slot names
 *                2. the name compared, the number known: the row's block
 *                3. the effects, with everything at hand
 */
#include "supply/supply.h"

#include <string.h>

#define EVENTS_AHEAD 64u
#define LINES_AHEAD 64u
#define ROW_LINES_AHEAD 3u        /* cache lines of a block: the header and ten cells */

typedef struct {
    oh_supply_t *supply;
    const oh_batch_t *batch;
    oh_applied_t *applied;
    uint32_t pending;
    const oh_line_t *line[LINES_AHEAD];
    oh_step_t step[LINES_AHEAD];
} pipe_t;

static int line_name(pipe_t *pipe, uint32_t at)
{
    const oh_line_t *line = pipe->line[at];
    oh_store_t *store = &pipe->supply->store;
    int status = oh_sku_resolve(store, line->sku_hash, pipe->batch->heap + line->sku_off,
                                line->sku_len, &pipe->step[at].sku);
    if (status != OH_OK)
        return status;
    uint64_t word = atomic_load_explicit(&oh_sku_at(store, pipe->step[at].sku)->word,
                                         memory_order_relaxed);
    const uint8_t *block = store->base + (word >> 32 << 4);
    for (uint32_t ahead = 0; ahead < ROW_LINES_AHEAD; ahead++)
        __builtin_prefetch(block + 64 * ahead, 1);
    return OH_OK;
}

static int pipe_flush(pipe_t *pipe)
{
    int status = OH_OK;
    for (uint32_t at = 0; at < pipe->pending; at++)
        oh_sku_prefetch_record(&pipe->supply->store, pipe->line[at]->sku_hash);
    for (uint32_t at = 0; at < pipe->pending && status == OH_OK; at++)
        status = line_name(pipe, at);
    for (uint32_t at = 0; at < pipe->pending && status == OH_OK; at++)
        status = oh_effect_apply(pipe->supply, pipe->batch, &pipe->step[at]);
    pipe->applied->lines += pipe->pending;
    pipe->pending = 0;
    return status;
}

/* A name of 8 to 16 bytes is its two ends; longer ones are resolved each time. */
static int place_of(oh_supply_t *supply, const uint8_t *text, uint32_t length, uint32_t *number)
{
    oh_place_t name = {.length = length};
    if (length > 16)
        return oh_location_resolve(&supply->store, text, length, number);
    if (length >= 8) {
        name.first = oh_load64(text);
        name.last = oh_load64(text + length - 8);
    } else {
        memcpy(&name.first, text, length);
    }
    uint64_t hash = oh_fold(name.first ^ length, name.last ^ OH_HASH_SEED_SKU);
    oh_place_t *place = &supply->places[hash % OH_PLACES];
    if (place->length == length && place->first == name.first && place->last == name.last) {
        *number = place->number;
        return OH_OK;
    }
    int status = oh_location_resolve(&supply->store, text, length, number);
    name.number = *number;
    if (status == OH_OK)
        *place = name;
    return status;
}

static int locate(pipe_t *pipe, const oh_event_t *event, oh_step_t *step)
{
    const uint8_t *heap = pipe->batch->heap;
    int status = place_of(pipe->supply, heap + event->location_off, event->location_len,
                          &step->location);
    if (status == OH_OK && event->type == OH_TRANSFER_SHIPPED)
        status = place_of(pipe->supply, heap + event->from_off, event->from_len, &step->from);
    return status;
}

static inline bool is_own(const oh_supply_t *supply, const oh_line_t *line)
{
    return oh_shard_of(line->sku_hash, supply->shard_count) == supply->shard;
}

static int event_feed(pipe_t *pipe, const oh_event_t *event)
{
    oh_step_t step = {.event = event, .from = OH_NONE};
    int status = locate(pipe, event, &step);
    const oh_line_t *line = pipe->batch->lines + event->first_line;
    for (const oh_line_t *end = line + event->line_count; line < end && status == OH_OK; line++) {
        if (!is_own(pipe->supply, line))
            continue;
        oh_sku_prefetch(&pipe->supply->store, line->sku_hash);
        step.quantity = line->quantity;
        pipe->line[pipe->pending] = line;
        pipe->step[pipe->pending++] = step;
        if (pipe->pending == LINES_AHEAD)
            status = pipe_flush(pipe);
    }
    return status;
}

static bool has_own_line(const oh_supply_t *supply, const oh_batch_t *batch, const oh_event_t *event)
{
    if (supply->shard_count == 1)
        return event->line_count != 0;
    for (uint32_t at = 0; at < event->line_count; at++) {
        if (is_own(supply, &batch->lines[event->first_line + at]))
            return true;
    }
    return false;
}

/* A ledger event is known by its sequence, any other by its id. */
static bool is_new(oh_supply_t *supply, const oh_event_t *event, int64_t *ledger_sequence)
{
    if (event->sequence == 0)
        return oh_ids_add(&supply->ids, event->id_hi, event->id_lo, event->append_us);
    bool is_next = event->sequence > *ledger_sequence;
    if (is_next)
        *ledger_sequence = event->sequence;
    return is_next;
}

static int event_take(pipe_t *pipe, const oh_event_t *event, int64_t *ledger_sequence)
{
    oh_applied_t *applied = pipe->applied;
    const oh_header_t *header = pipe->supply->store.header;
    if (event->offset < atomic_load_explicit(&header->applied_offset[event->partition],
                                             memory_order_relaxed)) {
        applied->skipped++;
        return OH_OK;
    }
    if (!has_own_line(pipe->supply, pipe->batch, event)) {
        /* It moves nothing here, and the sequence moves on over it all the same. */
        if (event->sequence > *ledger_sequence)
            *ledger_sequence = event->sequence;
        return OH_OK;
    }
    if (!is_new(pipe->supply, event, ledger_sequence)) {
        applied->duplicates++;
        return OH_OK;
    }
    applied->events++;
    if (is_own(pipe->supply, &pipe->batch->lines[event->first_line]))
        applied->by_type[event->type]++;
    return event_feed(pipe, event);
}

static int events_apply(pipe_t *pipe, int64_t *ledger_sequence)
{
    const oh_batch_t *batch = pipe->batch;
    int status = OH_OK;
    for (uint64_t start = 0; start < batch->event_count && status == OH_OK; start += EVENTS_AHEAD) {
        uint64_t end = start + EVENTS_AHEAD;
        end = end > batch->event_count ? batch->event_count : end;
        for (uint64_t at = start; at < end; at++)
            oh_ids_prefetch(&pipe->supply->ids, batch->events[at].id_hi);
        for (uint64_t at = start; at < end && status == OH_OK; at++)
            status = event_take(pipe, &batch->events[at], ledger_sequence);
    }
    return status == OH_OK ? pipe_flush(pipe) : status;
}

/* Numbers first, offsets after: whoever sees an offset sees what it moved. */
static void offsets_raise(oh_supply_t *supply, const int64_t *next_offsets, uint32_t partition_count,
                          int64_t ledger_sequence)
{
    oh_header_t *header = supply->store.header;
    atomic_store_explicit(&header->ledger_sequence, ledger_sequence, memory_order_release);
    for (uint32_t at = 0; at < partition_count; at++) {
        int64_t now = atomic_load_explicit(&header->applied_offset[at], memory_order_relaxed);
        if (next_offsets[at] > now)
            atomic_store_explicit(&header->applied_offset[at], next_offsets[at],
                                  memory_order_release);
    }
}

int oh_batch_apply(oh_supply_t *supply, const oh_batch_t *batch, const int64_t *next_offsets,
                   uint32_t partition_count, oh_applied_t *applied)
{
    int64_t sequence =
        atomic_load_explicit(&supply->store.header->ledger_sequence, memory_order_relaxed);
    memset(applied, 0, sizeof *applied);
    applied->at = -1;
    applied->ledger_sequence = sequence;
    if (supply->broken)
        return OH_BROKEN;
    int status = oh_batch_check(supply, batch, applied);
    if (status != OH_OK)
        return status;
    if (batch->event_count > supply->batch_events_max)
        supply->batch_events_max = batch->event_count;
    if (batch->line_count > supply->batch_lines_max)
        supply->batch_lines_max = batch->line_count;
    pipe_t pipe = {.supply = supply, .batch = batch, .applied = applied};
    status = events_apply(&pipe, &sequence);
    oh_event_text_drop(supply);
    if (status == OH_OK)
        offsets_raise(supply, next_offsets, partition_count, sequence);
    else
        supply->broken = true;
    return status;
}
