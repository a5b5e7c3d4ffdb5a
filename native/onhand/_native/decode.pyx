# cython: autotestdict=False
"""Native decoding; read ``src/onhand/ingest/decode.py`` first."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

from onhand.model.batch import EVENT as _EVENT
from onhand.model.batch import LINE as _LINE

cdef extern from "onhand/batch.h" nogil:
    ctypedef struct oh_event_t:
        pass
    ctypedef struct oh_line_t:
        pass

cdef extern from "decode/decode.h" nogil:
    enum:
        OH_VALUE_BYTES_MAX

    ctypedef struct oh_window_t:
        int64_t late_us
        int64_t ahead_us
        int64_t count_us
        int64_t ids_since_us
        int64_t counts_since_us

    ctypedef struct oh_columns_t:
        oh_event_t *events
        oh_line_t *lines
        uint8_t *heap
        size_t event_count
        size_t line_count
        size_t heap_bytes
        uint64_t unknown_fields
        oh_window_t window

    ctypedef struct oh_origin_t:
        int64_t offset
        int64_t append_us
        uint16_t partition
        bint is_ledger

    ctypedef struct oh_bytes_t:
        const uint8_t *bytes
        uint32_t length

    ctypedef struct oh_judged_t:
        oh_bytes_t source
        oh_bytes_t id
        oh_bytes_t location
        oh_bytes_t from_location "from"
        oh_bytes_t reference
        int64_t occurred_us
        int64_t sequence
        int32_t expected_day
        uint8_t type
        uint8_t disposition

    int oh_columns_reserve(oh_columns_t *, size_t, size_t, size_t)
    int oh_columns_reserve_scratch(oh_columns_t *, size_t)
    void oh_columns_free(oh_columns_t *)
    void oh_columns_add_line(oh_columns_t *, const uint8_t *, uint32_t, int32_t)
    void oh_columns_add_event(oh_columns_t *, const oh_judged_t *, const oh_origin_t *, size_t)
    bint oh_decode_plain(oh_columns_t *, const uint8_t *, size_t, const oh_origin_t *)
    size_t oh_line_bound(size_t)

cdef enum:
    # What one value may add to the heap: no more than itself, and no more than its strings.
    HEAP_VALUE_BYTES_MAX = 1000 * 256 + 4096

ctypedef struct item_t:
    const uint8_t *value  # borrowed from the Decoder's tuple of values
    size_t length
    oh_origin_t origin
    bint is_plain  # may go the native way: no header says otherwise


cdef bint headers_are_plain(object headers) except -1:
    """Whether no header changes how a value is read or judged."""
    cdef str name
    for name, value in headers:
        if name == "content-type":
            if value != b"application/json":
                return False
        elif name == "ce_specversion":
            if value != b"1.0":
                return False
        elif name == "onhand-force":
            return False
    return True


cdef oh_bytes_t text_of(bytes text) noexcept:
    cdef oh_bytes_t view
    view.bytes = <const uint8_t *>PyBytes_AS_STRING(text)
    view.length = <uint32_t>PyBytes_GET_SIZE(text)
    return view


cdef object column_copy(const void *data, size_t count, object dtype):
    """Copy rows into a new numpy array."""
    column = np.empty(count, dtype)
    cdef uint8_t[::1] view
    if count:
        view = column.view(np.uint8)
        memcpy(&view[0], data, view.shape[0])
    return column


@cython.final
@cython.auto_pickle(False)
cdef class Decoder:
    """One poll on its way into columns.

    Owns the columns and a tuple of the values, so that they may be read without the GIL; frees
    both when it goes.
    """

    cdef oh_columns_t columns
    cdef tuple values
    cdef item_t *items
    cdef size_t count
    cdef size_t position
    cdef size_t line_bound  # of all records: kept free, so that the native way need not look
    cdef size_t heap_bound
    cdef dict next_offsets

    def __cinit__(
        self,
        values,
        headers,
        const int64_t[::1] offsets,
        const int64_t[::1] append_us,
        const uint16_t[::1] partitions,
        ledger_partitions,
        window,
    ):
        self.values = tuple(values)
        self.count = len(self.values)
        if not (<size_t>offsets.shape[0] == <size_t>append_us.shape[0]
                == <size_t>partitions.shape[0] == self.count):
            raise ValueError("Condition failed: the columns of a batch have one length")
        if headers is not None and <size_t>len(headers) != self.count:
            raise ValueError("Condition failed: the columns of a batch have one length")
        cdef oh_window_t *rules = &self.columns.window
        (rules.late_us, rules.ahead_us, rules.count_us, rules.ids_since_us,
         rules.counts_since_us) = window
        self.items = <item_t *>PyMem_Malloc((self.count + 1) * sizeof(item_t))
        if self.items == NULL:
            raise MemoryError
        self.fill_items(headers, offsets, append_us, partitions, frozenset(ledger_partitions))
        self.note_offsets()
        self.reserve_all()

    def __dealloc__(self):
        oh_columns_free(&self.columns)
        PyMem_Free(self.items)

    cdef int fill_items(self, headers, const int64_t[::1] offsets, const int64_t[::1] append_us,
                        const uint16_t[::1] partitions, frozenset ledgers) except -1:
        cdef size_t index
        cdef item_t *item
        cdef PyObject *value
        cdef bint is_ledger = False
        cdef int32_t partition = -1
        for index in range(self.count):
            item = &self.items[index]
            value = PyTuple_GET_ITEM(self.values, index)
            if not PyBytes_CheckExact(<object>value):
                raise TypeError("Condition failed: a value is bytes")
            item.value = <const uint8_t *>PyBytes_AS_STRING(<object>value)
            item.length = PyBytes_GET_SIZE(<object>value)
            item.origin.offset = offsets[index]
            item.origin.append_us = append_us[index]
            item.origin.partition = partitions[index]
            if partitions[index] != partition:
                partition = partitions[index]
                is_ledger = partition in ledgers
            item.origin.is_ledger = is_ledger
            item.is_plain = True
            if headers is not None:
                header = headers[index]
                item.is_plain = header is None or headers_are_plain(header)
        return 0

    cdef int note_offsets(self) except -1:
        """Remember the offset after each partition's newest record."""
        cdef size_t index
        cdef item_t *item
        cdef int32_t partition = -1
        cdef int64_t newest = 0
        self.next_offsets = {}
        for index in range(self.count):
            item = &self.items[index]
            if item.origin.partition != partition:
                if partition >= 0:
                    self.next_offsets[partition] = newest
                partition = item.origin.partition
                newest = self.next_offsets.get(partition, 0)
            if item.origin.offset + 1 > newest:
                newest = item.origin.offset + 1
        if partition >= 0:
            self.next_offsets[partition] = newest
        return 0

    cdef int reserve_all(self) except -1:
        cdef size_t index, length
        cdef size_t longest = 0
        for index in range(self.count):
            length = self.items[index].length
            if length > OH_VALUE_BYTES_MAX:
                continue
            longest = max(longest, length)
            self.line_bound += oh_line_bound(length)
            self.heap_bound += min(length, <size_t>HEAP_VALUE_BYTES_MAX)
        self.reserve(0, 0)
        if oh_columns_reserve_scratch(&self.columns, longest + 1) != 0:
            raise MemoryError
        return 0

    cdef int reserve(self, size_t lines, size_t heap_bytes) except -1:
        """Make room for these and, besides, for all that the records may still add."""
        cdef int status = oh_columns_reserve(
            &self.columns, self.count + 1, lines + self.line_bound, heap_bytes + self.heap_bound
        )
        if status != 0:
            raise MemoryError("A poll does not fit into memory: lower poll_record_count_max")
        return 0

    def run(self):
        cdef size_t index
        cdef item_t *item
        with nogil:
            index = self.position
            while index < self.count:
                item = &self.items[index]
                if not item.is_plain:
                    break
                if not oh_decode_plain(&self.columns, item.value, item.length, &item.origin):
                    break
                index += 1
        self.position = index + 1
        return <int64_t>index if index < self.count else -1

    def append(
        self,
        size_t record,
        uint8_t type_number,
        int64_t occurred_us,
        bytes source not None,
        bytes id not None,
        bytes location not None,
        bytes from_location not None,
        bytes reference not None,
        int32_t expected_day,
        uint8_t disposition,
        int64_t sequence,
        list skus not None,
        list quantities not None,
    ):
        cdef oh_judged_t judged
        cdef size_t first_line = self.columns.line_count
        cdef size_t index
        cdef size_t heap_bytes = len(source) + len(id) + len(location) + len(from_location)
        cdef bytes sku
        cdef oh_bytes_t text
        if record + 1 != self.position:
            raise ValueError("Condition failed: only the record that run stopped at may be added")
        if len(skus) != len(quantities):
            raise ValueError("Condition failed: every sku has a quantity")
        heap_bytes += len(reference)
        for sku in skus:
            heap_bytes += len(sku)
        self.reserve(len(skus), heap_bytes)
        for index in range(<size_t>len(skus)):
            text = text_of(skus[index])
            oh_columns_add_line(&self.columns, text.bytes, text.length, quantities[index])
        judged.source = text_of(source)
        judged.id = text_of(id)
        judged.location = text_of(location)
        judged.from_location = text_of(from_location)
        judged.reference = text_of(reference)
        judged.occurred_us = occurred_us
        judged.sequence = sequence
        judged.expected_day = expected_day
        judged.type = type_number
        judged.disposition = disposition
        oh_columns_add_event(&self.columns, &judged, &self.items[record].origin, first_line)

    def finish(self):
        events = column_copy(self.columns.events, self.columns.event_count, _EVENT)
        lines = column_copy(self.columns.lines, self.columns.line_count, _LINE)
        heap = PyBytes_FromStringAndSize(<const char *>self.columns.heap, self.columns.heap_bytes)
        return events, lines, heap, self.next_offsets, self.columns.unknown_fields
