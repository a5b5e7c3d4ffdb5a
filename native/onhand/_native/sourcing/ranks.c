/* What places are ranked by: fields of keys as whole numbers, and the places in order of them. */
#include "sourcing/sourcing.h"

/* ------------------------------------------------------------------ fields */

int oh_fill_distance(const oh_request_t *request, int64_t *metres)
{
    bool good = true;
    for (uint32_t place = 0; place < request->places; place++) {
        double distance_km = request->distance_km[place];
        bool known = distance_km == distance_km;
        good &= !known || (distance_km >= 0 && distance_km <= 1e5);
        metres[place] = good && known ? (int64_t)(distance_km * 1e3 + 0.5) : OH_UNKNOWN_METRES;
    }
    return good ? OH_SOURCE_OK : OH_SOURCE_BAD_DISTANCE;
}

/* What lies above `most` counts as that much: sums have to fit. */
static int fill_scaled(const double *from, uint32_t count, double scale, double most, int64_t *to,
                       int bad)
{
    bool good = true;
    for (uint32_t place = 0; place < count; place++) {
        double value = from[place] < most ? from[place] : most;
        good &= from[place] >= 0;
        to[place] = good ? (int64_t)(value * scale + 0.5) : 0;
    }
    return good ? OH_SOURCE_OK : bad;
}

int oh_fill_cost(const oh_request_t *request, int64_t *to)
{
    return fill_scaled(request->cost, request->places, 1e4, 1e9, to, OH_SOURCE_BAD_COST);
}

int oh_fill_load(const oh_request_t *request, int64_t *to)
{
    return fill_scaled(request->load, request->places, 1e6, 1e6, to, OH_SOURCE_BAD_LOAD);
}

int oh_fill_priority(const oh_request_t *request, int64_t *to)
{
    bool good = true;
    for (uint32_t place = 0; place < request->places; place++) {
        to[place] = request->priority[place];
        good &= to[place] >= INT32_MIN && to[place] <= INT32_MAX;
    }
    return good ? OH_SOURCE_OK : OH_SOURCE_BAD_PRIORITY;
}

/* ------------------------------------------------------------------ order */

/* Sorts places by one field, keeping the order of equal ones: least significant byte first, and
 * only the bytes in which they differ. */
static uint32_t *sort_by(const int64_t *field, uint32_t *order, uint32_t *spare, uint32_t count)
{
    int64_t least = INT64_MAX;
    uint64_t differ = 0;
    for (uint32_t at = 0; at < count; at++)
        least = field[order[at]] < least ? field[order[at]] : least;
    for (uint32_t at = 0; at < count; at++)
        differ |= (uint64_t)(field[order[at]] - least);
    for (int shift = 0; shift < 64 && differ >> shift != 0; shift += 8) {
        uint32_t start[256] = {0};
        if ((differ >> shift & 255) == 0)
            continue;
        for (uint32_t at = 0; at < count; at++)
            start[(uint64_t)(field[order[at]] - least) >> shift & 255]++;
        for (uint32_t digit = 0, sum = 0; digit < 256; digit++) {
            uint32_t here = start[digit];
            start[digit] = sum;
            sum += here;
        }
        for (uint32_t at = 0; at < count; at++)
            spare[start[(uint64_t)(field[order[at]] - least) >> shift & 255]++] = order[at];
        uint32_t *sorted = spare;
        spare = order;
        order = sorted;
    }
    return order;
}

/* Whether neighbours are equal in the first few fields. */
static bool ties(const int64_t *const *field, const uint32_t *order, uint32_t count, int fields)
{
    for (uint32_t at = 1; at < count; at++) {
        int same = 0;
        while (same < fields && field[same][order[at]] == field[same][order[at - 1]])
            same++;
        if (same == fields)
            return true;
    }
    return false;
}

/* Sorts by key, then number. Cost and distance mostly decide: the rest is asked when they tie. */
const uint32_t *oh_sort_places(const int64_t *const *field, uint32_t *order, uint32_t *spare,
                               uint32_t count)
{
    uint32_t *other = spare;
    const int fields[] = {OH_KEY_PRIORITY, OH_KEY_FIELDS};
    for (int turn = 0; turn < 2; turn++) {
        for (int at = fields[turn]; at-- > 0;) {
            uint32_t *sorted = sort_by(field[at], order, other, count);
            other = sorted == order ? other : order;
            order = sorted;
        }
        /* What ties is still in order of number, so sorting anew by all fields ends in that too. */
        if (turn == 1 || !ties(field, order, count, fields[0]))
            break;
    }
    return order;
}

/* ------------------------------------------------------------------ what is kept */

size_t oh_ranks_bytes(uint32_t places)
{
    return places * (2 * sizeof(int64_t) + 2 * sizeof(uint32_t));
}

int oh_ranks_fill(const oh_request_t *request, void *memory, oh_ranks_t *ranks)
{
    uint32_t count = request->places;
    int64_t *cost = memory, *metres = cost + count;
    uint32_t *order = (uint32_t *)(metres + count), *other = order + count;
    int status = oh_fill_distance(request, metres);
    if (status == OH_SOURCE_OK)
        status = oh_fill_cost(request, cost);
    if (status != OH_SOURCE_OK)
        return status;
    for (uint32_t place = 0; place < count; place++)
        order[place] = place;
    const int64_t *field[] = {[OH_KEY_COST] = cost, [OH_KEY_DISTANCE] = metres};
    for (int at = OH_KEY_PRIORITY; at-- > 0;) {
        uint32_t *sorted = sort_by(field[at], order, other, count);
        other = sorted == order ? other : order;
        order = sorted;
    }
    *ranks = (oh_ranks_t){cost, metres, order, ties(field, order, count, OH_KEY_PRIORITY)};
    return OH_SOURCE_OK;
}
