/* Rows of units to bit sets of places. */
#include "sourcing/sourcing.h"

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2"))) static uint64_t word_avx2(const int64_t *row, int64_t threshold)
{
    const __m256i below = _mm256_set1_epi64x(threshold - 1);
    uint64_t word = 0;
    for (int at = 0; at < 64; at += 4) {
        __m256i units = _mm256_loadu_si256((const __m256i *)(row + at));
        __m256i more = _mm256_cmpgt_epi64(units, below);
        word |= (uint64_t)_mm256_movemask_pd(_mm256_castsi256_pd(more)) << at;
    }
    return word;
}

__attribute__((target("avx2"))) static uint32_t whole_words(const int64_t *row, uint32_t count,
                                                            int64_t threshold, uint64_t *bits)
{
    uint32_t at = 0;
    for (; at + 64 <= count; at += 64)
        bits[at / 64] = word_avx2(row + at, threshold);
    return at;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
#else
static uint32_t whole_words(const int64_t *row, uint32_t count, int64_t threshold, uint64_t *bits)
{
    (void)row, (void)count, (void)threshold, (void)bits;
    return 0;
}

static bool has_avx2(void)
{
    return false;
}
#endif

void oh_bits_at_least(const int64_t *row, uint32_t count, int64_t threshold, uint64_t *bits)
{
    uint32_t at = has_avx2() ? whole_words(row, count, threshold, bits) : 0;
    for (; at < count; at += 64) {
        uint32_t left = count - at < 64 ? count - at : 64;
        uint64_t word = 0;
        for (uint32_t bit = 0; bit < left; bit++)
            word |= (uint64_t)(row[at + bit] >= threshold) << bit;
        bits[at / 64] = word;
    }
}
