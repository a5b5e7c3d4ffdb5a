"""The file of the embedded log: its schema, its connections, and whose turn it is to write.

One SQLite file in WAL mode. A topic is one table, ``records_<topic_id>``, whose primary key is the
offset: appends go to the end of a B-tree, reads are a range of it, and pruning takes from its
front. ``topics`` holds each topic's next offset and newest append time, so that neither can go back
when records are pruned.

SQLite lets one process write at a time and wakes nobody when it is done; its own retries back off
to 100 ms and are unfair. A lock file beside it keeps the order: whoever waits holds the lock file,
so that a process that commits without pause has to queue behind it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from onhand.errors import LogFull, LogUnavailable, OnhandError
from onhand.log.base import TopicPartition

APPLICATION_ID: Final = 0x6F6E_6C67
FORMAT: Final = 1
BUSY_S: Final = 10.0
TURN_POLL_S: Final = 0.0002
WAL_PAGES: Final = 4_000
"""Pages of the write-ahead log after which it is begun anew, see ``embedded_fold``: 16 MiB to go
through when the file is opened after a crash."""

WAL_PAGES_MAX: Final = 4 * WAL_PAGES
"""Pages after which commits move them into the file themselves: nobody else has."""

_WAL_BYTES_KEPT: Final = 64 << 20
_NO_ROOM: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """
    CREATE TABLE topics (
        topic_id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        first_offset INTEGER NOT NULL DEFAULT 0,
        next_offset INTEGER NOT NULL DEFAULT 0,
        append_us INTEGER NOT NULL DEFAULT 0
    )
    """,
)
_RECORDS: Final = """
    CREATE TABLE IF NOT EXISTS records_{topic_id} (
        "offset" INTEGER PRIMARY KEY,
        append_us INTEGER NOT NULL,
        key BLOB,
        value BLOB NOT NULL,
        headers BLOB
    )
"""


class WriteTurn:
    """The right to write to the log file, first come first served between processes.

    Parameters
    ----------
    path
        The log file; the lock file lies beside it.
    busy_s
        How long to wait for others before giving up.
    """

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        self._path = path
        self._busy_s = busy_s
        try:
            self._descriptor = os.open(
                path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        except OSError as error:
            raise LogUnavailable(
                f"{path.parent} cannot be written: {error.strerror}",
                "Name another directory with --data, or change its owner, or free space on it",
            ) from error

    def close(self) -> None:
        """Let go of the lock file; again is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @contextlib.contextmanager
    def queued(self) -> Iterator[float]:
        """Hold the place at the head of the queue; yields when to give up (monotonic seconds)."""
        deadline = time.monotonic() + self._busy_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self._pause(deadline)
        try:
            yield deadline
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Run a write transaction: committed at the end, rolled back when anything raises."""
        with self.queued() as deadline:
            self._begin(connection, deadline)
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            raise

    def _begin(self, connection: sqlite3.Connection, deadline: float) -> None:
        # SQLite's own waiting sleeps through the moment the file is free.
        connection.execute("PRAGMA busy_timeout=0")
        try:
            while not _try_begin(connection):
                self._pause(deadline)
        finally:
            connection.execute(f"PRAGMA busy_timeout={BUSY_S * 1000:.0f}")

    def _pause(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise LogUnavailable(
                f"Another process has kept {self._path} locked for {self._busy_s:g} s",
                f"Find what holds it with `fuser {self._path}` and end it",
            )
        time.sleep(TURN_POLL_S)


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """Open the file, which exists.

    Raises
    ------
    OnhandError
        When it is damaged, not a log, of another format, or may not be opened.
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=BUSY_S,
            check_same_thread=False,
        )
        with _closed_on_error(connection):
            _check_format(connection, path)
            _set_up(connection, path, writes=writes)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    return connection


def create(path: Path) -> None:
    """Make the file when it is missing; safe to call from several processes at once.

    A process that was killed while making it leaves an empty database, which is filled here.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogUnavailable(
            f"{path.parent} cannot be made: {error.strerror}",
            "Name another directory with --data, or make it and give it to this user",
        ) from error
    turn = WriteTurn(path)
    try:
        with turn.queued(), contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
            if not _pragma(connection, "application_id") and _is_empty(connection):
                _initialise(connection)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        turn.close()


def create_topics(connection: sqlite3.Connection, turn: WriteTurn, names: list[str]) -> None:
    """Create those of the topics that are missing."""
    with turn.transaction(connection):
        for name in names:
            connection.execute("INSERT OR IGNORE INTO topics (name) VALUES (?)", (name,))
        for (topic_id,) in connection.execute("SELECT topic_id FROM topics").fetchall():
            connection.execute(_RECORDS.format(topic_id=topic_id))


def no_topic(topic: str) -> LogUnavailable:
    """Return the error for a topic that does not exist."""
    return LogUnavailable(
        f"The log has no topic {topic!r}",
        "Start `onhand up` once, which creates the topics that are missing",
    )


def no_partition(partition: TopicPartition) -> LogUnavailable:
    """Return the error for a partition that does not exist."""
    return LogUnavailable(
        f"The embedded log has no partition {partition[1]} of {partition[0]}: topics have one",
        "Use a data directory that was filled from the embedded log",
    )


def translate(error: sqlite3.Error, path: Path) -> OnhandError:
    """Turn SQLite's error into one that says what to do."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NO_ROOM or code & 0xFF in _NO_ROOM:
        return LogFull(
            f"There is no room to write to {path} ({error})",
            f"Free space on the disk of {path.parent}, or raise its quota or file size limit; "
            "writing goes on by itself",
        )
    if code & 0xFF in _DAMAGED:
        return LogUnavailable(
            f"{path} is damaged or no SQLite file ({error})",
            f"Move it away and restore {path.name} from a copy",
        )
    if code & 0xFF in _BUSY:
        return LogUnavailable(
            f"Another process keeps {path} locked ({error})",
            f"Find what holds it with `fuser {path}` and end it",
        )
    return LogUnavailable(
        f"{path} cannot be used ({error})",
        "Check that the directory exists, that this user may write to it, and the disk's health",
    )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors inside into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _try_begin(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _BUSY:
            return False
        raise
    return True


def _initialise(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    with connection:
        connection.execute("BEGIN")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")


def _set_up(connection: sqlite3.Connection, path: Path, *, writes: bool) -> None:
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise LogUnavailable(
            f"The file system of {path} cannot share memory between processes",
            "Put the data directory on a local disk; network file systems cannot hold it",
        )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES_MAX if writes else 0}")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES_KEPT}")
    connection.execute(f"PRAGMA query_only={int(not writes)}")


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise LogUnavailable(
            f"{path} is not an event log of onhand",
            "Name the right directory with --data, or move the file away",
        )
    found = _pragma(connection, "user_version")
    if found != FORMAT:
        raise LogUnavailable(
            f"{path} has format {found}, and this version reads format {FORMAT}",
            "Use the version of onhand that wrote it",
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()


@contextlib.contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
