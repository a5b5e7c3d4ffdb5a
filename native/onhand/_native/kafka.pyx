# cython: autotestdict=False
"""A consumer of Kafka that fills columns; read ``src/onhand/log/kafka_read.py`` first.

Everything that waits or that only moves bytes runs without the interpreter lock. The client's own
threads never call into Python: it reports through queues, which whoever polls empties.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, uint16_t
from libc.string cimport memcpy

from onhand._native.librdkafka cimport (
    OH_RDKAFKA_CONSUMER, OH_RDKAFKA_ERRSTR_BYTES, OH_RDKAFKA_NO_CONSUMER_CLOSE,
    OH_RDKAFKA_VERSION_MIN, oh_rdkafka_find, oh_rdkafka_t, rd_kafka_conf_t, rd_kafka_event_t,
    rd_kafka_headers_t, rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_t,
    rd_kafka_topic_partition_list_t,
)

import numpy as np
from confluent_kafka import KafkaError, KafkaException, cimpl

from onhand.errors import LogUnavailable

cdef enum:
    # Taken between two looks at how many bytes there are by now.
    CHUNK_COUNT = 256
    NO_KEY = -1

cdef oh_rdkafka_t rdkafka
cdef bint is_found = False


def find_library(str path not None):
    global rdkafka, is_found
    cdef oh_rdkafka_t found
    cdef const char *missing = oh_rdkafka_find(&found, path.encode())
    if missing == NULL and found.version() < OH_RDKAFKA_VERSION_MIN:
        missing = b"librdkafka 2.0"
    if missing != NULL:
        raise LogUnavailable(
            f"The client library of confluent-kafka has no {missing.decode()}",
            "Install confluent-kafka as PyPI has it, with its own librdkafka: "
            "pip install --force-reinstall 'confluent-kafka>=2.16'",
        )
    rdkafka = found
    is_found = True
    return rdkafka.version()


cdef int check(int code) except -1:
    if code:
        raise KafkaException(KafkaError(code, rdkafka.err2str(code).decode()))
    return 0


cdef class Places:
    """Topic names, partitions and offsets as the client takes them; freed with the object."""

    cdef rd_kafka_topic_partition_list_t *list

    def __cinit__(self, places):
        self.list = rdkafka.topic_partition_list_new(len(places))
        for topic, partition, offset in places:
            self.add(topic.encode(), partition, offset)

    cdef int add(self, bytes topic, int32_t partition, int64_t offset) except -1:
        rdkafka.topic_partition_list_add(self.list, topic, partition)
        return check(
            rdkafka.topic_partition_list_set_offset(self.list, topic, partition, offset)
        )

    def __dealloc__(self):
        if self.list != NULL:
            rdkafka.topic_partition_list_destroy(self.list)


cdef class Messages:
    """What was taken at once; given back to the client with the object."""

    cdef rd_kafka_message_t **rows
    cdef size_t count

    def __cinit__(self, size_t room):
        self.rows = <rd_kafka_message_t **>PyMem_Malloc(room * sizeof(rd_kafka_message_t *))
        if self.rows == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef size_t index
        with nogil:
            for index in range(self.count):
                rdkafka.message_destroy(self.rows[index])
        PyMem_Free(self.rows)

    cdef void take(self, rd_kafka_queue_t *queue, size_t room, size_t bytes_max,
                   int wait_ms) noexcept nogil:
        """Take what is there; nothing being there, wait for a first message and what is with it."""
        cdef size_t bytes = 0
        cdef size_t wanted, got, index
        while self.count < room and bytes < bytes_max:
            wanted = min(room - self.count, <size_t>CHUNK_COUNT)
            got = self.consume(queue, 0, wanted)
            if got == 0 and self.count == 0 and wait_ms > 0:
                # Asked for many, the client waits for as many.
                got = self.consume(queue, wait_ms, 1)
                wait_ms = 0
                wanted = got
            for index in range(self.count - got, self.count):
                bytes += self.rows[index].len
            if got < wanted or got == 0:
                return

    cdef size_t consume(self, rd_kafka_queue_t *queue, int wait_ms, size_t wanted) noexcept nogil:
        cdef ssize_t got
        got = rdkafka.consume_batch_queue(queue, wait_ms, self.rows + self.count, wanted)
        if got <= 0:
            return 0
        self.count += <size_t>got
        return <size_t>got


cdef bytes bytes_of(const void *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>length)


cdef tuple headers_of(const rd_kafka_headers_t *headers):
    """Headers as the log's records have them: no value is an empty one."""
    cdef const char *name
    cdef const void *value
    cdef size_t length
    cdef size_t index = 0
    cdef list found = []
    while rdkafka.header_get_all(headers, index, &name, &value, &length) == 0:
        # A name that is no text is nobody's whom we know, and must not hold the partition up.
        text = name.decode(errors="replace")
        found.append((text, b"" if value == NULL else bytes_of(value, length)))
        index += 1
    return tuple(found)


cdef tuple error_of(const rd_kafka_message_t *message):
    cdef object topic = None
    if message.rkt != NULL:
        topic = rdkafka.topic_name(message.rkt).decode()
    text = rdkafka.message_errstr(message).decode(errors="replace")
    return topic, message.partition, message.offset, message.err, text


@cython.final
@cython.auto_pickle(False)
cdef class Columns:
    """The records of one poll; see the .pyi."""

    cdef readonly list values
    cdef readonly list headers
    cdef readonly list errors
    cdef readonly dict lasts
    cdef readonly object offsets
    cdef readonly object append_us
    cdef readonly object partitions
    cdef object key_lengths
    cdef bytes keys
    cdef Py_ssize_t count

    def __cinit__(self):
        self.values = []
        self.errors = []
        self.lasts = {}
        self.keys = b""

    def __len__(self):
        return self.count

    cdef int fill(self, Messages messages, dict indexes) except -1:
        cdef int64_t[::1] offsets
        cdef int64_t[::1] append_us
        cdef uint16_t[::1] partitions
        cdef int32_t[::1] key_lengths
        cdef const rd_kafka_message_t *message
        cdef const rd_kafka_message_t *before = NULL
        cdef rd_kafka_headers_t *headers
        cdef uint16_t partition = 0
        cdef int kind = 0
        cdef int64_t milliseconds
        cdef size_t row
        cdef Py_ssize_t kept = 0
        self.make_room(messages.count)
        offsets, append_us = self.offsets, self.append_us
        partitions, key_lengths = self.partitions, self.key_lengths
        for row in range(messages.count):
            message = messages.rows[row]
            if message.err:
                self.errors.append(error_of(message))
                continue
            if before == NULL or (
                message.rkt != before.rkt or message.partition != before.partition
            ):
                if before != NULL:
                    self.lasts[partition] = (offsets[kept - 1], append_us[kept - 1])
                topic = rdkafka.topic_name(message.rkt).decode()
                partition = indexes[topic, message.partition]
                before = message
            milliseconds = rdkafka.message_timestamp(message, &kind)
            offsets[kept] = message.offset
            append_us[kept] = milliseconds * 1000 if kind else 0
            partitions[kept] = partition
            key_lengths[kept] = NO_KEY if message.key == NULL else <int32_t>message.key_len
            self.values.append(bytes_of(message.payload, message.len))
            if rdkafka.message_headers(message, &headers) == 0:
                if self.headers is None:
                    self.headers = [None] * kept
                self.headers.append(headers_of(headers) or None)
            elif self.headers is not None:
                self.headers.append(None)
            kept += 1
        if before != NULL:
            self.lasts[partition] = (offsets[kept - 1], append_us[kept - 1])
        self.count = kept
        self.cut()
        return self.copy_keys(messages)

    cdef int make_room(self, size_t count) except -1:
        self.offsets = np.empty(count, np.int64)
        self.append_us = np.empty(count, np.int64)
        self.partitions = np.empty(count, np.uint16)
        self.key_lengths = np.empty(count, np.int32)
        return 0

    cdef int cut(self) except -1:
        """Leave off the room of what turned out to be errors."""
        self.offsets = self.offsets[:self.count]
        self.append_us = self.append_us[:self.count]
        self.partitions = self.partitions[:self.count]
        self.key_lengths = self.key_lengths[:self.count]
        return 0

    cdef int copy_keys(self, Messages messages) except -1:
        """Keep the keys as one string: only what goes to the dead letters is asked for its key."""
        cdef size_t row
        cdef size_t total = 0
        cdef char *end
        cdef const rd_kafka_message_t *message
        for row in range(messages.count):
            if not messages.rows[row].err:
                total += messages.rows[row].key_len
        self.keys = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total)
        end = PyBytes_AS_STRING(self.keys)
        for row in range(messages.count):
            message = messages.rows[row]
            if not message.err and message.key_len:
                memcpy(end, message.key, message.key_len)
                end += message.key_len
        return 0

    def key(self, Py_ssize_t index):
        cdef int64_t length = self.key_lengths[index]
        if length == NO_KEY:
            return None
        before = self.key_lengths[:index]
        start = int(before[before > 0].sum(dtype=np.int64))
        return self.keys[start:start + length]


@cython.final
@cython.auto_pickle(False)
cdef class NativeConsumer:
    """One client of Kafka with partitions assigned by hand.

    Owns the client and its queues; frees them when it is closed, or goes. Messages go before it:
    none is left when a call returns.
    """

    cdef rd_kafka_t *client
    cdef rd_kafka_queue_t *records
    cdef rd_kafka_queue_t *logs
    cdef dict indexes

    def __cinit__(self, dict options not None, dict indexes not None):
        cdef char text[OH_RDKAFKA_ERRSTR_BYTES]
        cdef rd_kafka_conf_t *conf
        if not is_found:
            find_library(cimpl.__file__)
        self.indexes = indexes
        conf = rdkafka.conf_new()
        try:
            # Its threads then leave what they have to say in a queue of ours.
            for name, value in (options | {"log.queue": "true"}).items():
                if rdkafka.conf_set(conf, name.encode(), value.encode(), text, sizeof(text)):
                    self.refuse(text)
            self.client = rdkafka.create(OH_RDKAFKA_CONSUMER, conf, text, sizeof(text))
            if self.client == NULL:
                self.refuse(text)
            conf = NULL  # the client's own by now
        finally:
            if conf != NULL:
                rdkafka.conf_destroy(conf)
        self.logs = rdkafka.queue_new(self.client)
        check(rdkafka.set_log_queue(self.client, self.logs))
        check(rdkafka.poll_set_consumer(self.client))
        self.records = rdkafka.queue_get_consumer(self.client)

    def __dealloc__(self):
        self.free()

    cdef int refuse(self, const char *text) except -1:
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.decode(errors="replace")))

    cdef void free(self) noexcept:
        if self.client == NULL:
            return
        with nogil:
            if self.records != NULL:
                rdkafka.queue_destroy(self.records)
            if self.logs != NULL:
                rdkafka.queue_destroy(self.logs)
            rdkafka.destroy_flags(self.client, OH_RDKAFKA_NO_CONSUMER_CLOSE)
        self.client = NULL

    cdef int check_open(self) except -1:
        if self.client == NULL:
            raise ValueError("Condition failed: the consumer is open")
        return 0

    def assign(self, places):
        self.check_open()
        cdef Places wanted = Places(places)
        cdef int code
        with nogil:
            code = rdkafka.assign(self.client, wanted.list)
        check(code)

    def take(self, Py_ssize_t count_max, size_t bytes_max, int wait_ms):
        self.check_open()
        cdef Columns columns = Columns()
        cdef Messages messages = Messages(max(count_max, 1))
        with nogil:
            messages.take(self.records, <size_t>max(count_max, 1), bytes_max, wait_ms)
        columns.fill(messages, self.indexes)
        return columns

    def pause(self, str topic not None, int32_t partition):
        self.check_open()
        cdef Places place = Places([(topic, partition, 0)])
        cdef int code
        with nogil:  # until the client's own thread has done it
            code = rdkafka.pause_partitions(self.client, place.list)
        check(code)

    def resume(self, str topic not None, int32_t partition):
        self.check_open()
        cdef Places place = Places([(topic, partition, 0)])
        cdef int code
        with nogil:  # until the client's own thread has done it
            code = rdkafka.resume_partitions(self.client, place.list)
        check(code)

    def commit(self, places):
        self.check_open()
        check(rdkafka.commit(self.client, Places(places).list, 1))

    def fetched_end(self, str topic not None, int32_t partition):
        self.check_open()
        cdef int64_t begin = -1
        cdef int64_t end = -1
        if rdkafka.get_watermark_offsets(self.client, topic.encode(), partition, &begin, &end):
            return -1
        return max(end, -1)

    def logged(self):
        self.check_open()
        cdef list found = []
        cdef rd_kafka_event_t *event
        cdef const char *facility = NULL
        cdef const char *text = NULL
        cdef int level = 0
        while True:
            event = rdkafka.queue_poll(self.logs, 0)
            if event == NULL:
                return found
            if rdkafka.event_log(event, &facility, &text, &level) == 0:
                found.append((
                    level, facility.decode(errors="replace"), text.decode(errors="replace")))
            rdkafka.event_destroy(event)

    def close(self):
        if self.client == NULL:
            return
        with nogil:
            rdkafka.consumer_close(self.client)
        self.free()
