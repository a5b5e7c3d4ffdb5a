/* WHAT IS THE STORE?
 *
 * One shared file that one process writes and any number read, without a lock and without either
 * ever waiting for the other. It is a SKU directory, a location directory, rows of cells, a ring of
 * changes and a ring of recent movements. Everything in it is addressed by offset, so a copy of its
 * bytes is a checkpoint and a loaded copy is a table.
 *
 * Supply tables hold what is there, a shard of the SKUs each. The demand table, written by the order
 * writer, holds what is promised: reserved units in the column of on_hand, backorders in the place
 * of what is due, no history.
 *
 *   header (64 KiB)      identity, roots, progress, counters; see oh_header_t
 *   sku chunks           oh_sku_t[65536] each; a record never moves
 *   location chunks      oh_location_t[1024] each; a record never moves
 *   sku index            open addressing, {tag, number} slots; replaced when it grows
 *   row blocks           size classes about 1.25 apart, freed blocks are reused
 *   change ring          {sequence, sku, location}
 *   history ring         recent movements, chained per cell
 *
 *   sku number --> oh_sku_t.word --> row block
 *                  | offset/16 : 32 | size class : 8 | change count : 24 |
 *
 * HOW A READER STAYS RIGHT
 *
 * A reader loads the word (acquire), reads what it wants of the block, fences, loads the word again
 * and retries when it differs. The block's size comes from the word, so nothing read from a block,
 * however torn, can lead out of it.
 *
 * HOW THE WRITER KEEPS IT SO
 *
 * A change of ONE counter of ONE cell is one aligned store, then the word with its count raised
 * (release). At most one such store is ever unconfirmed, so a reader that sees the same word twice
 * saw the row before it or after it. A new cell where the block has room is the same: its zeros are
 * written where no reader looks yet, and the one store is that of cell_count. Every other change (a
 * second counter of the same movement, a wider layout, a longer block) is made in a copy of the
 * block, published by one store of the word; the old block is freed after that. A writer killed
 * between any two instructions leaves the row as it was before or after a movement, never between.
 *
 * A release fence stands before every store into memory that a reader of an older word may still be
 * looking at: a reader that saw the store is then sure to see the newer word as well.
 */
#ifndef ONHAND_STORE_H
#define ONHAND_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "onhand/hash.h"
#include "onhand/race.h"

#define OH_FORMAT_VERSION 1u
#define OH_HEADER_BYTES 65536u
#define OH_PARTITION_MAX 1024u
#define OH_COUNTER_MAX 256u
#define OH_SKU_CHUNK 65536u
#define OH_SKU_CHUNK_MAX 2048u       /* 134 million SKUs a shard */
#define OH_LOCATION_CHUNK 1024u
#define OH_LOCATION_CHUNK_MAX 64u    /* 65,536 locations */
#define OH_TEXT_BYTES_MAX 256u       /* 64 characters of UTF-8 */
#define OH_NONE UINT32_MAX
#define OH_HUGE_BYTES (2ULL << 20)   /* a huge page; stores are mapped at a multiple of one */

/* Status codes; 0 is success. One Python function turns them into exceptions. */
enum oh_status {
    OH_OK = 0,
    OH_NO_SPACE = -1,        /* the file system has no room to grow the file */
    OH_TABLE_FULL = -2,      /* capacity_bytes, SKU or location limit reached */
    OH_NO_MEMORY = -3,
    OH_CORRUPT = -4,         /* an offset, class or checksum that cannot be */
    OH_IO = -5,              /* errno says which */
};

typedef struct {
    _Atomic uint64_t word;        /* offset/16, class, change count; 0: no row yet */
    _Atomic uint64_t change_seq;  /* change-ring sequence of the row's last change */
    uint32_t tag;                 /* low half of the hash */
    uint16_t text_len;
    uint16_t reserved;
    union {
        uint8_t text[40];         /* when text_len <= 40 */
        uint64_t text_off;        /* else where the text is */
    };
} oh_sku_t;                       /* 64 bytes */

typedef struct {
    uint64_t hash;
    _Atomic uint32_t text_len;    /* 0 until the text is in place */
    uint32_t reserved;
    uint8_t text[OH_TEXT_BYTES_MAX];
} oh_location_t;                  /* 272 bytes */

enum oh_row_flags {
    OH_ROW_WIDE = 1,              /* counters are int64, else int32 */
    OH_ROW_RARE = 2,              /* held, in_transit and damaged columns exist */
    OH_ROW_COUNTED = 4,           /* the count column exists */
};

/* A row block: this header, then the columns, each cell_capacity long, in this order:
 *   uint32 location | uint32 history (last movement's ring position, OH_NONE) |
 *   uint32 count (writer's count record, OH_NONE; only COUNTED) |
 *   counter on_hand | counter held | counter in_transit | counter damaged (last three only RARE)
 * then oh_incoming_t[incoming_capacity]. A counter column starts on a multiple of its width. */
typedef struct {
    uint16_t flags;
    uint16_t incoming_count;
    uint16_t incoming_capacity;
    uint16_t reserved;
    uint32_t cell_count;
    uint32_t cell_capacity;
} oh_row_t;                       /* 16 bytes */

typedef struct {                  /* what is due at a location on a day, all purchase orders */
    uint32_t location;
    int32_t day;                  /* days since 1970-01-01 */
    int64_t quantity;
} oh_incoming_t;

typedef struct {                  /* one changed cell */
    _Atomic uint64_t seq;         /* from 1; written last */
    uint32_t sku;
    uint32_t location;
} oh_change_t;

/* What a movement changed when it was applied. A count stands in the history too: its effect is
 * ON_HAND when it was the newest then, and SUPERSEDED when an even newer one was known. A count that
 * comes later leaves the movements before it as they are: they count for nothing when they occurred
 * at or before the newest count of their cell. */
enum oh_effect {
    OH_EFFECT_ON_HAND = 1,
    OH_EFFECT_HELD = 2,
    OH_EFFECT_IN_TRANSIT = 4,
    OH_EFFECT_DAMAGED = 8,
    OH_EFFECT_INCOMING = 16,      /* an expected quantity */
    OH_EFFECT_SUPERSEDED = 128,   /* a part on on_hand that a count had already taken in */
};

typedef struct {                  /* one applied movement of one cell, newest linked to older */
    _Atomic uint32_t position;    /* its own ring position, low 32 bits, written last */
    uint32_t older;               /* the cell's movement before, OH_NONE */
    uint32_t sku;
    uint32_t location;
    int64_t occurred_us;
    int64_t append_us;
    int64_t offset;               /* where the event is in the log */
    int32_t quantity;             /* as published */
    uint16_t partition;
    uint8_t type;                 /* enum oh_event_type */
    uint8_t effect;               /* bits of enum oh_effect */
} oh_movement_t;                  /* 48 bytes */

typedef struct {
    uint64_t magic;
    uint32_t format_version;
    uint32_t shard;
    uint32_t shard_count;                 /* 0: the demand table, which is of all SKUs */
    uint32_t reserved;
    uint8_t cluster_id[16];
    uint64_t generation;
    uint64_t capacity_bytes;              /* what the file may grow to; 64 GiB at most */
    _Atomic uint64_t allocated_bytes;     /* backed by fallocate, touched only below this */
    _Atomic uint64_t used_bytes;
    _Atomic uint64_t free_list[64];       /* writer only: first free block per class */
    _Atomic uint64_t sku_index;           /* offset/16 << 8 | log2(slots) */
    _Atomic uint64_t location_index;      /* the same, over locations */
    _Atomic uint64_t sku_count;
    _Atomic uint64_t location_count;
    _Atomic uint64_t cell_count;
    _Atomic uint64_t row_bytes;           /* in blocks that rows use now */
    uint64_t change_ring_off;
    uint64_t change_ring_size;            /* power of two */
    _Atomic uint64_t change_seq;          /* last one written */
    uint64_t history_ring_off;
    uint64_t history_ring_size;           /* power of two */
    _Atomic uint64_t history_head;        /* movements ever pushed */
    _Atomic uint64_t history_tail;        /* oldest still remembered */
    /* progress, stamped by the writer */
    _Atomic int64_t heartbeat_us;         /* writer's clock, every 100 ms at most */
    _Atomic int64_t as_of_us;             /* every partition is applied up to this append time */
    _Atomic int64_t lag_events;
    _Atomic int64_t ledger_sequence;      /* last stock.ledger sequence applied; demand: commit */
    _Atomic int64_t ids_since_us;         /* ids appended before this are forgotten */
    _Atomic int64_t counts_since_us;      /* movements that occurred before this are forgotten */
    _Atomic int64_t applied_offset[OH_PARTITION_MAX]; /* next offset to apply, per partition */
    _Atomic uint64_t counters[OH_COUNTER_MAX];        /* metrics; the registry is onhand.metrics */
    _Atomic uint64_t sku_chunk[OH_SKU_CHUNK_MAX];     /* offsets, 0 where none yet */
    _Atomic uint64_t location_chunk[OH_LOCATION_CHUNK_MAX];
} oh_header_t;

_Static_assert(sizeof(oh_sku_t) == 64, "one cache line");
_Static_assert(sizeof(oh_row_t) == 16, "row header");
_Static_assert(sizeof(oh_movement_t) == 48, "movement");
_Static_assert(sizeof(oh_header_t) <= OH_HEADER_BYTES, "header region");

typedef struct {
    int fd;                       /* -1 for readers after mapping */
    bool writable;
    uint8_t *base;                /* capacity_bytes mapped */
    uint64_t mapped_bytes;
    oh_header_t *header;
    uint64_t block_bytes[64];     /* size of each class */
} oh_store_t;

/* A row's block and where its columns are. Pointers stay inside the block whatever it says. */
typedef struct {
    uint64_t word;
    oh_row_t *row;
    uint32_t cell_count;
    uint16_t flags;
    uint16_t incoming_count;
    uint32_t *location;
    uint32_t *history;
    uint32_t *count;              /* NULL unless COUNTED */
    void *on_hand;                /* int32_t or, when WIDE, int64_t */
    void *held;                   /* these three NULL unless RARE */
    void *in_transit;
    void *damaged;
    oh_incoming_t *incoming;
} oh_row_view_t;

/* ---- files (store.c) ---- */
int oh_store_create(oh_store_t *store, const char *path, uint64_t capacity_bytes,
                    uint64_t change_ring_size, uint64_t history_ring_size);
/* An empty file with room for a checkpoint's image, to be read into base; then oh_store_adopted
 * checks the image and makes the store usable. The first oh_header_t.used_bytes of a store are its
 * image. */
int oh_store_adopt(oh_store_t *store, const char *path, uint64_t capacity_bytes,
                   uint64_t image_bytes);
int oh_store_adopted(oh_store_t *store, uint64_t image_bytes);
int oh_store_map(oh_store_t *store, const char *path);   /* read-only, for readers */
void oh_store_close(oh_store_t *store);
/* Backs the file's first bytes, in 16 MiB chunks. */
int oh_store_reserve(oh_store_t *store, uint64_t bytes);
/* Zeros, 16-byte aligned; 0 on failure. */
uint64_t oh_store_allocate(oh_store_t *store, uint64_t bytes, int *status);

/* ---- names (names.c) ---- */
/* A number, or OH_NONE. Texts are 1 to OH_TEXT_BYTES_MAX bytes. */
uint32_t oh_sku_find(const oh_store_t *store, uint64_t hash, const uint8_t *text,
                     uint32_t text_len);
int oh_sku_resolve(oh_store_t *store, uint64_t hash, const uint8_t *text, uint32_t text_len,
                   uint32_t *number);     /* creates; writer only */
uint32_t oh_location_find(const oh_store_t *store, const uint8_t *text, uint32_t text_len);
int oh_location_resolve(oh_store_t *store, const uint8_t *text, uint32_t text_len,
                        uint32_t *number);
void oh_sku_prefetch(const oh_store_t *store, uint64_t hash);        /* the index slot, then */
void oh_sku_prefetch_record(const oh_store_t *store, uint64_t hash); /* the record it names */
static inline oh_sku_t *oh_sku_at(const oh_store_t *store, uint32_t number)
{
    uint64_t chunk = atomic_load_explicit(&store->header->sku_chunk[number / OH_SKU_CHUNK],
                                          memory_order_acquire);
    return (oh_sku_t *)(store->base + chunk) + number % OH_SKU_CHUNK;
}
const uint8_t *oh_sku_text(const oh_store_t *store, uint32_t number, uint32_t *text_len);
const uint8_t *oh_location_text(const oh_store_t *store, uint32_t number, uint32_t *text_len);

/* ---- rows (rows.c) ---- */
/* false: no row yet. The view is a guess until oh_row_confirm says that the word is still the same;
 * a torn guess never points outside the block. */
bool oh_row_view(const oh_store_t *store, uint32_t sku, oh_row_view_t *view);
static inline bool oh_row_confirm(const oh_store_t *store, uint32_t sku, const oh_row_view_t *view)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&oh_sku_at(store, sku)->word, memory_order_relaxed) == view->word;
}
uint32_t oh_row_find(const oh_row_view_t *view, uint32_t location); /* cell index or OH_NONE */
/* The lines that a short row has its columns in; of a long one only the first are worth it. */
static inline void oh_row_prefetch(const oh_store_t *store, uint32_t sku)
{
    uint64_t word = atomic_load_explicit(&oh_sku_at(store, sku)->word, memory_order_relaxed);
    const uint8_t *block = store->base + (word >> 32 << 4);
    uint64_t bytes = store->block_bytes[(word >> 24) & 63];
    for (uint64_t at = 0; at < bytes && at < 256; at += 64)
        __builtin_prefetch(block + at);
}

enum oh_counter { OH_ON_HAND = 0, OH_HELD = 1, OH_IN_TRANSIT = 2, OH_SCRAPPED = 3 }; /* damaged */
static inline int64_t oh_cell_get(const oh_row_view_t *view, const void *column, uint32_t cell)
{
    if (column == NULL) return 0;
    return view->flags & OH_ROW_WIDE ? oh_race_load_i64((const int64_t *)column + cell)
                                     : (int64_t)oh_race_load_i32((const int32_t *)column + cell);
}

/* Writer. Makes the row, the cell or a wider layout when needed; the view is right afterwards.
 * needs: OH_ROW_RARE, OH_ROW_COUNTED or 0, what the caller is about to use. The caller may store
 * into view->history[cell] and view->count[cell] (oh_race_store_u32): they are no part of the
 * numbers. */
int oh_cell_resolve(oh_store_t *store, uint32_t sku, uint32_t location, uint16_t needs,
                    oh_row_view_t *view, uint32_t *cell);
/* Adds to counters of one cell as one change. delta[k] for enum oh_counter k. Widens on overflow. */
int oh_cell_add(oh_store_t *store, uint32_t sku, uint32_t location, const int64_t delta[4]);
/* The hot path: one counter, row view and cell at hand. Widens when it must; the view follows. */
int oh_cell_add_on_hand(oh_store_t *store, uint32_t sku, oh_row_view_t *view, uint32_t cell,
                        int64_t delta);
/* Replaces what is due at (location, day) by adding delta; an entry of 0 goes. Entries are kept in
 * order of location, then day. */
int oh_incoming_add(oh_store_t *store, uint32_t sku, uint32_t location, int32_t day, int64_t delta);

/* ---- change ring (rows.c) ---- */
/* Call it after the change it tells of: who sees the entry then sees the numbers. */
void oh_change_push(oh_store_t *store, uint32_t sku, uint32_t location);

#endif
