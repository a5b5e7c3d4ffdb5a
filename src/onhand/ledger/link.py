"""The order writer's own connection: one transaction at a time, spoken to without detours.

It is a connection of the engine's driver, taken out of the pool. What counts here is to tell three
ends of a transaction apart: committed, not committed, and nobody knows.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
from psycopg.types.numeric import Int8Dumper
from sqlalchemy import exc

from onhand.errors import CommitFailed, CommitUnknown
from onhand.ledger.deadline import Deadline
from onhand.ledger.engine import unavailable
from onhand.ledger.fold import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onhand.ledger.bulk import Statement
    from onhand.ledger.engine import Ledger

WAL_PAGES: Final = 4_000
"""Pages after which a commit moves what is left of the write-ahead log into the file; a thread has
moved the most of it by then. About 16 MiB to recover."""
CACHE_KIB: Final = 64 << 10
"""SQLite's memory for pages of the writer; answers are looked up all over their index."""
STATEMENT_TIMEOUT_MS: Final = 5_000
LOCK_TIMEOUT_MS: Final = 4_000
ANSWER_S_MAX: Final = 8.0
"""How long PostgreSQL may leave a statement, or all those sent at once, without an answer."""
IDLE_TIMEOUT_MS: Final = 10_000
"""After this long PostgreSQL ends a transaction whose writer has stopped in the middle of it, so
that the next writer does not wait for it for ever."""

DriverErrors: Final = (sqlite3.Error, psycopg.Error, exc.DBAPIError, exc.TimeoutError)

Rows = list[tuple[Any, ...]]


class Link(Protocol):
    """A connection; used by one thread at a time. Its methods raise the driver's errors."""

    def select(self, statement: Statement) -> Rows:
        """Read outside of any transaction."""

    def write(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        """Begin a transaction and run all of it; answer what ``fence``, the first, returned."""

    def commit(self) -> None:
        """Make the transaction durable.

        Raises
        ------
        CommitFailed, CommitUnknown
        """

    def rollback(self) -> None:
        """Undo the transaction, if there is one; never raises."""

    @property
    def is_broken(self) -> bool:
        """Whether it can be of no further use."""

    def close(self) -> None:
        """Close it; never raises."""


def open_link(ledger: Ledger) -> Link:
    """Open a connection for the writer.

    Raises
    ------
    LedgerUnavailable
    """
    with translated(ledger.place):
        pooled = ledger.engine.raw_connection()
        driver: Any = pooled.driver_connection
        pooled.detach()
        try:
            if ledger.engine.dialect.name == "postgresql":
                return PostgresLink(driver, ledger.place)
            return SqliteLink(driver, ledger.place)
        except BaseException:
            driver.close()
            raise


@contextlib.contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn the drivers' errors inside into ours."""
    try:
        yield
    except DriverErrors as error:
        raise unavailable(place, error) from error


def failed(place: str, error: Exception) -> CommitFailed:
    """Word why a commit was not made."""
    worded = unavailable(place, error)
    return CommitFailed(worded.what, worded.advice)


class SqliteLink:
    """A connection to the embedded ledger."""

    _UNDONE: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL})

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._connection = connection
        self._place = place
        self.is_broken = False
        for pragma in (
            f"cache_size=-{CACHE_KIB}",
            f"wal_autocheckpoint={WAL_PAGES}",
            f"journal_size_limit={WAL_PAGES * 4096 * 2}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
        # The driver begins before the first statement that writes. Whatever it is asked to execute
        # gives the interpreter lock away three times, what it begins and commits by itself once,
        # and beside a busy event loop the lock may take half a millisecond to come back.
        connection.isolation_level = "IMMEDIATE"
        self._parameter_count = 0
        self._folder = Folder(place)

    def select(self, statement: Statement) -> Rows:
        """Read outside of any transaction."""
        return self._connection.execute(*statement).fetchall()

    def write(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        """Begin a transaction and run all of it; answer what ``fence`` returned."""
        execute = self._connection.execute
        returned = execute(*fence).fetchall()
        self._parameter_count = 0
        if returned:
            for text, parameters in statements:
                execute(text, parameters)
                self._parameter_count += len(parameters)
        return returned

    def commit(self) -> None:
        """Make the transaction durable.

        An error while the log is synced leaves the commit in the file but out of sight: a later
        commit overwrites it, while a crash before that would bring it back.
        """
        if not self._connection.in_transaction:
            raise AssertionError("Invariant: what is committed was begun")
        try:
            self._connection.commit()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in self._UNDONE:
                raise failed(self._place, error) from error
            self.is_broken = True
            worded = unavailable(self._place, error)
            raise CommitUnknown(worded.what, worded.advice) from error
        self._folder.note_commit(self._parameter_count)

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        try:
            self._connection.rollback()
        except sqlite3.Error:
            self.is_broken = True

    def close(self) -> None:
        """Close it."""
        self._folder.close()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


class PostgresLink:
    """A connection to PostgreSQL. What needs no answer in between goes in one round trip."""

    def __init__(self, connection: psycopg.Connection[Any], place: str) -> None:
        self._connection = connection
        self._place = place
        connection.autocommit = True
        connection.cursor_factory = psycopg.RawCursor
        # By default the type of a parameter follows the size of its number, and each combination
        # of types would be a prepared statement of its own.
        connection.adapters.register_dumper(int, Int8Dumper)
        for name, value_ms in (
            ("statement_timeout", STATEMENT_TIMEOUT_MS),
            ("lock_timeout", LOCK_TIMEOUT_MS),
            ("idle_in_transaction_session_timeout", IDLE_TIMEOUT_MS),
        ):
            connection.execute(f"SET {name} = {value_ms}")
        self._deadline = Deadline(connection.fileno(), ANSWER_S_MAX)

    @property
    def is_broken(self) -> bool:
        """Whether it can be of no further use."""
        return bool(self._connection.closed)

    def select(self, statement: Statement) -> Rows:
        """Read outside of any transaction."""
        with self._deadline.running():
            return self._connection.execute(*statement, prepare=True).fetchall()

    def write(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        """Begin a transaction and run all of it; answer what ``fence`` returned.

        Fenced off, the rest is written as well and has to be rolled back.
        """
        execute = self._connection.execute
        with self._deadline.running(), self._connection.pipeline():
            execute("BEGIN")
            answer = execute(*fence, prepare=True)
            for text, parameters in statements:
                execute(text, parameters, prepare=True)
        return answer.fetchall()

    def commit(self) -> None:
        """Make the transaction durable."""
        try:
            with self._deadline.running():
                status = self._connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if not self.is_broken:
                raise failed(self._place, error) from error
            worded = unavailable(self._place, error)
            raise CommitUnknown(worded.what, worded.advice) from error
        if status != "COMMIT":
            what = f"the ledger at {self._place} rolled a transaction back instead of committing"
            raise CommitFailed(what, "See the log of PostgreSQL for the reason")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        if not self.is_broken:
            with contextlib.suppress(psycopg.Error), self._deadline.running():
                self._connection.rollback()

    def close(self) -> None:
        """Close it."""
        self._deadline.close()
        self._connection.close()
