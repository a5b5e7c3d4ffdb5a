"""Where Kafka's partitions end, and since when everything before has been handed out.

A reader is *caught up to t* in a partition when it has handed out every record up to the end that
the partition had at ``t``. Ends are asked for every 100 ms without waiting for the answer, and each
answer is a mark (t, end) that the position passes sooner or later. While the brokers do not answer
there are no marks, and progress stands still: idle and unreachable are told apart.

A broker's answer is taken together with the end that the last fetch brought. Kafka's own answers
need no help; Tansu 0.6 names the offset after the *first* record of the newest batch, and only the
fetch knows better.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs re-export nothing
    AdminClient,
    OffsetSpec,
)

from onhand.errors import OnhandError
from onhand.log.base import TopicPartition, check_start
from onhand.log.kafka_options import KafkaOptions, from_exception

ASK_INTERVAL_S: Final = 0.1
GRACE_S: Final = 5.0
"""How much later than it should the client library may tell of a timeout."""
MARKS_MAX: Final = 64
"""Marks kept for a partition that is behind; past it, the newest are merged."""

EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]

Offsets = Mapping[KafkaPartition, "Future[Any]"]


class PartitionProgress:
    """How far one partition has been handed out, in offsets and in time."""

    __slots__ = ("end", "marks", "next_offset", "read_us")

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        self.end = next_offset
        self.read_us = 0
        self.marks: deque[tuple[int, int]] = deque()

    def mark(self, at_us: int, end: int) -> None:
        """Note that the partition ended at ``end`` when the clock was ``at_us``."""
        self.end = end
        if len(self.marks) >= MARKS_MAX:
            self.marks.pop()
        self.marks.append((at_us, end))
        self._pass_marks()

    def hand_out(self, next_offset: int, append_us: int) -> None:
        """Note that records up to one appended at ``append_us`` were handed out.

        Others may carry the same millisecond, hence up to the one before.
        """
        self.next_offset = next_offset
        self.read_us = max(self.read_us, append_us - 1_000)
        self._pass_marks()

    def pass_to(self, next_offset: int) -> None:
        """Note that there is nothing to hand out before ``next_offset``."""
        self.next_offset = max(self.next_offset, next_offset)
        self._pass_marks()

    def lag_events(self) -> int:
        """Return how many offsets are left."""
        return max(0, self.end - self.next_offset)

    def _pass_marks(self) -> None:
        while self.marks and self.marks[0][1] <= self.next_offset:
            self.read_us = max(self.read_us, self.marks.popleft()[0])


class EndWatch:
    """Asks for the ends of partitions again and again, from whatever thread calls ``turn``."""

    def __init__(
        self,
        admin: AdminClient,
        partitions: Sequence[KafkaPartition],
        options: KafkaOptions,
        now_us: Callable[[], int],
    ) -> None:
        self._admin = admin
        self._partitions = partitions
        self._options = options
        self._now_us = now_us
        self._asked: Offsets = {}
        self._asked_us = 0
        self._asked_s = 0.0
        self.error: OnhandError | None = None

    def turn(self) -> tuple[int, dict[TopicPartition, int]] | None:
        """Return a new answer, with the time before it was asked for, if one has come."""
        now_s = time.monotonic()
        if self._asked:
            if all(future.done() for future in self._asked.values()):
                return self._collect()
            # The client library may wait for a hanging broker much longer than it was told to.
            if now_s - self._asked_s > self._options.request_timeout_s:
                self.error = self._options.unavailable("does not answer")
        elif now_s - self._asked_s >= ASK_INTERVAL_S:
            self._asked_s = now_s
            self._asked_us = self._now_us()
            self._asked = ask_offsets(self._admin, self._partitions, LATEST, self._options)
        return None

    def _collect(self) -> tuple[int, dict[TopicPartition, int]] | None:
        asked, self._asked = self._asked, {}
        try:
            ends = wait_offsets(asked, self._options)
        except KafkaException as error:
            self.error = from_exception(error, self._options)
            return None
        self.error = None
        return self._asked_us, ends


def ask_offsets(
    admin: AdminClient,
    partitions: Sequence[KafkaPartition],
    spec: OffsetSpec,
    options: KafkaOptions,
) -> Offsets:
    """Ask for an offset of each partition; the answers come as futures."""
    return admin.list_offsets(
        dict.fromkeys(partitions, spec),
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=options.request_timeout_s,
    )


def wait_offsets(asked: Offsets, options: KafkaOptions) -> dict[TopicPartition, int]:
    """Wait for the answers to ``ask_offsets``.

    Raises
    ------
    KafkaException
        Kafka did not answer for every partition.
    """
    found = {}
    for partition, future in asked.items():
        try:
            offset = future.result(options.request_timeout_s + GRACE_S).offset
        except TimeoutError:
            offset = -1
        # librdkafka tells of a broker that did not answer in time by an offset of -1001.
        if offset < 0:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        found[partition.topic, partition.partition] = offset
    return found


def fetched_end(consumer: Consumer, partition: KafkaPartition) -> int:
    """Return the end that the partition's last fetch brought, -1 before the first."""
    known = consumer.get_watermark_offsets(partition, cached=True)
    return max(-1, known[1])


def check_starts(
    start: Mapping[TopicPartition, int],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> None:
    """Refuse offsets that the log does not hold."""
    for partition, offset in start.items():
        check_start(partition, offset, begins[partition], ends[partition])
