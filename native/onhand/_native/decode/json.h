/* A strict JSON scanner (RFC 8259) that makes nothing: it moves a cursor and cuts slices.
 *
 * It reads a buffer that ends in a NUL byte which is not part of the text (bytes objects do), so a
 * scan needs no check of the end: NUL is no JSON, every scan stops at it. Whatever is rare or
 * doubtful stops the scan as well, and the caller hands the whole event to Python. So every
 * function here may say no to valid text; none may say yes to text that a strict parser refuses.
 */
#ifndef ONHAND_DECODE_JSON_H
#define ONHAND_DECODE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define OH_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define OH_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define OH_JSON_DEPTH_MAX 32

typedef struct {
    const uint8_t *at;   /* next byte */
    const uint8_t *end;  /* the NUL */
    uint8_t *scratch;    /* room for unescaped strings: at least as long as the text */
} oh_cursor_t;

typedef struct {
    const uint8_t *bytes;
    uint32_t length;     /* in bytes */
    uint32_t characters; /* code points */
    bool printable;      /* false: not certain that every character is */
} oh_text_t;

/* json.c: strings with escapes or beyond ASCII; text->bytes may point into scratch. */
bool oh_json_text_slow(oh_cursor_t *cursor, const uint8_t *start, oh_text_t *text);
/* json.c: any one value, checked and left behind. */
bool oh_json_skip(oh_cursor_t *cursor, int depth);

static inline void oh_json_space(oh_cursor_t *cursor)
{
    while (OH_UNLIKELY(*cursor->at <= ' ')) {
        uint8_t byte = *cursor->at;
        if (byte != ' ' && byte != '\n' && byte != '\r' && byte != '\t') return;
        cursor->at++;
    }
}

/* The next byte after space, passed when it is the wanted one. */
static inline bool oh_json_take(oh_cursor_t *cursor, uint8_t wanted)
{
    oh_json_space(cursor);
    if (OH_UNLIKELY(*cursor->at != wanted)) return false;
    cursor->at++;
    return true;
}

/* Bytes of a string that mean themselves: printable ASCII but the quote and the backslash. */
static inline bool oh_json_is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/* The first byte from `at` that is not plain. */
static inline const uint8_t *oh_json_plain_end(const uint8_t *at, const uint8_t *end)
{
#ifdef __SSE2__
    while (OH_LIKELY(end - at >= 16)) {
        __m128i chunk = _mm_loadu_si128((const __m128i *)at);
        /* Signed: bytes from 0x80 on are negative, so below the space too. */
        __m128i odd = _mm_cmplt_epi8(chunk, _mm_set1_epi8(0x20));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(chunk, _mm_set1_epi8('"')));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(chunk, _mm_set1_epi8('\\')));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(chunk, _mm_set1_epi8(0x7f)));
        unsigned mask = (unsigned)_mm_movemask_epi8(odd);
        if (mask) return at + __builtin_ctz(mask);
        at += 16;
    }
#endif
    while (at < end && oh_json_is_plain(*at)) at++;
    return at;
}

/* A string; the cursor stands after its opening quote. */
static inline bool oh_json_text(oh_cursor_t *cursor, oh_text_t *text)
{
    const uint8_t *start = cursor->at;
    const uint8_t *stop = oh_json_plain_end(start, cursor->end);
    if (OH_UNLIKELY(*stop != '"')) return oh_json_text_slow(cursor, start, text);
    text->bytes = start;
    text->length = text->characters = (uint32_t)(stop - start);
    text->printable = true;
    cursor->at = stop + 1;
    return true;
}

/* An integer of at most ten digits, written as one: no fraction, no exponent, no leading zero. */
static inline bool oh_json_int(oh_cursor_t *cursor, int64_t *value)
{
    const uint8_t *at = cursor->at;
    bool negative = *at == '-';
    at += negative;
    const uint8_t *digits = at;
    int64_t total = 0;
    while ((uint8_t)(*at - '0') <= 9 && at - digits < 10) total = total * 10 + (*at++ - '0');
    if (OH_UNLIKELY(at == digits)) return false;
    if (OH_UNLIKELY(*digits == '0' && at - digits > 1)) return false;
    if (OH_UNLIKELY((uint8_t)(*at - '0') <= 9 || *at == '.' || (*at | 0x20) == 'e')) return false;
    *value = negative ? -total : total;
    cursor->at = at;
    return true;
}

#endif
