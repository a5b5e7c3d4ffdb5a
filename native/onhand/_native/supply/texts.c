/* Pairs of strings that counts and purchase orders refer to, in blocks of 16-byte units.
 *
 * A block lives as long as something refers to it; freed ones are chained by size, through refs.
 */
#include "supply/supply.h"

#include <string.h>

static uint32_t block_units(uint32_t first_len, uint32_t second_len)
{
    return (uint32_t)(sizeof(oh_text_t) + first_len + second_len + OH_TEXT_UNIT - 1) / OH_TEXT_UNIT;
}

int oh_texts_open(oh_texts_t *texts)
{
    if (texts->used_bytes == 0)
        texts->used_bytes = OH_TEXT_UNIT; /* number 0 is no text */
    return oh_region_grow(&texts->region, texts->used_bytes);
}

static int block_take(oh_texts_t *texts, uint32_t units, uint32_t *number)
{
    *number = texts->free_list[units];
    if (*number != OH_NO_TEXT) {
        texts->free_list[units] = oh_text_at(texts, *number)->refs;
        return OH_OK;
    }
    uint64_t end = texts->used_bytes + (uint64_t)units * OH_TEXT_UNIT;
    if (end / OH_TEXT_UNIT > UINT32_MAX)
        return OH_NO_MEMORY;
    int status = oh_region_grow(&texts->region, end);
    if (status != OH_OK)
        return status;
    *number = (uint32_t)(texts->used_bytes / OH_TEXT_UNIT);
    texts->used_bytes = end;
    return OH_OK;
}

int oh_texts_add(oh_texts_t *texts, const uint8_t *bytes, uint16_t first_len, uint16_t second_len,
                 uint32_t *number)
{
    OH_INVARIANT(first_len <= OH_TEXT_PAIR_MAX && second_len <= OH_TEXT_PAIR_MAX,
                 "texts were measured by the check of the batch");
    int status = block_take(texts, block_units(first_len, second_len), number);
    if (status != OH_OK)
        return status;
    oh_text_t *text = oh_text_at(texts, *number);
    text->refs = 0;
    text->first_len = first_len;
    text->second_len = second_len;
    memcpy(text->bytes, bytes, (size_t)first_len + second_len);
    return OH_OK;
}

void oh_texts_free(oh_texts_t *texts, uint32_t number)
{
    oh_text_t *text = oh_text_at(texts, number);
    uint32_t units = block_units(text->first_len, text->second_len);
    text->refs = texts->free_list[units];
    texts->free_list[units] = number;
}

static int compare(const uint8_t *left, uint16_t left_len, const uint8_t *right, uint16_t right_len)
{
    int order = memcmp(left, right, left_len < right_len ? left_len : right_len);
    return order != 0 ? order : (int)left_len - (int)right_len;
}

int oh_text_order(const oh_text_t *text, const uint8_t *bytes, uint16_t first_len,
                  uint16_t second_len)
{
    int order = compare(bytes, first_len, text->bytes, text->first_len);
    if (order == 0)
        order = compare(bytes + first_len, second_len, text->bytes + text->first_len,
                        text->second_len);
    return order;
}
