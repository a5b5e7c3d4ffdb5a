"""The search for the places that serve a request, over arrays of numpy.

Read src/onhand/sourcing/nearest.py first, then sourcing/sourcing.h. The interpreter lock is kept:
it is tens of microseconds for all but odd requests, and the arena is shared by callers.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
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

    ctypedef struct oh_ranks_t:
        const int64_t *cost
        const int64_t *metres
        const uint32_t *order
        bint tied

    ctypedef struct oh_request_t:
        const int64_t *quantity
        const int64_t *available
        const double *distance_km
        const double *cost
        const int64_t *priority
        const double *load
        const oh_ranks_t *ranks
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
    size_t oh_ranks_bytes(uint32_t places) noexcept
    int oh_ranks_fill(const oh_request_t *request, void *memory, oh_ranks_t *ranks) noexcept
    void oh_source_parts(const oh_request_t *request, const int64_t *target,
                         const oh_option_t *option, int64_t *give) noexcept

cdef extern from *:
    """
    /* An empty object of a type of tuples: what tuple.__new__ makes, without a tuple on the way. */
    static inline PyObject *tuple_of(PyTypeObject *type, Py_ssize_t size)
    {
        return type->tp_alloc(type, size);
    }
    """
    tuple tuple_of(type kind, Py_ssize_t size)

# Of a few places ranks are few bytes, and the objects around them are what takes memory.
cdef Py_ssize_t RANKS_MAX = 1024
cdef size_t RANKS_BYTES_MAX = 16 << 20

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


cdef int put(tuple record, Py_ssize_t at, object value) except -1:
    Py_INCREF(value)
    PyTuple_SET_ITEM(record, at, value)
    return 0


@cython.final
cdef class Ranks:
    """Ranks of places whose costs and distances stay as they are; it keeps the arrays."""

    cdef oh_ranks_t ranks
    cdef void *memory
    cdef tuple columns

    def __dealloc__(self):
        free(self.memory)

    cdef int fill(self, const oh_request_t *request, tuple columns) except -1:
        self.columns = columns
        self.memory = malloc(oh_ranks_bytes(request.places))
        if self.memory == NULL:
            raise MemoryError
        cdef int status = oh_ranks_fill(request, self.memory, &self.ranks)
        if status != OH_SOURCE_OK:
            raise ValueError(f"Condition failed: {RULES[status]}")
        return 0


@cython.final
cdef class Search:
    """Finds options, and keeps its memory from one request to the next.

    Parameters
    ----------
    part
        The tuple type of a part: (item, place, quantity).
    key
        The tuple type of a key: packages, cost, metres, priority, load.
    """

    cdef oh_arena_t arena
    cdef oh_answer_t answer
    cdef oh_request_t request
    cdef type part
    cdef type key
    cdef dict known              # Ranks by the ids of the columns that they keep, oldest first
    cdef tuple nothing           # a 0 for each item: what most options leave out
    cdef bint busy               # making an answer may let other threads run

    def __cinit__(self, type part not None, type key not None):
        if not (issubclass(part, tuple) and issubclass(key, tuple)):
            raise TypeError("part and key are tuple types")
        self.part = part
        self.key = key
        self.known = {}
        self.nothing = ()

    def __dealloc__(self):
        free(self.arena.base)

    def find(
        self,
        const int64_t[::1] quantities not None,
        const int64_t[:, ::1] available not None,
        distances_km not None,
        costs not None,
        const int64_t[::1] priority not None,
        const double[::1] load not None,
        bint allow_split,
        bint allow_partial,
        int64_t options_max,
        uint64_t work_max,
    ):
        """Return (options, facts): see the stub."""
        cdef const double[::1] distance_km = distances_km
        cdef const double[::1] cost = costs
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
        self.request.ranks = NULL
        self.busy = True
        try:
            if not (distances_km.flags.writeable or costs.flags.writeable):
                self.look_up(distances_km, costs)
            return self.run()
        finally:
            self.busy = False

    cdef int look_up(self, distances_km, costs) except -1:
        """Take the ranks of columns that nobody may write to from those that are kept."""
        cdef tuple ids = (<uintptr_t> <PyObject *> distances_km, <uintptr_t> <PyObject *> costs)
        cdef Ranks ranks = <Ranks> self.known.get(ids)
        if ranks is None:
            ranks = Ranks.__new__(Ranks)
            ranks.fill(&self.request, (distances_km, costs))
            while self.known and (
                len(self.known) >= RANKS_MAX
                or (len(self.known) + 1) * oh_ranks_bytes(self.request.places) > RANKS_BYTES_MAX
            ):
                del self.known[next(iter(self.known))]
            self.known[ids] = ranks
        self.request.ranks = &ranks.ranks
        return 0

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
        cdef tuple part, key
        oh_source_parts(request, self.answer.target, option, give)
        for at in range(option.packages):
            place = option.place[at]
            cost += request.cost[place]
            if request.distance_km[place] == request.distance_km[place]:
                distance_km += request.distance_km[place]
            for item in range(request.items):
                given = give[<size_t> at * request.items + item]
                if given > 0:
                    part = tuple_of(self.part, 3)
                    put(part, 0, item)
                    put(part, 1, place)
                    put(part, 2, given)
                    parts.append(part)
        key = tuple_of(self.key, 1 + OH_KEY_FIELDS)
        put(key, 0, option.packages)
        for at in range(OH_KEY_FIELDS):
            put(key, 1 + at, option.key.field[at])
        return tuple(parts), distance_km, cost, self.short(option, give), key

    cdef tuple short(self, const oh_option_t *option, const int64_t *give):
        cdef uint32_t at, item
        cdef list short = []
        cdef int64_t left = -option.units
        for item in range(self.request.items):
            left += self.request.quantity[item]
        if left == 0:
            if len(self.nothing) != self.request.items:
                self.nothing = (0,) * self.request.items
            return self.nothing
        for item in range(self.request.items):
            left = self.request.quantity[item]
            for at in range(option.packages):
                left -= give[<size_t> at * self.request.items + item]
            short.append(left)
        return tuple(short)
