/* The growing columns; decode.h says who owns them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "decode/decode.h"
#include "onhand/hash.h"

static int grow(void **data, size_t *capacity, size_t count, size_t more, size_t item_bytes)
{
    if (more > SIZE_MAX / 2 - count) return -1;
    if (count + more <= *capacity) return 0;
    size_t wanted = count + more + *capacity / 2;
    if (wanted > SIZE_MAX / item_bytes) return -1;
    void *grown = realloc(*data, wanted * item_bytes);
    if (grown == NULL) return -1;
    *data = grown;
    *capacity = wanted;
    return 0;
}

int oh_columns_reserve(oh_columns_t *columns, size_t events, size_t lines, size_t heap_bytes)
{
    if (heap_bytes > OH_HEAP_BYTES_MAX - columns->heap_bytes) return -1;
    if (grow((void **)&columns->events, &columns->event_capacity, columns->event_count, events,
             sizeof(oh_event_t)) != 0)
        return -1;
    if (grow((void **)&columns->lines, &columns->line_capacity, columns->line_count, lines,
             sizeof(oh_line_t)) != 0)
        return -1;
    return grow((void **)&columns->heap, &columns->heap_capacity, columns->heap_bytes, heap_bytes,
                1);
}

int oh_columns_reserve_scratch(oh_columns_t *columns, size_t bytes)
{
    return grow((void **)&columns->scratch, &columns->scratch_capacity, 0, bytes, 1);
}

void oh_columns_free(oh_columns_t *columns)
{
    free(columns->events);
    free(columns->lines);
    free(columns->heap);
    free(columns->scratch);
    memset(columns, 0, sizeof *columns);
}

static uint32_t put(oh_columns_t *columns, const uint8_t *bytes, uint32_t length)
{
    size_t offset = columns->heap_bytes;
    assert(length <= columns->heap_capacity - offset);
    if (length != 0) memcpy(columns->heap + offset, bytes, length);
    columns->heap_bytes = offset + length;
    return (uint32_t)offset;
}

void oh_columns_add_line(oh_columns_t *columns, const uint8_t *sku, uint32_t sku_len,
                         int32_t quantity)
{
    assert(columns->line_count < columns->line_capacity);
    oh_line_t *line = &columns->lines[columns->line_count++];
    line->sku_hash = oh_hash_bytes(sku, sku_len, OH_HASH_SEED_SKU);
    line->sku_off = put(columns, sku, sku_len);
    line->event = (uint32_t)columns->event_count;
    line->quantity = quantity;
    line->sku_len = (uint16_t)sku_len;
    line->reserved = 0;
}

void oh_columns_add_event(oh_columns_t *columns, const oh_judged_t *judged,
                          const oh_origin_t *origin, size_t first_line)
{
    assert(columns->event_count < columns->event_capacity);
    oh_event_t *event = &columns->events[columns->event_count++];
    uint32_t source_off = put(columns, judged->source.bytes, judged->source.length);
    put(columns, judged->id.bytes, judged->id.length);
    uint32_t location_off = put(columns, judged->location.bytes, judged->location.length);
    uint32_t from_off = put(columns, judged->from.bytes, judged->from.length);
    uint32_t reference_off = put(columns, judged->reference.bytes, judged->reference.length);
    const uint8_t *key = columns->heap + source_off;
    *event = (oh_event_t){
        .id_hi = oh_hash_id(key, judged->source.length, judged->id.length, OH_HASH_SEED_ID_HI),
        .id_lo = oh_hash_id(key, judged->source.length, judged->id.length, OH_HASH_SEED_ID_LO),
        .offset = origin->offset,
        .append_us = origin->append_us,
        .occurred_us = judged->occurred_us,
        .sequence = judged->sequence,
        .first_line = (uint32_t)first_line,
        .line_count = (uint32_t)(columns->line_count - first_line),
        .source_off = source_off,
        .location_off = location_off,
        .from_off = from_off,
        .reference_off = reference_off,
        .expected_day = judged->expected_day,
        .partition = origin->partition,
        .source_len = (uint16_t)judged->source.length,
        .id_len = (uint16_t)judged->id.length,
        .location_len = (uint16_t)judged->location.length,
        .from_len = (uint16_t)judged->from.length,
        .reference_len = (uint16_t)judged->reference.length,
        .type = judged->type,
        .disposition = judged->disposition,
    };
}
