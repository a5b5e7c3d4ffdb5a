/* The rarer half of the scanner; read json.h first. */
#include "decode/json.h"

/* Length of the well-formed UTF-8 sequence at `at` (Unicode 15, table 3-7), 0 when it is none. The
 * NUL at the end of the buffer is no continuation byte, so this never reads past it. */
static unsigned utf8_length(const uint8_t *at, uint32_t *character)
{
    uint8_t lead = at[0];
    if (lead < 0x80) {
        *character = lead;
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4 || (at[1] & 0xc0) != 0x80) return 0;
    if (lead < 0xe0) {
        *character = (uint32_t)(lead & 0x1f) << 6 | (at[1] & 0x3f);
        return 2;
    }
    if ((at[2] & 0xc0) != 0x80) return 0;
    if (lead < 0xf0) {
        *character = (uint32_t)(lead & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
        bool surrogate = *character >= 0xd800 && *character <= 0xdfff;
        return *character >= 0x800 && !surrogate ? 3 : 0;
    }
    if ((at[3] & 0xc0) != 0x80) return 0;
    *character = (uint32_t)(lead & 0x07) << 18 | (uint32_t)(at[1] & 0x3f) << 12 |
                 (uint32_t)(at[2] & 0x3f) << 6 | (at[3] & 0x3f);
    return *character >= 0x10000 && *character <= 0x10ffff ? 4 : 0;
}

/* Ranges in which every code point has been an assigned, printable character for long, so that it
 * is one in every Unicode version a Python may carry. Others are left to Python. */
static bool is_surely_printable(uint32_t character)
{
    static const uint32_t ranges[][2] = {
        {0x20, 0x7e},     {0xa1, 0xac},     {0xae, 0x24f},    {0x391, 0x3a1}, {0x3a3, 0x3ff},
        {0x400, 0x482},   {0x48a, 0x4ff},   {0x5d0, 0x5ea},   {0x621, 0x64a}, {0xe01, 0xe3a},
        {0x3041, 0x3096}, {0x30a1, 0x30fa}, {0x4e00, 0x9fa5}, {0xac00, 0xd7a3},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (character <= ranges[i][1]) return character >= ranges[i][0];
    }
    return false;
}

static bool hex4(const uint8_t *at, uint32_t *value)
{
    uint32_t total = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t byte = at[i];
        uint32_t digit;
        if ((uint8_t)(byte - '0') <= 9) digit = (uint32_t)(byte - '0');
        else if ((uint8_t)((byte | 0x20) - 'a') <= 5) digit = (uint32_t)((byte | 0x20) - 'a') + 10;
        else return false;
        total = total << 4 | digit;
    }
    *value = total;
    return true;
}

/* The character of an escape, 0 for those left to Python (surrogates, NUL) and for errors. */
static uint32_t escaped(const uint8_t *at, unsigned *length)
{
    uint32_t character = 0;
    *length = 2;
    switch (at[1]) {
    case '"': case '\\': case '/': return at[1];
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'u': break;
    default: return 0;
    }
    *length = 6;
    if (!hex4(at + 2, &character)) return 0;
    return character >= 0xd800 && character <= 0xdfff ? 0 : character;
}

/* An escape of six bytes makes three at most, so unescaped text is never longer than its source. */
static uint8_t *put_utf8(uint8_t *to, uint32_t character)
{
    if (character < 0x80) {
        *to++ = (uint8_t)character;
    } else if (character < 0x800) {
        *to++ = (uint8_t)(0xc0 | character >> 6);
        *to++ = (uint8_t)(0x80 | (character & 0x3f));
    } else {
        *to++ = (uint8_t)(0xe0 | character >> 12);
        *to++ = (uint8_t)(0x80 | (character >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (character & 0x3f));
    }
    return to;
}

bool oh_json_text_slow(oh_cursor_t *cursor, const uint8_t *start, oh_text_t *text)
{
    const uint8_t *at = start;
    uint8_t *to = cursor->scratch;
    text->bytes = to;
    text->characters = 0;
    text->printable = true;
    while (*at != '"') {
        uint32_t character;
        unsigned length;
        if (*at == '\\') {
            character = escaped(at, &length);
            if (character == 0) return false;
            to = put_utf8(to, character);
        } else {
            length = utf8_length(at, &character);
            if (length == 0 || character < 0x20) return false;
            memcpy(to, at, length);
            to += length;
        }
        at += length;
        text->characters++;
        text->printable = text->printable && is_surely_printable(character);
    }
    text->length = (uint32_t)(to - cursor->scratch);
    cursor->scratch = to;
    cursor->at = at + 1;
    return true;
}

/* At most 17 digits and a two-digit exponent: what no parser finds out of range. */
static bool skip_number(oh_cursor_t *cursor)
{
    const uint8_t *at = cursor->at;
    at += *at == '-';
    const uint8_t *start = at;
    while ((uint8_t)(*at - '0') <= 9) at++;
    if (at == start || (*start == '0' && at - start > 1)) return false;
    if (*at == '.') {
        const uint8_t *fraction = ++at;
        while ((uint8_t)(*at - '0') <= 9) at++;
        if (at == fraction) return false;
    }
    if (at - start > 18) return false;
    if ((*at | 0x20) == 'e') {
        at++;
        at += *at == '+' || *at == '-';
        const uint8_t *exponent = at;
        while ((uint8_t)(*at - '0') <= 9) at++;
        if (at == exponent || at - exponent > 2) return false;
    }
    cursor->at = at;
    return true;
}

static bool skip_word(oh_cursor_t *cursor, const char *word, size_t length)
{
    if ((size_t)(cursor->end - cursor->at) < length) return false;
    if (memcmp(cursor->at, word, length) != 0) return false;
    cursor->at += length;
    return true;
}

static bool skip_text(oh_cursor_t *cursor)
{
    oh_text_t text;
    uint8_t *scratch = cursor->scratch;
    cursor->at++;
    bool ok = oh_json_text(cursor, &text);
    cursor->scratch = scratch; /* nobody keeps it */
    return ok;
}

static bool skip_array(oh_cursor_t *cursor, int depth)
{
    cursor->at++;
    if (oh_json_take(cursor, ']')) return true;
    do {
        oh_json_space(cursor);
        if (!oh_json_skip(cursor, depth + 1)) return false;
    } while (oh_json_take(cursor, ','));
    return oh_json_take(cursor, ']');
}

static bool skip_object(oh_cursor_t *cursor, int depth)
{
    cursor->at++;
    if (oh_json_take(cursor, '}')) return true;
    do {
        oh_json_space(cursor);
        if (*cursor->at != '"' || !skip_text(cursor) || !oh_json_take(cursor, ':')) return false;
        oh_json_space(cursor);
        if (!oh_json_skip(cursor, depth + 1)) return false;
    } while (oh_json_take(cursor, ','));
    return oh_json_take(cursor, '}');
}

bool oh_json_skip(oh_cursor_t *cursor, int depth)
{
    if (depth > OH_JSON_DEPTH_MAX) return false;
    switch (*cursor->at) {
    case '"': return skip_text(cursor);
    case '{': return skip_object(cursor, depth);
    case '[': return skip_array(cursor, depth);
    case 't': return skip_word(cursor, "true", 4);
    case 'f': return skip_word(cursor, "false", 5);
    case 'n': return skip_word(cursor, "null", 4);
    default: return skip_number(cursor);
    }
}
