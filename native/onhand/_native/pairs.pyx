"""Counts of pairs bought together, in rows of fixed width: what one basket adds.

Read src/onhand/recommendations/pairs.py first: it owns the arrays and says what they mean.
"""

from libc.stdint cimport uint32_t


cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    /* Counts are at least 0, so their bits order them as integers: compilers make one pass of
       vector instructions of that, and of a float comparison, which minds NaN, they do not. */
    static inline int32_t bits_of(float count)
    {
        int32_t bits;
        memcpy(&bits, &count, sizeof bits);
        return bits;
    }

    /* The place of a neighbour in a row; width when it is not there. */
    static inline size_t place_of(const uint32_t *neighbours, size_t width, uint32_t wanted)
    {
        uint32_t found = 0;
        for (size_t at = 0; at < width; at++)
            found |= (uint32_t)-(neighbours[at] == wanted) & (uint32_t)(at + 1);
        return found ? found - 1 : width;
    }

    static inline size_t least_of(const float *counts, size_t width)
    {
        int32_t least = INT32_MAX;
        for (size_t at = 0; at < width; at++) {
            int32_t bits = bits_of(counts[at]);
            least = bits < least ? bits : least;
        }
        size_t at = 0;
        while (bits_of(counts[at]) != least)
            at++;
        return at;
    }

    static inline void pair_raise(uint32_t *neighbours, float *counts, size_t width,
                                  uint32_t other, float weight)
    {
        size_t at = place_of(neighbours, width, other);
        if (at == width) {
            at = least_of(counts, width);
            neighbours[at] = other;
            counts[at] = 0;
        }
        counts[at] += weight;
    }
    """
    void pair_raise(uint32_t *neighbours, float *counts, size_t width,
                    uint32_t other, float weight) noexcept nogil


def add_pairs(
    uint32_t[:, ::1] neighbours not None,    # OUT
    float[:, ::1] counts not None,           # OUT
    const uint32_t[::1] items not None,      # IN
    const uint32_t[::1] ends not None,       # IN
    const uint32_t[::1] known not None,      # IN
    const float[::1] weights not None,       # IN
):
    """Count the pairs that baskets add; O(pairs * width), about 0.1 us a pair and 128 wide.

    Parameters
    ----------
    neighbours, counts
        Shape (item_count, width). A row holds the items bought with the row's own, and how often;
        places that are free count 0. A pair that finds no room takes the place that counts least.
    items
        The items of all baskets, one basket after the other, each item once a basket.
    ends
        Where each basket's items end.
    known
        How many of a basket's first items have been paired with each other before.
    weights
        What a pair of the basket counts.

    Raises
    ------
    ValueError
        The columns do not fit each other.
    """
    cdef Py_ssize_t basket, first, second, begin = 0, end
    cdef size_t width = <size_t>neighbours.shape[1]
    cdef uint32_t item_count = <uint32_t>neighbours.shape[0]
    if counts.shape[0] != neighbours.shape[0] or counts.shape[1] != neighbours.shape[1]:
        raise ValueError("Condition failed: neighbours and counts have one shape")
    if not 0 < width <= 4096:
        raise ValueError("Condition failed: rows are 1 to 4,096 wide")
    if known.shape[0] != ends.shape[0] or weights.shape[0] != ends.shape[0]:
        raise ValueError("Condition failed: there is one of each column for a basket")
    for first in range(items.shape[0]):
        if items[first] >= item_count:
            raise ValueError(f"Condition failed: item {items[first]} has a row")
    for basket in range(ends.shape[0]):
        end = ends[basket]
        if not begin <= end <= items.shape[0]:
            raise ValueError("Condition failed: baskets lie in order inside the items")
        begin = end
    begin = 0
    with nogil:
        for basket in range(ends.shape[0]):
            end = ends[basket]
            for second in range(begin + known[basket], end):
                for first in range(begin, second):
                    pair_raise(&neighbours[items[first], 0], &counts[items[first], 0], width,
                               items[second], weights[basket])
                    pair_raise(&neighbours[items[second], 0], &counts[items[second], 0], width,
                               items[first], weights[basket])
            begin = end
