/* Answers as JSON, fields in the order of the contract. */
#include "reader/reader.h"

#include <stdlib.h>
#include <string.h>

#define MILLISECOND_US 1000
#define SECOND_US 1000000
#define DAY_SECONDS 86400
#define LITERAL(text, literal) oh_text_raw((text), (literal), sizeof(literal) - 1)

/* ---- text ---- */

void oh_text_free(oh_text_t *text)
{
    free(text->bytes);
    memset(text, 0, sizeof *text);
}

static bool text_room(oh_text_t *text, size_t more)
{
    if (text->capacity - text->length >= more)
        return true;
    size_t capacity = (text->capacity + more) * 2;
    char *grown = text->failed ? NULL : realloc(text->bytes, capacity);
    if (grown == NULL) {
        text->failed = true;
        return false;
    }
    text->bytes = grown;
    text->capacity = capacity;
    return true;
}

void oh_text_raw(oh_text_t *text, const char *bytes, size_t length)
{
    if (!text_room(text, length))
        return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static const char DIGITS[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                             "34353637383940414243444546474849505152535455565758596061626364656667"
                             "6869707172737475767778798081828384858687888990919293949596979899";

void oh_text_number(oh_text_t *text, int64_t value)
{
    char digits[20];
    char *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    if (rest == 0)
        *--at = '0';
    while (rest >= 10) {
        at -= 2;
        memcpy(at, DIGITS + rest % 100 * 2, 2);
        rest /= 100;
    }
    if (rest != 0)
        *--at = (char)('0' + rest);
    if (value < 0)
        LITERAL(text, "-");
    oh_text_raw(text, at, (size_t)(digits + sizeof digits - at));
}

static bool plain(uint8_t byte)
{
    return byte >= 0x20 && byte != '"' && byte != '\\';
}

static void escape(oh_text_t *text, uint8_t byte)
{
    static const char HEX[] = "0123456789abcdef";
    char escaped[6] = {'\\', 'u', '0', '0', HEX[byte >> 4], HEX[byte & 15]};
    if (byte == '"' || byte == '\\') {
        escaped[1] = (char)byte;
        oh_text_raw(text, escaped, 2);
    } else {
        oh_text_raw(text, escaped, 6);
    }
}

/* UTF-8 passes as it is; names that need no escape, nearly all, are copied in one go. */
static void text_escaped(oh_text_t *text, const uint8_t *utf8, size_t length)
{
    size_t from = 0;
    for (size_t at = 0; at < length; at++) {
        if (plain(utf8[at]))
            continue;
        oh_text_raw(text, (const char *)utf8 + from, at - from);
        escape(text, utf8[at]);
        from = at + 1;
    }
    oh_text_raw(text, (const char *)utf8 + from, length - from);
}

void oh_text_string(oh_text_t *text, const uint8_t *utf8, size_t length)
{
    LITERAL(text, "\"");
    text_escaped(text, utf8, length);
    LITERAL(text, "\"");
}

/* ---- dates ---- */

static void two_digits(char *to, int64_t value)
{
    memcpy(to, DIGITS + value * 2, 2);
}

/* The Gregorian calendar in years that begin in March, so that leap days come last. */
static void date_write(char to[10], int64_t day)
{
    int64_t from_march_0 = day + 719468;
    int64_t era = (from_march_0 >= 0 ? from_march_0 : from_march_0 - 146096) / 146097;
    int64_t day_of_era = from_march_0 - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    two_digits(to, year / 100 % 100);
    two_digits(to + 2, year % 100);
    to[4] = '-';
    two_digits(to + 5, month);
    to[7] = '-';
    two_digits(to + 8, day_of_year - (153 * month_from_march + 2) / 5 + 1);
}

void oh_stamp(oh_stamp_t *stamp, int64_t as_of_us, int64_t now_us)
{
    int64_t as_of = as_of_us > 0 ? as_of_us : 0;
    int64_t second = as_of / SECOND_US;
    int64_t of_day = second % DAY_SECONDS;
    int64_t millisecond = as_of % SECOND_US / MILLISECOND_US;
    date_write(stamp->as_of, second / DAY_SECONDS);
    memcpy(stamp->as_of + 10, "T00:00:00.000Z", 15);
    two_digits(stamp->as_of + 11, of_day / 3600);
    two_digits(stamp->as_of + 14, of_day / 60 % 60);
    two_digits(stamp->as_of + 17, of_day % 60);
    stamp->as_of[20] = (char)('0' + millisecond / 100);
    two_digits(stamp->as_of + 21, millisecond % 100);
    stamp->age_ms = now_us > as_of ? (now_us - as_of) / MILLISECOND_US : 0;
}

void oh_text_stamp(oh_text_t *text, const oh_stamp_t *stamp)
{
    LITERAL(text, "\"as_of\":\"");
    oh_text_raw(text, stamp->as_of, 24);
    LITERAL(text, "\",\"age_ms\":");
    oh_text_number(text, stamp->age_ms);
}

/* ---- numbers ---- */

static void promise_entry(oh_text_t *text, int64_t day, int64_t quantity)
{
    char entry[] = "{\"date\":\"0000-00-00\",\"quantity\":";
    date_write(entry + 9, day);
    oh_text_raw(text, entry, sizeof entry - 1);
    oh_text_number(text, quantity);
    LITERAL(text, "}");
}

/* Today, and each date on which it changes. */
static void render_promise(oh_text_t *text, const oh_numbers_t *numbers)
{
    LITERAL(text, ",\"available_to_order\":[");
    if (!numbers->any_due) {
        promise_entry(text, numbers->today, numbers->promise_base > 0 ? numbers->promise_base : 0);
        LITERAL(text, "]");
        return;
    }
    int64_t promise[OH_DUE_COUNT];
    oh_promise(numbers, promise);
    for (int day = 0; day < OH_DUE_COUNT; day++) {
        if (day != 0 && promise[day] == promise[day - 1])
            continue;
        if (day != 0)
            LITERAL(text, ",");
        promise_entry(text, (int64_t)numbers->today + day, promise[day]);
    }
    LITERAL(text, "]");
}

static void render_band(oh_text_t *text, int64_t available, int32_t low_stock)
{
    if (available <= 0)
        LITERAL(text, ",\"band\":\"out\"");
    else if (available <= low_stock)
        LITERAL(text, ",\"band\":\"low\"");
    else
        LITERAL(text, ",\"band\":\"in\"");
}

static void render_numbers(oh_text_t *text, const oh_numbers_t *numbers, oh_style_t style)
{
    LITERAL(text, ",\"available\":");
    oh_text_number(text, numbers->available);
    LITERAL(text, ",\"on_hand\":");
    oh_text_number(text, numbers->on_hand);
    LITERAL(text, ",\"held\":");
    oh_text_number(text, numbers->held);
    LITERAL(text, ",\"in_transit\":");
    oh_text_number(text, numbers->in_transit);
    LITERAL(text, ",\"reserved\":");
    oh_text_number(text, numbers->reserved);
    LITERAL(text, ",\"safety_stock\":");
    oh_text_number(text, numbers->safety_stock);
    LITERAL(text, ",\"shortfall\":");
    oh_text_number(text, numbers->shortfall);
    render_band(text, numbers->available, style.low_stock);
    render_promise(text, numbers);
}

/* ---- cells of a group ---- */

typedef struct {
    oh_text_t *text;
    const oh_item_t *item;
    const oh_rows_t *rows;
    oh_style_t style;
    bool first;
} cells_t;

static bool all_zero(const oh_numbers_t *numbers)
{
    return numbers->on_hand == 0 && numbers->held == 0 && numbers->in_transit == 0
        && numbers->reserved == 0 && numbers->safety_stock == 0 && !numbers->any_due;
}

static void render_cell(cells_t *cells, uint32_t slot)
{
    const oh_shard_t *shard = cells->item->shard;
    oh_numbers_t numbers;
    oh_cell_numbers(cells->item, cells->rows, slot, &numbers);
    if (all_zero(&numbers))
        return;
    if (!cells->first)
        LITERAL(cells->text, ",");
    cells->first = false;
    LITERAL(cells->text, "{\"location\":\"");
    oh_text_raw(cells->text, shard->names + shard->name_at[slot],
                shard->name_at[slot + 1] - shard->name_at[slot]);
    LITERAL(cells->text, "\"");
    render_numbers(cells->text, &numbers, cells->style);
    LITERAL(cells->text, "}");
}

/* By slot, and so without asking which members the row leaves out. */
static void render_cells(cells_t *cells, const oh_group_t *group)
{
    const oh_shard_t *shard = cells->item->shard;
    LITERAL(cells->text, ",\"locations\":[");
    for (uint32_t slot = 0; slot < shard->slot_count; slot++) {
        if (group->member[slot] != 0)
            render_cell(cells, slot);
    }
    LITERAL(cells->text, "]");
}

static void render_locations(cells_t *cells, oh_scope_t scope)
{
    if (scope.group) {
        render_cells(cells, &cells->item->shard->groups[scope.index]);
        return;
    }
    LITERAL(cells->text, ",\"locations\":[");
    render_cell(cells, cells->item->shard->slot_of[scope.index]);
    LITERAL(cells->text, "]");
}

/* ---- items ---- */

static void render_scope(oh_text_t *text, const oh_shard_t *shard, oh_scope_t scope)
{
    LITERAL(text, ",\"scope\":\"");
    if (scope.group) {
        const oh_group_t *group = &shard->groups[scope.index];
        oh_text_raw(text, group->label, group->label_len);
    } else {
        uint32_t slot = shard->slot_of[scope.index];
        LITERAL(text, "location:");
        oh_text_raw(text, shard->names + shard->name_at[slot],
                    shard->name_at[slot + 1] - shard->name_at[slot]);
    }
    LITERAL(text, "\"");
}

int oh_render_item(oh_text_t *text, const oh_item_t *item, oh_scope_t scope,
                   const oh_stamp_t *stamp, oh_style_t style, oh_room_t *room)
{
    oh_rows_t rows;
    oh_numbers_t numbers;
    int status = oh_rows_read(item, scope.group, room, &rows);
    if (status != OH_OK) {
        oh_rows_done(item, room, &rows);
        return status;
    }
    oh_numbers(item, &rows, scope, &numbers);
    LITERAL(text, "{\"sku\":");
    oh_text_string(text, item->text, item->text_len);
    render_scope(text, item->shard, scope);
    render_numbers(text, &numbers, style);
    LITERAL(text, ",");
    oh_text_stamp(text, stamp);
    if (style.detail) {
        cells_t cells = {text, item, &rows, style, true};
        render_locations(&cells, scope);
    }
    LITERAL(text, "}");
    oh_rows_done(item, room, &rows);
    return text->failed ? OH_NO_MEMORY : OH_OK;
}
