"""Reading Kafka: one consumer over hand-assigned partitions, a list of messages per poll."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from onhand._native.decode import MessageColumns
from onhand.errors import OffsetOutOfRange
from onhand.log.base import RawBatch, Record, TopicPartition, empty_batch, partition_name
from onhand.log.kafka_ends import EndWatch, PartitionProgress, fetched_end
from onhand.log.kafka_options import KafkaOptions, from_exception, translate

WAIT_S: Final = 0.05
"""The longest wait for a message at once, so that ends are asked for while a poll waits."""

CHUNK_RECORD_COUNT: Final = 200
"""Asked of the client at once: fewer than the objects after which Python's collector runs."""

BATCH_BYTES_MAX: Final = 16 << 20

AHEAD_US_MAX: Final = 6 * 3_600_000_000
"""How far a partition may run ahead of the slowest, in append time."""

_RETENTION: Final = frozenset(
    {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
)
_FATAL: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)


class KafkaReader:
    """Hands out records of some partitions in the order in which the brokers send them."""

    def __init__(
        self,
        options: KafkaOptions,
        admin: AdminClient,
        start: Mapping[TopicPartition, int],
        indexes: Mapping[TopicPartition, int],
        now_us: Callable[[], int],
    ) -> None:
        self._options = options
        self._now_us = now_us
        self._progress_us = 0
        self._error: str | None = None
        self._held: set[int] = set()
        prefix = options.topic_prefix
        self._indexes = {(prefix + topic, n): i for (topic, n), i in indexes.items()}
        self._names = {indexes[partition]: partition for partition in start}
        self._progress = {indexes[p]: PartitionProgress(offset) for p, offset in start.items()}
        assigned = [KafkaPartition(prefix + p[0], p[1], start[p]) for p in start]
        self._assigned = assigned
        self._watch = EndWatch(admin, assigned, options, now_us)
        try:
            self._consumer = Consumer(options.consumer())
            self._consumer.assign(assigned)
        except KafkaException as error:
            raise from_exception(error, options) from error

    def poll(self, record_count_max: int, timeout_s: float) -> RawBatch:
        """Hand out the next records; see ``LogReader.poll``."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._watch_ends()
            columns = self._take(record_count_max, 0.0)
            left_s = deadline - time.monotonic()
            if not columns.count and left_s > 0:
                columns = self._take(record_count_max, min(WAIT_S, left_s))
            if columns.count:
                return self._batch(columns)
            if left_s <= 0:
                return empty_batch()

    def progress_us(self) -> int:
        """Return the time up to which everything appended has been handed out."""
        read_us = min((part.read_us for part in self._progress.values()), default=self._now_us())
        self._progress_us = max(self._progress_us, read_us)
        return self._progress_us

    def lag_events(self) -> int:
        """Return how many records wait, as of the last answer about the ends."""
        return sum(part.lag_events() for part in self._progress.values())

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Return the offset after the last one handed out, for each partition."""
        return {self._names[index]: part.next_offset for index, part in self._progress.items()}

    def error(self) -> str | None:
        """Say why Kafka cannot be read at the moment, None while it can."""
        return str(self._watch.error) if self._watch.error is not None else self._error

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to the group, in the background: tools show lag by them."""
        prefix = self._options.topic_prefix
        told = [KafkaPartition(prefix + t, n, offset) for (t, n), offset in offsets.items()]
        if told:
            # Who may read the topics may still lack the right to the group; nothing rests on it.
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=told, asynchronous=True)

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _take(self, record_count_max: int, wait_s: float) -> MessageColumns:
        """Take what the client has fetched, waiting only for a first message.

        Messages are let go as soon as they are taken apart: they are objects that Python's
        collector follows, and kept in thousands they made it run so often that reading took twice
        as long.
        """
        columns = MessageColumns(self._indexes)
        errors: list[Message] = []
        # Asked for many, the client waits for as many; asked for one, it returns with the first.
        wanted = 1 if wait_s else min(CHUNK_RECORD_COUNT, record_count_max)
        while wanted and (messages := self._consumer.consume(wanted, wait_s)):
            errors += columns.add(messages)
            if len(messages) < wanted or columns.value_bytes >= BATCH_BYTES_MAX:
                break
            wanted, wait_s = min(CHUNK_RECORD_COUNT, record_count_max - columns.count), 0.0
        for index, (offset, append_us) in columns.lasts.items():
            self._progress[index].hand_out(offset + 1, append_us)
        if columns.count:
            self._error = None
        # After the records: an end of partition speaks of the offset after them.
        for message in errors:
            self._note(message)
        return columns

    def _batch(self, columns: MessageColumns) -> RawBatch:
        values, offsets, append_us, partitions, headers, keys = columns.finish()

        def whole(index: int) -> Record:
            topic, number = self._names[int(partitions[index])]
            return Record(
                topic=topic,
                partition=number,
                offset=int(offsets[index]),
                append_us=int(append_us[index]),
                key=keys[index],
                value=values[index],
                headers=headers[index] or () if headers is not None else (),
            )

        return RawBatch(
            values=values,
            offsets=offsets,
            append_us=append_us,
            partitions=partitions,
            headers=headers,
            whole=whole,
        )

    def _note(self, message: Message) -> None:
        """Take notice of what the consumer reports between messages."""
        error = message.error()
        topic, number = message.topic(), message.partition()
        if error is None or topic is None or number is None:
            self._error = str(error)
            return
        partition = (topic.removeprefix(self._options.topic_prefix), number)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # Offsets of aborted records and of transactions' ends are never handed out.
            self._progress[self._indexes[topic, number]].pass_to(message.offset() or 0)
        elif error.code() in _RETENTION:
            raise OffsetOutOfRange(
                f"Kafka no longer has the next record of {partition_name(partition)} "
                f"({error.str()}): retention has dropped records that were not read",
                "Start from an archived checkpoint that covers them, or count every location "
                "anew; then lengthen the topic's retention.ms",
            )
        elif error.code() in _FATAL:
            raise translate(error, self._options, partition[0])
        else:
            self._error = error.str()

    def _watch_ends(self) -> None:
        answer = self._watch.turn()
        if answer is None:
            return
        at_us, ends = answer
        for partition in self._assigned:
            key = (partition.topic, partition.partition)
            fetched = fetched_end(self._consumer, partition)
            # Before the first fetch nobody vouches for the answer.
            if fetched >= 0:
                self._progress[self._indexes[key]].mark(at_us, max(ends[key], fetched))
        self._hold_back()

    def _hold_back(self) -> None:
        """Let partitions that are far ahead in time wait for the slowest, while catching up.

        Counts are placed among the movements of all partitions, so the table remembers movements
        from the slowest partition on: one that runs days ahead would fill its memory.
        """
        known = [part.read_us for part in self._progress.values() if part.read_us]
        slowest_us = min(known, default=0)
        for partition in self._assigned:
            index = self._indexes[partition.topic, partition.partition]
            ahead_us = self._progress[index].read_us - slowest_us
            if index in self._held and ahead_us < AHEAD_US_MAX // 2:
                self._held.remove(index)
                self._consumer.resume([partition])
            elif index not in self._held and ahead_us > AHEAD_US_MAX:
                self._held.add(index)
                self._consumer.pause([partition])


def to_record(message: Any, topic_prefix: str) -> Record:
    """Make a message a record."""
    return Record(
        topic=message.topic().removeprefix(topic_prefix),
        partition=message.partition(),
        offset=message.offset(),
        append_us=max(0, message.timestamp()[1]) * 1_000,
        key=message.key(),
        value=message.value() or b"",
        headers=tuple((name, value or b"") for name, value in message.headers() or ()),
    )
