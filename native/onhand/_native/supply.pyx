"""The one writer of a supply table; read onhand.table.supply first, then supply/supply.h.

Whole batches cross here, and statuses come back: :class:`StatusError` carries what C has to say,
and onhand.table.supply puts it into words.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_READ,
    PyBUF_SIMPLE,
    PyBUF_WRITE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport errno as errno_now
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from onhand._native.store cimport (
    OH_HASH_SEED_SKU,
    OH_OK,
    OH_PARTITION_MAX,
    OH_TEXT_BYTES_MAX,
    oh_hash_bytes,
    oh_header_t,
    oh_location_resolve,
    oh_sku_resolve,
    oh_store_t,
)

import numpy as np


cdef extern from "onhand/batch.h" nogil:
    ctypedef struct oh_event_t:
        pass
    ctypedef struct oh_line_t:
        pass

cdef extern from "onhand/store.h" nogil:
    ctypedef struct oh_change_t:
        uint64_t seq
        uint32_t sku
        uint32_t location

cdef extern from "supply/supply.h" nogil:
    enum: OH_TYPE_COUNT, OH_SECTION_COUNT, OH_BATCH_INVALID

    ctypedef struct oh_horizon_t:
        int64_t announced_us
        int64_t in_force_us

    ctypedef struct oh_ids_t:
        uint64_t limit
        uint64_t head
        uint64_t tail
        oh_horizon_t horizon

    ctypedef struct oh_texts_t:
        uint64_t used_bytes

    ctypedef struct oh_counts_t:
        uint64_t count

    ctypedef struct oh_orders_t:
        uint64_t count
        uint64_t limit

    ctypedef struct oh_frozen_t:
        bint in_use

    ctypedef struct oh_supply_t:
        oh_store_t store
        oh_ids_t ids
        oh_texts_t texts
        oh_counts_t counts
        oh_orders_t orders
        oh_frozen_t frozen
        oh_horizon_t history_horizon
        bint broken

    ctypedef struct oh_batch_t:
        const oh_event_t *events
        const oh_line_t *lines
        const uint8_t *heap
        uint64_t event_count
        uint64_t line_count
        uint64_t heap_bytes
        int64_t ids_since_us
        int64_t counts_since_us
        int64_t expired_us

    ctypedef struct oh_applied_t:
        uint64_t events
        uint64_t duplicates
        uint64_t lines
        uint64_t skipped
        uint64_t by_type[11]
        int64_t at
        int64_t expected
        int64_t found

    ctypedef struct oh_supply_options_t:
        uint64_t capacity_bytes
        uint64_t change_ring_size
        uint64_t history_max
        uint64_t ids_max
        uint64_t orders_max
        uint32_t shard
        uint32_t shard_count
        uint64_t generation
        uint8_t cluster_id[16]

    ctypedef struct oh_section_t:
        uint8_t *bytes[2]
        uint64_t length[2]

    int oh_supply_create(oh_supply_t *supply, const char *path, const oh_supply_options_t *options)
    int oh_supply_adopt(oh_supply_t *supply, const char *path, const oh_supply_options_t *options,
                        oh_section_t *sections)
    int oh_supply_adopted(oh_supply_t *supply, const oh_supply_options_t *options,
                          oh_section_t *sections)
    void oh_supply_close(oh_supply_t *supply)
    int oh_batch_apply(oh_supply_t *supply, const oh_batch_t *batch, const int64_t *next_offsets,
                       uint32_t partition_count, oh_applied_t *applied)
    int oh_columns_apply(oh_supply_t *supply, const uint32_t *sku, const uint32_t *location,
                         const int32_t *delta, uint64_t count)
    bint oh_supply_needs_checkpoint(const oh_supply_t *supply)
    void oh_supply_forget(oh_supply_t *supply)
    int oh_supply_freeze(oh_supply_t *supply, int64_t ids_expired_us, oh_section_t *sections)
    void oh_supply_back(oh_supply_t *supply, uint64_t bytes)


cdef enum:
    # Bytes of the standing buffer made resident after each batch: about a millisecond's worth.
    BACK_BYTES = 1 << 20


class StatusError(Exception):
    """A native call did not succeed.

    ``status`` is of ``enum oh_status`` or ``enum oh_supply_status``; ``errno`` belongs to input and
    output; ``event`` is the index of the event it is about, or -1; ``expected`` and ``found`` are
    sequences.
    """

    def __init__(self, status, errno=0, event=-1, expected=0, found=0):
        super().__init__(status, errno, event, expected, found)
        self.status = status
        self.errno = errno
        self.event = event
        self.expected = expected
        self.found = found


@cython.final
cdef class _Column:
    """A contiguous buffer of records, held for as long as this lives."""

    cdef Py_buffer view

    def __cinit__(self, owner, size_t record_bytes):
        PyObject_GetBuffer(owner, &self.view, PyBUF_SIMPLE | PyBUF_C_CONTIGUOUS)
        if self.view.len % record_bytes != 0 or <size_t>self.view.buf % min(record_bytes, 8) != 0:
            raise ValueError(f"Condition failed: {record_bytes}-byte records, aligned to 8 bytes")

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef inline oh_header_t *header_of(oh_supply_t *supply) noexcept nogil:
    return supply.store.header


@cython.final
cdef class SupplyTable:
    """A store with its private state; one thread at a time.

    Either :meth:`create` or :meth:`adopt` and :meth:`adopted` come first, :meth:`close` last.
    """

    cdef oh_supply_t supply
    cdef oh_supply_options_t options
    cdef oh_section_t sections[6]
    cdef bint is_open

    def __cinit__(self):
        memset(&self.supply, 0, sizeof(self.supply))
        self.supply.store.fd = -1

    def __dealloc__(self):
        oh_supply_close(&self.supply)

    cdef int _check_open(self) except -1:
        if not self.is_open:
            raise ValueError("Condition failed: the table is open")
        return 0

    def configure(self, bytes cluster_id, *, shard, shard_count, generation, capacity_bytes,
                  change_ring_size, history_max, ids_max, orders_max):
        """Say what to make; sizes of rings are powers of two."""
        if len(cluster_id) != 16:
            raise ValueError("Condition failed: a cluster id has 16 bytes")
        self.options.shard = shard
        self.options.shard_count = shard_count
        self.options.generation = generation
        self.options.capacity_bytes = capacity_bytes
        self.options.change_ring_size = change_ring_size
        self.options.history_max = history_max
        self.options.ids_max = ids_max
        self.options.orders_max = orders_max
        memcpy(self.options.cluster_id, <const char *>cluster_id, 16)

    def create(self, bytes path):
        """Make an empty table in a new file."""
        cdef const char *name = path
        cdef int status
        with nogil:
            status = oh_supply_create(&self.supply, name, &self.options)
        if status != OH_OK:
            raise StatusError(status, errno_now)
        self.is_open = True

    def adopt(self, bytes path, list lengths):
        """Make room in a new file and in memory for sections of a checkpoint.

        Returns
        -------
        list of memoryview
            Where each section is to be read into, before :meth:`adopted`.
        """
        cdef const char *name = path
        cdef int status, at
        for at in range(OH_SECTION_COUNT):
            self.sections[at].length[0] = lengths[at]
        with nogil:
            status = oh_supply_adopt(&self.supply, name, &self.options, self.sections)
        if status != OH_OK:
            raise StatusError(status, errno_now)
        return [
            PyMemoryView_FromMemory(<char *>self.sections[at].bytes[0],
                                    self.sections[at].length[0], PyBUF_WRITE)
            for at in range(OH_SECTION_COUNT)
        ]

    def adopted(self):
        """Check what was read, build the indexes, and be a table."""
        cdef int status
        with nogil:
            status = oh_supply_adopted(&self.supply, &self.options, self.sections)
        if status != OH_OK:
            raise StatusError(status, errno_now)
        self.is_open = True

    def close(self):
        """Let go of all memory and of the file."""
        self.is_open = False
        oh_supply_close(&self.supply)

    # -- applying ------------------------------------------------------------------------------

    def apply(self, events, lines, heap, dict next_offsets, int64_t ids_since_us,
              int64_t counts_since_us, int64_t expired_us):
        """Apply a batch; see ``oh_batch_apply``.

        Returns
        -------
        tuple
            Events, duplicates, lines, skipped, and events by type number.
        """
        self._check_open()
        cdef _Column event_column = _Column(events, 96)
        cdef _Column line_column = _Column(lines, 24)
        cdef _Column heap_column = _Column(heap, 1)
        cdef oh_batch_t batch
        cdef oh_applied_t applied
        cdef int64_t offsets[1024]
        cdef uint32_t partition_count = 0
        cdef int status, at
        batch.events = <const oh_event_t *>event_column.view.buf
        batch.event_count = event_column.view.len // 96
        batch.lines = <const oh_line_t *>line_column.view.buf
        batch.line_count = line_column.view.len // 24
        batch.heap = <const uint8_t *>heap_column.view.buf
        batch.heap_bytes = heap_column.view.len
        batch.ids_since_us = ids_since_us
        batch.counts_since_us = counts_since_us
        batch.expired_us = expired_us
        memset(offsets, 0, sizeof(offsets))
        for partition, offset in next_offsets.items():
            if not 0 <= partition < OH_PARTITION_MAX:
                raise ValueError("Condition failed: a partition's index is below 1024")
            offsets[<int>partition] = offset
            partition_count = max(partition_count, <uint32_t>partition + 1)
        with nogil:
            status = oh_batch_apply(&self.supply, &batch, offsets, partition_count, &applied)
            if status == OH_OK:
                oh_supply_back(&self.supply, BACK_BYTES)
        if status != OH_OK:
            raise StatusError(status, errno_now, applied.at, applied.expected, applied.found)
        return (applied.events, applied.duplicates, applied.lines, applied.skipped,
                tuple([applied.by_type[at] for at in range(OH_TYPE_COUNT)]))

    def apply_columns(self, const uint32_t[::1] sku, const uint32_t[::1] location,
                      const int32_t[::1] delta):
        """Add each delta to on_hand of its cell; numbers resolved, no ids, no history."""
        self._check_open()
        cdef uint64_t count = sku.shape[0]
        cdef int status
        if location.shape[0] != sku.shape[0] or delta.shape[0] != sku.shape[0]:
            raise ValueError("Condition failed: columns are equally long")
        if count == 0:
            return
        with nogil:
            status = oh_columns_apply(&self.supply, &sku[0], &location[0], &delta[0], count)
        if status != OH_OK:
            raise StatusError(status, errno_now)

    def resolve_skus(self, list skus):
        """Return the number of each SKU, made when it has none."""
        self._check_open()
        numbers = np.empty(len(skus), np.uint32)
        cdef uint32_t[::1] out = numbers
        cdef const uint8_t *text
        cdef Py_ssize_t at, length
        cdef int status
        for at in range(len(skus)):
            text = <const uint8_t *>PyUnicode_AsUTF8AndSize(skus[at], &length)
            if not 0 < length <= OH_TEXT_BYTES_MAX:
                raise ValueError("Condition failed: a sku has 1 to 256 bytes")
            status = oh_sku_resolve(&self.supply.store,
                                    oh_hash_bytes(text, length, OH_HASH_SEED_SKU),
                                    text, <uint32_t>length, &out[at])
            if status != OH_OK:
                raise StatusError(status, errno_now)
        return numbers

    def resolve_locations(self, list locations):
        """Return the number of each location, made when it has none."""
        self._check_open()
        numbers = np.empty(len(locations), np.uint32)
        cdef uint32_t[::1] out = numbers
        cdef const uint8_t *text
        cdef Py_ssize_t at, length
        cdef int status
        for at in range(len(locations)):
            text = <const uint8_t *>PyUnicode_AsUTF8AndSize(locations[at], &length)
            if not 0 < length <= OH_TEXT_BYTES_MAX:
                raise ValueError("Condition failed: a location has 1 to 256 bytes")
            status = oh_location_resolve(&self.supply.store, text, <uint32_t>length, &out[at])
            if status != OH_OK:
                raise StatusError(status, errno_now)
        return numbers

    def stamp(self, int64_t heartbeat_us, int64_t as_of_us, int64_t lag_events):
        """Tell readers that the writer lives and how far it is."""
        self._check_open()
        cdef oh_header_t *header = header_of(&self.supply)
        header.lag_events = lag_events
        header.as_of_us = as_of_us
        header.heartbeat_us = heartbeat_us
        oh_supply_back(&self.supply, BACK_BYTES)

    # -- checkpoints ---------------------------------------------------------------------------

    def needs_checkpoint(self):
        """Whether ids or history need one soon to make room."""
        self._check_open()
        return bool(oh_supply_needs_checkpoint(&self.supply))

    def freeze(self, int64_t ids_expired_us):
        """Copy everything into the standing buffer.

        Returns
        -------
        list of list of memoryview
            The pieces of each section, valid until :meth:`release`.
        """
        self._check_open()
        cdef int status, at, piece
        with nogil:
            status = oh_supply_freeze(&self.supply, ids_expired_us, self.sections)
        if status != OH_OK:
            raise StatusError(status, errno_now)
        return [
            [
                PyMemoryView_FromMemory(<char *>self.sections[at].bytes[piece],
                                        self.sections[at].length[piece], PyBUF_READ)
                for piece in range(2)
                if self.sections[at].length[piece] != 0
            ]
            for at in range(OH_SECTION_COUNT)
        ]

    def release(self):
        """Give the standing buffer back; its memoryviews must be gone."""
        self.supply.frozen.in_use = False

    def forget(self):
        """Advance the horizons; the newest frozen image is durable."""
        self._check_open()
        if self.supply.frozen.in_use:
            raise ValueError("Condition failed: the image was released before it is forgotten by")
        with nogil:
            oh_supply_forget(&self.supply)

    # -- looking at it -------------------------------------------------------------------------

    def applied_offset(self, partition):
        """Return the next offset that a partition's events are applied from."""
        self._check_open()
        if not 0 <= partition < OH_PARTITION_MAX:
            raise ValueError("Condition failed: a partition's index is below 1024")
        return header_of(&self.supply).applied_offset[<int>partition]

    @property
    def announced(self):
        """Horizons of ids and counts as the newest image tells them."""
        return (self.supply.ids.horizon.announced_us, self.supply.history_horizon.announced_us)

    @property
    def in_force(self):
        """Horizons of ids and counts that events are judged by."""
        return (self.supply.ids.horizon.in_force_us, self.supply.history_horizon.in_force_us)

    def figures(self):
        """Return what the table holds, as a dict of integers."""
        self._check_open()
        cdef oh_header_t *header = header_of(&self.supply)
        return {
            "cell_count": header.cell_count,
            "sku_count": header.sku_count,
            "location_count": header.location_count,
            "used_bytes": header.used_bytes,
            "allocated_bytes": header.allocated_bytes,
            "capacity_bytes": header.capacity_bytes,
            "row_bytes": header.row_bytes,
            "id_count": self.supply.ids.head - self.supply.ids.tail,
            "id_count_max": self.supply.ids.limit,
            "movement_count": header.history_head - header.history_tail,
            "movement_count_max": header.history_ring_size,
            "counted_cell_count": self.supply.counts.count,
            "purchase_order_count": self.supply.orders.count,
            "purchase_order_count_max": self.supply.orders.limit,
            "text_bytes": self.supply.texts.used_bytes,
            "ledger_sequence": header.ledger_sequence,
            "change_seq": header.change_seq,
        }

    def changes(self, uint64_t since, uint64_t count_max):
        """Return (sku, location, sequence reached, complete) of changes after ``since``."""
        self._check_open()
        cdef oh_header_t *header = header_of(&self.supply)
        cdef uint64_t newest = header.change_seq
        cdef uint64_t ring_size = header.change_ring_size
        cdef bint complete = newest - since <= ring_size and since <= newest
        cdef uint64_t first = since if complete else newest - min(newest, ring_size)
        cdef uint64_t count = min(newest - first, count_max)
        pairs = np.empty((2, count), np.uint32)
        cdef uint32_t[:, ::1] out = pairs
        cdef oh_change_t *ring = <oh_change_t *>(self.supply.store.base + header.change_ring_off)
        cdef uint64_t at
        for at in range(count):
            out[0, at] = ring[(first + 1 + at) & (ring_size - 1)].sku
            out[1, at] = ring[(first + 1 + at) & (ring_size - 1)].location
        return pairs[0], pairs[1], first + count, bool(complete)
