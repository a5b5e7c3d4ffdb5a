/* The limits that applying is measured against, compiled by bench_apply.py on the machine it runs on.
 *
 * plain_apply is what any table must do for a movement and nothing more: one lookup of the SKU's 64-bit
 * hash, one store into its cell of 64 bits. Both misses are prefetched, as a careful loop would.
 */
#include <stdint.h>

#include "onhand/hash.h"

#define AHEAD_SLOT 48
#define AHEAD_CELL 24

typedef struct {
    uint64_t key;                 /* 0: empty */
    uint64_t row;
} slot_t;

static inline uint64_t find(const slot_t *slots, uint64_t mask, uint64_t key)
{
    uint64_t at = key & mask;
    while (slots[at].key != key)
        at = (at + 1) & mask;
    return slots[at].row;
}

/* Fills slots, zeroed, with keys that are all different and not 0; row n for the nth. */
void plain_fill(slot_t *slots, uint64_t mask, const uint64_t *keys, uint64_t count)
{
    for (uint64_t row = 0; row < count; row++) {
        uint64_t at = keys[row] & mask;
        while (slots[at].key != 0)
            at = (at + 1) & mask;
        slots[at] = (slot_t){keys[row], row};
    }
}

void plain_apply(const slot_t *slots, uint64_t mask, int64_t *cells, uint64_t width,
                 const uint64_t *key, const uint32_t *location, const int32_t *delta, uint64_t count)
{
    for (uint64_t at = 0; at < count; at++) {
        if (at + AHEAD_SLOT < count)
            __builtin_prefetch(&slots[key[at + AHEAD_SLOT] & mask]);
        if (at + AHEAD_CELL < count) {
            uint64_t row = find(slots, mask, key[at + AHEAD_CELL]);
            __builtin_prefetch(&cells[row * width + location[at + AHEAD_CELL]], 1);
        }
        cells[find(slots, mask, key[at]) * width + location[at]] += delta[at];
    }
}

/* Hashes of names of one width, as decoding gives them to a batch. */
void name_hashes(const uint8_t *names, uint64_t width, uint64_t count, uint64_t *hashes)
{
    for (uint64_t at = 0; at < count; at++)
        hashes[at] = oh_hash_bytes(names + at * width, width, OH_HASH_SEED_SKU);
}
