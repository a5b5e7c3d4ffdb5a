/* What turns rows into an answer: compiled scopes, numbers, rendering.
 *
 * A SKU has a row of supply, in the table of its shard, and perhaps one of demand, in the one table of
 * all SKUs. Each is read as it was at one moment, and demand always first: see demand.c.
 *
 * Locations have a SLOT per shard: known ones their number in the store, then one slot that stands
 * for "none of these", then those that only set-up or other shards know. Every array here is
 * indexed by slot, so whatever a torn or newer row holds ends in the slot that counts for nothing.
 * The arrays belong to Python objects that outlive each call.
 */
#ifndef ONHAND_READER_H
#define ONHAND_READER_H

#include "onhand/batch.h"
#include "onhand/store.h"

/* Eight bytes of anything. */
typedef uint64_t __attribute__((may_alias)) oh_word_t;

#define OH_HORIZON_DAYS 90
#define OH_DUE_COUNT (OH_HORIZON_DAYS + 1)

typedef struct {                  /* a SKU with safety stock of its own at some locations */
    uint32_t profile;             /* elsewhere */
    uint32_t first;               /* overrides [first, first + count), by slot */
    uint32_t count;
} oh_special_t;

typedef struct {                  /* a group, as one shard sees it */
    const int32_t *member;        /* -1 or 0 by slot */
    const int32_t *threshold;     /* profile 0's safety stock; INT32_MAX outside the group */
    const int64_t *safety_total;  /* by profile: safety stock of all members, stocked or not */
    const int64_t *negative_total; /* by profile: what members without stock may promise */
    const uint32_t *slots;        /* of the members, in the order that callers know them by */
    const uint32_t *place;        /* and back, by slot; OH_NONE outside the group */
    uint32_t member_count;
    int32_t today;                /* UTC, days since 1970-01-01 */
    uint32_t label_len;
    const char *label;            /* "group:NAME" as in JSON, without quotes */
} oh_group_t;

typedef struct {                  /* the demand table, as one shard sees it */
    const oh_store_t *store;      /* NULL: none was ever published, so nothing is promised */
    uint32_t known_count;         /* locations of the store */
    const uint32_t *slot_of;      /* by number in the demand table */
    const uint32_t *number_of;    /* and back, by slot; OH_NONE where it has none */
} oh_demand_t;

typedef struct {
    const oh_store_t *store;
    uint32_t known_count;         /* locations of the store; also the slot of "none of these" */
    uint32_t slot_count;
    uint32_t sku_count;           /* SKUs judged; newer ones are not there yet. All: UINT32_MAX */
    uint32_t profile_count;
    const int32_t *safety;        /* [profile][slot] */
    const uint32_t *profile_of;   /* by SKU; a special's index + profile_count; NULL: all 0 */
    const oh_special_t *specials;
    const uint32_t *override_slot;
    const int32_t *override_quantity;
    const int32_t *today;         /* by slot, in the location's zone */
    const char *names;            /* of all slots as in JSON, without quotes */
    const uint32_t *name_at;      /* [slot_count + 1] */
    uint32_t ordinal_count;
    const uint32_t *slot_of;      /* by location ordinal */
    const oh_group_t *groups;
    oh_demand_t demand;
} oh_shard_t;

typedef struct {                  /* a SKU that is known */
    const oh_shard_t *shard;
    uint32_t number;              /* OH_NONE: only set-up knows it */
    uint32_t profile;             /* as in profile_of */
    uint32_t promised;            /* its number in the demand table, or OH_NONE */
    const uint8_t *text;
    uint32_t text_len;
} oh_item_t;

typedef struct {                  /* where to look: a group or a location */
    bool group;
    uint32_t index;               /* of the group, or the location's ordinal */
} oh_scope_t;

typedef struct {
    int64_t available;
    int64_t promise_base;         /* what available_to_order adds to: of a cell not floored */
    int64_t on_hand;
    int64_t held;
    int64_t in_transit;
    int64_t reserved;
    int64_t safety_stock;
    int64_t shortfall;
    int32_t today;
    bool any_due;
    int64_t due[OH_DUE_COUNT];    /* by days from today; only when any_due */
} oh_numbers_t;

typedef struct {                  /* room for a copy of a block; its owner frees it */
    uint8_t *bytes;
    uint64_t capacity;
} oh_scratch_t;

typedef struct {                  /* room for reads of one SKU after the other; starts as zeros */
    oh_scratch_t supply;
    oh_scratch_t demand;
    int64_t *by_slot;             /* all 0 between two reads */
    uint32_t slot_count;
} oh_room_t;

typedef struct {                  /* a SKU's rows, copied, each as it was at one moment */
    const oh_row_view_t *supply;  /* NULL: none */
    const oh_row_view_t *demand;  /* NULL: none */
    const int64_t *reserved;      /* by slot; NULL unless asked for and there is demand */
    oh_row_view_t supply_view;
    oh_row_view_t demand_view;
} oh_rows_t;

typedef struct {                  /* the terms of one cell's available units */
    int64_t on_hand;
    int64_t reserved;
    int64_t safety_stock;
} oh_terms_t;

#define OH_FEW 16u

typedef struct {                  /* units promised at one place */
    uint32_t slot;
    int64_t units;
} oh_promised_t;

typedef struct {                  /* JSON being written */
    char *bytes;
    size_t length;
    size_t capacity;
    bool failed;                  /* out of memory: what is there must not be used */
} oh_text_t;

typedef struct {                  /* how fresh a shard is, ready to be written */
    char as_of[25];
    int64_t age_ms;
} oh_stamp_t;

typedef struct {
    int32_t low_stock;
    bool detail;
} oh_style_t;

/* SKU numbers below this may be read. */
static inline uint32_t oh_sku_limit(const oh_shard_t *shard)
{
    uint64_t count = atomic_load_explicit(&shard->store->header->sku_count, memory_order_acquire);
    return count < shard->sku_count ? (uint32_t)count : shard->sku_count;
}

/* ---- demand.c ---- */
/* Whether any SKU was ever promised: what decides that demand costs nothing while none was. */
static inline bool oh_demand_any(const oh_shard_t *shard)
{
    return shard->demand.store != NULL
        && atomic_load_explicit(&shard->demand.store->header->sku_count, memory_order_acquire) != 0;
}
static inline uint32_t oh_promised_find(const oh_shard_t *shard, uint64_t hash, const uint8_t *text,
                                        uint32_t text_len)
{
    if (!oh_demand_any(shard))
        return OH_NONE;
    return oh_sku_find(shard->demand.store, hash, text, text_len);
}
/* By number in the shard's table, all below its limit. */
void oh_promised_find_many(const oh_shard_t *shard, const uint32_t *skus, uint32_t count,
                           uint32_t *promised);
int64_t oh_promised_units(const oh_item_t *item, uint32_t slot);
static inline int64_t oh_promised_at(const oh_item_t *item, uint32_t slot)
{
    return item->promised == OH_NONE ? 0 : oh_promised_units(item, slot);
}
/* Every place with promised units; false when those are more than a few. */
bool oh_promised_few(const oh_item_t *item, oh_promised_t places[OH_FEW], uint32_t *count);
void oh_room_free(oh_room_t *room);
int oh_room_slots(oh_room_t *room, uint32_t slot_count);
/* Copies both rows; oh_rows_done gives the room back, also after a failure. */
int oh_rows_read(const oh_item_t *item, bool by_slot, oh_room_t *room, oh_rows_t *rows);
void oh_rows_done(const oh_item_t *item, oh_room_t *room, const oh_rows_t *rows);
/* A demand row's location as a slot; that of "none of these" when it is newer than the view. */
static inline uint32_t oh_demand_slot(const oh_shard_t *shard, uint32_t location)
{
    return location < shard->demand.known_count ? shard->demand.slot_of[location]
                                                : shard->known_count;
}

/* ---- scan.c ---- */
oh_terms_t oh_read_cell(const oh_item_t *item, uint32_t slot);
int64_t oh_read_cell_available(const oh_item_t *item, uint32_t slot);
int oh_read_group_available(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                            int64_t *available);
/* Each member's available units, in the order of group->slots. */
int oh_read_group_cells(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                        int64_t *available);
int oh_read_groups_available(const oh_shard_t *shard, const uint32_t *skus, uint64_t count,
                             uint32_t group, int64_t *available);
void oh_read_cells_available(const oh_shard_t *shard, const uint32_t *skus,
                             const uint32_t *ordinals, uint64_t count, int64_t *available);

/* ---- answer.c ---- */
int32_t oh_safety_stock(const oh_item_t *item, uint32_t slot);
/* A copy of the row as it was at one moment; false: there is none, or no memory (*status). */
bool oh_row_copy(const oh_store_t *store, uint32_t sku, oh_scratch_t *scratch, oh_row_view_t *view,
                 int *status);
void oh_cell_numbers(const oh_item_t *item, const oh_rows_t *rows, uint32_t slot,
                     oh_numbers_t *numbers);
/* The rows were read by slot. */
void oh_group_numbers(const oh_item_t *item, const oh_rows_t *rows, const oh_group_t *group,
                      oh_numbers_t *numbers);
void oh_numbers(const oh_item_t *item, const oh_rows_t *rows, oh_scope_t scope,
                oh_numbers_t *numbers);
/* Fills promise[0..OH_HORIZON_DAYS] with available_to_order by days from today. */
void oh_promise(const oh_numbers_t *numbers, int64_t promise[OH_DUE_COUNT]);

/* ---- render.c ---- */
void oh_text_free(oh_text_t *text);
void oh_text_raw(oh_text_t *text, const char *bytes, size_t length);
void oh_text_string(oh_text_t *text, const uint8_t *utf8, size_t length); /* quoted and escaped */
void oh_text_number(oh_text_t *text, int64_t value);
void oh_stamp(oh_stamp_t *stamp, int64_t as_of_us, int64_t now_us);
void oh_text_stamp(oh_text_t *text, const oh_stamp_t *stamp);
int oh_render_item(oh_text_t *text, const oh_item_t *item, oh_scope_t scope,
                   const oh_stamp_t *stamp, oh_style_t style, oh_room_t *room);

/* ---- follow.c ---- */
/* Newest first; returns how many were copied out. `before` is a ring position or UINT64_MAX. */
uint32_t oh_history_read(const oh_store_t *store, uint32_t sku, uint32_t location, uint64_t before,
                         oh_movement_t *movements, uint64_t *positions, uint32_t count_max);
/* Copies changes after `since`, oldest first, and says up to where. False: the ring has lapped. */
bool oh_changes_read(const oh_store_t *store, uint64_t since, uint32_t *skus, uint32_t *locations,
                     uint32_t count_max, uint32_t *count, uint64_t *last_seq);
/* SKUs from *next on whose row changed after `since`; *next is where to go on. */
uint32_t oh_changed_skus(const oh_store_t *store, uint64_t since, uint64_t *next, uint32_t *skus,
                         uint32_t count_max);

#endif
