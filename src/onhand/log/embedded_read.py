"""Reading the embedded log: a position in each of some topics.

A poll costs about 3 us when nothing was committed: SQLite keeps a counter in memory that every
process shares, ``PRAGMA data_version``, and the tables are looked at only when it has changed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from onhand.errors import LogUnavailable
from onhand.log.base import (
    Headers,
    RawBatch,
    Record,
    TopicPartition,
    check_start,
    empty_batch,
)
from onhand.log.embedded_file import connect, no_partition, no_topic, translate

BATCH_BYTES_MAX: Final = 16 << 20
FETCH_ROW_COUNT: Final = 512
"""Few enough for a processor's cache to hold what one fetch makes."""
WAIT_S: Final = 0.0005
WAIT_IDLE_S: Final = 0.002
"""Between two looks at an idle log, once it has been idle for ``IDLE_AFTER_S``."""
IDLE_AFTER_S: Final = 1.0

_Row = tuple[int, bytes | None, bytes]

_decode_headers = msgspec.msgpack.Decoder(Headers).decode


class TopicState(NamedTuple):
    """What ``topics`` says of one topic."""

    topic_id: int
    first_offset: int
    next_offset: int


class _Cursor:
    """A position in one topic."""

    __slots__ = ("index", "read_us", "start", "topic", "topic_id")

    def __init__(self, topic: str, index: int, topic_id: int, start: int) -> None:
        self.topic = topic
        self.index = index
        self.start = start
        self.topic_id = topic_id
        self.read_us = 0
        """Every record appended up to here has been handed out."""


class _Run:
    """Records of one topic inside a poll, as columns."""

    __slots__ = ("append_us", "headers", "index", "start", "topic", "values")

    def __init__(self, cursor: _Cursor) -> None:
        self.topic = cursor.topic
        self.index = cursor.index
        self.start = cursor.start
        self.values: list[bytes] = []
        self.headers: list[bytes | None] = []
        self.append_us: list[NDArray[np.int64]] = []

    def extend(self, rows: list[_Row]) -> int:
        """Take rows in; return the size of their values in bytes."""
        append_us, headers, values = zip(*rows, strict=True)
        self.values += values
        self.headers += headers
        # Append times never go back, so equal ends mean one commit: the common case by far.
        if append_us[0] == append_us[-1]:
            self.append_us.append(np.full(len(rows), append_us[0], np.int64))
        else:
            self.append_us.append(np.array(append_us, np.int64))
        return sum(map(len, values))


class EmbeddedReader:
    """Hands out records of some topics, those that lag most first.

    Reading from the topic that is furthest behind keeps topics together in append time while
    catching up, so that the flow needs to remember little history.
    """

    def __init__(
        self,
        path: Path,
        start: Mapping[TopicPartition, int],
        indexes: Mapping[TopicPartition, int],
        now_us: Callable[[], int],
        read_one: Callable[[str, int], Record],
    ) -> None:
        self._path = path
        self._read_one = read_one
        self._now_us = now_us
        self._connection = connect(path, writes=False)
        try:
            self._cursors = list(self._place(start, indexes))
        except BaseException:
            self._connection.close()
            raise
        self._version = -1
        self._lag_events = 1
        self._progress_us = 0
        self._active_s = time.monotonic()

    def poll(self, record_count_max: int, timeout_s: float) -> RawBatch:
        """Hand out the next records; see ``LogReader.poll``."""
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                runs = self._read(record_count_max)
                now = time.monotonic()
                if runs:
                    self._active_s = now
                    return _batch(runs, self._read_one)
                if now >= deadline:
                    return empty_batch()
                wait_s = WAIT_S if now - self._active_s < IDLE_AFTER_S else WAIT_IDLE_S
                time.sleep(min(wait_s, deadline - now))
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def progress_us(self) -> int:
        """Return the time up to which everything appended has been handed out."""
        return self._progress_us

    def lag_events(self) -> int:
        """Return how many records waited when the log was last looked at."""
        return self._lag_events

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Return the offset after the last one handed out, for each topic."""
        return {(cursor.topic, 0): cursor.start for cursor in self._cursors}

    def error(self) -> str | None:
        """Return None: what goes wrong with a file is raised by ``poll``."""
        return None

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Do nothing: the checkpoints say it all."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _place(
        self, start: Mapping[TopicPartition, int], indexes: Mapping[TopicPartition, int]
    ) -> Iterator[_Cursor]:
        states = load_topics(self._connection)
        for partition, offset in sorted(start.items()):
            topic, number = partition
            if number != 0:
                raise no_partition(partition)
            if topic not in states:
                raise no_topic(topic)
            state = states[topic]
            check_start(partition, offset, state.first_offset, state.next_offset)
            cursor = _Cursor(topic, indexes[partition], state.topic_id, offset)
            head = self._connection.execute(
                f'SELECT append_us FROM records_{state.topic_id} WHERE "offset" = ?',  # noqa: S608
                (offset,),
            ).fetchone()
            cursor.read_us = head[0] - 1 if head else self._now_us()
            yield cursor

    def _read(self, record_count_max: int) -> list[_Run]:
        before_us = self._now_us()
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version and not self._lag_events:
            self._progress_us = max(self._progress_us, before_us)
            return []
        self._version = version
        self._connection.execute("BEGIN")
        try:
            runs = self._read_snapshot(record_count_max, before_us)
        finally:
            self._connection.execute("COMMIT")
        progress_us = min((cursor.read_us for cursor in self._cursors), default=before_us)
        self._progress_us = max(self._progress_us, progress_us)
        return runs

    def _read_snapshot(self, record_count_max: int, before_us: int) -> list[_Run]:
        states = load_topics(self._connection)
        runs = []
        left = record_count_max
        bytes_left = BATCH_BYTES_MAX
        self._lag_events = 0
        for cursor in sorted(self._cursors, key=lambda cursor: cursor.read_us):
            state = states[cursor.topic]
            check_start((cursor.topic, 0), cursor.start, state.first_offset, state.next_offset)
            if left > 0 and bytes_left > 0 and cursor.start < state.next_offset:
                end = min(cursor.start + left, state.next_offset)
                run, size_bytes = self._fetch(cursor, end, bytes_left)
                left -= len(run.values)
                bytes_left -= size_bytes
                runs.append(run)
                cursor.start += len(run.values)
                # Others of the same commit may remain, and they carry the same append time.
                cursor.read_us = int(run.append_us[-1][-1]) - 1
            if cursor.start == state.next_offset:
                cursor.read_us = before_us
            self._lag_events += state.next_offset - cursor.start
        return runs

    def _fetch(self, cursor: _Cursor, end: int, bytes_max: int) -> tuple[_Run, int]:
        run = _Run(cursor)
        found = self._connection.execute(
            f"SELECT append_us, headers, value FROM records_{cursor.topic_id} "  # noqa: S608
            'WHERE "offset" >= ? AND "offset" < ? ORDER BY "offset"',
            (cursor.start, end),
        )
        size_bytes = 0
        while size_bytes < bytes_max and (rows := found.fetchmany(FETCH_ROW_COUNT)):
            size_bytes += run.extend(rows)
        found.close()
        read_end = cursor.start + len(run.values)
        if read_end < end:
            end = read_end if self._holds(cursor, read_end) else end
        if read_end != end or not run.values:
            raise LogUnavailable(
                f"{self._path} lacks records of {cursor.topic} after offset {cursor.start:,}",
                f"Restore {self._path.name} from a copy",
            )
        return run, size_bytes

    def _holds(self, cursor: _Cursor, end: int) -> bool:
        """Tell whether no offset is missing from the cursor up to ``end``."""
        count = self._connection.execute(
            f"SELECT count(*) FROM records_{cursor.topic_id} "  # noqa: S608
            'WHERE "offset" >= ? AND "offset" < ?',
            (cursor.start, end),
        ).fetchone()[0]
        return bool(count == end - cursor.start)


def load_topics(connection: sqlite3.Connection) -> dict[str, TopicState]:
    """Read every topic's place in the file."""
    found = connection.execute("SELECT name, topic_id, first_offset, next_offset FROM topics")
    return {name: TopicState(*state) for name, *state in found}


def select_records(connection: sqlite3.Connection, topic_id: int, offset: int, limit: int) -> Any:
    """Read records whole from an offset on."""
    return connection.execute(
        f'SELECT "offset", append_us, key, value, headers FROM records_{topic_id} '  # noqa: S608
        'WHERE "offset" >= ? ORDER BY "offset" LIMIT ?',
        (offset, limit),
    ).fetchall()


def to_record(topic: str, row: tuple[int, int, bytes | None, bytes, bytes | None]) -> Record:
    """Make a row a record."""
    offset, append_us, key, value, headers = row
    return Record(
        topic=topic,
        partition=0,
        offset=offset,
        append_us=append_us,
        key=key,
        value=value,
        headers=_decode_headers(headers) if headers else (),
    )


def _batch(runs: list[_Run], read_one: Callable[[str, int], Record]) -> RawBatch:
    counts = [len(run.values) for run in runs]
    packed = list(chain.from_iterable(run.headers for run in runs))
    offsets = np.concatenate([np.arange(run.start, run.start + len(run.values)) for run in runs])
    places = np.repeat(np.arange(len(runs)), counts)

    def whole(index: int) -> Record:
        # Keys are wanted for dead letters alone, so they are not read with the rest.
        return read_one(runs[places[index]].topic, int(offsets[index]))

    return RawBatch(
        values=list(chain.from_iterable(run.values for run in runs)),
        offsets=offsets,
        append_us=np.concatenate([part for run in runs for part in run.append_us]),
        partitions=np.array([run.index for run in runs], np.uint16)[places],
        headers=None if packed.count(None) == len(packed) else [unpack(part) for part in packed],
        whole=whole,
    )


def unpack(headers: bytes | None) -> Headers | None:
    """Read a row's headers."""
    return None if headers is None else _decode_headers(headers)
