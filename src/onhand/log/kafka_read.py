"""Reading Kafka: one consumer over hand-assigned partitions, a list of messages per poll."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from onhand._native.decode import unpack_messages
from onhand.errors import OffsetOutOfRange
from onhand.log.base import RawBatch, Record, TopicPartition, empty_batch, partition_name
from onhand.log.kafka_ends import EndWatch, PartitionProgress, fetched_end
from onhand.log.kafka_options import KafkaOptions, from_exception, translate

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAIT_S: Final = 0.05
"""The longest wait for a message at once, so that ends are asked for while a poll waits."""

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
            batch = self._take(self._consumer.consume(record_count_max, 0))
            if len(batch):
                return batch
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return batch
            # One message wakes this; what came with it is taken by the next turn of the loop.
            batch = self._take_first(record_count_max, min(WAIT_S, left_s))
            if len(batch):
                return batch

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
        self._consumer.commit(
            offsets=[KafkaPartition(prefix + t, n, offset) for (t, n), offset in offsets.items()],
            asynchronous=True,
        )

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _take_first(self, record_count_max: int, wait_s: float) -> RawBatch:
        messages = self._consumer.consume(1, wait_s)
        if messages and record_count_max > 1:
            messages += self._consumer.consume(record_count_max - 1, 0)
        return self._take(messages)

    def _take(self, messages: list[Message]) -> RawBatch:
        if not messages:
            return empty_batch()
        values, offsets, append_us, partitions, headers, errors = unpack_messages(
            messages, self._indexes
        )
        if errors:
            messages = [message for message in messages if message.error() is None]
        if values:
            self._error = None
            self._hand_out(offsets, append_us, partitions)
        # After the records: an end of partition speaks of the offset after them.
        for message in errors:
            self._note(message)
        return RawBatch(
            values=values,
            offsets=offsets,
            append_us=append_us,
            partitions=partitions,
            headers=headers,
            whole=lambda index: self._whole(messages[index]),
        )

    def _hand_out(
        self,
        offsets: NDArray[np.int64],
        append_us: NDArray[np.int64],
        partitions: NDArray[np.uint16],
    ) -> None:
        # Each partition's last record: the first of it when looked at from the end.
        found, from_end = np.unique(partitions[::-1], return_index=True)
        lasts = len(partitions) - 1 - from_end
        for index, last in zip(found.tolist(), lasts.tolist(), strict=True):
            self._progress[index].hand_out(int(offsets[last]) + 1, int(append_us[last]))

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

    def _whole(self, message: Message) -> Record:
        return to_record(message, self._options.topic_prefix)


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
