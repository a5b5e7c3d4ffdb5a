/* Hashes whose values are stored on disk and decide which shard owns a SKU: never change one
 * without a new checkpoint format. Built on the folded 64x64 -> 128 bit multiply.
 */
#ifndef ONHAND_HASH_H
#define ONHAND_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define OH_HASH_SEED_SKU 0x9e3779b97f4a7c15ULL
#define OH_HASH_SEED_ID_HI 0xd1b54a32d192ed03ULL
#define OH_HASH_SEED_ID_LO 0x8cb92ba72f3d8dd7ULL

/* SKUs fall into this many fixed buckets; a shard owns a range of them. */
#define OH_BUCKET_COUNT 4096u

static inline uint64_t oh_fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t oh_load64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* Any length, any bytes, no alignment. About 4 ns for 16 bytes. */
static inline uint64_t oh_hash_bytes(const uint8_t *bytes, size_t length, uint64_t seed)
{
    uint64_t state = seed ^ oh_fold(length ^ 0xa0761d6478bd642fULL, 0xe7037ed1a0b428dbULL);
    while (length >= 16) {
        state = oh_fold(oh_load64(bytes) ^ 0x8ebc6af09c88c6e3ULL, oh_load64(bytes + 8) ^ state);
        bytes += 16;
        length -= 16;
    }
    uint8_t tail[16] = {0};
    memcpy(tail, bytes, length);
    state = oh_fold(oh_load64(tail) ^ 0x589965cc75374cc3ULL, oh_load64(tail + 8) ^ state);
    return oh_fold(state ^ 0x1d8e4e27c47d124fULL, state + 0x2545f4914f6cdd1dULL);
}

/* The fingerprint of (source, id), which stand one directly after the other. The length of the
 * source is part of it, so that ("a", "bc") and ("ab", "c") differ. */
static inline uint64_t oh_hash_id(const uint8_t *source_and_id, size_t source_len, size_t id_len,
                                  uint64_t seed)
{
    return oh_hash_bytes(source_and_id, source_len + id_len,
                         seed ^ (source_len * 0x9fb21c651e98df25ULL));
}

static inline uint32_t oh_bucket_of(uint64_t sku_hash)
{
    return (uint32_t)(sku_hash >> 52); /* the top 12 bits: 4096 buckets */
}

static inline uint32_t oh_shard_of(uint64_t sku_hash, uint32_t shard_count)
{
    return oh_bucket_of(sku_hash) * shard_count / OH_BUCKET_COUNT;
}

#endif
