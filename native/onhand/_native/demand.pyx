"""The one writer of the demand table; read onhand.table.demand first.

Every change is decided before anything is written: what would take a cell below 0 creates neither a
name nor a cell. Statuses come back as :class:`DemandError`, and onhand.table.demand puts them into
words.
"""

cimport cython
from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport errno as errno_now
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from onhand._native.store cimport (
    OH_HASH_SEED_SKU,
    OH_NONE,
    OH_OK,
    OH_TEXT_BYTES_MAX,
    oh_cell_add_on_hand,
    oh_cell_get,
    oh_cell_resolve,
    oh_change_push,
    oh_hash_bytes,
    oh_header_t,
    oh_incoming_add,
    oh_location_find,
    oh_location_resolve,
    oh_row_find,
    oh_row_view,
    oh_row_view_t,
    oh_sku_find,
    oh_sku_prefetch,
    oh_sku_prefetch_record,
    oh_sku_resolve,
    oh_store_close,
    oh_store_create,
    oh_store_t,
)

cdef enum:
    CHUNK = 512          # entries between two chances for other threads

cdef extern from *:
    """
    static inline int sum_overflows(int64_t a, int64_t b, int64_t *sum)
    {
        return __builtin_add_overflow(a, b, sum);
    }
    """
    bint sum_overflows(int64_t a, int64_t b, int64_t *sum) noexcept nogil

cdef extern from "onhand/store.h" nogil:
    void oh_row_prefetch(const oh_store_t *store, uint32_t sku)


class DemandError(Exception):
    """A native call did not succeed: the number of ``enum oh_status``, and errno."""

    def __init__(self, status, errno=0):
        super().__init__(status, errno)
        self.status = status
        self.errno = errno


class BelowZero(Exception):
    """More would be released than is there; how much there is, and the change asked for."""

    def __init__(self, units, delta):
        super().__init__(units, delta)
        self.units = units
        self.delta = delta


cdef int check(int status) except -1:
    if status != OH_OK:
        raise DemandError(status, errno_now)
    return 0


cdef int utf8_of(object text, const uint8_t **utf8, uint32_t *length) except -1:
    cdef Py_ssize_t size = 0
    if not isinstance(text, str):
        raise TypeError(f"names are str, not {type(text).__name__}")
    utf8[0] = <const uint8_t *> PyUnicode_AsUTF8AndSize(text, &size)
    if not 0 < size <= OH_TEXT_BYTES_MAX:
        raise ValueError("Condition failed: a name has 1 to 256 bytes of UTF-8")
    length[0] = <uint32_t> size
    return 0


cdef struct names_t:     # one chunk of SKUs, on its way through the caches
    uint64_t hash[CHUNK]
    const uint8_t *text[CHUNK]
    uint32_t length[CHUNK]
    uint32_t number[CHUNK]


@cython.final
cdef class DemandTable:
    """A store of what is promised, open for writing by one thread at a time.

    Parameters
    ----------
    path
        A file that does not exist yet, as bytes.
    cluster_id
        16 bytes that readers compare with their own.
    """

    cdef oh_store_t store
    cdef dict locations

    def __cinit__(self, bytes path, bytes cluster_id, *, uint64_t generation,
                  uint64_t capacity_bytes, uint64_t change_ring_size):
        self.store.fd = -1
        self.store.base = NULL
        self.locations = {}
        if len(cluster_id) != 16:
            raise ValueError("Condition failed: a cluster id has 16 bytes")
        # Nothing moves here that a history could tell of: the ledger does.
        check(oh_store_create(&self.store, path, capacity_bytes, change_ring_size, 1))
        self.store.header.generation = generation
        memcpy(self.store.header.cluster_id, <const char *> cluster_id, 16)

    def __dealloc__(self):
        oh_store_close(&self.store)

    def close(self) -> None:
        """Let go of the file; calling it again does nothing."""
        oh_store_close(&self.store)

    cdef int check_open(self) except -1:
        if self.store.base == NULL:
            raise ValueError("Condition failed: the table is open")
        return 0

    # ---- names ----

    cdef uint32_t location_find(self, object location) except? 0xfffffffe:
        """Return a location's number, OH_NONE when it has none."""
        cdef const uint8_t *text = NULL
        cdef uint32_t length = 0
        found = self.locations.get(location)
        if found is not None:
            return found
        utf8_of(location, &text, &length)
        return oh_location_find(&self.store, text, length)

    cdef uint32_t location_resolve(self, object location) except? 0xfffffffe:
        cdef const uint8_t *text = NULL
        cdef uint32_t length = 0
        cdef uint32_t number = 0
        found = self.locations.get(location)
        if found is not None:
            return found
        utf8_of(location, &text, &length)
        check(oh_location_resolve(&self.store, text, length, &number))
        self.locations[location] = number
        return number

    # ---- reserved units ----

    def add(self, sku, location, int64_t delta) -> int:
        """Add to what is reserved of a cell; return what it is then.

        Raises
        ------
        BelowZero, DemandError
            Nothing has changed.
        """
        cdef const uint8_t *text = NULL
        cdef uint32_t length = 0, number, place
        cdef int64_t units, after
        cdef uint64_t hashed
        self.check_open()
        utf8_of(sku, &text, &length)
        hashed = oh_hash_bytes(text, length, OH_HASH_SEED_SKU)
        number = oh_sku_find(&self.store, hashed, text, length)
        place = self.location_find(location)
        units = units_at(&self.store, number, place)
        if sum_overflows(units, delta, &after) or after < 0:
            raise BelowZero(units, delta)
        if delta == 0:
            return units
        if number == OH_NONE:
            check(oh_sku_resolve(&self.store, hashed, text, length, &number))
        if place == OH_NONE or location not in self.locations:
            place = self.location_resolve(location)
        check(cell_add(&self.store, number, place, delta))
        return after

    def reserved(self, sku, location) -> int:
        """Return what is reserved of a cell, 0 when nobody has heard of it."""
        cdef const uint8_t *text = NULL
        cdef uint32_t length = 0, number
        self.check_open()
        utf8_of(sku, &text, &length)
        number = oh_sku_find(&self.store, oh_hash_bytes(text, length, OH_HASH_SEED_SKU), text,
                             length)
        return units_at(&self.store, number, self.location_find(location))

    def add_many(self, list skus not None, list locations not None, const int64_t[::1] deltas):
        """Add to many cells, pairwise and in order; stops at the first that fails.

        Raises
        ------
        BelowZero, DemandError
            What stands before the entry in question has been added, the entry has not.
        """
        cdef Py_ssize_t total = len(skus), start
        cdef names_t names
        cdef int count
        self.check_open()
        if len(locations) != total or deltas.shape[0] != total:
            raise ValueError("Condition failed: as many skus as locations and deltas")
        for start in range(0, total, CHUNK):
            if len(skus) != total or len(locations) != total:
                raise RuntimeError("Condition failed: the lists stay as they are while being read")
            count = <int> min(CHUNK, total - start)
            self.chunk_find(skus, start, count, &names)
            self.chunk_add(locations, start, count, &names, deltas)
            with nogil:
                pass     # whoever waits for the interpreter gets a turn

    cdef int chunk_find(self, list skus, Py_ssize_t start, int count, names_t *names) except -1:
        """Each pass asks for the memory that the next one reads."""
        cdef int at
        for at in range(count):
            utf8_of(<object> PyList_GET_ITEM(skus, start + at), &names.text[at],
                    &names.length[at])
            names.hash[at] = oh_hash_bytes(names.text[at], names.length[at], OH_HASH_SEED_SKU)
            oh_sku_prefetch(&self.store, names.hash[at])
        for at in range(count):
            oh_sku_prefetch_record(&self.store, names.hash[at])
        for at in range(count):
            names.number[at] = oh_sku_find(&self.store, names.hash[at], names.text[at],
                                           names.length[at])
            if names.number[at] != OH_NONE:
                oh_row_prefetch(&self.store, names.number[at])
        return 0

    cdef int chunk_add(self, list locations, Py_ssize_t start, int count, names_t *names,
                       const int64_t[::1] deltas) except -1:
        cdef PyObject *last = NULL
        cdef uint32_t place = 0
        cdef int64_t units, after
        cdef int at
        for at in range(count):
            if deltas[start + at] == 0:
                continue
            if PyList_GET_ITEM(locations, start + at) != last:
                last = PyList_GET_ITEM(locations, start + at)
                place = self.location_resolve(<object> last)
            units = units_at(&self.store, names.number[at], place)
            if names.number[at] == OH_NONE:
                # Perhaps made by an entry of the same chunk.
                check(oh_sku_resolve(&self.store, names.hash[at], names.text[at],
                                     names.length[at], &names.number[at]))
                units = units_at(&self.store, names.number[at], place)
            if sum_overflows(units, deltas[start + at], &after) or after < 0:
                raise BelowZero(units, deltas[start + at])
            check(cell_add(&self.store, names.number[at], place, deltas[start + at]))
        return 0

    # ---- backorders ----

    def add_backorder(self, sku, location, int32_t day, int64_t delta) -> int:
        """Add to the units backordered for a day; return what they are then.

        Raises
        ------
        BelowZero, DemandError
            Nothing has changed.
        """
        cdef const uint8_t *text = NULL
        cdef uint32_t length = 0, number, place
        cdef int64_t units, after
        cdef uint64_t hashed
        self.check_open()
        utf8_of(sku, &text, &length)
        hashed = oh_hash_bytes(text, length, OH_HASH_SEED_SKU)
        number = oh_sku_find(&self.store, hashed, text, length)
        units = due_at(&self.store, number, self.location_find(location), day)
        if sum_overflows(units, delta, &after) or after < 0:
            raise BelowZero(units, delta)
        if delta == 0:
            return units
        check(oh_sku_resolve(&self.store, hashed, text, length, &number))
        place = self.location_resolve(location)
        check(oh_incoming_add(&self.store, number, place, day, delta))
        oh_change_push(&self.store, number, place)
        return after

    def tell(self, sku, location) -> None:
        """Push a cell to the change ring though nothing of it changes."""
        cdef const uint8_t *text = NULL
        cdef uint32_t length = 0, number = 0, place
        self.check_open()
        utf8_of(sku, &text, &length)
        check(oh_sku_resolve(&self.store, oh_hash_bytes(text, length, OH_HASH_SEED_SKU), text,
                             length, &number))
        place = self.location_resolve(location)
        oh_change_push(&self.store, number, place)

    # ---- progress ----

    def stamp(self, int64_t heartbeat_us, int64_t commit_number) -> None:
        """Tell readers that the writer lives, and which commits of the ledger are in."""
        self.check_open()
        self.store.header.ledger_sequence = commit_number
        self.store.header.heartbeat_us = heartbeat_us

    def figures(self) -> dict[str, int]:
        """Return the header's counts and sizes in bytes."""
        self.check_open()
        cdef oh_header_t *header = self.store.header
        return {
            "generation": header.generation,
            "cell_count": header.cell_count,
            "sku_count": header.sku_count,
            "location_count": header.location_count,
            "used_bytes": header.used_bytes,
            "allocated_bytes": header.allocated_bytes,
            "capacity_bytes": header.capacity_bytes,
            "row_bytes": header.row_bytes,
            "change_seq": header.change_seq,
            "commit_number": header.ledger_sequence,
            "heartbeat_us": header.heartbeat_us,
        }


cdef int64_t units_at(const oh_store_t *store, uint32_t sku, uint32_t location) noexcept nogil:
    """The writer's own look at a cell: nobody else changes it."""
    cdef oh_row_view_t view
    cdef uint32_t cell
    if sku == OH_NONE or location == OH_NONE or not oh_row_view(store, sku, &view):
        return 0
    cell = oh_row_find(&view, location)
    return 0 if cell == OH_NONE else oh_cell_get(&view, view.on_hand, cell)


cdef int64_t due_at(const oh_store_t *store, uint32_t sku, uint32_t location,
                    int32_t day) noexcept nogil:
    cdef oh_row_view_t view
    cdef uint32_t at
    if sku == OH_NONE or location == OH_NONE or not oh_row_view(store, sku, &view):
        return 0
    for at in range(view.incoming_count):
        if view.incoming[at].location == location and view.incoming[at].day == day:
            return view.incoming[at].quantity
    return 0


cdef int cell_add(oh_store_t *store, uint32_t sku, uint32_t location,
                  int64_t delta) noexcept nogil:
    cdef oh_row_view_t view
    cdef uint32_t cell = 0
    cdef int status = oh_cell_resolve(store, sku, location, 0, &view, &cell)
    if status == OH_OK:
        status = oh_cell_add_on_hand(store, sku, &view, cell, delta)
    if status == OH_OK:
        oh_change_push(store, sku, location)
    return status
