/* Available units: of one cell, and of a group by a scan of one row.
 *
 * These read the live block and confirm afterwards. A group is a threshold per slot: a cell adds
 * what it has above it, and nothing when it is outside the group (threshold INT32_MAX).
 */
#include "reader/reader.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define OH_AVX2 __attribute__((target("avx2")))
#endif

/* How many SKUs ahead memory is asked for. */
#define AHEAD 16u

/* What the scan compares with. A fused threshold is INT32_MAX outside the group: narrow counters
 * need not ask for membership then. */
typedef struct {
    const int32_t *threshold;
    const int32_t *member;
    uint32_t outside;             /* the slot of "none of these" */
    bool fused;
} sieve_t;

static inline int64_t above(int64_t on_hand, int64_t threshold)
{
    return on_hand > threshold ? on_hand - threshold : 0;
}

static inline uint32_t slot_of_location(uint32_t location, uint32_t outside)
{
    return location < outside ? location : outside;
}

static inline int64_t scan_one(const oh_row_view_t *row, uint32_t cell, const sieve_t *sieve)
{
    uint32_t slot = slot_of_location(oh_race_load_u32(&row->location[cell]), sieve->outside);
    if (sieve->member[slot] == 0)
        return 0;
    return above(oh_cell_get(row, row->on_hand, cell), sieve->threshold[slot]);
}

static int64_t scan_plain(const oh_row_view_t *row, uint32_t cell, const sieve_t *sieve)
{
    int64_t sum = 0;
    for (; cell < row->cell_count; cell++)
        sum += scan_one(row, cell, sieve);
    return sum;
}

#if defined(OH_AVX2)

/* Rows filled in the order of locations are common: then eight thresholds lie side by side. */
OH_AVX2 static inline bool side_by_side(__m256i location, uint32_t first, uint32_t outside)
{
    const __m256i steps = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i run = _mm256_add_epi32(_mm256_set1_epi32((int)first), steps);
    bool same = _mm256_movemask_epi8(_mm256_cmpeq_epi32(location, run)) == -1;
    return same && first < outside && outside - first >= 8;
}

OH_AVX2 static inline __m256i lookup(const int32_t *table, __m256i slot, uint32_t first, bool run)
{
    return run ? _mm256_loadu_si256((const __m256i *)(table + first))
               : _mm256_i32gather_epi32((const int *)table, slot, 4);
}

/* The difference of two int32 where the first is larger fits an unsigned 32-bit lane. */
OH_AVX2 static int64_t scan_avx2(const oh_row_view_t *row, const sieve_t *sieve)
{
    const int32_t *on_hand = row->on_hand;
    const __m256i low = _mm256_set1_epi64x(0xffffffff);
    const __m256i outside = _mm256_set1_epi32((int)sieve->outside);
    __m256i sum = _mm256_setzero_si256();
    uint32_t cell = 0;
    for (; cell + 8 <= row->cell_count; cell += 8) {
        __m256i location = _mm256_loadu_si256((const __m256i *)(row->location + cell));
        uint32_t first = (uint32_t)_mm256_cvtsi256_si32(location);
        bool run = side_by_side(location, first, sieve->outside);
        __m256i slot = _mm256_min_epu32(location, outside);
        __m256i have = _mm256_loadu_si256((const __m256i *)(on_hand + cell));
        __m256i threshold = lookup(sieve->threshold, slot, first, run);
        __m256i mask = _mm256_cmpgt_epi32(have, threshold);
        if (!sieve->fused)
            mask = _mm256_and_si256(mask, lookup(sieve->member, slot, first, run));
        __m256i above = _mm256_and_si256(_mm256_sub_epi32(have, threshold), mask);
        sum = _mm256_add_epi64(sum, _mm256_and_si256(above, low));
        sum = _mm256_add_epi64(sum, _mm256_srli_epi64(above, 32));
    }
    int64_t lanes[4];
    _mm256_storeu_si256((__m256i *)lanes, sum);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3] + scan_plain(row, cell, sieve);
}

static bool has_avx2(void)
{
    static int known; /* 0 not asked yet, 1 no, 2 yes; every thread finds the same */
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == 0) {
        answer = __builtin_cpu_supports("avx2") ? 2 : 1;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == 2;
}

#endif

static int64_t scan(const oh_row_view_t *row, const sieve_t *sieve)
{
#if defined(OH_AVX2) && !defined(__SANITIZE_THREAD__)
    if (!(row->flags & OH_ROW_WIDE) && row->cell_count >= 8 && has_avx2())
        return scan_avx2(row, sieve);
#endif
    return scan_plain(row, 0, sieve);
}

/* What members that have no cell may promise: all may, less those that have one. */
static int64_t negative_missing(const oh_item_t *item, const oh_row_view_t *row,
                                const oh_group_t *group, int64_t total)
{
    uint32_t outside = item->shard->known_count;
    for (uint32_t cell = 0; row != NULL && cell < row->cell_count; cell++) {
        uint32_t slot = slot_of_location(oh_race_load_u32(&row->location[cell]), outside);
        if (group->member[slot] != 0)
            total -= above(0, oh_safety_stock(item, slot));
    }
    return total;
}

static int64_t group_of_row(const oh_item_t *item, const oh_row_view_t *row,
                            const oh_group_t *group)
{
    const oh_shard_t *shard = item->shard;
    sieve_t sieve = {group->threshold, group->member, shard->known_count, true};
    if (item->profile != 0) {
        sieve.threshold = shard->safety + (uint64_t)item->profile * shard->slot_count;
        sieve.fused = false;
    }
    int64_t sum = row == NULL ? 0 : scan(row, &sieve);
    int64_t negative = group->negative_total[item->profile];
    return negative == 0 ? sum : sum + negative_missing(item, row, group, negative);
}

/* The few SKUs with rules of their own take the long way. */
static int64_t group_of_special(const oh_item_t *item, const oh_group_t *group)
{
    const oh_store_t *store = item->shard->store;
    oh_numbers_t numbers;
    oh_row_view_t row;
    do {
        bool exists = item->number != OH_NONE && oh_row_view(store, item->number, &row);
        oh_group_numbers(item, exists ? &row : NULL, group, &numbers);
        if (!exists)
            break;
    } while (!oh_row_confirm(store, item->number, &row));
    return numbers.available;
}

int64_t oh_read_group_available(const oh_item_t *item, const oh_group_t *group)
{
    const oh_store_t *store = item->shard->store;
    if (item->profile >= item->shard->profile_count)
        return group_of_special(item, group);
    if (item->number == OH_NONE)
        return group_of_row(item, NULL, group);
    for (;;) {
        oh_row_view_t row;
        if (!oh_row_view(store, item->number, &row))
            return group_of_row(item, NULL, group);
        int64_t sum = group_of_row(item, &row, group);
        if (oh_row_confirm(store, item->number, &row))
            return sum;
    }
}

int64_t oh_read_cell_available(const oh_item_t *item, uint32_t slot)
{
    const oh_store_t *store = item->shard->store;
    int32_t safety = oh_safety_stock(item, slot);
    if (item->number == OH_NONE || slot >= item->shard->known_count)
        return above(0, safety);
    for (;;) {
        oh_row_view_t row;
        if (!oh_row_view(store, item->number, &row))
            return above(0, safety);
        uint32_t cell = oh_row_find(&row, slot);
        int64_t on_hand = cell == OH_NONE ? 0 : oh_cell_get(&row, row.on_hand, cell);
        if (oh_row_confirm(store, item->number, &row))
            return above(on_hand, safety);
    }
}

static inline oh_item_t item_of(const oh_shard_t *shard, uint32_t sku)
{
    oh_item_t item = {shard, sku, 0, NULL, 0};
    if (shard->profile_of != NULL)
        item.profile = shard->profile_of[sku];
    return item;
}

void oh_read_groups_available(const oh_shard_t *shard, const uint32_t *skus, uint64_t count,
                              uint32_t group, int64_t *available)
{
    uint32_t limit = oh_sku_limit(shard);
    for (uint64_t at = 0; at < count; at++) {
        available[at] = -1;
        if (skus[at] >= limit)
            continue;
        oh_item_t item = item_of(shard, skus[at]);
        available[at] = oh_read_group_available(&item, &shard->groups[group]);
    }
}

void oh_read_cells_available(const oh_shard_t *shard, const uint32_t *skus,
                             const uint32_t *ordinals, uint64_t count, int64_t *available)
{
    uint32_t limit = oh_sku_limit(shard);
    for (uint64_t at = 0; at < count; at++) {
        if (at + 2 * AHEAD < count && skus[at + 2 * AHEAD] < limit)
            __builtin_prefetch(oh_sku_at(shard->store, skus[at + 2 * AHEAD]));
        if (at + AHEAD < count && skus[at + AHEAD] < limit)
            oh_row_prefetch(shard->store, skus[at + AHEAD]);
        available[at] = -1;
        if (skus[at] >= limit || ordinals[at] >= shard->ordinal_count)
            continue;
        oh_item_t item = item_of(shard, skus[at]);
        available[at] = oh_read_cell_available(&item, shard->slot_of[ordinals[at]]);
    }
}
