/* Available units: of one cell, and of a group by a scan of one row.
 *
 * What is promised is few cells of few SKUs, and is taken off the sum of the scan.
 *
 * These read the live block and confirm afterwards. A group is a threshold per slot: a cell adds
 * what it has above it, and nothing when it is outside the group (threshold INT32_MAX).
 */
#include "reader/reader.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define OH_AVX2 __attribute__((target("avx2")))
#endif

/* How many SKUs ahead memory is asked for. */
#define AHEAD 16u
/* How many SKUs are looked up in the demand table together. */
#define BLOCK 64u

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

/* Rows filled in the order of locations are common. */
static inline uint32_t cell_of_slot(const oh_row_view_t *row, uint32_t slot)
{
    if (slot < row->cell_count && oh_race_load_u32(&row->location[slot]) == slot)
        return slot;
    return oh_row_find(row, slot);
}

static inline int64_t on_hand_of_slot(const oh_item_t *item, const oh_row_view_t *row,
                                      uint32_t slot)
{
    bool stored = row != NULL && slot < item->shard->known_count;
    uint32_t cell = stored ? cell_of_slot(row, slot) : OH_NONE;
    return cell == OH_NONE ? 0 : oh_cell_get(row, row->on_hand, cell);
}

/* What promises at a few places take from the sum over a row. */
static int64_t few_take(const oh_item_t *item, const oh_row_view_t *row, const oh_group_t *group,
                        const oh_promised_t *places, uint32_t count)
{
    int64_t taken = 0;
    for (uint32_t at = 0; at < count; at++) {
        uint32_t slot = places[at].slot;
        if (group->member[slot] == 0)
            continue;
        int64_t on_hand = on_hand_of_slot(item, row, slot);
        int64_t safety = oh_safety_stock(item, slot);
        taken += above(on_hand, safety) - above(on_hand, safety + places[at].units);
    }
    return taken;
}

static int64_t group_with_few(const oh_item_t *item, const oh_group_t *group,
                              const oh_promised_t *places, uint32_t count)
{
    const oh_store_t *store = item->shard->store;
    for (;;) {
        oh_row_view_t row;
        bool exists = item->number != OH_NONE && oh_row_view(store, item->number, &row);
        const oh_row_view_t *found = exists ? &row : NULL;
        int64_t sum = group_of_row(item, found, group);
        if (count != 0)
            sum -= few_take(item, found, group, places, count);
        if (!exists || oh_row_confirm(store, item->number, &row))
            return sum;
    }
}

/* SKUs with rules of their own, and those promised at many places, take the long way. */
static int group_by_copy(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                         int64_t *available)
{
    oh_rows_t rows;
    oh_numbers_t numbers;
    int status = oh_rows_read(item, true, room, &rows);
    if (status == OH_OK) {
        oh_group_numbers(item, &rows, group, &numbers);
        *available = numbers.available;
    }
    oh_rows_done(item, room, &rows);
    return status;
}

int oh_read_group_available(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                            int64_t *available)
{
    oh_promised_t places[OH_FEW];
    uint32_t count;
    if (item->profile >= item->shard->profile_count || !oh_promised_few(item, places, &count))
        return group_by_copy(item, group, room, available);
    *available = group_with_few(item, group, places, count);
    return OH_OK;
}

/* ---- every cell of a group ---- */

/* A row as it lies: each cell finds the place of its slot among the members, if it has one. */
static void cells_plain(const oh_row_view_t *row, uint32_t cell, uint32_t end,
                        const oh_group_t *group, const int32_t *safety, uint32_t outside,
                        int64_t *available)
{
    for (; cell < end; cell++) {
        uint32_t slot = slot_of_location(oh_race_load_u32(&row->location[cell]), outside);
        uint32_t place = group->place[slot];
        if (place != OH_NONE)
            available[place] = above(oh_cell_get(row, row->on_hand, cell), safety[slot]);
    }
}

#if defined(OH_AVX2)

/* Rows and members that both follow the order of locations are common: eight cells then give eight
 * neighbours in the answer. Returns the first cell that is left. */
OH_AVX2 static uint32_t cells_avx2(const oh_row_view_t *row, const oh_group_t *group,
                                   const int32_t *safety, uint32_t outside, int64_t *available)
{
    const int32_t *on_hand = row->on_hand;
    uint32_t cell = 0;
    for (; cell + 8 <= row->cell_count; cell += 8) {
        __m256i location = _mm256_loadu_si256((const __m256i *)(row->location + cell));
        uint32_t first = (uint32_t)_mm256_cvtsi256_si32(location);
        uint32_t place = side_by_side(location, first, outside) ? group->place[first] : OH_NONE;
        if (place >= group->member_count
            || !side_by_side(_mm256_loadu_si256((const __m256i *)(group->place + first)), place,
                             group->member_count)) {
            cells_plain(row, cell, cell + 8, group, safety, outside, available);
            continue;
        }
        __m256i have = _mm256_loadu_si256((const __m256i *)(on_hand + cell));
        __m256i threshold = _mm256_loadu_si256((const __m256i *)(safety + first));
        __m256i more = _mm256_cmpgt_epi32(have, threshold);
        __m256i units = _mm256_and_si256(_mm256_sub_epi32(have, threshold), more);
        __m256i low = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(units));
        __m256i high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(units, 1));
        _mm256_storeu_si256((__m256i *)(available + place), low);
        _mm256_storeu_si256((__m256i *)(available + place + 4), high);
    }
    return cell;
}

#endif

static void cells_of_row(const oh_item_t *item, const oh_row_view_t *row, const oh_group_t *group,
                         int64_t *available)
{
    const oh_shard_t *shard = item->shard;
    const int32_t *safety = shard->safety + (uint64_t)item->profile * shard->slot_count;
    uint32_t cell = 0;
#if defined(OH_AVX2) && !defined(__SANITIZE_THREAD__)
    if (!(row->flags & OH_ROW_WIDE) && has_avx2())
        cell = cells_avx2(row, group, safety, shard->known_count, available);
#endif
    cells_plain(row, cell, row->cell_count, group, safety, shard->known_count, available);
}

/* Places with promises are few: each is read once more, with its promises taken off. */
static void cells_promised(const oh_item_t *item, const oh_row_view_t *row,
                           const oh_group_t *group, const oh_promised_t *places, uint32_t count,
                           int64_t *available)
{
    for (uint32_t at = 0; at < count; at++) {
        uint32_t slot = places[at].slot, place = group->place[slot];
        if (place != OH_NONE)
            available[place] = above(on_hand_of_slot(item, row, slot),
                                     oh_safety_stock(item, slot) + places[at].units);
    }
}

static void cells_with_few(const oh_item_t *item, const oh_group_t *group,
                           const oh_promised_t *places, uint32_t count, int64_t *available)
{
    const oh_store_t *store = item->shard->store;
    for (;;) {
        oh_row_view_t row;
        bool exists = item->number != OH_NONE && oh_row_view(store, item->number, &row);
        memset(available, 0, group->member_count * sizeof *available);
        if (exists)
            cells_of_row(item, &row, group, available);
        cells_promised(item, exists ? &row : NULL, group, places, count, available);
        if (!exists || oh_row_confirm(store, item->number, &row))
            return;
    }
}

static void balance_add(const oh_item_t *item, const oh_rows_t *rows, int64_t *balance)
{
    const oh_row_view_t *supply = rows->supply, *demand = rows->demand;
    uint32_t outside = item->shard->known_count;
    for (uint32_t cell = 0; demand != NULL && cell < demand->cell_count; cell++)
        balance[oh_demand_slot(item->shard, demand->location[cell])] -=
            oh_cell_get(demand, demand->on_hand, cell);
    for (uint32_t cell = 0; supply != NULL && cell < supply->cell_count; cell++)
        balance[slot_of_location(supply->location[cell], outside)] +=
            oh_cell_get(supply, supply->on_hand, cell);
}

static void balance_clear(const oh_item_t *item, const oh_rows_t *rows, int64_t *balance)
{
    const oh_row_view_t *supply = rows->supply, *demand = rows->demand;
    uint32_t outside = item->shard->known_count;
    for (uint32_t cell = 0; demand != NULL && cell < demand->cell_count; cell++)
        balance[oh_demand_slot(item->shard, demand->location[cell])] = 0;
    for (uint32_t cell = 0; supply != NULL && cell < supply->cell_count; cell++)
        balance[slot_of_location(supply->location[cell], outside)] = 0;
}

/* SKUs with rules of their own, those promised at many places, and members that may promise what
 * they do not have take the long way. */
static int cells_by_copy(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                         int64_t *available)
{
    const oh_shard_t *shard = item->shard;
    oh_rows_t rows;
    int status = oh_rows_read(item, false, room, &rows);
    if (status == OH_OK)
        status = oh_room_slots(room, shard->slot_count);
    if (status != OH_OK)
        return status;
    balance_add(item, &rows, room->by_slot);
    bool plain = item->profile < shard->profile_count;
    const int32_t *safety = shard->safety + (plain ? item->profile : 0) * (uint64_t)shard->slot_count;
    for (uint32_t at = 0; at < group->member_count; at++) {
        uint32_t slot = group->slots[at];
        int64_t threshold = plain ? safety[slot] : oh_safety_stock(item, slot);
        available[at] = above(room->by_slot[slot], threshold);
    }
    balance_clear(item, &rows, room->by_slot);
    return OH_OK;
}

int oh_read_group_cells(const oh_item_t *item, const oh_group_t *group, oh_room_t *room,
                        int64_t *available)
{
    oh_promised_t places[OH_FEW];
    uint32_t count;
    if (item->profile >= item->shard->profile_count || group->negative_total[item->profile] != 0
        || !oh_promised_few(item, places, &count))
        return cells_by_copy(item, group, room, available);
    cells_with_few(item, group, places, count, available);
    return OH_OK;
}

/* ---- one cell ---- */

static inline int64_t cell_on_hand(const oh_item_t *item, uint32_t slot)
{
    const oh_store_t *store = item->shard->store;
    if (item->number == OH_NONE || slot >= item->shard->known_count)
        return 0;
    for (;;) {
        oh_row_view_t row;
        if (!oh_row_view(store, item->number, &row))
            return 0;
        uint32_t cell = oh_row_find(&row, slot);
        int64_t on_hand = cell == OH_NONE ? 0 : oh_cell_get(&row, row.on_hand, cell);
        if (oh_row_confirm(store, item->number, &row))
            return on_hand;
    }
}

oh_terms_t oh_read_cell(const oh_item_t *item, uint32_t slot)
{
    oh_terms_t terms;
    terms.reserved = oh_promised_at(item, slot);
    terms.on_hand = cell_on_hand(item, slot);
    terms.safety_stock = oh_safety_stock(item, slot);
    return terms;
}

int64_t oh_read_cell_available(const oh_item_t *item, uint32_t slot)
{
    int64_t threshold = oh_safety_stock(item, slot) + oh_promised_at(item, slot);
    return above(cell_on_hand(item, slot), threshold);
}

/* ---- by number ---- */

static inline oh_item_t item_of(const oh_shard_t *shard, uint32_t sku)
{
    oh_item_t item = {shard, sku, 0, OH_NONE, NULL, 0};
    if (shard->profile_of != NULL)
        item.profile = shard->profile_of[sku];
    return item;
}

int oh_read_groups_available(const oh_shard_t *shard, const uint32_t *skus, uint64_t count,
                             uint32_t group, int64_t *available)
{
    uint32_t limit = oh_sku_limit(shard);
    oh_room_t room = {0};
    int status = OH_OK;
    for (uint64_t at = 0; at < count && status == OH_OK; at++) {
        available[at] = -1;
        if (skus[at] >= limit)
            continue;
        oh_item_t item = item_of(shard, skus[at]);
        oh_promised_find_many(shard, &skus[at], 1, &item.promised);
        status = oh_read_group_available(&item, &shard->groups[group], &room, &available[at]);
    }
    oh_room_free(&room);
    return status;
}

/* Unknown SKUs stand for SKU 0, whose promises nobody then asks for. */
static void promised_block(const oh_shard_t *shard, const uint32_t *skus, uint32_t count,
                           uint32_t limit, uint32_t *promised)
{
    uint32_t known[BLOCK];
    if (limit == 0 || !oh_demand_any(shard)) {
        for (uint32_t at = 0; at < count; at++)
            promised[at] = OH_NONE;
        return;
    }
    for (uint32_t at = 0; at < count; at++)
        known[at] = skus[at] < limit ? skus[at] : 0;
    oh_promised_find_many(shard, known, count, promised);
}

void oh_read_cells_available(const oh_shard_t *shard, const uint32_t *skus,
                             const uint32_t *ordinals, uint64_t count, int64_t *available)
{
    uint32_t limit = oh_sku_limit(shard);
    uint32_t promised[BLOCK];
    for (uint64_t at = 0; at < count; at++) {
        if (at % BLOCK == 0)
            promised_block(shard, skus + at, count - at < BLOCK ? (uint32_t)(count - at) : BLOCK,
                           limit, promised);
        if (at + 2 * AHEAD < count && skus[at + 2 * AHEAD] < limit)
            __builtin_prefetch(oh_sku_at(shard->store, skus[at + 2 * AHEAD]));
        if (at + AHEAD < count && skus[at + AHEAD] < limit)
            oh_row_prefetch(shard->store, skus[at + AHEAD]);
        available[at] = -1;
        if (skus[at] >= limit || ordinals[at] >= shard->ordinal_count)
            continue;
        oh_item_t item = item_of(shard, skus[at]);
        item.promised = promised[at % BLOCK];
        available[at] = oh_read_cell_available(&item, shard->slot_of[ordinals[at]]);
    }
}
