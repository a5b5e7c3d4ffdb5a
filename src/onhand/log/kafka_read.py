"""Reading Kafka: one consumer over hand-assigned partitions, columns of records per poll.

The consumer is a native one of ours over the library that confluent-kafka brings along: an object
for each message, made by the thread that polls, cost as much as all the rest of ingest.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from onhand._native.kafka import Columns, NativeConsumer
from onhand.errors import OffsetOutOfRange
from onhand.log.base import RawBatch, Record, TopicPartition, empty_batch, partition_name
from onhand.log.kafka_ends import EndWatch, PartitionProgress
from onhand.log.kafka_options import KafkaOptions, from_exception, log_line, translate

WAIT_S: Final = 0.05
"""The longest wait for a message at once, so that ends are asked for while a poll waits."""

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
        self._indexes = {(prefix + topic, n): indexes[topic, n] for topic, n in start}
        self._names = {indexes[partition]: partition for partition in start}
        self._progress = {indexes[p]: PartitionProgress(offset) for p, offset in start.items()}
        watched = [KafkaPartition(*place) for place in self._indexes]
        self._watch = EndWatch(admin, watched, options, now_us)
        try:
            self._consumer = NativeConsumer(options.native_consumer(), self._indexes)
            self._consumer.assign([(prefix + t, n, offset) for (t, n), offset in start.items()])
        except KafkaException as error:
            raise from_exception(error, options) from error

    def poll(self, record_count_max: int, timeout_s: float) -> RawBatch:
        """Hand out the next records; see ``LogReader.poll``."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._log()
            self._watch_ends()
            wait_s = max(0.0, min(WAIT_S, deadline - time.monotonic()))
            columns = self._take(record_count_max, wait_s)
            if len(columns):
                return self._batch(columns)
            if time.monotonic() >= deadline:
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
        told = [(prefix + t, n, offset) for (t, n), offset in offsets.items()]
        # Closing waits for what is on its way, and nothing comes back from a broker that hangs.
        if told and self._watch.error is None:
            # Who may read the topics may still lack the right to the group; nothing rests on it.
            with contextlib.suppress(KafkaException):
                self._consumer.commit(told)

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _take(self, record_count_max: int, wait_s: float) -> Columns:
        """Take what the client has fetched, waiting only for a first message."""
        columns = self._consumer.take(record_count_max, BATCH_BYTES_MAX, math.ceil(wait_s * 1_000))
        for index, (offset, append_us) in columns.lasts.items():
            self._progress[index].hand_out(offset + 1, append_us)
        if len(columns):
            self._error = None
        # After the records: an end of partition speaks of the offset after them.
        for failure in columns.errors:
            self._note(*failure)
        return columns

    def _batch(self, columns: Columns) -> RawBatch:
        def whole(index: int) -> Record:
            topic, number = self._names[int(columns.partitions[index])]
            headers = columns.headers[index] if columns.headers is not None else None
            return Record(
                topic=topic,
                partition=number,
                offset=int(columns.offsets[index]),
                append_us=int(columns.append_us[index]),
                key=columns.key(index),
                value=columns.values[index],
                headers=headers or (),
            )

        return RawBatch(
            values=columns.values,
            offsets=columns.offsets,
            append_us=columns.append_us,
            partitions=columns.partitions,
            headers=columns.headers,
            whole=whole,
        )

    def _note(self, topic: str | None, number: int, offset: int, code: int, text: str) -> None:
        """Take notice of what the consumer reports between messages."""
        if topic is None:
            self._error = text
            return
        partition = (topic.removeprefix(self._options.topic_prefix), number)
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # Offsets of aborted records and of transactions' ends are never handed out.
            self._progress[self._indexes[topic, number]].pass_to(offset)
        elif code in _RETENTION:
            raise OffsetOutOfRange(
                f"Kafka no longer has the next record of {partition_name(partition)} "
                f"({text}): retention has dropped records that were not read",
                "Start from an archived checkpoint that covers them, or count every location "
                "anew; then lengthen the topic's retention.ms",
            )
        elif code in _FATAL:
            raise translate(KafkaError(code, text), self._options, partition[0])
        else:
            self._error = text

    def _watch_ends(self) -> None:
        answer = self._watch.turn()
        if answer is None:
            return
        at_us, ends = answer
        is_fetched = True
        for place, index in self._indexes.items():
            fetched = self._consumer.fetched_end(*place)
            # Before the first fetch nobody vouches for the answer.
            if fetched >= 0:
                self._progress[index].mark(at_us, max(ends[place], fetched))
            else:
                is_fetched = False
        if is_fetched and not self.lag_events():
            # All is read: what went wrong is over, or stands in nobody's way.
            self._error = None
        self._hold_back()

    def _hold_back(self) -> None:
        """Let partitions that are far ahead in time wait for the slowest, while catching up.

        Counts are placed among the movements of all partitions, so the table remembers movements
        from the slowest partition on: one that runs days ahead would fill its memory.
        """
        known = [part.read_us for part in self._progress.values() if part.read_us]
        slowest_us = min(known, default=0)
        for place, index in self._indexes.items():
            ahead_us = self._progress[index].read_us - slowest_us
            if index in self._held and ahead_us < AHEAD_US_MAX // 2:
                self._held.remove(index)
                self._consumer.resume(*place)
            elif index not in self._held and ahead_us > AHEAD_US_MAX:
                self._held.add(index)
                self._consumer.pause(*place)

    def _log(self) -> None:
        """Hand on what the client wrote to its log, above all while no broker answers."""
        for line in self._consumer.logged():
            log_line(*line)


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
