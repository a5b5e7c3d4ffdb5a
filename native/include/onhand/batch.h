/* A batch: what decoding hands to applying, as plain columns.
 *
 * Decode fills three buffers for every poll of the log and nothing else crosses to the table:
 *
 *     events  oh_event_t[n]   one per accepted event
 *     lines   oh_line_t[m]    one per (event, sku), in event order
 *     heap    bytes           the strings the two refer to, by offset and length
 *
 * The numpy dtypes in onhand.model.batch mirror the two structs; a test compares every field.
 * All times are microseconds since 1970-01-01 UTC.
 */
#ifndef ONHAND_BATCH_H
#define ONHAND_BATCH_H

#include <stdint.h>

enum oh_event_type {
    OH_SALE = 1,
    OH_RECEIPT = 2,
    OH_EXPECTED = 3,
    OH_TRANSFER_SHIPPED = 4,
    OH_TRANSFER_RECEIVED = 5,
    OH_TRANSFER_LOST = 6,
    OH_RETURN = 7,
    OH_INSPECTED = 8,
    OH_COUNT = 9,
    OH_ADJUSTMENT = 10,
};

enum oh_disposition { OH_NO_DISPOSITION = 0, OH_SELLABLE = 1, OH_INSPECT = 2, OH_DAMAGED = 3 };

typedef struct {
    uint64_t id_hi;          /* 128-bit fingerprint of (source, id) */
    uint64_t id_lo;
    int64_t offset;          /* position in its log partition */
    int64_t append_us;       /* when the record entered the log */
    int64_t occurred_us;
    int64_t sequence;        /* stock.ledger sequence, gapless from 1; 0 elsewhere */
    uint32_t first_line;     /* lines [first_line, first_line + line_count) */
    uint32_t line_count;
    uint32_t source_off;     /* heap: source, directly followed by id (ties of counts) */
    uint32_t location_off;   /* heap: location; `to` for transfers */
    uint32_t from_off;       /* heap: `from` for transfers */
    uint32_t reference_off;  /* heap: purchase_order for receipt and expected */
    int32_t expected_day;    /* days since 1970-01-01, for expected */
    uint16_t partition;      /* index into the flow's partition list */
    uint16_t source_len;     /* all lengths in bytes of UTF-8 */
    uint16_t id_len;
    uint16_t location_len;
    uint16_t from_len;       /* 0 when absent */
    uint16_t reference_len;  /* 0 when absent */
    uint8_t type;            /* enum oh_event_type */
    uint8_t disposition;     /* enum oh_disposition */
    uint8_t reserved[6];     /* zero */
} oh_event_t;                /* 96 bytes */

typedef struct {
    uint64_t sku_hash;       /* oh_hash_bytes of the sku; picks bucket, shard and index slot */
    uint32_t sku_off;        /* heap: sku */
    uint32_t event;          /* index into events */
    int32_t quantity;        /* as published; signed delta for adjustments */
    uint16_t sku_len;
    uint16_t reserved;       /* zero */
} oh_line_t;                 /* 24 bytes */

_Static_assert(sizeof(oh_event_t) == 96, "oh_event_t is part of the batch format");
_Static_assert(sizeof(oh_line_t) == 24, "oh_line_t is part of the batch format");

#endif
