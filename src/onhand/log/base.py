"""What every event log offers, and the records that go in and come out.

A log is topics, a topic is partitions, and in a partition every record has an offset one above its
predecessor's (Kafka may leave gaps) and an append time that never goes back. All times are
microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from onhand.errors import LogUnavailable, OffsetOutOfRange, OnhandError, RecordTooLarge

TopicPartition = tuple[str, int]
Headers = tuple[tuple[str, bytes], ...]
Position = tuple[str, int, int]
"""Where a record was put: topic, partition, offset."""

CHUNK_BYTES_MAX = 4 << 20
CHUNK_RECORD_COUNT_MAX = 5_000
HEADER_OVERHEAD_BYTES = 8
"""Counted for each header beside its name and value: two lengths at their widest."""


class Record(msgspec.Struct, frozen=True):
    """A record as the log holds it; ``append_us`` is when it entered the log."""

    topic: str
    partition: int
    offset: int
    append_us: int
    key: bytes | None
    value: bytes
    headers: Headers


class NewRecord(msgspec.Struct, frozen=True):
    """A record to append; a key decides its partition."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: Headers = ()


class RawBatch:
    """The records of one poll, as columns; partitions are mixed, order within each is kept.

    Parameters
    ----------
    values
        ``b""`` for a tombstone.
    offsets, append_us
        int64, one element a value.
    partitions
        uint16, one element a value: the partition's index, as given to ``EventLog.reader``.
    headers
        One element a value, None for a record without; None when no record has any.
    whole
        Makes the record at an index whole again, key included.
    """

    __slots__ = ("_whole", "append_us", "headers", "offsets", "partitions", "values")

    def __init__(
        self,
        *,
        values: list[bytes],
        offsets: NDArray[np.int64],
        append_us: NDArray[np.int64],
        partitions: NDArray[np.uint16],
        headers: list[Headers | None] | None,
        whole: Callable[[int], Record],
    ) -> None:
        self.values = values
        self.offsets = offsets
        self.append_us = append_us
        self.partitions = partitions
        self.headers = headers
        self._whole = whole

    def __len__(self) -> int:
        return len(self.values)

    def record(self, index: int) -> Record:
        """Return one record whole, key included."""
        return self._whole(index)

    @classmethod
    def of(cls, records: Sequence[Record], indexes: Mapping[TopicPartition, int]) -> RawBatch:
        """Lay out records as a poll would; for tools and tests, not for speed."""
        any_headers = any(record.headers for record in records)
        places = [indexes[record.topic, record.partition] for record in records]
        return cls(
            values=[record.value for record in records],
            offsets=np.array([record.offset for record in records], np.int64),
            append_us=np.array([record.append_us for record in records], np.int64),
            partitions=np.array(places, np.uint16),
            headers=[record.headers or None for record in records] if any_headers else None,
            whole=list(records).__getitem__,
        )


class LogReader(Protocol):
    """A position in each of some partitions. One thread uses it."""

    def poll(self, record_count_max: int, timeout_s: float) -> RawBatch:
        """Hand out the next records, none when nothing arrives within ``timeout_s``.

        Fewer than ``record_count_max`` says nothing about what is left: size in bytes is bounded
        too.

        Raises
        ------
        OffsetOutOfRange
            Retention dropped records before they were handed out.
        """
        ...

    def progress_us(self) -> int:
        """Return the time up to which every record appended has been handed out.

        It covers every partition, never goes back, and stands still while the log cannot be
        reached. A record counts as appended when its commit is done.
        """
        ...

    def lag_events(self) -> int:
        """Return about how many records wait to be handed out."""
        ...

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Return, for each partition, the offset after the last one handed out."""
        ...

    def error(self) -> str | None:
        """Say why the log cannot be read at the moment, None while it can."""
        ...

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell operators' tools how far processing has come; correctness never rests on it."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class EventLog(Protocol):
    """An append-only log of topics. Any thread may use it, and several processes at once."""

    def identity(self) -> str:
        """Return the name of this very log, so that another one is not taken for it."""
        ...

    def ensure_topics(self, partition_count: int) -> list[str]:
        """Create the topics that are missing; return warnings about those that are unfit."""
        ...

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """List the partitions of topics that exist, in order."""
        ...

    def record_bytes_max(self, topic: str) -> int:
        """Return how large a record (see :func:`record_bytes`) the topic takes."""
        ...

    def begin_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset that each partition still holds."""
        ...

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that each partition's next record will have."""
        ...

    def append_nowait(self, records: Sequence[NewRecord]) -> Future[list[Position]]:
        """Append in the background; the future is done when the records are durable.

        The future may fail with LogUnavailable, LogFull or RecordTooLarge. Some of the records
        may then be in the log nevertheless: appending again is right, since events carry ids.
        """
        ...

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append and wait until the records are durable; as many as the caller likes."""
        ...

    def read(self, partition: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Read up to ``limit`` records from ``offset`` on; none at the end. For tools."""
        ...

    def reader(
        self,
        start: Mapping[TopicPartition, int],
        indexes: Mapping[TopicPartition, int] | None = None,
        *,
        gather_ms: int = 0,
    ) -> LogReader:
        """Open a reader at offsets.

        ``indexes`` gives each partition's number in ``RawBatch.partitions``; left out, it is the
        place in ``sorted(start)``. Who is in no hurry lets records gather for up to ``gather_ms``:
        a broker that hands over every record at once has less time for those that are waited for.

        Raises
        ------
        OffsetOutOfRange
            An offset is below the first that is kept, or beyond the end.
        """
        ...

    def prune(self, appended_before_us: int, keep: Mapping[TopicPartition, int]) -> int:
        """Drop records appended before a time, save those at or after a partition's ``keep``.

        Kafka does this by its topics' own retention, and this returns 0.
        """
        ...

    def close(self) -> None:
        """Finish what is being appended, then let go of files and connections."""
        ...


def now_us() -> int:
    """Return the wall clock in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def record_bytes(record: NewRecord) -> int:
    """Return the size in bytes that limits are about: key, value and headers."""
    size_bytes = len(record.value) + len(record.key or b"")
    for name, value in record.headers:
        size_bytes += len(name) + len(value) + HEADER_OVERHEAD_BYTES
    return size_bytes


def empty_batch() -> RawBatch:
    """Return a poll that found nothing."""
    return RawBatch.of((), {})


def partition_name(partition: TopicPartition) -> str:
    """Read a partition as ``topic[number]``."""
    return f"{partition[0]}[{partition[1]}]"


def check_size(record: NewRecord, bytes_max: int) -> int:
    """Return the record's size in bytes.

    Raises
    ------
    RecordTooLarge
        It is over ``bytes_max``.
    """
    size_bytes = record_bytes(record)
    if size_bytes > bytes_max:
        raise RecordTooLarge(
            f"A record of {size_bytes:,} bytes is more than {record.topic} takes ({bytes_max:,})",
            "Split it into smaller events",
        )
    return size_bytes


def check_start(partition: TopicPartition, offset: int, begin: int, end: int) -> None:
    """Refuse to read from where the log has nothing.

    Raises
    ------
    OffsetOutOfRange
        ``offset`` is outside ``begin`` to ``end``.
    """
    name = partition_name(partition)
    if offset < begin:
        raise OffsetOutOfRange(
            f"{name} is to be read from offset {offset:,}, and the log begins at {begin:,}: "
            f"retention has dropped {begin - offset:,} records that were not read",
            "Start from an archived checkpoint that covers them, or count every location anew; "
            "then lengthen the log's retention",
        )
    if offset > end:
        raise OffsetOutOfRange(
            f"{name} is to be read from offset {offset:,}, and the log ends at {end:,}",
            "Use the log that this data directory was filled from",
        )


def too_much_waits(waiting_bytes: int) -> LogUnavailable:
    """Return the error for an append that would make too much wait."""
    return LogUnavailable(
        f"{waiting_bytes >> 20} MiB wait to be written to the log",
        "Send more slowly, and send this again",
    )


def closed() -> LogUnavailable:
    """Return the error for an append to a log that was closed."""
    return LogUnavailable("The log is closed", "Open it again")


def failed(error: OnhandError) -> Future[list[Position]]:
    """Return a future that has failed."""
    future: Future[list[Position]] = Future()
    future.set_exception(error)
    return future


def chunked(records: Sequence[NewRecord]) -> Iterator[Sequence[NewRecord]]:
    """Cut records into pieces that are small beside what may wait to be written."""
    start = size_bytes = 0
    for index, record in enumerate(records):
        size_bytes += record_bytes(record)
        if size_bytes > CHUNK_BYTES_MAX or index - start >= CHUNK_RECORD_COUNT_MAX:
            yield records[start:index]
            start, size_bytes = index, record_bytes(record)
    if start < len(records):
        yield records[start:]
