/* WHAT IS SUPPLY?
 *
 * The one writer of a supply table. It owns a store (onhand/store.h), which readers map, and beside it
 * what only a writer needs:
 *
 *   ids        which (source, id) were applied: a ring of fingerprints, oldest first, and an index
 *   counts     the newest count of a cell: when, and whose, for ties
 *   orders     purchase orders: what is expected, what has come
 *   texts      the strings that counts and orders refer to
 *
 *   a batch --> check      every offset, length, sequence and room, before anything is touched
 *           --> ids        which events are new
 *           --> lines      sku and location to numbers, rows prefetched, 64 lines in flight
 *           --> effects    what each type does to a cell
 *           --> history, change ring, and last of all the offsets
 *
 * A batch that passes the check is applied whole. Should the store run out of room halfway (the check
 * reserves room for all but extreme rows), the supply is broken: it applies and freezes nothing any
 * more, so what is half done is never kept.
 *
 * Nothing here reads a clock. Read src/onhand/table/supply.py first.
 */
#ifndef ONHAND_SUPPLY_H
#define ONHAND_SUPPLY_H

#include "onhand/batch.h"
#include "onhand/store.h"
#include "supply/memory.h"

/* More status codes; the store's are above -16. */
enum oh_supply_status {
    OH_BATCH_INVALID = -16,       /* an event or line that decoding cannot have made */
    OH_SEQUENCE_GAP = -17,        /* stock.ledger skips a sequence */
    OH_IDS_FULL = -18,
    OH_HISTORY_FULL = -19,
    OH_ORDERS_FULL = -20,
    OH_BROKEN = -21,              /* an earlier batch stopped halfway */
    OH_FROZEN = -22,              /* the image before is still in use */
    OH_FORGOTTEN = -23,           /* an event judged before what it needs was forgotten */
};

#define OH_TYPE_COUNT 11u
#define OH_NO_TEXT 0u
#define OH_TEXT_UNIT 16u
#define OH_TEXT_CLASSES 66u       /* blocks of up to 65 units: two texts of 512 bytes each */
#define OH_TEXT_PAIR_MAX 512u

/* ---- forgetting ---- */

/* How a ring forgets, in steps, so that nothing is missed that was judged while it was remembered: a
 * freeze announces what will go and from when on events are refused for it; once that checkpoint is
 * durable the horizon is in force; once the next one is durable what it covers is evicted. */
typedef struct {
    uint64_t announced;           /* ring positions below this go */
    uint64_t granted;             /* and below this at the next forget */
    int64_t announced_us;
    int64_t in_force_us;          /* what events are judged by */
    int64_t evicted_us;           /* what is gone already */
} oh_horizon_t;

/* After a checkpoint is durable and what it granted is evicted. */
static inline void oh_horizon_advance(oh_horizon_t *horizon)
{
    horizon->evicted_us = horizon->in_force_us;
    horizon->granted = horizon->announced;
    horizon->in_force_us = horizon->announced_us;
}

/* ---- ids ---- */

typedef struct {
    uint64_t hi;
    uint64_t lo;
    int64_t append_us;
} oh_id_t;

typedef struct {
    oh_region_t ring;             /* oh_id_t[slot_mask + 1], by position */
    oh_index_t index;
    uint64_t slot_mask;
    uint64_t limit;               /* the most that are remembered */
    uint64_t head;                /* positions count up for ever */
    uint64_t tail;
    oh_horizon_t horizon;         /* by append time: ids appended before it are forgotten */
} oh_ids_t;

int oh_ids_open(oh_ids_t *ids, uint64_t limit);
void oh_ids_close(oh_ids_t *ids);
int oh_ids_reserve(oh_ids_t *ids, uint64_t more);
bool oh_ids_add(oh_ids_t *ids, uint64_t hi, uint64_t lo, int64_t append_us); /* false: known */
void oh_ids_announce(oh_ids_t *ids, int64_t expired_us);
void oh_ids_evict(oh_ids_t *ids);
int oh_ids_adopt(oh_ids_t *ids, uint64_t count); /* the first `count` of the ring are in place */
static inline void oh_ids_prefetch(const oh_ids_t *ids, uint64_t hi)
{
    oh_index_prefetch(&ids->index, (uint32_t)(hi >> 32));
}

/* ---- texts: pairs of strings, shared by reference count ---- */

typedef struct {
    uint32_t refs;                /* of a free block: the next free one */
    uint16_t first_len;
    uint16_t second_len;
    uint8_t bytes[];
} oh_text_t;

typedef struct {
    oh_region_t region;
    uint64_t used_bytes;
    uint32_t free_list[OH_TEXT_CLASSES];
} oh_texts_t;

int oh_texts_open(oh_texts_t *texts);
/* A block with no references yet; drop it with oh_texts_drop when it gets none. */
int oh_texts_add(oh_texts_t *texts, const uint8_t *bytes, uint16_t first_len, uint16_t second_len,
                 uint32_t *number);
void oh_texts_free(oh_texts_t *texts, uint32_t number);
static inline oh_text_t *oh_text_at(const oh_texts_t *texts, uint32_t number)
{
    return (oh_text_t *)(texts->region.base + (uint64_t)number * OH_TEXT_UNIT);
}
static inline void oh_texts_hold(oh_texts_t *texts, uint32_t number)
{
    oh_text_at(texts, number)->refs++;
}
static inline void oh_texts_drop(oh_texts_t *texts, uint32_t number)
{
    if (number != OH_NO_TEXT && --oh_text_at(texts, number)->refs == 0)
        oh_texts_free(texts, number);
}
/* Above 0 when the pair at `bytes` comes after the text's, each string compared as bytes. */
int oh_text_order(const oh_text_t *text, const uint8_t *bytes, uint16_t first_len,
                  uint16_t second_len);

/* ---- counts and purchase orders ---- */

typedef struct {                  /* the newest count of a cell */
    int64_t occurred_us;
    uint32_t text;                /* its source and id */
    uint32_t reserved;
} oh_count_t;

typedef struct {                  /* one purchase order, sku and location */
    int64_t expected;             /* the total ordered; 0 when none is known */
    int64_t received;
    int64_t occurred_us;          /* of the newest expected */
    uint32_t sku;
    uint32_t location;
    uint32_t name;                /* text: the purchase order */
    uint32_t text;                /* source and id of the newest expected, OH_NO_TEXT: none yet */
    int32_t day;
    uint32_t tag;
} oh_order_t;                     /* 48 bytes */

typedef struct {
    oh_region_t region;
    uint64_t count;
} oh_counts_t;

typedef struct {
    oh_region_t region;
    oh_index_t index;
    uint64_t count;
    uint64_t limit;
} oh_orders_t;

/* ---- the frozen copy ---- */

typedef struct {                  /* what a checkpoint holds of the private state, beside the records */
    uint64_t ids_count;
    oh_horizon_t ids_horizon;     /* positions count from the first id here */
    oh_horizon_t history_horizon;
    uint64_t counts_count;
    uint64_t orders_count;
    uint64_t texts_bytes;
    uint32_t text_free_list[OH_TEXT_CLASSES];
} oh_private_t;

/* The standing buffer: a copy of everything, kept resident, so that freezing is copying alone. The
 * ring of ids needs none: what stands between its tail and its head is not written again before a
 * forget, and that waits until the image has been given back. */
typedef struct {
    oh_region_t store;
    oh_region_t counts;
    oh_region_t orders;
    oh_region_t texts;
    oh_private_t private;
    uint64_t backed[4];           /* bytes resident of each region, in this order */
    uint64_t history_head;        /* up to where the copy holds the ring of movements */
    bool in_use;
} oh_frozen_t;

/* Locations seen lately, by the ends of their names: numbers never change, so it is never wrong. */
#define OH_PLACES 1024u
typedef struct {
    uint64_t first;               /* the name's first 8 bytes, or all of a shorter one */
    uint64_t last;                /* its last 8; 0 for a shorter one */
    uint32_t length;              /* 0: nothing here */
    uint32_t number;
} oh_place_t;

typedef struct {
    oh_store_t store;
    oh_place_t places[OH_PLACES];
    uint32_t shard;
    uint32_t shard_count;
    oh_ids_t ids;
    oh_texts_t texts;
    oh_counts_t counts;
    oh_orders_t orders;
    oh_frozen_t frozen;
    oh_horizon_t history_horizon; /* by occurrence: movements at or before it are forgotten */
    const oh_event_t *text_event; /* within a batch: whose source and id text_number holds */
    uint32_t text_number;
    uint64_t batch_events_max;    /* the largest batch seen, for the room kept free */
    uint64_t batch_lines_max;
    uint64_t joined_bytes;        /* of the store, in huge pages */
    bool broken;
} oh_supply_t;

/* ---- a batch ---- */

typedef struct {
    const oh_event_t *events;
    const oh_line_t *lines;
    const uint8_t *heap;
    uint64_t event_count;
    uint64_t line_count;
    uint64_t heap_bytes;
    int64_t ids_since_us;         /* the horizons that it was judged with */
    int64_t counts_since_us;
    int64_t expired_us;           /* movements that occurred until then are needed by no count */
} oh_batch_t;

typedef struct {
    uint64_t events;              /* applied, with a line in this shard */
    uint64_t duplicates;
    uint64_t lines;
    uint64_t skipped;             /* below this shard's offsets */
    uint64_t by_type[OH_TYPE_COUNT]; /* applied, counted by the shard of the first line */
    int64_t at;                   /* on failure: the event it is about, or -1 */
    int64_t expected;             /* sequence, when there is a gap */
    int64_t found;
    int64_t ledger_sequence;      /* reached when the batch is applied */
} oh_applied_t;

/* Backs what the batch may make the store grow by; OH_TABLE_FULL when it may not grow so far. */
int oh_room_reserve(oh_supply_t *supply, const oh_batch_t *batch);
int oh_batch_check(oh_supply_t *supply, const oh_batch_t *batch, oh_applied_t *applied);
int oh_batch_apply(oh_supply_t *supply, const oh_batch_t *batch, const int64_t *next_offsets,
                   uint32_t partition_count, oh_applied_t *applied);
int oh_columns_apply(oh_supply_t *supply, const uint32_t *sku, const uint32_t *location,
                     const int32_t *delta, uint64_t count);

/* ---- one line's effect ---- */

typedef struct {                  /* one event's line with its names resolved */
    const oh_event_t *event;
    uint32_t sku;
    uint32_t location;
    uint32_t from;                /* transfers, else OH_NONE */
    int32_t quantity;
} oh_step_t;

int oh_effect_apply(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step);
/* The event's source and id as one text, shared by its lines. Kept until another event asks, or until
 * oh_event_text_drop: whoever refers to it holds it. */
int oh_event_text(oh_supply_t *supply, const oh_batch_t *batch, const oh_event_t *event,
                  uint32_t *number);
void oh_event_text_drop(oh_supply_t *supply);
int oh_effect_expected(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step);
int oh_effect_received(oh_supply_t *supply, const oh_batch_t *batch, const oh_step_t *step);
int oh_orders_reserve(oh_orders_t *orders, uint64_t more);
int oh_orders_adopt(oh_orders_t *orders);

/* ---- history ---- */

uint32_t oh_history_push(oh_supply_t *supply, const oh_step_t *step, uint32_t location,
                         uint32_t older, uint8_t effect);
/* The sum on on_hand of the cell's movements that occurred after `occurred_us`. */
int64_t oh_history_after(const oh_supply_t *supply, uint32_t sku, uint32_t location, uint32_t newest,
                         int64_t occurred_us);
void oh_history_announce(oh_supply_t *supply);
void oh_history_evict(oh_supply_t *supply);
/* Lets go of movements that occurred at or before `expired_us`, oldest first, as long as with `more`
 * the ring would be over half full. No count that is not refused for its age can need them. */
void oh_history_expire(oh_supply_t *supply, int64_t expired_us, uint64_t more);
int oh_history_resize(oh_supply_t *supply, uint64_t ring_size);
static inline oh_movement_t *oh_history_ring(const oh_supply_t *supply)
{
    return (oh_movement_t *)(supply->store.base + supply->store.header->history_ring_off);
}
static inline uint64_t oh_history_used(const oh_supply_t *supply)
{
    const oh_header_t *header = supply->store.header;
    return atomic_load_explicit(&header->history_head, memory_order_relaxed)
         - atomic_load_explicit(&header->history_tail, memory_order_relaxed);
}

/* ---- the whole ---- */

typedef struct {
    uint64_t capacity_bytes;
    uint64_t change_ring_size;
    uint64_t history_max;
    uint64_t ids_max;
    uint64_t orders_max;
    uint32_t shard;
    uint32_t shard_count;
    uint64_t generation;
    uint8_t cluster_id[16];
} oh_supply_options_t;

int oh_supply_create(oh_supply_t *supply, const char *path, const oh_supply_options_t *options);
void oh_supply_name(oh_supply_t *supply, const oh_supply_options_t *options);
void oh_supply_close(oh_supply_t *supply);
bool oh_supply_needs_checkpoint(const oh_supply_t *supply);
void oh_supply_forget(oh_supply_t *supply);

/* Sizes of a checkpoint's sections, and after oh_supply_adopt where each is to be read into. */
enum oh_section { OH_STORE, OH_PRIVATE, OH_IDS, OH_COUNTS, OH_ORDERS, OH_TEXTS, OH_SECTION_COUNT };
typedef struct {
    uint8_t *bytes[2];            /* the ring of ids may come in two pieces */
    uint64_t length[2];
} oh_section_t;

int oh_supply_freeze(oh_supply_t *supply, int64_t ids_expired_us, oh_section_t sections[OH_SECTION_COUNT]);
/* Housekeeping after a batch, a bit at a time: `bytes` of the standing buffer are made resident, and
 * one huge page of the store is joined. */
void oh_supply_back(oh_supply_t *supply, uint64_t bytes);
int oh_supply_adopt(oh_supply_t *supply, const char *path, const oh_supply_options_t *options,
                    oh_section_t sections[OH_SECTION_COUNT]);
int oh_supply_adopted(oh_supply_t *supply, const oh_supply_options_t *options,
                      oh_section_t sections[OH_SECTION_COUNT]);

#endif
