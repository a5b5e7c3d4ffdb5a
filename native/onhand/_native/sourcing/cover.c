/* The exact search for the fewest places that give everything, and the greedy one beyond it. */
#include "sourcing/sourcing.h"

#include <string.h>

/* Thresholds of one item whose bit sets are kept; wants up to this many units never collide. */
#define SLOTS 8u
#define DEPTH OH_SOURCE_EXACT_PACKAGES

typedef struct {                  /* one level of the search: what holds before its place is chosen */
    uint64_t *allowed;            /* positions not forbidden */
    uint64_t *candidates;
    uint64_t need;                /* items that something is missing of */
    int64_t rest[OH_SOURCE_EXACT_ITEMS]; /* how much, where needed */
    double missing;               /* sum over items of the share that is missing */
    oh_key_t key;                 /* sum of what is chosen above */
} level_t;

typedef struct {
    const oh_shared_t *shared;
    oh_covers_t *covers;
    uint32_t packages;
    level_t level[DEPTH];
    uint32_t chosen[DEPTH];
    double most[DEPTH + 1];       /* the most shares that so many places can give */
    uint64_t *kept;               /* [items][SLOTS][words] */
    int64_t *kept_threshold;      /* [items][SLOTS], 0: none yet */
} search_t;

size_t oh_cover_bytes(uint32_t items, uint32_t places)
{
    size_t words = oh_words(places);
    size_t searched = items > OH_SOURCE_EXACT_ITEMS ? 0 : items;
    size_t kept = searched * SLOTS * (words + 1) * 8;
    size_t sets = 2 * DEPTH * (words * 8 + 64);
    size_t greedy = (size_t)places * 16 + (size_t)items * 8;
    return kept + sets + greedy + 512;
}

static inline uint32_t lowest(uint64_t bits)
{
    return (uint32_t)__builtin_ctzll(bits);
}

/* Positions that have at least so much of an item. Valid until the next but SLOTS - 1 of that item. */
static const uint64_t *at_least(search_t *search, uint32_t item, int64_t threshold)
{
    const oh_shared_t *shared = search->shared;
    size_t slot = item * SLOTS + ((uint64_t)threshold & (SLOTS - 1));
    uint64_t *bits = search->kept + slot * shared->words;
    if (search->kept_threshold[slot] != threshold) {
        oh_bits_at_least(shared->by_item + (size_t)item * shared->stride, 64 * shared->words,
                         threshold, bits);
        search->kept_threshold[slot] = threshold;
        search->covers->work += 16 * (uint64_t)shared->words;
    }
    return bits;
}

/* ------------------------------------------------------------------ the list of the best */

static int cover_compare(const oh_cover_t *one, const oh_cover_t *other)
{
    if (one->packages != other->packages)
        return one->packages < other->packages ? -1 : 1;
    int order = oh_key_compare(&one->key, &other->key);
    for (uint32_t at = 0; order == 0 && at < one->packages; at++)
        order = (one->position[at] > other->position[at]) -
                (one->position[at] < other->position[at]);
    return order;
}

static inline bool is_full(const oh_covers_t *covers)
{
    return covers->count == covers->room;
}

/* Whether any set of this size and at least this key could not enter the list. */
static inline bool is_hopeless(const oh_covers_t *covers, uint32_t packages, const oh_key_t *key)
{
    if (!is_full(covers))
        return false;
    const oh_cover_t *worst = &covers->cover[covers->count - 1];
    return packages > worst->packages || oh_key_compare(key, &worst->key) > 0;
}

static bool covers_insert(oh_covers_t *covers, const oh_cover_t *cover)
{
    uint32_t at = covers->count;
    if (is_full(covers) && cover_compare(cover, &covers->cover[--at]) >= 0)
        return false;
    for (; at > 0 && cover_compare(cover, &covers->cover[at - 1]) < 0; at--)
        covers->cover[at] = covers->cover[at - 1];
    covers->cover[at] = *cover;
    if (covers->count == 0)
        oh_covers_found(covers);
    covers->count += !is_full(covers);
    return true;
}

/* Whether every item is given in full without one of the positions. */
static bool gives_without(const oh_shared_t *shared, const uint32_t *position, uint32_t count,
                          uint32_t without)
{
    for (uint32_t item = 0; item < shared->items; item++) {
        int64_t rest = shared->want[item];
        for (uint32_t at = 0; at < count; at++)
            if (at != without)
                rest -= shared->by_place[(size_t)position[at] * shared->items + item];
        if (rest > 0)
            return false;
    }
    return true;
}

static bool is_superfluous(const search_t *search, const oh_cover_t *cover)
{
    /* No smaller set exists below the first size that was found, and places that have everything
     * are not among the positions: so neither do pairs. */
    if (cover->packages == search->covers->packages_first || cover->packages <= 2)
        return false;
    for (uint32_t at = 0; at < cover->packages; at++)
        if (gives_without(search->shared, cover->position, cover->packages, at))
            return true;
    return false;
}

/* Adds the chosen positions and one more. Returns false when no later one could enter the list. */
static bool complete(search_t *search, const oh_key_t *above, uint32_t last)
{
    oh_cover_t cover = {.packages = search->packages};
    cover.key = oh_key_add(*above, &search->shared->key[last], 1);
    search->covers->work += 8;
    if (is_hopeless(search->covers, cover.packages, &cover.key))
        return false;
    uint32_t filled = 0;
    for (; filled + 1 < cover.packages; filled++) {
        uint32_t at = filled;
        for (; at > 0 && cover.position[at - 1] > search->chosen[filled]; at--)
            cover.position[at] = cover.position[at - 1];
        cover.position[at] = search->chosen[filled];
    }
    for (; filled > 0 && cover.position[filled - 1] > last; filled--)
        cover.position[filled] = cover.position[filled - 1];
    cover.position[filled] = last;
    return is_superfluous(search, &cover) || covers_insert(search->covers, &cover);
}

/* ------------------------------------------------------------------ the levels */

/* The last place must give all that is missing: AND of one bit set an item, best rank first. */
static void finish(search_t *search, const level_t *level)
{
    const oh_shared_t *shared = search->shared;
    const uint64_t *sets[OH_SOURCE_EXACT_ITEMS];
    uint32_t set_count = 0;
    for (uint64_t need = level->need; need != 0; need &= need - 1) {
        uint32_t item = lowest(need);
        sets[set_count++] = at_least(search, item, level->rest[item]);
    }
    for (uint32_t word = 0; word < shared->words; word++) {
        uint64_t bits = level->allowed[word];
        if (bits != 0 && is_full(search->covers)) {
            oh_key_t bound = oh_key_add(level->key, &shared->key[64 * word], 1);
            if (is_hopeless(search->covers, search->packages, &bound))
                return;
        }
        uint32_t at = 0;
        for (; at < set_count && bits != 0; at++)
            bits &= sets[at][word];
        search->covers->work += 1 + at;
        for (; bits != 0; bits &= bits - 1)
            if (!complete(search, &level->key, 64 * word + lowest(bits)))
                return;
    }
}

/* Puts the candidates for the item that the fewest can give a `left`-th of into the level. */
static uint32_t branch(search_t *search, level_t *level, uint32_t left)
{
    const oh_shared_t *shared = search->shared;
    uint32_t fewest = UINT32_MAX, chosen = 0;
    for (uint64_t need = level->need; need != 0 && fewest != 0; need &= need - 1) {
        uint32_t item = lowest(need), count = 0;
        const uint64_t *bits = at_least(search, item, (level->rest[item] + left - 1) / left);
        for (uint32_t word = 0; word < shared->words; word++)
            count += (uint32_t)__builtin_popcountll(bits[word] & level->allowed[word]);
        search->covers->work += 2 * (uint64_t)shared->words;
        if (count < fewest)
            fewest = count, chosen = item;
    }
    const uint64_t *bits = at_least(search, chosen, (level->rest[chosen] + left - 1) / left);
    for (uint32_t word = 0; word < shared->words; word++)
        level->candidates[word] = bits[word] & level->allowed[word];
    return fewest;
}

/* What is missing once a position gives all it has. */
static void give(const oh_shared_t *shared, const level_t *level, uint32_t position, level_t *below)
{
    const int64_t *units = shared->by_place + (size_t)position * shared->items;
    below->need = level->need & ~shared->full[position];
    below->missing = 0;
    for (uint64_t need = below->need; need != 0; need &= need - 1) {
        uint32_t item = lowest(need);
        below->rest[item] = level->rest[item] - units[item];
        if (below->rest[item] > 0)
            below->missing += (double)below->rest[item] * shared->one_unit[item];
        else
            below->need &= ~(UINT64_C(1) << item);
    }
    below->key = oh_key_add(level->key, &shared->key[position], 1);
}

static uint32_t first_of(const uint64_t *bits, uint32_t words)
{
    for (uint32_t word = 0; word < words; word++)
        if (bits[word] != 0)
            return 64 * word + lowest(bits[word]);
    return UINT32_MAX;
}

static void descend(search_t *search, uint32_t depth);

/* Tries one position on a level. Returns false when neither it nor a later one can lead anywhere. */
static bool descend_into(search_t *search, uint32_t depth, uint32_t position)
{
    const oh_shared_t *shared = search->shared;
    oh_covers_t *covers = search->covers;
    level_t *level = &search->level[depth], *below = level + 1;
    give(shared, level, position, below);
    covers->work += 4 + (uint64_t)__builtin_popcountll(level->need);
    level->allowed[position / 64] &= ~(UINT64_C(1) << position % 64);
    if (is_full(covers)) {
        uint32_t first = first_of(level->allowed, shared->words);
        if (first == UINT32_MAX)
            return false;
        uint32_t left = search->packages - depth - 1;
        oh_key_t bound = oh_key_add(below->key, &shared->key[first], left);
        if (is_hopeless(covers, search->packages, &bound))
            return false;
    }
    if (covers->work > covers->work_limit) {
        covers->gave_up = true;
        return false;
    }
    search->chosen[depth] = position;
    /* Nothing missing: fewer places do, and whatever joined them would be superfluous. */
    if (below->need != 0 && below->missing <= search->most[search->packages - depth - 1]) {
        memcpy(below->allowed, level->allowed, shared->words * sizeof(uint64_t));
        descend(search, depth + 1);
    }
    return !covers->gave_up;
}

static void descend(search_t *search, uint32_t depth)
{
    level_t *level = &search->level[depth];
    uint32_t left = search->packages - depth;
    if (left == 1) {
        finish(search, level);
        return;
    }
    if (branch(search, level, left) == 0)
        return;
    for (uint32_t word = 0; word < search->shared->words; word++)
        for (uint64_t bits = level->candidates[word]; bits != 0; bits &= bits - 1)
            if (!descend_into(search, depth, 64 * word + lowest(bits)))
                return;
}

/* Puts the largest few into `top`, descending. */
static void largest(double value, double *top, uint32_t room)
{
    if (value <= top[room - 1])
        return;
    uint32_t at = room - 1;
    for (; at > 0 && top[at - 1] < value; at--)
        top[at] = top[at - 1];
    top[at] = value;
}

/* Shares that the places with most could give together, a little more for rounding. */
static void most_shares(const oh_shared_t *shared, double *most)
{
    double top[DEPTH] = {0};
    for (uint32_t position = 0; position < shared->count; position++)
        largest(shared->gain[position], top, DEPTH);
    most[0] = 1e-9;
    for (uint32_t at = 0; at < DEPTH; at++)
        most[at + 1] = most[at] + top[at] * (1 + 1e-9);
}

void oh_cover_search(const oh_shared_t *shared, uint32_t packages, oh_arena_t *arena,
                     oh_covers_t *covers)
{
    search_t search = {.shared = shared, .covers = covers, .packages = packages};
    size_t used = arena->used, words = shared->words;
    size_t slots = (size_t)shared->items * SLOTS;
    search.kept = oh_take(arena, slots * words * sizeof(uint64_t));
    search.kept_threshold = oh_take(arena, slots * sizeof(int64_t));
    memset(search.kept_threshold, 0, slots * sizeof(int64_t));
    for (uint32_t depth = 0; depth < DEPTH; depth++) {
        search.level[depth].allowed = oh_take(arena, words * sizeof(uint64_t));
        search.level[depth].candidates = oh_take(arena, words * sizeof(uint64_t));
    }
    level_t *top = &search.level[0];
    for (uint32_t position = 0; position < shared->count; position += 64) {
        uint32_t left = shared->count - position;
        top->allowed[position / 64] = left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
    }
    top->need = shared->items == 64 ? UINT64_MAX : (UINT64_C(1) << shared->items) - 1;
    memcpy(top->rest, shared->want, shared->items * sizeof(int64_t));
    most_shares(shared, search.most);
    descend(&search, 0);
    arena->used = used;
}

/* ------------------------------------------------------------------ bounds and the greedy way */

/* How many places it takes at least, when these are the most that any can give, descending. */
static uint32_t least_of(const double *top, double wanted)
{
    /* Room for rounding: one too few costs a search, one too many an option. */
    double rest = wanted * (1 - 1e-9);
    for (uint32_t at = 0; at < DEPTH; at++) {
        rest -= top[at];
        if (rest <= 0)
            return at + 1;
    }
    if (top[DEPTH - 1] <= 0)
        return DEPTH + 1;
    double more = rest / top[DEPTH - 1];
    uint32_t whole = more < OH_SOURCE_PLACES_MAX ? (uint32_t)more : OH_SOURCE_PLACES_MAX;
    return DEPTH + whole + (whole < more);
}

uint32_t oh_cover_least(const oh_shared_t *shared)
{
    double top[DEPTH] = {0};
    for (uint32_t position = 0; position < shared->count; position++)
        largest(shared->gain[position], top, DEPTH);
    uint32_t least = least_of(top, shared->items);
    for (uint32_t item = 0; item < shared->items; item++) {
        const int64_t *units = shared->by_item + (size_t)item * shared->stride;
        memset(top, 0, sizeof top);
        uint32_t enough = 0;
        for (uint32_t position = 0; position < shared->count && enough < least; position++) {
            largest((double)units[position], top, DEPTH);
            enough += units[position] * least >= shared->want[item];
        }
        if (enough < least) {
            uint32_t here = least_of(top, (double)shared->want[item]);
            least = here > least ? here : least;
        }
    }
    return least;
}

static double gain_of(const oh_shared_t *shared, const int64_t *rest, uint32_t position)
{
    const int64_t *units = shared->by_place + (size_t)position * shared->items;
    double gain = 0;
    for (uint32_t item = 0; item < shared->items; item++) {
        int64_t given = units[item] < rest[item] ? units[item] : rest[item];
        gain += (double)given / (double)shared->want[item];
    }
    return gain;
}

/* The position that adds most, the best rank among equals. Gains only fall as others give: one that
 * was computed earlier is a bound, and is computed anew only when it leads. */
static uint32_t most_gain(const oh_shared_t *shared, const int64_t *rest, double *gain)
{
    for (;;) {
        uint32_t best = 0;
        for (uint32_t position = 1; position < shared->count; position++)
            if (gain[position] > gain[best])
                best = position;
        double now = gain_of(shared, rest, best);
        if (now == gain[best])
            return best;
        gain[best] = now;
    }
}

/* Drops what the others can do without, the worst rank first. `chosen` is ascending. */
static uint32_t drop_superfluous(const oh_shared_t *shared, int64_t *spare, uint32_t *chosen,
                                 uint32_t count)
{
    for (uint32_t item = 0; item < shared->items; item++) {
        spare[item] = -shared->want[item];
        for (uint32_t at = 0; at < count; at++)
            spare[item] += shared->by_place[(size_t)chosen[at] * shared->items + item];
    }
    for (uint32_t at = count; at-- > 0;) {
        const int64_t *units = shared->by_place + (size_t)chosen[at] * shared->items;
        bool needed = false;
        for (uint32_t item = 0; item < shared->items && !needed; item++)
            needed = units[item] > spare[item];
        if (needed)
            continue;
        for (uint32_t item = 0; item < shared->items; item++)
            spare[item] -= units[item];
        memmove(chosen + at, chosen + at + 1, (--count - at) * sizeof *chosen);
    }
    return count;
}

uint32_t oh_cover_greedy(const oh_shared_t *shared, oh_arena_t *arena, uint32_t *chosen)
{
    size_t used = arena->used;
    int64_t *rest = oh_take(arena, shared->items * sizeof(int64_t));
    double *gain = oh_take(arena, shared->count * sizeof(double));
    uint64_t *taken = oh_take(arena, shared->words * sizeof(uint64_t));
    memcpy(rest, shared->want, shared->items * sizeof(int64_t));
    memcpy(gain, shared->gain, shared->count * sizeof(double));
    memset(taken, 0, shared->words * sizeof(uint64_t));
    for (bool missing = true; missing;) {
        uint32_t best = most_gain(shared, rest, gain);
        const int64_t *units = shared->by_place + (size_t)best * shared->items;
        missing = false;
        for (uint32_t item = 0; item < shared->items; item++) {
            rest[item] = rest[item] > units[item] ? rest[item] - units[item] : 0;
            missing |= rest[item] > 0;
        }
        gain[best] = 0;
        taken[best / 64] |= UINT64_C(1) << best % 64;
    }
    uint32_t count = 0;
    for (uint32_t word = 0; word < shared->words; word++)
        for (uint64_t bits = taken[word]; bits != 0; bits &= bits - 1)
            chosen[count++] = 64 * word + lowest(bits);
    count = drop_superfluous(shared, rest, chosen, count);
    arena->used = used;
    return count;
}
