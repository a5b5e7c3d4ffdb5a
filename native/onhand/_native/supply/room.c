/* How much the store may grow by a batch, so that its room is there before anything is touched.
 *
 * While there is plenty, every line is taken for a new SKU and every event for a new location. When
 * room runs short each line is looked at: most find everything in place and need nothing.
 */
#include "supply/supply.h"

#define NAME_ROOM_BYTES (OH_TEXT_BYTES_MAX + 64u)
#define ROW_ROOM_BYTES 128u       /* a row that is new, with rare columns and something due */
#define INCOMING_ROOM_BYTES 32u

typedef struct {
    uint64_t skus;                /* that may be new */
    uint64_t locations;
    uint64_t row_bytes;
} growth_t;

/* What an index takes when it holds so many names more: every doubling on the way. */
static uint64_t index_room(const _Atomic uint64_t *root_at, uint64_t count, uint64_t more)
{
    uint64_t root = atomic_load_explicit(root_at, memory_order_relaxed), room = 0;
    uint64_t slots = root == 0 ? 512 : 1ULL << (root & 63);
    while ((count + more + 1) * 4 > slots * 3) {
        slots *= 2;
        room += slots * 8 + 64;
    }
    return room;
}

static uint64_t chunks_room(uint64_t count, uint64_t more, uint64_t chunk, uint64_t record_bytes)
{
    uint64_t chunks = (count + more + chunk - 1) / chunk - (count + chunk - 1) / chunk;
    return chunks * (chunk * record_bytes + 64);
}

static uint64_t room_of(const oh_header_t *header, const growth_t *growth)
{
    uint64_t skus = atomic_load_explicit(&header->sku_count, memory_order_relaxed);
    uint64_t locations = atomic_load_explicit(&header->location_count, memory_order_relaxed);
    return growth->skus * NAME_ROOM_BYTES + growth->row_bytes
         + index_room(&header->sku_index, skus, growth->skus)
         + chunks_room(skus, growth->skus, OH_SKU_CHUNK, sizeof(oh_sku_t))
         + index_room(&header->location_index, locations, growth->locations)
         + chunks_room(locations, growth->locations, OH_LOCATION_CHUNK, sizeof(oh_location_t));
}

static uint16_t columns_needed(const oh_event_t *event)
{
    if (event->type == OH_COUNT)
        return OH_ROW_COUNTED;
    bool rare = event->type == OH_INSPECTED || event->type == OH_RETURN
             || (event->type >= OH_TRANSFER_SHIPPED && event->type <= OH_TRANSFER_LOST);
    return rare ? OH_ROW_RARE : 0;
}

/* What a row may take for one line: nothing when the cell is there, a block half as long again and
 * with all columns when it is not. */
static uint64_t row_room(const oh_store_t *store, const oh_event_t *event, uint32_t sku,
                         const uint32_t location[2])
{
    oh_row_view_t view;
    if (!oh_row_view(store, sku, &view))
        return ROW_ROOM_BYTES;
    uint16_t needs = columns_needed(event);
    bool in_place = (view.flags & needs) == needs && event->type != OH_EXPECTED
                 && (event->type != OH_RECEIPT || event->reference_len == 0);
    for (int at = 0; at < 2 && in_place; at++)
        in_place = location[at] == OH_NONE || oh_row_find(&view, location[at]) != OH_NONE;
    uint64_t block_bytes = store->block_bytes[(view.word >> 24) & 63];
    return in_place ? 0 : 4 * block_bytes + ROW_ROOM_BYTES + INCOMING_ROOM_BYTES;
}

static void event_growth(const oh_supply_t *supply, const oh_batch_t *batch, const oh_event_t *event,
                         growth_t *growth)
{
    const oh_store_t *store = &supply->store;
    const uint8_t *heap = batch->heap;
    bool shipped = event->type == OH_TRANSFER_SHIPPED;
    uint32_t location[2] = {
        oh_location_find(store, heap + event->location_off, event->location_len),
        shipped ? oh_location_find(store, heap + event->from_off, event->from_len) : OH_NONE,
    };
    uint32_t unknown = (location[0] == OH_NONE) + (uint32_t)(shipped && location[1] == OH_NONE);
    growth->locations += unknown;
    for (uint32_t at = 0; at < event->line_count; at++) {
        const oh_line_t *line = &batch->lines[event->first_line + at];
        if (oh_shard_of(line->sku_hash, supply->shard_count) != supply->shard)
            continue;
        uint32_t sku = oh_sku_find(store, line->sku_hash, heap + line->sku_off, line->sku_len);
        growth->skus += sku == OH_NONE;
        if (sku == OH_NONE)
            growth->row_bytes += 2 * ROW_ROOM_BYTES;
        else if (unknown != 0)
            growth->row_bytes += row_room(store, event, sku, (const uint32_t[2]){OH_NONE - 1, OH_NONE});
        else
            growth->row_bytes += row_room(store, event, sku, location);
    }
}

int oh_room_reserve(oh_supply_t *supply, const oh_batch_t *batch)
{
    const oh_header_t *header = supply->store.header;
    uint64_t used = atomic_load_explicit(&header->used_bytes, memory_order_relaxed);
    growth_t growth = {batch->line_count, 2 * batch->event_count, batch->line_count * ROW_ROOM_BYTES};
    uint64_t room = room_of(header, &growth);
    if (used + room + header->capacity_bytes / 8 <= header->capacity_bytes
        && oh_store_reserve(&supply->store, used + room) == OH_OK)
        return OH_OK;
    growth = (growth_t){0, 0, 0};
    for (uint64_t at = 0; at < batch->event_count; at++)
        event_growth(supply, batch, &batch->events[at], &growth);
    return oh_store_reserve(&supply->store, used + room_of(header, &growth));
}
