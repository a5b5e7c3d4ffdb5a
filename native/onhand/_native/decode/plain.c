/* One plain event, in one pass: parse, check, judge, add.
 *
 * "Plain" is one JSON object with nothing doubtful in it. Whenever a rule is broken or anything is
 * unusual this says no and leaves the columns as they were; Python then decides, and words the
 * refusal. So each condition here is at least as strict as the same rule in Python.
 *
 * The type may stand anywhere in the object, so fields are kept by number until the end, and only
 * then is it known which of them the type has. Lines are the bulk of large events and go straight
 * into the columns; a refusal takes them back by resetting the counts.
 */
#include "decode/decode.h"
#include "decode/fields.h"
#include "decode/json.h"
#include "decode/time.h"
#include "onhand/hash.h"

#define NAME_CHARACTERS_MAX 64
#define ID_CHARACTERS_MAX 128
#define REASON_CHARACTERS_MAX 256
#define QUANTITY_MAX INT32_MAX
#define UNKNOWN_NAMES_MAX 8

/* Names of unknown fields of one object: two equal ones are Python's business. */
typedef struct {
    oh_text_t name[UNKNOWN_NAMES_MAX];
    uint32_t count;
} unknown_t;

typedef struct {
    oh_cursor_t cursor;
    oh_columns_t *columns;
    uint32_t seen;     /* fields named */
    uint32_t present;  /* fields named and not null */
    uint32_t unknown_fields;
    uint8_t type;
    uint8_t disposition;
    bool lines_have_zero;
    uint32_t line_amounts; /* QUANTITY, DELTA or both: what the lines carry */
    int64_t amount;        /* the event's own quantity or delta */
    int64_t sequence;
    int64_t occurred_us;
    int32_t expected_day;
    oh_text_t text[OH_F_COUNT];
} plain_t;

static bool note_unknown(unknown_t *unknown, const oh_text_t *name)
{
    if (unknown->count == UNKNOWN_NAMES_MAX) return false;
    for (uint32_t i = 0; i < unknown->count; i++) {
        const oh_text_t *other = &unknown->name[i];
        if (other->length == name->length &&
            memcmp(other->bytes, name->bytes, name->length) == 0)
            return false;
    }
    unknown->name[unknown->count++] = *name;
    return true;
}

static inline bool bounded(const oh_text_t *text, uint32_t characters_max)
{
    return text->characters - 1 < characters_max; /* 0 wraps to the largest number */
}

static inline bool take_text(oh_cursor_t *cursor, oh_text_t *text, uint32_t characters_max)
{
    if (OH_UNLIKELY(*cursor->at != '"')) return false;
    cursor->at++;
    return oh_json_text(cursor, text) && bounded(text, characters_max);
}

static inline bool take_name(oh_cursor_t *cursor, oh_text_t *text)
{
    return take_text(cursor, text, NAME_CHARACTERS_MAX) && text->printable;
}

/* A field's key with its colon and the space around it; the cursor then stands at the value. */
static inline bool take_key(oh_cursor_t *cursor, oh_text_t *key)
{
    if (OH_UNLIKELY(!oh_json_take(cursor, '"') || !oh_json_text(cursor, key))) return false;
    if (OH_UNLIKELY(!oh_json_take(cursor, ':'))) return false;
    oh_json_space(cursor);
    return true;
}

static bool take_unknown(plain_t *plain, unknown_t *unknown, const oh_text_t *key, int depth)
{
    plain->unknown_fields++;
    return note_unknown(unknown, key) && oh_json_skip(&plain->cursor, depth);
}

/* ---- lines ---- */

typedef struct {
    oh_text_t sku;
    int64_t amount;
    uint32_t seen;
} line_t;

static inline bool take_line_field(plain_t *plain, line_t *line, unknown_t *unknown)
{
    oh_text_t key;
    if (OH_UNLIKELY(!take_key(&plain->cursor, &key))) return false;
    enum oh_field field = oh_field_of(key.bytes, key.length);
    if (field != OH_F_SKU && field != OH_F_QUANTITY && field != OH_F_DELTA)
        return take_unknown(plain, unknown, &key, 3);
    if (OH_UNLIKELY(line->seen >> field & 1)) return false;
    line->seen |= 1u << field;
    if (field == OH_F_SKU) return take_name(&plain->cursor, &line->sku);
    return oh_json_int(&plain->cursor, &line->amount);
}

static inline bool amount_in_range(uint32_t kind, int64_t amount)
{
    int64_t lowest = kind == OH_BIT(DELTA) ? -(int64_t)QUANTITY_MAX : 0;
    return amount >= lowest && amount <= QUANTITY_MAX;
}

static inline bool take_line(plain_t *plain)
{
    line_t line;
    unknown_t unknown;
    line.seen = 0;
    unknown.count = 0;
    if (OH_UNLIKELY(!oh_json_take(&plain->cursor, '{'))) return false;
    do {
        if (OH_UNLIKELY(!take_line_field(plain, &line, &unknown))) return false;
    } while (oh_json_take(&plain->cursor, ','));
    if (OH_UNLIKELY(!oh_json_take(&plain->cursor, '}'))) return false;
    uint32_t kind = line.seen & ~OH_BIT(SKU);
    if (OH_UNLIKELY(!(line.seen & OH_BIT(SKU)))) return false;
    if (OH_UNLIKELY(kind != OH_BIT(QUANTITY) && kind != OH_BIT(DELTA))) return false;
    if (OH_UNLIKELY(!amount_in_range(kind, line.amount))) return false;
    plain->line_amounts |= kind;
    plain->lines_have_zero |= line.amount == 0;
    oh_columns_add_line(plain->columns, line.sku.bytes, line.sku.length, (int32_t)line.amount);
    return true;
}

static bool take_lines(plain_t *plain)
{
    uint32_t count = 0;
    uint8_t *scratch = plain->cursor.scratch;
    if (!oh_json_take(&plain->cursor, '[')) return false;
    do {
        if (OH_UNLIKELY(++count > OH_LINE_COUNT_MAX)) return false;
        if (OH_UNLIKELY(!take_line(plain))) return false;
        plain->cursor.scratch = scratch; /* the columns have copied the sku */
    } while (oh_json_take(&plain->cursor, ','));
    return oh_json_take(&plain->cursor, ']');
}

/* Whether lines name a sku twice; Python looks closer, so equal hashes are enough. */
static bool lines_repeat_sku(const oh_columns_t *columns, size_t first_line)
{
    enum { SLOTS = 2048 };
    uint64_t slots[SLOTS] = {0};
    for (size_t i = first_line; i < columns->line_count; i++) {
        uint64_t hash = columns->lines[i].sku_hash | 1;
        size_t slot = hash >> 53;
        while (slots[slot] != 0) {
            if (slots[slot] == hash) return true;
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = hash;
    }
    return false;
}

_Static_assert(OH_LINE_COUNT_MAX < 2048, "lines_repeat_sku needs a free slot");

/* ---- fields ---- */

static bool take_time(plain_t *plain)
{
    oh_text_t text;
    if (!take_text(&plain->cursor, &text, ID_CHARACTERS_MAX)) return false;
    return oh_parse_time(text.bytes, text.length, &plain->occurred_us);
}

static bool take_day(plain_t *plain)
{
    oh_text_t text;
    if (!take_text(&plain->cursor, &text, ID_CHARACTERS_MAX)) return false;
    return text.length == 10 && oh_parse_date(text.bytes, &plain->expected_day);
}

static bool take_type(plain_t *plain)
{
    oh_text_t text;
    if (!take_text(&plain->cursor, &text, ID_CHARACTERS_MAX)) return false;
    plain->type = oh_type_of(text.bytes, text.length);
    return plain->type != 0;
}

static bool take_disposition(plain_t *plain)
{
    oh_text_t text;
    if (!take_text(&plain->cursor, &text, ID_CHARACTERS_MAX)) return false;
    plain->disposition = oh_disposition_of(text.bytes, text.length);
    return plain->disposition != OH_NO_DISPOSITION;
}

static bool take_null(plain_t *plain)
{
    if (plain->cursor.end - plain->cursor.at < 4) return false;
    if (memcmp(plain->cursor.at, "null", 4) != 0) return false;
    plain->cursor.at += 4;
    return true;
}

static inline bool take_value(plain_t *plain, enum oh_field field)
{
    oh_cursor_t *cursor = &plain->cursor;
    switch (field) {
    case OH_F_TYPE: return take_type(plain);
    case OH_F_OCCURRED_AT: return take_time(plain);
    case OH_F_EXPECTED_ON: return take_day(plain);
    case OH_F_DISPOSITION: return take_disposition(plain);
    case OH_F_LINES: return take_lines(plain);
    case OH_F_QUANTITY:
    case OH_F_DELTA: return oh_json_int(cursor, &plain->amount);
    case OH_F_SEQUENCE: return oh_json_int(cursor, &plain->sequence);
    case OH_F_ATTRIBUTES: return *cursor->at == '{' && oh_json_skip(cursor, 2);
    case OH_F_REASON: return take_text(cursor, &plain->text[field], REASON_CHARACTERS_MAX);
    case OH_F_SKU:
    case OH_F_LOCATION:
    case OH_F_FROM:
    case OH_F_TO: return take_name(cursor, &plain->text[field]);
    case OH_F_SPECVERSION: return false;
    default: return take_text(cursor, &plain->text[field], ID_CHARACTERS_MAX);
    }
}

static inline bool take_field(plain_t *plain, unknown_t *unknown)
{
    oh_text_t key;
    if (OH_UNLIKELY(!take_key(&plain->cursor, &key))) return false;
    enum oh_field field = oh_field_of(key.bytes, key.length);
    if (field == OH_F_UNKNOWN) return take_unknown(plain, unknown, &key, 2);
    if (OH_UNLIKELY(plain->seen >> field & 1)) return false;
    plain->seen |= 1u << field;
    if (OH_UNLIKELY(*plain->cursor.at == 'n')) return take_null(plain);
    plain->present |= 1u << field;
    return take_value(plain, field);
}

static bool take_object(plain_t *plain)
{
    unknown_t unknown;
    unknown.count = 0;
    if (!oh_json_take(&plain->cursor, '{')) return false;
    do {
        if (OH_UNLIKELY(!take_field(plain, &unknown))) return false;
    } while (oh_json_take(&plain->cursor, ','));
    if (!oh_json_take(&plain->cursor, '}')) return false;
    oh_json_space(&plain->cursor);
    return plain->cursor.at == plain->cursor.end;
}

/* ---- rules ---- */

/* Fields that the type has not got are unknown ones: named by another type, ignored by this. */
static bool check_fields(plain_t *plain, bool is_ledger)
{
    if (plain->type == 0) return false;
    const oh_type_rules_t *rules = &oh_type_rules[plain->type];
    uint32_t required = rules->required | OH_REQUIRED_BITS;
    uint32_t known = OH_COMMON_BITS | rules->required | rules->optional | rules->amount;
    if (is_ledger) {
        required |= OH_BIT(SEQUENCE);
        known |= OH_BIT(SEQUENCE);
        if (plain->sequence < 1) return false;
    } else {
        plain->sequence = 0;
    }
    plain->unknown_fields += (uint32_t)__builtin_popcount(plain->seen & ~known);
    return (plain->present & required) == required;
}

/* Both amounts named: which of them plain->amount is was not kept. */
static bool check_amounts(plain_t *plain, size_t first_line)
{
    const oh_type_rules_t *rules = &oh_type_rules[plain->type];
    uint32_t amounts = OH_BIT(QUANTITY) | OH_BIT(DELTA);
    if (plain->present & OH_BIT(LINES)) {
        if (plain->present & (OH_BIT(SKU) | amounts)) return false;
        if (plain->line_amounts != rules->amount) return false;
        if (plain->lines_have_zero && !rules->zero) return false;
        return plain->type != OH_COUNT || !lines_repeat_sku(plain->columns, first_line);
    }
    if (!(plain->present & OH_BIT(SKU))) return false;
    if ((plain->present & amounts) != rules->amount) return false;
    if (plain->amount == 0 && !rules->zero) return false;
    return amount_in_range(rules->amount, plain->amount);
}

static bool check_places(const plain_t *plain)
{
    if (plain->type == OH_INSPECTED) return plain->disposition != OH_INSPECT;
    if (!(oh_type_rules[plain->type].required & OH_BIT(FROM))) return true;
    const oh_text_t *from = &plain->text[OH_F_FROM];
    const oh_text_t *to = &plain->text[OH_F_TO];
    return from->length != to->length || memcmp(from->bytes, to->bytes, from->length) != 0;
}

/* A claim moves nothing by itself; Python passes it on. */
static bool is_claim(const plain_t *plain)
{
    if (plain->type == OH_SALE) return plain->present & OH_BIT(ALLOCATION_ID);
    if (plain->type != OH_RETURN) return false;
    return plain->present & (OH_BIT(RETURN_ID) | OH_BIT(ORDER_ID));
}

static bool check_time(const plain_t *plain, int64_t append_us, const oh_window_t *window)
{
    int64_t age_us = append_us - plain->occurred_us;
    if (-age_us > window->ahead_us) return false;
    if (window->late_us >= 0 && age_us > window->late_us) return false;
    if (window->ids_since_us > 0 && plain->occurred_us <= window->ids_since_us + window->ahead_us)
        return false;
    if (plain->type != OH_COUNT) return true;
    if (window->count_us >= 0 && age_us > window->count_us) return false;
    return plain->occurred_us >= window->counts_since_us;
}

/* ---- the event ---- */

static oh_bytes_t kept(const plain_t *plain, enum oh_field field, uint32_t of)
{
    if (!(of & plain->present & 1u << field)) return (oh_bytes_t){NULL, 0};
    return (oh_bytes_t){plain->text[field].bytes, plain->text[field].length};
}

static void add_event(plain_t *plain, const oh_origin_t *origin, size_t first_line)
{
    const oh_type_rules_t *rules = &oh_type_rules[plain->type];
    uint32_t own = rules->required | rules->optional | OH_COMMON_BITS;
    bool is_transfer = rules->required & OH_BIT(FROM);
    if (!(plain->present & OH_BIT(LINES))) {
        const oh_text_t *sku = &plain->text[OH_F_SKU];
        oh_columns_add_line(plain->columns, sku->bytes, sku->length, (int32_t)plain->amount);
    }
    oh_judged_t judged = {
        .source = kept(plain, OH_F_SOURCE, own),
        .id = kept(plain, OH_F_ID, own),
        .location = kept(plain, is_transfer ? OH_F_TO : OH_F_LOCATION, own),
        .from = kept(plain, OH_F_FROM, own),
        .reference = kept(plain, OH_F_PURCHASE_ORDER, own),
        .occurred_us = plain->occurred_us,
        .sequence = plain->sequence,
        .expected_day = own & OH_BIT(EXPECTED_ON) ? plain->expected_day : 0,
        .type = plain->type,
        .disposition = own & OH_BIT(DISPOSITION) ? plain->disposition : OH_NO_DISPOSITION,
    };
    oh_columns_add_event(plain->columns, &judged, origin, first_line);
    plain->columns->unknown_fields += plain->unknown_fields;
}

static bool decode(plain_t *plain, const oh_origin_t *origin, size_t first_line)
{
    if (!take_object(plain) || !check_fields(plain, origin->is_ledger)) return false;
    if (!check_amounts(plain, first_line) || !check_places(plain)) return false;
    if (origin->is_ledger) return true; /* a gap in its sequence is worse than any age */
    return !is_claim(plain) && check_time(plain, origin->append_us, &plain->columns->window);
}

bool oh_decode_plain(oh_columns_t *columns, const uint8_t *value, size_t length,
                     const oh_origin_t *origin)
{
    plain_t plain;
    size_t first_line = columns->line_count;
    size_t heap_bytes = columns->heap_bytes;
    if (OH_UNLIKELY(length > OH_VALUE_BYTES_MAX)) return false;
    memset(&plain, 0, offsetof(plain_t, text)); /* text[i] is read only when its bit is set */
    plain.cursor = (oh_cursor_t){value, value + length, columns->scratch};
    plain.columns = columns;
    if (OH_LIKELY(decode(&plain, origin, first_line))) {
        add_event(&plain, origin, first_line);
        return true;
    }
    columns->line_count = first_line;
    columns->heap_bytes = heap_bytes;
    return false;
}
