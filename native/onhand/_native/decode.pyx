# cython: autotestdict=False
"""Native decoding; read ``src/onhand/ingest/decode.py`` first."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject, PyTypeObject, Py_TYPE
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
        OH_LINE_COUNT_MAX
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

cdef extern from "decode/messages.h":
    ctypedef struct oh_method_t:
        pass

    void oh_method_clear(oh_method_t *)
    int oh_method_bind(oh_method_t *, PyTypeObject *, object) except -1
    object oh_method_call(const oh_method_t *, PyObject *)

cdef enum:
    PARTITION_MAX = 65536
    MESSAGES_MIN = 1024
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


cdef struct methods_t:
    oh_method_t error
    oh_method_t value
    oh_method_t offset
    oh_method_t timestamp
    oh_method_t topic
    oh_method_t partition
    oh_method_t headers
    oh_method_t key


cdef tuple frozen_headers(list headers):
    """Kafka's headers as the log's records have them: no value is an empty one."""
    return tuple([(name, b"" if value is None else value) for name, value in headers])


@cython.final
@cython.auto_pickle(False)
cdef class MessageColumns:
    """Messages of ``confluent_kafka`` on their way into the columns of one poll.

    Messages are taken apart as they come and let go by the caller: they are objects that Python's
    collector follows.
    """

    cdef readonly Py_ssize_t count
    cdef readonly int64_t value_bytes
    cdef readonly dict lasts  # partition index -> offset and append time of its last record
    cdef dict indexes
    cdef PyTypeObject *type  # of all messages; the bound methods keep it alive
    cdef methods_t methods
    cdef list values
    cdef list keys
    cdef list headers  # None until a record has any
    cdef object offsets
    cdef object append_us
    cdef object partitions
    cdef int64_t[::1] offset_column
    cdef int64_t[::1] append_column
    cdef uint16_t[::1] partition_column

    def __cinit__(self, dict indexes not None):
        self.indexes = indexes
        self.type = NULL
        self.values = []
        self.keys = []
        self.lasts = {}
        self.reserve(MESSAGES_MIN)

    def __dealloc__(self):
        oh_method_clear(&self.methods.error)
        oh_method_clear(&self.methods.value)
        oh_method_clear(&self.methods.offset)
        oh_method_clear(&self.methods.timestamp)
        oh_method_clear(&self.methods.topic)
        oh_method_clear(&self.methods.partition)
        oh_method_clear(&self.methods.headers)
        oh_method_clear(&self.methods.key)

    cdef int bind(self, PyTypeObject *kind) except -1:
        """Look the methods of the messages' type up, once a poll."""
        self.type = kind
        oh_method_bind(&self.methods.error, kind, "error")
        oh_method_bind(&self.methods.value, kind, "value")
        oh_method_bind(&self.methods.offset, kind, "offset")
        oh_method_bind(&self.methods.timestamp, kind, "timestamp")
        oh_method_bind(&self.methods.topic, kind, "topic")
        oh_method_bind(&self.methods.partition, kind, "partition")
        oh_method_bind(&self.methods.headers, kind, "headers")
        oh_method_bind(&self.methods.key, kind, "key")
        return 0

    cdef int reserve(self, Py_ssize_t count) except -1:
        """Make room in the columns for so many messages."""
        cdef Py_ssize_t room = 0 if self.offsets is None else self.offset_column.shape[0]
        if count <= room:
            return 0
        room = max(count, 2 * room)
        offsets = np.empty(room, np.int64)
        append_us = np.empty(room, np.int64)
        partitions = np.empty(room, np.uint16)
        if self.count:
            offsets[: self.count] = self.offsets[: self.count]
            append_us[: self.count] = self.append_us[: self.count]
            partitions[: self.count] = self.partitions[: self.count]
        self.offsets = offsets
        self.append_us = append_us
        self.partitions = partitions
        self.offset_column = offsets
        self.append_column = append_us
        self.partition_column = partitions
        return 0

    def add(self, list messages not None):
        cdef Py_ssize_t index
        cdef Py_ssize_t kept = self.count
        cdef list errors = []
        cdef methods_t *methods = &self.methods
        cdef PyObject *message
        cdef object topic = None
        cdef object known_topic = None
        cdef int64_t partition
        cdef int64_t known_partition = -1
        cdef uint16_t partition_index = 0
        self.reserve(kept + len(messages))
        for index in range(len(messages)):
            message = PyList_GET_ITEM(messages, index)
            if Py_TYPE(<object>message) != self.type:
                if self.type != NULL:
                    raise TypeError("Condition failed: the messages of a poll are of one type")
                self.bind(Py_TYPE(<object>message))
            if oh_method_call(&methods.error, message) is not None:
                errors.append(<object>message)
                continue
            topic = oh_method_call(&methods.topic, message)
            partition = oh_method_call(&methods.partition, message)
            if partition != known_partition or topic != known_topic:
                if known_topic is not None:
                    self.note_last(partition_index, kept)
                partition_index = self.indexes[topic, partition]
                known_topic, known_partition = topic, partition
            self.partition_column[kept] = partition_index
            self.offset_column[kept] = oh_method_call(&methods.offset, message)
            kind, milliseconds = oh_method_call(&methods.timestamp, message)
            self.append_column[kept] = <int64_t>milliseconds * 1000 if kind else 0
            value = oh_method_call(&methods.value, message)
            if value is None:
                value = b""
            self.values.append(value)
            self.value_bytes += len(value)
            self.keys.append(oh_method_call(&methods.key, message))
            found = oh_method_call(&methods.headers, message)
            if found is not None and found:
                if self.headers is None:
                    self.headers = [None] * kept
                self.headers.append(frozen_headers(found))
            elif self.headers is not None:
                self.headers.append(None)
            kept += 1
        if known_topic is not None:
            self.note_last(partition_index, kept)
        self.count = kept
        return errors

    cdef int note_last(self, uint16_t partition, Py_ssize_t end) except -1:
        self.lasts[partition] = (self.offset_column[end - 1], self.append_column[end - 1])
        return 0

    def finish(self):
        cdef Py_ssize_t kept = self.count
        return (
            self.values,
            self.offsets[:kept],
            self.append_us[:kept],
            self.partitions[:kept],
            self.headers,
            self.keys,
        )
