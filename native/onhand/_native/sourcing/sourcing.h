/* Which places serve an order: the search behind onhand.sourcing.nearest, which says what it
 * promises. Read that docstring first.
 *
 * HOW THE SEARCH GOES
 *
 *   one place     One pass over the matrix gives a bit set of the places that have everything. The
 *                 best few of them are picked without sorting. If they are as many as were asked
 *                 for, that is all.
 *   several       The other places that have anything are sorted by rank, and the matrix is copied
 *                 in that order. A set of places is then a bit set whose lowest bit ranks best, and
 *                 "has at least t of item i" is one too, made when it is first asked for.
 *                 For k = 2, 3, 4 packages in turn a search goes k levels deep. With d places still
 *                 to choose, one of them must have a d-th of what is missing of any item: so it
 *                 branches on the item that the fewest places can do that for. What has been tried
 *                 on a level is forbidden to its later siblings: no set is met twice. The last level
 *                 is an AND of one bit set for each missing item, best rank first.
 *                 A branch ends when even the best places left could not enter the list.
 *   greedy        What is beyond 4 packages, beyond 64 items or beyond the bound on work takes, step
 *                 by step, the place that adds most, and then drops what turned out superfluous.
 *
 * Cost, distance, priority and load are whole numbers here (1/10,000, metres, 1, 1/1,000,000), so that
 * sums do not depend on the order of adding. Keys compare one field after the other and add up field
 * by field, which keeps their order: the sum of the least keys is a bound on every sum.
 *
 * Where costs and distances stay as they are from one request to the next, as they do for a destination
 * that comes again, the caller may keep their whole numbers and the places in order of them.
 *
 * Memory is one arena, sized before the start and kept by the caller from one request to the next.
 */
#ifndef ONHAND_SOURCING_H
#define ONHAND_SOURCING_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OH_SOURCE_EXACT_PACKAGES 4u
#define OH_SOURCE_EXACT_ITEMS 64u
#define OH_SOURCE_OPTIONS_MAX 64u
#define OH_SOURCE_PLACES_MAX 65535u
#define OH_SOURCE_ITEMS_MAX 1000u
/* Rows lie this much further apart: at a power of two all would share a few sets of the cache. */
#define OH_SOURCE_APART 8u
#define OH_SOURCE_QUANTITY_MAX (INT64_C(1) << 42) /* of one item, more than 1,000 lines can want */

enum oh_source_status {
    OH_SOURCE_OK,
    OH_SOURCE_NO_MEMORY,
    OH_SOURCE_BAD_QUANTITY,
    OH_SOURCE_BAD_DISTANCE,
    OH_SOURCE_BAD_COST,
    OH_SOURCE_BAD_PRIORITY,
    OH_SOURCE_BAD_LOAD,
};

enum { OH_KEY_COST, OH_KEY_DISTANCE, OH_KEY_PRIORITY, OH_KEY_LOAD, OH_KEY_FIELDS };

/* An unknown distance is this many metres: more than all known ones of a request together. */
#define OH_UNKNOWN_METRES (INT64_C(1) << 44)

typedef struct {
    int64_t field[OH_KEY_FIELDS]; /* the most important first */
} oh_key_t;

static inline int oh_key_compare(const oh_key_t *one, const oh_key_t *other)
{
    for (int at = 0; at < OH_KEY_FIELDS; at++)
        if (one->field[at] != other->field[at])
            return one->field[at] < other->field[at] ? -1 : 1;
    return 0;
}

static inline oh_key_t oh_key_add(oh_key_t sum, const oh_key_t *key, int64_t times)
{
    for (int at = 0; at < OH_KEY_FIELDS; at++)
        sum.field[at] += key->field[at] * times;
    return sum;
}

typedef struct {                  /* cost and distance, worked out before for places that stay */
    const int64_t *cost;          /* [places] fields of keys */
    const int64_t *metres;
    const uint32_t *order;        /* places by cost, then metres */
    bool tied;                    /* two places are equal in both: what else they are ranked by decides */
} oh_ranks_t;

typedef struct {                  /* borrowed from the caller */
    const int64_t *quantity;      /* [items] */
    const int64_t *available;     /* [items][places] */
    const double *distance_km;    /* [places], and so the next three */
    const double *cost;
    const int64_t *priority;
    const double *load;
    const oh_ranks_t *ranks;      /* of these distances and costs; NULL: none are kept */
    uint32_t items;
    uint32_t places;
    bool allow_split;
    bool allow_partial;
    uint32_t options_max;
    uint64_t work_max;            /* bound on the exact search, in words of bit sets; a tenth of it
                                   * for the order, once the fewest packages are known */
} oh_request_t;

typedef struct {
    oh_key_t key;                 /* sum over its places */
    int64_t units;                /* placed */
    uint32_t packages;
    const uint32_t *place;        /* [packages], by rank; in the arena */
} oh_option_t;

typedef struct {
    oh_option_t option[OH_SOURCE_OPTIONS_MAX + 1]; /* one more than asked for, to compare with */
    uint32_t count;
    const int64_t *target;        /* [items] units to place in full; less than wanted when partial */
    uint32_t whole_count;         /* places that have all of the target */
    int64_t whole_nearest;        /* metres to the nearest of them, -1 when it is not one alone */
    bool fewest;                  /* no way with fewer packages than the first option's exists */
    uint64_t work;
} oh_answer_t;

typedef struct {
    uint8_t *base;
    size_t bytes;
    size_t used;
} oh_arena_t;

/* What ranking this request may take from the arena; 0 when that cannot be counted. */
size_t oh_source_bytes(const oh_request_t *request);
/* Finds the best options. The arena must have oh_source_bytes() and keeps what the answer points to. */
int oh_source(const oh_request_t *request, oh_arena_t *arena, oh_answer_t *answer);
/* What each place of an option gives: give[package][item]. */
void oh_source_parts(const oh_request_t *request, const int64_t *target, const oh_option_t *option,
                     int64_t *give);

size_t oh_ranks_bytes(uint32_t places);
/* Works out ranks in memory of so many bytes, 8-byte aligned; they point into it. */
int oh_ranks_fill(const oh_request_t *request, void *memory, oh_ranks_t *ranks);

/* ------------------------------------------------------------------ between the files of this directory */

static inline void *oh_take(oh_arena_t *arena, size_t bytes)
{
    void *taken = arena->base + arena->used;
    arena->used += (bytes + 63) & ~(size_t)63;
    assert(arena->used <= arena->bytes);
    return taken;
}

/* Sets bit n where row[n] >= threshold (>= 1); bits beyond `count` are 0. */
void oh_bits_at_least(const int64_t *row, uint32_t count, int64_t threshold, uint64_t *bits);

/* Fields of keys from what the request says, or the status of what breaks its rule. */
int oh_fill_distance(const oh_request_t *request, int64_t *metres);
int oh_fill_cost(const oh_request_t *request, int64_t *to);
int oh_fill_priority(const oh_request_t *request, int64_t *to);
int oh_fill_load(const oh_request_t *request, int64_t *to);
/* Sorts places, given by number, by all fields; returns one of the two arrays. */
const uint32_t *oh_sort_places(const int64_t *const *field, uint32_t *order, uint32_t *spare,
                               uint32_t count);

static inline uint32_t oh_words(uint32_t bits)
{
    return (bits + 63) / 64;
}

typedef struct {
    oh_key_t key;
    uint32_t packages;
    uint32_t position[OH_SOURCE_EXACT_PACKAGES]; /* ascending */
} oh_cover_t;

/* Places that may share an order, by rank; only items that something is wanted of. */
typedef struct {
    uint32_t items;
    uint32_t count;               /* of positions */
    uint32_t words;               /* of a bit set of positions */
    uint32_t stride;              /* of by_item: count rounded up to whole words of bits, the rest 0,
                                   * and a little more */
    int64_t *want;                /* [items] */
    double *one_unit;             /* [items] the share of what is wanted that one unit is */
    int64_t *by_item;             /* [items][stride] units, at most what is wanted */
    int64_t *by_place;            /* [count][items], the same */
    uint64_t *full;               /* [count] items, as bits, of which the place has all; exact only */
    oh_key_t *key;                /* [count] */
    const uint32_t *place;        /* [count] number of the place */
    double *gain;                 /* [count] sum over items of the share of what is wanted */
} oh_shared_t;

typedef struct {
    oh_cover_t cover[OH_SOURCE_OPTIONS_MAX + 1];
    uint32_t count;               /* best first */
    uint32_t room;
    uint32_t packages_first;      /* the fewest, 0: not known yet */
    uint64_t work;
    uint64_t work_limit;          /* where the search gives up */
    uint64_t work_order;          /* what may be spent on better ones once there is one */
    bool gave_up;                 /* work ran out: the list is right, but not known to be the best */
} oh_covers_t;

/* The fewest packages are known: what is left is their order. */
static inline void oh_covers_found(oh_covers_t *covers)
{
    if (covers->work_limit > covers->work + covers->work_order)
        covers->work_limit = covers->work + covers->work_order;
}

size_t oh_cover_bytes(uint32_t items, uint32_t places);
/* Adds the best irredundant sets of exactly `packages` positions that give everything. */
void oh_cover_search(const oh_shared_t *shared, uint32_t packages, oh_arena_t *arena,
                     oh_covers_t *covers);
/* The number of packages below which no set can give everything. */
uint32_t oh_cover_least(const oh_shared_t *shared);
/* Puts positions into `chosen`, ascending, and returns how many; together they give everything. */
uint32_t oh_cover_greedy(const oh_shared_t *shared, oh_arena_t *arena, uint32_t *chosen);

#endif
