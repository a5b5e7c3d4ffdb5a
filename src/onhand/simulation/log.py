"""The event log, in memory: what is acknowledged stays, what is not may be there or not.

It stands for both logs. As Kafka it may take some records of an append and lose the others, and its
offsets have gaps; as the embedded log it takes an append whole or not at all.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from onhand.errors import LogUnavailable, OnhandError
from onhand.log.base import (
    NewRecord,
    Position,
    RawBatch,
    Record,
    TopicPartition,
    check_start,
    failed,
)
from onhand.log.topics import (
    CLAIMS,
    DEAD_LETTERS,
    EVENT_TOPICS,
    LEDGER,
    ORDER_EVENTS,
    record_bytes_max,
)
from onhand.simulation.faults import Killed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

PARTITION_COUNTS: Final = {
    **dict.fromkeys(EVENT_TOPICS, 1),
    EVENT_TOPICS[0]: 2,
    CLAIMS: 2,
    LEDGER: 1,
    DEAD_LETTERS: 1,
    ORDER_EVENTS: 1,
}
GAP_CHANCE: Final = 0.05


class SimulatedLog:
    """A log that never forgets what it has acknowledged.

    Parameters
    ----------
    is_kafka
        Whether an append may be taken in part, and offsets have gaps.
    clock
        The log's own, in microseconds; append times never go back by it.
    watch
        Is told of every record that the log has taken.
    """

    def __init__(
        self,
        random: Random,
        clock: Callable[[], int],
        watch: Callable[[Record], None],
        *,
        is_kafka: bool,
    ) -> None:
        self.is_kafka = is_kafka
        self.next_fault: str | None = None
        """``lost``, ``answer_lost``, ``partly``, ``killed_before``, ``killed_after`` or None."""
        self.down = 0
        """How many of the next visits find the log unreachable."""
        self._random = random
        self._clock = clock
        self._watch = watch
        self._append_us = 0
        self._records: dict[TopicPartition, list[Record]] = {
            (topic, number): []
            for topic, count in PARTITION_COUNTS.items()
            for number in range(count)
        }
        self._ends: dict[TopicPartition, int] = dict.fromkeys(self._records, 0)
        self._unkeyed = 0

    # ---- what every log offers ----

    def identity(self) -> str:
        """Return the name of this very log."""
        return "simulated"

    def ensure_topics(self, partition_count: int) -> list[str]:  # noqa: ARG002
        """Create nothing: all topics are there."""
        return []

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """List the partitions of topics."""
        self._reach()
        return sorted(each for each in self._records if each[0] in topics)

    def record_bytes_max(self, topic: str) -> int:
        """Return how large a record a topic takes."""
        return record_bytes_max(topic)

    def begin_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset of each partition."""
        self._reach()
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that each partition's next record will have."""
        self._reach()
        return {each: self._ends[each] for each in partitions}

    def append_nowait(self, records: Sequence[NewRecord]) -> Future[list[Position]]:
        """Append, or fail to."""
        try:
            positions = self.append(records)
        except OnhandError as error:
            return failed(error)
        future: Future[list[Position]] = Future()
        future.set_result(positions)
        return future

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append, or fail to; some records may be in the log nevertheless."""
        self._reach()
        fault, self.next_fault = self.next_fault, None
        if fault == "killed_before":
            raise Killed
        if fault == "lost":
            raise _unreachable()
        if fault == "partly" and self.is_kafka:
            taken = [each for each in records if self._random.random() < 0.5]
            self._put(taken)
            raise _unreachable()
        positions = self._put(records)
        if fault == "killed_after":
            raise Killed
        if fault in ("answer_lost", "partly"):
            raise _unreachable()
        return positions

    def read(self, partition: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Read up to ``limit`` records from an offset on."""
        self._reach()
        return self.stored(partition, offset, limit)

    def reader(
        self,
        start: Mapping[TopicPartition, int],
        indexes: Mapping[TopicPartition, int] | None = None,
        *,
        gather_ms: int = 0,  # noqa: ARG002 - the scheduler decides when a reader looks
    ) -> SimulatedReader:
        """Open a reader at offsets."""
        self._reach()
        for partition, offset in start.items():
            check_start(partition, offset, 0, self._ends[partition])
        places = indexes or {each: number for number, each in enumerate(sorted(start))}
        return SimulatedReader(self, start, places, self._random)

    def prune(self, appended_before_us: int, keep: Mapping[TopicPartition, int]) -> int:  # noqa: ARG002
        """Drop nothing."""
        return 0

    def close(self) -> None:
        """Let go of nothing."""

    # ---- for the simulation ----

    def stored(
        self, partition: TopicPartition, offset: int = 0, limit: int = 1 << 30
    ) -> list[Record]:
        """Return what a partition has from an offset on, however unreachable the log is."""
        records = self._records[partition]
        first = bisect_left(records, offset, key=lambda record: record.offset)
        return records[first : first + limit]

    def end(self, partition: TopicPartition) -> int:
        """Return the offset that a partition's next record will have."""
        return self._ends[partition]

    def now_us(self) -> int:
        """Return a time that every record to come is appended after.

        Readers are told of it, so it does not go back when the clock is set back.
        """
        self._append_us = max(self._append_us, self._clock())
        return self._append_us - 1

    def is_reached(self) -> bool:
        """Tell whether this visit finds the log."""
        if self.down:
            self.down -= 1
            return False
        return True

    def _reach(self) -> None:
        if not self.is_reached():
            raise _unreachable()

    def _put(self, records: Sequence[NewRecord]) -> list[Position]:
        positions = []
        self._append_us = max(self._append_us, self._clock())
        for record in records:
            partition = (record.topic, self._choose(record))
            offset = self._ends[partition]
            if self.is_kafka and self._random.random() < GAP_CHANCE:
                offset += self._random.randint(1, 2)
            self._ends[partition] = offset + 1
            kept = Record(
                record.topic,
                partition[1],
                offset,
                self._append_us,
                record.key,
                record.value,
                record.headers,
            )
            self._records[partition].append(kept)
            self._watch(kept)
            positions.append((record.topic, partition[1], offset))
        return positions

    def _choose(self, record: NewRecord) -> int:
        if record.key is None:
            self._unkeyed += 1
            return self._unkeyed % PARTITION_COUNTS[record.topic]
        return zlib.crc32(record.key) % PARTITION_COUNTS[record.topic]


class SimulatedReader:
    """A position in each of some partitions; it hands out what chance says, in order of each."""

    def __init__(
        self,
        log: SimulatedLog,
        start: Mapping[TopicPartition, int],
        indexes: Mapping[TopicPartition, int],
        random: Random,
    ) -> None:
        self._log = log
        self._next = dict(start)
        self._indexes = indexes
        self._random = random
        self._progress_us = 0
        self._error: str | None = None

    def poll(self, record_count_max: int, timeout_s: float) -> RawBatch:  # noqa: ARG002
        """Hand out some records, of partitions in an order that nobody knows."""
        if not self._log.is_reached():
            self._error = "the log cannot be reached"
            return RawBatch.of((), self._indexes)
        self._error = None
        found: list[Record] = []
        partitions = list(self._next)
        self._random.shuffle(partitions)
        limit = self._random.choice((1, 3, 20, record_count_max))
        for partition in partitions:
            records = self._log.stored(partition, self._next[partition], limit - len(found))
            if records:
                self._next[partition] = records[-1].offset + 1
                found += records
        self._note_progress()
        return RawBatch.of(found, self._indexes)

    def progress_us(self) -> int:
        """Return the time up to which everything is handed out."""
        return self._progress_us

    def lag_events(self) -> int:
        """Count the records not handed out yet."""
        return sum(len(self._log.stored(each, at)) for each, at in self._next.items())

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Return the offset after the last one handed out, by partition."""
        return dict(self._next)

    def error(self) -> str | None:
        """Say why nothing can be read."""
        return self._error

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell nobody."""

    def close(self) -> None:
        """Let go of nothing."""

    def _note_progress(self) -> None:
        left = [
            records[0]
            for each, at in self._next.items()
            if (records := self._log.stored(each, at, 1))
        ]
        reached_us = min((each.append_us - 1 for each in left), default=self._log.now_us())
        self._progress_us = max(self._progress_us, reached_us)


def _unreachable() -> LogUnavailable:
    return LogUnavailable("The simulated log cannot be reached", "Wait")
