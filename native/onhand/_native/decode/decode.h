/* Bytes of the log to the columns of batch.h. The Python page to read first is
 * src/onhand/ingest/decode.py; the definition of every rule is src/onhand/model/events.py.
 */
#ifndef ONHAND_DECODE_H
#define ONHAND_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "onhand/batch.h"

#define OH_VALUE_BYTES_MAX 1048576u
#define OH_LINE_COUNT_MAX 1000u
/* The shortest line, {"sku":"A","delta":1}, and its comma: bounds the lines of a value. */
#define OH_LINE_JSON_BYTES_MIN 21u
#define OH_HEAP_BYTES_MAX UINT32_MAX

/* The rules of time; see onhand.ingest.decode.Window. */
typedef struct {
    int64_t late_us;   /* below 0: off */
    int64_t ahead_us;
    int64_t count_us;  /* below 0: off */
    int64_t ids_since_us;
    int64_t counts_since_us;
} oh_window_t;

/* The growing columns. One owner, the Decoder of decode.pyx, which frees them; whoever adds must
 * have reserved before. */
typedef struct {
    oh_event_t *events;
    oh_line_t *lines;
    uint8_t *heap;
    size_t event_count;
    size_t line_count;
    size_t heap_bytes;
    size_t event_capacity;
    size_t line_capacity;
    size_t heap_capacity;
    uint8_t *scratch;        /* unescaped strings of one event */
    size_t scratch_capacity;
    uint64_t unknown_fields;
    oh_window_t window;
} oh_columns_t;

/* Where a record came from. */
typedef struct {
    int64_t offset;
    int64_t append_us;
    uint16_t partition;
    bool is_ledger;
} oh_origin_t;

/* Strings of an event that Python judged, in UTF-8. */
typedef struct {
    const uint8_t *bytes;
    uint32_t length;
} oh_bytes_t;

typedef struct {
    oh_bytes_t source;
    oh_bytes_t id;
    oh_bytes_t location;
    oh_bytes_t from;
    oh_bytes_t reference;
    int64_t occurred_us;
    int64_t sequence;
    int32_t expected_day;
    uint8_t type;
    uint8_t disposition;
} oh_judged_t;

/* Room for this many more of each; -1 when memory is out or the heap would pass 4 GiB. */
int oh_columns_reserve(oh_columns_t *columns, size_t events, size_t lines, size_t heap_bytes);
int oh_columns_reserve_scratch(oh_columns_t *columns, size_t bytes);
void oh_columns_free(oh_columns_t *columns);

/* Adds a line to the event that comes next. */
void oh_columns_add_line(oh_columns_t *columns, const uint8_t *sku, uint32_t sku_len,
                         int32_t quantity);
/* Adds the event whose lines are those added since `first_line`. */
void oh_columns_add_event(oh_columns_t *columns, const oh_judged_t *judged,
                          const oh_origin_t *origin, size_t first_line);

/* True: the value is a plain event, judged and added. False: nothing was added, Python decides.
 * value[length] must be NUL. Room for one event, the lines and the bytes of `length` must be
 * reserved, and scratch of `length`. */
bool oh_decode_plain(oh_columns_t *columns, const uint8_t *value, size_t length,
                     const oh_origin_t *origin);

/* How many lines a value of this length can have at most. */
static inline size_t oh_line_bound(size_t length)
{
    size_t bound = length / OH_LINE_JSON_BYTES_MIN + 1;
    return bound < OH_LINE_COUNT_MAX ? bound : OH_LINE_COUNT_MAX;
}

#endif
