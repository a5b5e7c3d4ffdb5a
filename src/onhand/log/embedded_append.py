"""Appending to the embedded log: one thread per process, one commit for all that wait."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from onhand.errors import OnhandError
from onhand.log.base import Headers, NewRecord, Position, closed, too_much_waits
from onhand.log.embedded_file import WriteTurn, connect, no_topic, translate
from onhand.log.embedded_fold import Folder

GROUP_RECORD_COUNT_MAX: Final = 10_000
GROUP_BYTES_MAX: Final = 8 << 20
STATEMENT_ROW_COUNTS: Final = (256, 32, 4, 1)
"""Rows of one statement: as many as fit of the first, then of the next."""

RECORD_OVERHEAD_BYTES: Final = 200
"""What a waiting record costs beside its bytes; a guess on the high side."""

_encode_headers = msgspec.msgpack.Encoder().encode

Row = tuple[int, int, bytes | None, bytes, bytes | None]


class Waiting(NamedTuple):
    """One call's records, whose caller waits for ``future``."""

    records: Sequence[NewRecord]
    future: Future[list[Position]]
    size_bytes: int


class _Topic:
    """A topic inside one write transaction."""

    __slots__ = ("next_offset", "rows", "topic_id")

    def __init__(self, topic_id: int, next_offset: int) -> None:
        self.topic_id = topic_id
        self.next_offset = next_offset
        self.rows: list[Row] = []


class Appender:
    """Commits everything that waits, in one transaction after the other.

    Parameters
    ----------
    path
        The log file.
    now_us
        The clock that append times are taken from, inside the write transaction.
    waiting_bytes_max
        How much may wait; beyond it, callers are refused or wait themselves.
    """

    def __init__(self, path: Path, now_us: Callable[[], int], waiting_bytes_max: int) -> None:
        self._path = path
        self._now_us = now_us
        self._waiting_bytes_max = waiting_bytes_max
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._waiting_bytes = 0
        self._is_closed = False
        self._turn: WriteTurn | None = None
        self._connection: sqlite3.Connection | None = None
        self._folder = Folder(path)
        self._thread = threading.Thread(target=self._run, name="log-append", daemon=True)
        self._thread.start()

    def submit(
        self, records: Sequence[NewRecord], size_bytes: int, *, wait: bool
    ) -> Future[list[Position]]:
        """Queue records for the next commit.

        The future fails at once when the log is closed, or when too much waits and ``wait`` is
        False.
        """
        size_bytes += len(records) * RECORD_OVERHEAD_BYTES
        future: Future[list[Position]] = Future()
        with self._room:
            while self._waiting_bytes and self._is_over(size_bytes) and not self._is_closed:
                if not wait:
                    future.set_exception(too_much_waits(self._waiting_bytes))
                    return future
                self._room.wait()
            if self._is_closed:
                future.set_exception(closed())
                return future
            self._waiting_bytes += size_bytes
            self._queue.put(Waiting(records, future, size_bytes))
        return future

    def close(self) -> None:
        """Commit what waits, then end the thread."""
        with self._room:
            if self._is_closed:
                return
            self._is_closed = True
            self._queue.put(None)
            self._room.notify_all()
        self._thread.join()
        self._folder.close()

    def _is_over(self, size_bytes: int) -> bool:
        return self._waiting_bytes + size_bytes > self._waiting_bytes_max

    def _run(self) -> None:
        is_open = True
        while is_open:
            group, is_open = self._take_group()
            # A caller may have given up on its future; one that runs can no longer be cancelled.
            live = [waiting for waiting in group if waiting.future.set_running_or_notify_cancel()]
            try:
                self._commit_group(live)
            except OnhandError as error:
                _fail(live, error)
            except sqlite3.Error as error:
                self._disconnect()
                _fail(live, translate(error, self._path))
            except Exception as error:  # noqa: BLE001 - a dead thread would leave callers waiting
                self._disconnect()
                _fail(live, error)
            self._leave(group)
        self._disconnect()

    def _take_group(self) -> tuple[list[Waiting], bool]:
        group: list[Waiting] = []
        record_count = size_bytes = 0
        taken = self._queue.get()
        while taken is not None:
            group.append(taken)
            record_count += len(taken.records)
            size_bytes += taken.size_bytes
            if record_count >= GROUP_RECORD_COUNT_MAX or size_bytes >= GROUP_BYTES_MAX:
                return group, True
            try:
                taken = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _leave(self, group: list[Waiting]) -> None:
        with self._room:
            self._waiting_bytes -= sum(waiting.size_bytes for waiting in group)
            self._room.notify_all()

    def _commit_group(self, group: list[Waiting]) -> None:
        if not group:
            return
        connection, turn = self._connect()
        done: list[tuple[Waiting, list[Position]]] = []
        with turn.transaction(connection):
            topics, append_us = self._load_topics(connection)
            for waiting in group:
                unknown = next((r.topic for r in waiting.records if r.topic not in topics), None)
                if unknown is None:
                    done.append((waiting, _place(waiting.records, topics, append_us)))
                else:
                    waiting.future.set_exception(no_topic(unknown))
            _write(connection, topics, append_us)
        for waiting, positions in done:
            waiting.future.set_result(positions)
        self._folder.note_commit(sum(waiting.size_bytes for waiting in group))

    def _load_topics(self, connection: sqlite3.Connection) -> tuple[dict[str, _Topic], int]:
        append_us = self._now_us()
        topics = {}
        for topic_id, name, next_offset, newest_us in connection.execute(
            "SELECT topic_id, name, next_offset, append_us FROM topics"
        ):
            topics[name] = _Topic(topic_id, next_offset)
            # The clock may be set back; append time may not.
            append_us = max(append_us, newest_us)
        return topics, append_us

    def _connect(self) -> tuple[sqlite3.Connection, WriteTurn]:
        if self._turn is None:
            self._turn = WriteTurn(self._path)
        if self._connection is None:
            self._connection = connect(self._path, writes=True)
        return self._connection, self._turn

    def _disconnect(self) -> None:
        """Forget the connection: the next group starts from what the file then says."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._turn is not None:
            self._turn.close()
            self._turn = None


def _place(
    records: Sequence[NewRecord], topics: dict[str, _Topic], append_us: int
) -> list[Position]:
    positions = []
    headers: bytes | None = None
    encoded: Headers = ()
    for record in records:
        topic = topics[record.topic]
        if record.headers is not encoded:
            # Records of one publisher mostly share them.
            encoded = record.headers
            headers = _encode_headers(encoded) if encoded else None
        topic.rows.append((topic.next_offset, append_us, record.key, record.value, headers))
        positions.append((record.topic, 0, topic.next_offset))
        topic.next_offset += 1
    return positions


def _write(connection: sqlite3.Connection, topics: dict[str, _Topic], append_us: int) -> None:
    for topic in topics.values():
        if topic.rows:
            _insert(connection, topic)
            connection.execute(
                "UPDATE topics SET next_offset = ?, append_us = ? WHERE topic_id = ?",
                (topic.next_offset, append_us, topic.topic_id),
            )


def _insert(connection: sqlite3.Connection, topic: _Topic) -> None:
    # The driver takes the interpreter lock for every row of an executemany, and beside a busy
    # thread waits for it every time; a statement of many rows is one step.
    into = f"INSERT INTO records_{topic.topic_id} VALUES "  # noqa: S608
    at = 0
    for size in STATEMENT_ROW_COUNTS:
        statement = into + ", ".join(["(?, ?, ?, ?, ?)"] * size)
        while len(topic.rows) - at >= size:
            connection.execute(statement, list(chain.from_iterable(topic.rows[at : at + size])))
            at += size


def _fail(group: list[Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.future.done():
            waiting.future.set_exception(error)
