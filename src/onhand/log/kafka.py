"""The event log in Kafka, for several hosts and for topics that others publish to."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from onhand.errors import LogUnavailable, OnhandError
from onhand.log.base import (
    NewRecord,
    Position,
    Record,
    TopicPartition,
    check_size,
    chunked,
    closed,
    failed,
    now_us,
)
from onhand.log.kafka_append import KafkaAppender
from onhand.log.kafka_ends import (
    EARLIEST,
    LATEST,
    ask_offsets,
    check_starts,
    fetched_end,
    wait_offsets,
)
from onhand.log.kafka_options import KafkaOptions, from_exception, is_passing
from onhand.log.kafka_read import KafkaReader, to_record
from onhand.log.kafka_topics import FRAMING_BYTES, create_topics, describe, has_leaders, warnings
from onhand.log.topics import BY_NAME, TOPICS, record_bytes_max

LOOK_S: Final = 0.02


class KafkaLog:
    """An ``EventLog`` in Kafka.

    Parameters
    ----------
    options
        How to reach Kafka. ``topic_prefix`` is put before topic names on the way out and taken
        off on the way in: nothing else in onhand knows of it.
    now_us
        Clock of readers' progress, in microseconds; append times are the brokers'.
    """

    def __init__(self, options: KafkaOptions, *, now_us: Callable[[], int] = now_us) -> None:
        self._options = options
        self._now_us = now_us
        self._lock = threading.Lock()
        self._appender: KafkaAppender | None = None
        self._is_closed = False
        self._bytes_max: dict[str, int] = {}
        try:
            self._admin = AdminClient(options.admin())
        except KafkaException as error:
            raise from_exception(error, options) from error

    def identity(self) -> str:
        """Return the cluster's id, and the prefix that sets this deployment's topics apart."""
        cluster = self._metadata().cluster_id or "unnamed"
        prefix = self._options.topic_prefix
        return f"kafka:{cluster}:{prefix}" if prefix else f"kafka:{cluster}"

    def ensure_topics(self, partition_count: int) -> list[str]:
        """Create the topics that are missing; return warnings about those that are unfit."""
        known = self._metadata()
        missing = [topic for topic in TOPICS if self._name(topic.name) not in known.topics]
        # Asking for existing ones too would need a right that many deployments do not give.
        if missing:
            create_topics(self._admin, self._options, missing, partition_count, len(known.brokers))
        found = self._wait_topics()
        try:
            configs = describe(self._admin, self._options, list(BY_NAME))
        except OnhandError as error:
            return [f"The topics' configuration cannot be checked: {error}"]
        for topic, config in configs.items():
            self._note_bytes_max(topic, config)
        told: dict[str, list[str]] = {}
        for each in TOPICS:
            partitions = found[self._name(each.name)].partitions.values()
            replica_count = min(len(partition.replicas) for partition in partitions)
            for wrong in warnings(each, configs[each.name], len(partitions), replica_count):
                told.setdefault(wrong, []).append(each.name)
        return [f"{', '.join(topics)}: {wrong}" for wrong, topics in told.items()]

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """List the partitions of those topics that exist."""
        found = self._metadata().topics
        prefix = self._options.topic_prefix
        return [
            (topic, number)
            for topic in sorted(topics)
            if prefix + topic in found
            for number in sorted(found[prefix + topic].partitions)
        ]

    def record_bytes_max(self, topic: str) -> int:
        """Return how large a record the topic takes; Kafka is asked once."""
        if topic not in self._bytes_max:
            # The broker decides in the end; a wrong guess costs a refused append.
            with contextlib.suppress(OnhandError):
                found = describe(self._admin, self._options, [topic])
                self._note_bytes_max(topic, found[topic])
        return self._bytes_max.get(topic, record_bytes_max(topic))

    def begin_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset that each partition still holds."""
        return self._offsets(partitions, EARLIEST)

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that each partition's next record will have.

        The brokers' answer is confirmed by a fetch from there; see ``kafka_ends``.
        """
        ends = self._offsets(partitions, LATEST)
        assigned = {p: KafkaPartition(self._name(p[0]), p[1], end) for p, end in ends.items()}
        consumer = self._open_consumer(list(assigned.values()))
        try:
            deadline = time.monotonic() + self._options.request_timeout_s
            missing = set(partitions)
            while missing and time.monotonic() < deadline:
                consumer.consume(1, LOOK_S)
                for partition in tuple(missing):
                    fetched = fetched_end(consumer, assigned[partition])
                    if fetched >= 0:
                        ends[partition] = max(ends[partition], fetched)
                        missing.remove(partition)
        finally:
            consumer.close()
        if missing:
            raise self._options.unavailable(f"does not let {sorted(missing)} be read")
        return ends

    def append_nowait(self, records: Sequence[NewRecord]) -> Future[list[Position]]:
        """Hand the records to the producer; the future is done when all replicas have them."""
        return self._submit(records, wait=False)

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append and wait until all replicas in sync have the records."""
        futures = [self._submit(chunk, wait=True) for chunk in chunked(records)]
        return [position for future in futures for position in future.result()]

    def read(self, partition: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Read up to ``limit`` records from ``offset``, or the first kept, on."""
        begin = self.begin_offsets([partition])[partition]
        end = self.end_offsets([partition])[partition]
        offset = max(offset, begin)
        if offset >= end or limit <= 0:
            return []
        consumer = self._open_consumer(
            [KafkaPartition(self._name(partition[0]), partition[1], offset)]
        )
        try:
            return self._read_to(consumer, end, limit)
        finally:
            consumer.close()

    def reader(
        self,
        start: Mapping[TopicPartition, int],
        indexes: Mapping[TopicPartition, int] | None = None,
        *,
        gather_ms: int = 0,
    ) -> KafkaReader:
        """Open a reader at offsets."""
        partitions = sorted(start)
        if indexes is None:
            indexes = {partition: index for index, partition in enumerate(partitions)}
        check_starts(start, self.begin_offsets(partitions), self.end_offsets(partitions))
        options = msgspec.structs.replace(self._options, gather_ms=gather_ms)
        return KafkaReader(options, self._admin, start, indexes, self._now_us)

    def prune(self, appended_before_us: int, keep: Mapping[TopicPartition, int]) -> int:  # noqa: ARG002
        """Do nothing: Kafka drops records by its topics' retention."""
        return 0

    def close(self) -> None:
        """Wait until what was appended is delivered or has failed."""
        with self._lock:
            self._is_closed = True
            appender, self._appender = self._appender, None
        if appender is not None:
            appender.close()

    def _submit(self, records: Sequence[NewRecord], *, wait: bool) -> Future[list[Position]]:
        try:
            size_bytes = sum(check_size(record, self._known_max(record)) for record in records)
            return self._start_appender().submit(records, size_bytes, wait=wait)
        except OnhandError as error:
            return failed(error)

    def _known_max(self, record: NewRecord) -> int:
        """Return what its topic takes as far as is known: appending never asks the brokers."""
        return self._bytes_max.get(record.topic, record_bytes_max(record.topic))

    def _note_bytes_max(self, topic: str, config: Mapping[str, str]) -> None:
        if "max.message.bytes" in config:
            self._bytes_max[topic] = int(config["max.message.bytes"]) - FRAMING_BYTES

    def _start_appender(self) -> KafkaAppender:
        with self._lock:
            if self._is_closed:
                raise closed()
            if self._appender is None:
                self._appender = KafkaAppender(self._options)
            return self._appender

    def _name(self, topic: str) -> str:
        return self._options.topic_prefix + topic

    def _metadata(self) -> Any:
        try:
            return self._admin.list_topics(timeout=self._options.request_timeout_s)
        except KafkaException as error:
            raise self._options.unavailable("does not answer") from error

    def _wait_topics(self) -> Any:
        """Wait until every topic is known with a leader for each partition; brokers gossip."""
        deadline = time.monotonic() + self._options.request_timeout_s
        wanted = [self._name(topic.name) for topic in TOPICS]
        while True:
            found = self._metadata().topics
            if all(name in found and has_leaders(found[name]) for name in wanted):
                return found
            if time.monotonic() > deadline:
                raise self._options.unavailable("does not bring up the topics that were created")
            time.sleep(LOOK_S)

    def _offsets(
        self, partitions: Sequence[TopicPartition], spec: Any
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        asked = [KafkaPartition(self._name(topic), number) for topic, number in partitions]
        found = self._ask_until_answered(asked, spec)
        return {p: found[self._name(p[0]), p[1]] for p in partitions}

    def _ask_until_answered(
        self, asked: list[KafkaPartition], spec: Any
    ) -> dict[TopicPartition, int]:
        """Ask for offsets; a topic that was just created has no leader for a moment."""
        deadline = time.monotonic() + self._options.request_timeout_s
        while True:
            try:
                return wait_offsets(
                    ask_offsets(self._admin, asked, spec, self._options), self._options
                )
            except KafkaException as error:
                if not is_passing(error) or time.monotonic() > deadline:
                    raise from_exception(error, self._options) from error
                time.sleep(LOOK_S)

    def _open_consumer(self, assigned: list[KafkaPartition]) -> Consumer:
        try:
            consumer = Consumer(self._options.consumer())
            consumer.assign(assigned)
        except KafkaException as error:
            raise from_exception(error, self._options) from error
        return consumer

    def _read_to(self, consumer: Consumer, end: int, limit: int) -> list[Record]:
        """Read until the limit, the end, or the end's own report; transactions leave gaps."""
        records: list[Record] = []
        deadline = time.monotonic() + self._options.request_timeout_s
        while time.monotonic() < deadline:
            for message in consumer.consume(min(limit, 1_000), LOOK_S):
                offset = message.offset() or 0
                if message.error() is None and offset < end:
                    records.append(to_record(message, self._options.topic_prefix))
                    offset += 1
                if offset >= end or len(records) == limit:
                    return records
        raise LogUnavailable(
            f"Kafka at {self._options.brokers} did not send records up to offset {end:,} in time",
            "Try again; then look at the brokers' logs",
        )
