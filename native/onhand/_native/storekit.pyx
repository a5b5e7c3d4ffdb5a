"""A bare writer of stores, for tests and benchmarks: no ids, no history, no checkpoint.

The real writer is onhand._native.supply. This one says exactly what it writes, and has loops that
keep an invariant which readers of the same row can check.
"""

cimport cython
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from onhand._native.store cimport (
    OH_HASH_SEED_SKU,
    OH_OK,
    OH_ROW_COUNTED,
    oh_cell_add,
    oh_cell_add_on_hand,
    oh_cell_resolve,
    oh_change_push,
    oh_hash_bytes,
    oh_incoming_add,
    oh_location_resolve,
    oh_row_view_t,
    oh_shard_of,
    oh_sku_resolve,
    oh_store_adopt,
    oh_store_adopted,
    oh_store_close,
    oh_store_create,
    oh_store_t,
)

import os

import numpy as np

cdef const uint8_t *utf8(str text, Py_ssize_t *length) except NULL:
    return <const uint8_t *> PyUnicode_AsUTF8AndSize(text, length)


class StoreError(Exception):
    """A status of the store: its number, and errno where that tells more."""


def shard_of(str sku, uint32_t shard_count) -> int:
    """Return the shard that owns a SKU."""
    cdef Py_ssize_t length
    cdef const uint8_t *name = utf8(sku, &length)
    return oh_shard_of(oh_hash_bytes(name, length, OH_HASH_SEED_SKU), shard_count)


cdef int check(int status) except -1:
    if status != OH_OK:
        raise StoreError(status, errno)
    return 0


def plain_lookups(uint64_t key_count, const uint32_t[::1] picks, bint ahead) -> tuple[float, int]:
    """Time one hash lookup and one load per pick, in a table of 8-byte keys and 4-byte numbers.

    The limit that benchmarks compare with.

    Parameters
    ----------
    ahead
        Whether to ask for memory 16 picks ahead.

    Returns
    -------
    tuple
        Seconds, and the sum of what was loaded.
    """
    cdef double seconds
    cdef uint64_t total = 0
    with nogil:
        seconds = plain_lookups_time(key_count, &picks[0], picks.shape[0], ahead, &total)
    return seconds, total


@cython.final
cdef class StoreKit:
    """One store, open for writing.

    Parameters
    ----------
    path
        A file that does not exist yet.
    image
        The first bytes of another store, to start as its copy.
    """

    cdef oh_store_t store

    def __cinit__(self, path, *, capacity_bytes=1 << 30, change_ring_size=1 << 12,
                  history_ring_size=1 << 10, shard=0, shard_count=1, generation=1,
                  bytes cluster_id=bytes(16), bytes image=None):
        self.store.fd = -1
        self.store.base = NULL
        cdef bytes name = os.fsencode(path)
        if image is None:
            check(oh_store_create(&self.store, name, capacity_bytes, change_ring_size,
                                  history_ring_size))
        else:
            check(oh_store_adopt(&self.store, name, capacity_bytes, len(image)))
            memcpy(self.store.base, <const char *> image, len(image))
            check(oh_store_adopted(&self.store, len(image)))
        self.store.header.shard = shard
        self.store.header.shard_count = shard_count
        self.store.header.generation = generation
        memcpy(self.store.header.cluster_id, <const char *> cluster_id, 16)

    def __dealloc__(self):
        oh_store_close(&self.store)

    def image(self) -> bytes:
        """Return the bytes that a copy of this store starts from."""
        return (<const char *> self.store.base)[:self.store.header.used_bytes]

    def stamp(self, int64_t as_of_us, int64_t heartbeat_us=0, int64_t lag_events=0):
        """Write the progress that readers report."""
        self.store.header.heartbeat_us = heartbeat_us
        self.store.header.lag_events = lag_events
        self.store.header.as_of_us = as_of_us

    def set_applied_offset(self, int partition, int64_t offset):
        """Write the next offset to apply of one partition."""
        self.store.header.applied_offset[partition] = offset

    def set_ledger_sequence(self, int64_t sequence):
        """Write the last sequence of the order ledger that is applied."""
        self.store.header.ledger_sequence = sequence

    def sku(self, str text) -> int:
        """Return the number of a SKU, made when it is new."""
        cdef Py_ssize_t length
        cdef const uint8_t *name = utf8(text, &length)
        cdef uint32_t number
        cdef uint64_t hashed = oh_hash_bytes(name, length, OH_HASH_SEED_SKU)
        check(oh_sku_resolve(&self.store, hashed, name, length, &number))
        return number

    def location(self, str text) -> int:
        """Return the number of a location, made when it is new."""
        cdef Py_ssize_t length
        cdef const uint8_t *name = utf8(text, &length)
        cdef uint32_t number
        check(oh_location_resolve(&self.store, name, length, &number))
        return number

    def skus(self, list texts):
        """Return the numbers of many SKUs."""
        numbers = np.empty(len(texts), np.uint32)
        cdef uint32_t[::1] out = numbers
        cdef Py_ssize_t at
        for at in range(len(texts)):
            out[at] = self.sku(texts[at])
        return numbers

    def add(self, str sku, str location, int64_t on_hand=0, int64_t held=0,
            int64_t in_transit=0, int64_t damaged=0):
        """Add to the counters of one cell as one change, and tell the change ring."""
        cdef uint32_t sku_number = self.sku(sku)
        cdef uint32_t location_number = self.location(location)
        cdef int64_t[4] delta = [on_hand, held, in_transit, damaged]
        check(oh_cell_add(&self.store, sku_number, location_number, delta))
        oh_change_push(&self.store, sku_number, location_number)

    def add_incoming(self, str sku, str location, int32_t day, int64_t quantity):
        """Add to what is due at a location on a day."""
        check(oh_incoming_add(&self.store, self.sku(sku), self.location(location), day, quantity))

    def add_numbers(self, const uint32_t[::1] skus, const uint32_t[::1] locations,
                    const int32_t[::1] deltas, bint counted=False, bint tell=True):
        """Add to on_hand of many cells, by number, without the interpreter lock."""
        cdef Py_ssize_t at
        cdef uint32_t cell
        cdef oh_row_view_t view
        cdef uint16_t needs = OH_ROW_COUNTED if counted else 0
        cdef int status = OH_OK
        with nogil:
            for at in range(skus.shape[0]):
                status = oh_cell_resolve(&self.store, skus[at], locations[at], needs, &view, &cell)
                if status == OH_OK:
                    status = oh_cell_add_on_hand(&self.store, skus[at], &view, cell, deltas[at])
                if status != OH_OK:
                    break
                if tell:
                    oh_change_push(&self.store, skus[at], locations[at])
        check(status)

    def go_round(self, uint32_t sku, uint32_t location_count, uint64_t rounds, uint64_t pause=0):
        """Add 1 to locations 0, 1, 2 ... in turn.

        At every moment each cell equals the one before it or is one lower, and the last is at most
        one lower than the first.
        """
        cdef uint64_t _round, _wait
        cdef uint32_t location, cell
        cdef oh_row_view_t view
        cdef int status = OH_OK
        with nogil:
            for _round in range(rounds):
                for location in range(location_count):
                    status = oh_cell_resolve(&self.store, sku, location, 0, &view, &cell)
                    if status == OH_OK:
                        status = oh_cell_add_on_hand(&self.store, sku, &view, cell, 1)
                    if status != OH_OK:
                        break
                    for _wait in range(pause):
                        spin()
        check(status)

    def swap(self, uint32_t sku, uint32_t location_count, uint64_t steps, uint64_t seed):
        """Move units between the counters of a cell, as one change each; cells start at 100 units.

        At every moment on_hand + held + in_transit of a cell is 0 (just made) or 100.
        """
        cdef uint64_t _step, state = seed | 1
        cdef uint32_t location, cell, other
        cdef int64_t[4] delta
        cdef int64_t units
        cdef oh_row_view_t view
        cdef int status = OH_OK
        with nogil:
            for _step in range(steps):
                state = state * 6364136223846793005ULL + 1442695040888963407ULL
                location = (state >> 33) % location_count
                units = <int64_t> ((state >> 20) % 50) - 25
                status = oh_cell_resolve(&self.store, sku, location, 0, &view, &cell)
                other = 1 + (state >> 60) % 2
                delta[0] = -units
                delta[other] = units
                delta[3 - other] = 0
                delta[3] = 0
                if status == OH_OK and is_fresh(&view, cell):
                    delta[0] += 100
                if status == OH_OK:
                    status = oh_cell_add(&self.store, sku, location, delta)
                if status != OH_OK:
                    break
        check(status)


cdef extern from *:
    """
    #include <stdlib.h>
    #include <time.h>

    typedef struct { uint64_t key; uint32_t number; } plain_slot_t;

    static double plain_lookups_time(uint64_t key_count, const uint32_t *picks, uint64_t count,
                                     int ahead, uint64_t *total)
    {
        uint64_t size = 16, sum = 0, at;
        struct timespec begin, end;
        while (size < key_count * 2)
            size *= 2;
        plain_slot_t *slots = calloc(size, sizeof *slots);
        uint32_t *cells = calloc(key_count, sizeof *cells);
        if (slots == NULL || cells == NULL)
            return -1;
        for (uint64_t number = 0; number < key_count; number++) {
            uint64_t key = oh_fold(number + 1, OH_HASH_SEED_SKU);
            for (at = key & (size - 1); slots[at].key != 0; at = (at + 1) & (size - 1)) {}
            slots[at] = (plain_slot_t){key, (uint32_t)number};
            cells[number] = (uint32_t)number;
        }
        clock_gettime(CLOCK_MONOTONIC, &begin);
        for (uint64_t pick = 0; pick < count; pick++) {
            if (ahead && pick + 16 < count)
                __builtin_prefetch(
                    &slots[oh_fold(picks[pick + 16] + 1ULL, OH_HASH_SEED_SKU) & (size - 1)]);
            /* Waiting for the last load: sum is never so large, which only we know. */
            uint64_t wait = ahead ? 0 : sum >> 63;
            uint64_t key = oh_fold(picks[pick] + 1ULL + wait, OH_HASH_SEED_SKU);
            for (at = key & (size - 1); slots[at].key != key; at = (at + 1) & (size - 1)) {}
            sum += cells[slots[at].number];
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        free(slots);
        free(cells);
        *total = sum;
        return (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    }

    static inline void spin(void) { __asm__ volatile("" ::: "memory"); }
    static inline int is_fresh(const oh_row_view_t *view, uint32_t cell)
    {
        return oh_cell_get(view, view->on_hand, cell) == 0
            && oh_cell_get(view, view->held, cell) == 0
            && oh_cell_get(view, view->in_transit, cell) == 0;
    }
    """
    double plain_lookups_time(uint64_t key_count, const uint32_t *picks, uint64_t count, int ahead,
                              uint64_t *total) noexcept nogil
    void spin() noexcept nogil
    bint is_fresh(const oh_row_view_t *view, uint32_t cell) noexcept nogil
