"""The search for the places that serve a request, over arrays of numpy.

Read src/onhand/sourcing/nearest.py first, then sourcing/sourcing.h. The interpreter lock is kept:
it is tens of microseconds for all but odd requests, and the arena is shared by callers.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from "sourcing/sourcing.h" nogil:
    enum:
        OH_SOURCE_OK
        OH_SOURCE_BAD_QUANTITY
        OH_SOURCE_BAD_DISTANCE
        OH_SOURCE_BAD_COST
        OH_SOURCE_BAD_PRIORITY
        OH_SOURCE_BAD_LOAD
        OH_SOURCE_OPTIONS_MAX
        OH_SOURCE_PLACES_MAX
        OH_SOURCE_ITEMS_MAX
        OH_KEY_COST
        OH_KEY_DISTANCE
        OH_KEY_PRIORITY
        OH_KEY_LOAD
        OH_KEY_FIELDS

    ctypedef struct oh_key_t:
        int64_t field[OH_KEY_FIELDS]

    ctypedef struct oh_request_t:
        const int64_t *quantity
        const int64_t *available
        const double *distance_km
        const double *cost
        const int64_t *priority
        const double *load
        uint32_t items
        uint32_t places
        bint allow_split
        bint allow_partial
        uint32_t options_max
        uint64_t work_max

    ctypedef struct oh_option_t:
        oh_key_t key
        int64_t units
        uint32_t packages
        const uint32_t *place

    ctypedef struct oh_answer_t:
        oh_option_t *option
        uint32_t count
        const int64_t *target
        uint32_t whole_count
        int64_t whole_nearest
        bint fewest
        uint64_t work

    ctypedef struct oh_arena_t:
        uint8_t *base
        size_t bytes
        size_t used

    size_t oh_source_bytes(const oh_request_t *request) noexcept
    int oh_source(const oh_request_t *request, oh_arena_t *arena, oh_answer_t *answer) noexcept
    void oh_source_parts(const oh_request_t *request, const int64_t *target,
                         const oh_option_t *option, int64_t *give) noexcept

cdef dict RULES = {
    OH_SOURCE_BAD_QUANTITY: "quantities are 1 to 2**42",
    OH_SOURCE_BAD_DISTANCE: "distance_km is nan or 0 to 100,000",
    OH_SOURCE_BAD_COST: "cost is at least 0",
    OH_SOURCE_BAD_PRIORITY: "priority is -2**31 to 2**31 - 1",
    OH_SOURCE_BAD_LOAD: "load is at least 0",
}

OPTIONS_MAX = OH_SOURCE_OPTIONS_MAX
PLACES_MAX = OH_SOURCE_PLACES_MAX
ITEMS_MAX = OH_SOURCE_ITEMS_MAX


cdef int require(bint condition, str rule) except -1:
    if not condition:
        raise ValueError(f"Condition failed: {rule}")
    return 0


@cython.final
cdef class Search:
    """Finds options, and keeps its memory from one request to the next.

    Parameters
    ----------
    part
        The tuple type of a part: (item, place, quantity).
    """

    cdef oh_arena_t arena
    cdef oh_answer_t answer
    cdef oh_request_t request
    cdef type part
    cdef bint busy               # making an answer may let other threads run

    def __cinit__(self, type part not None):
        if not issubclass(part, tuple):
            raise TypeError("part is a tuple type")
        self.part = part

    def __dealloc__(self):
        free(self.arena.base)

    def find(
        self,
        const int64_t[::1] quantities not None,
        const int64_t[:, ::1] available not None,
        const double[::1] distance_km not None,
        const double[::1] cost not None,
        const int64_t[::1] priority not None,
        const double[::1] load not None,
        bint allow_split,
        bint allow_partial,
        int64_t options_max,
        uint64_t work_max,
    ):
        """Return (options, facts): see the stub."""
        cdef Py_ssize_t items = quantities.shape[0], places = cost.shape[0]
        require(1 <= items <= OH_SOURCE_ITEMS_MAX, "quantities has 1 to 1,000 items")
        require(places <= OH_SOURCE_PLACES_MAX, "cost has at most 65,535 places")
        require(available.shape[0] == items and available.shape[1] == places,
                "available has a row for each of quantities and a column for each of cost")
        require(distance_km.shape[0] == places, "distance_km is as long as cost")
        require(priority.shape[0] == places, "priority is as long as cost")
        require(load.shape[0] == places, "load is as long as cost")
        require(1 <= options_max <= OH_SOURCE_OPTIONS_MAX, "options_max is 1 to 64")
        if places == 0:
            return [], (0, -1, True, 0)
        if self.busy:
            raise RuntimeError("a Search serves one thread at a time")
        self.request.quantity = &quantities[0]
        self.request.available = &available[0, 0]
        self.request.distance_km = &distance_km[0]
        self.request.cost = &cost[0]
        self.request.priority = &priority[0]
        self.request.load = &load[0]
        self.request.items = <uint32_t> items
        self.request.places = <uint32_t> places
        self.request.allow_split = allow_split
        self.request.allow_partial = allow_partial
        self.request.options_max = <uint32_t> options_max
        self.request.work_max = work_max
        self.busy = True
        try:
            return self.run()
        finally:
            self.busy = False

    cdef tuple run(self):
        cdef uint32_t at
        self.reserve()
        cdef int status = oh_source(&self.request, &self.arena, &self.answer)
        if status != OH_SOURCE_OK:
            raise ValueError(f"Condition failed: {RULES[status]}")
        options = [self.option(&self.answer.option[at]) for at in range(self.answer.count)]
        facts = (self.answer.whole_count, self.answer.whole_nearest, bool(self.answer.fewest),
                 self.answer.work)
        return options, facts

    cdef int reserve(self) except -1:
        cdef size_t bytes = oh_source_bytes(&self.request)
        # What an option's places give is written behind all else.
        bytes += <size_t> self.request.items * self.request.places * sizeof(int64_t) + 64
        self.arena.used = 0
        if bytes <= self.arena.bytes:
            return 0
        free(self.arena.base)
        self.arena.bytes = 0
        self.arena.base = <uint8_t *> malloc(bytes)
        if self.arena.base == NULL:
            raise MemoryError
        self.arena.bytes = bytes
        return 0

    cdef tuple option(self, const oh_option_t *option):
        cdef const oh_request_t *request = &self.request
        cdef int64_t *give = <int64_t *> (self.arena.base + self.arena.used)
        cdef uint32_t at, item, place
        cdef double distance_km = 0, cost = 0
        cdef int64_t given
        cdef list parts = []
        oh_source_parts(request, self.answer.target, option, give)
        for at in range(option.packages):
            place = option.place[at]
            cost += request.cost[place]
            if request.distance_km[place] == request.distance_km[place]:
                distance_km += request.distance_km[place]
            for item in range(request.items):
                given = give[<size_t> at * request.items + item]
                if given > 0:
                    parts.append(tuple.__new__(self.part, (item, place, given)))
        key = (
            option.packages,
            option.key.field[OH_KEY_COST],
            option.key.field[OH_KEY_DISTANCE],
            option.key.field[OH_KEY_PRIORITY],
            option.key.field[OH_KEY_LOAD],
        )
        return tuple(parts), distance_km, cost, self.short(option, give), key

    cdef tuple short(self, const oh_option_t *option, const int64_t *give):
        cdef uint32_t at, item
        cdef list short = []
        cdef int64_t left
        for item in range(self.request.items):
            left = self.request.quantity[item]
            for at in range(option.packages):
                left -= give[<size_t> at * self.request.items + item]
            short.append(left)
        return tuple(short)
