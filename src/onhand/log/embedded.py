"""The embedded log: durable, in one file, for one machine and several of its processes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from onhand.errors import OnhandError
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
from onhand.log.embedded_append import Appender
from onhand.log.embedded_file import (
    WriteTurn,
    connect,
    create,
    create_topics,
    no_topic,
    translated,
)
from onhand.log.embedded_read import (
    EmbeddedReader,
    TopicState,
    load_topics,
    select_records,
    to_record,
)
from onhand.log.topics import TOPICS, record_bytes_max

WAITING_BYTES_MAX: Final = 64 << 20
PRUNE_ROW_COUNT: Final = 1_000
"""Records dropped in one transaction: a few milliseconds, which is how long an append may wait."""
PRUNE_PAUSE_S: Final = 0.002


class EmbeddedLog:
    """An ``EventLog`` in an SQLite file; one partition a topic.

    Parameters
    ----------
    path
        The file; made when missing.
    now_us
        Clock of append times and of readers' progress, in microseconds.
    waiting_bytes_max
        How much may wait to be written before appends are refused.
    """

    def __init__(
        self,
        path: Path,
        *,
        now_us: Callable[[], int] = now_us,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
    ) -> None:
        self._path = path
        self._now_us = now_us
        self._waiting_bytes_max = waiting_bytes_max
        create(path)
        self._connection = connect(path, writes=True)
        self._turn = WriteTurn(path)
        self._lock = threading.Lock()
        self._appender: Appender | None = None
        self._is_closed = False

    def identity(self) -> str:
        """Return the id that the file was given when it was made."""
        with self._locked() as connection:
            found = connection.execute("SELECT value FROM meta WHERE name = 'identity'")
            return f"embedded:{found.fetchone()[0]}"

    def ensure_topics(self, partition_count: int) -> list[str]:  # noqa: ARG002
        """Create the topics that are missing, with one partition each; warn of nothing."""
        with self._locked() as connection:
            create_topics(connection, self._turn, [topic.name for topic in TOPICS])
        return []

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """List the partitions of those topics that exist."""
        with self._locked() as connection:
            known = load_topics(connection)
        return [(topic, 0) for topic in sorted(topics) if topic in known]

    def record_bytes_max(self, topic: str) -> int:
        """Return how large a record the topic takes."""
        return record_bytes_max(topic)

    def begin_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset that is kept."""
        return {p: state.first_offset for p, state in self._states(partitions).items()}

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset of the next record."""
        return {p: state.next_offset for p, state in self._states(partitions).items()}

    def append_nowait(self, records: Sequence[NewRecord]) -> Future[list[Position]]:
        """Append in one transaction with whatever else waits."""
        return self._submit(records, wait=False)

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append and wait until the records are on disk."""
        futures = [self._submit(chunk, wait=True) for chunk in chunked(records)]
        return [position for future in futures for position in future.result()]

    def read(self, partition: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Read up to ``limit`` records from ``offset``, or the first kept, on."""
        topic = partition[0]
        state = self._states([partition])[partition]
        with self._locked() as connection:
            rows = select_records(connection, state.topic_id, offset, limit)
        return [to_record(topic, row) for row in rows]

    def reader(
        self,
        start: Mapping[TopicPartition, int],
        indexes: Mapping[TopicPartition, int] | None = None,
        *,
        gather_ms: int = 0,  # noqa: ARG002 - a look into a file keeps nobody from anything
    ) -> EmbeddedReader:
        """Open a reader at offsets."""
        if indexes is None:
            indexes = {partition: index for index, partition in enumerate(sorted(start))}
        return EmbeddedReader(self._path, start, indexes, self._now_us, self._read_one)

    def prune(self, appended_before_us: int, keep: Mapping[TopicPartition, int]) -> int:
        """Drop records appended before a time; return how many.

        It takes about a second for 100,000 records and is done in small steps: give it a thread.

        Parameters
        ----------
        appended_before_us
            Records appended at this time or later stay.
        keep
            For a partition that checkpoints still need: its records from this offset on stay.
        """
        dropped = 0
        # A connection of its own: this may take long, and others need the shared one meanwhile.
        connection, turn = connect(self._path, writes=True), WriteTurn(self._path)
        with translated(self._path), contextlib.closing(connection), contextlib.closing(turn):
            for topic, state in load_topics(connection).items():
                below = _first_since(connection, state, appended_before_us)
                below = min(below, keep.get((topic, 0), below))
                for start in range(state.first_offset, below, PRUNE_ROW_COUNT):
                    _drop(connection, turn, state.topic_id, min(start + PRUNE_ROW_COUNT, below))
                    time.sleep(PRUNE_PAUSE_S)
                dropped += max(0, below - state.first_offset)
        return dropped

    def close(self) -> None:
        """Write what waits, then close the file."""
        with self._lock:
            self._is_closed = True
            appender, self._appender = self._appender, None
        if appender is not None:
            appender.close()
        self._connection.close()
        self._turn.close()

    def _read_one(self, topic: str, offset: int) -> Record:
        return self.read((topic, 0), offset, 1)[0]

    def _submit(self, records: Sequence[NewRecord], *, wait: bool) -> Future[list[Position]]:
        try:
            size_bytes = sum(
                check_size(record, record_bytes_max(record.topic)) for record in records
            )
            return self._start_appender().submit(records, size_bytes, wait=wait)
        except OnhandError as error:
            return failed(error)

    def _start_appender(self) -> Appender:
        """Return the appender; most processes only read and never need its thread."""
        with self._lock:
            if self._is_closed:
                raise closed()
            if self._appender is None:
                self._appender = Appender(self._path, self._now_us, self._waiting_bytes_max)
            return self._appender

    def _states(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, TopicState]:
        with self._locked() as connection:
            known = load_topics(connection)
        for topic, number in partitions:
            if topic not in known or number != 0:
                raise no_topic(topic)
        return {partition: known[partition[0]] for partition in partitions}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self._path):
            yield self._connection


def _first_since(connection: sqlite3.Connection, state: TopicState, since_us: int) -> int:
    """Find the first offset appended at ``since_us`` or later, by halving."""
    low, high = state.first_offset, state.next_offset
    query = f'SELECT append_us FROM records_{state.topic_id} WHERE "offset" = ?'  # noqa: S608
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(query, (middle,)).fetchone()
        # Gone already: another process prunes too.
        if found is None or found[0] < since_us:
            low = middle + 1
        else:
            high = middle
    return low


def _drop(connection: sqlite3.Connection, turn: WriteTurn, topic_id: int, below: int) -> None:
    """Drop a few records in a transaction of their own, so that no append waits for long."""
    with turn.transaction(connection):
        connection.execute(
            f'DELETE FROM records_{topic_id} WHERE "offset" < ?',  # noqa: S608
            (below,),
        )
        connection.execute(
            "UPDATE topics SET first_offset = max(first_offset, ?) WHERE topic_id = ?",
            (below, topic_id),
        )
