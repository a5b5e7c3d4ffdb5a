"""The order writer's connection to the embedded ledger; see :mod:`onhand.ledger.link`."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final, Protocol

from onhand._native import sqlite as native
from onhand.ledger.engine import BUSY_TIMEOUT_MS, PRAGMAS
from onhand.ledger.fold import Folder
from onhand.ledger.outcome import not_made, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.ledger.bulk import Statement
    from onhand.ledger.link import Rows

WAL_PAGES: Final = 4_000
"""Pages after which a commit moves what is left of the write-ahead log into the file; a thread has
moved the most of it by then. About 16 MiB to recover."""
CACHE_KIB: Final = 8 << 10
"""SQLite's memory for pages of the writer, about what a processor's caches hold: of 64 MiB each new
page is a cold one, and a commit beside a million holds costs 1.4 times one beside a hundred."""

_WRITING_PRAGMAS: Final = (
    f"cache_size=-{CACHE_KIB}",
    f"wal_autocheckpoint={WAL_PAGES}",
    f"journal_size_limit={WAL_PAGES * 4096 * 2}",
)


class SqliteLink:
    """A connection to the embedded ledger, for one thread at a time.

    Parameters
    ----------
    connection
        Reads, and writes where nothing else can; it is closed with the link.
    place
        The ledger's file.
    """

    _UNDONE: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL})

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._connection = connection
        self._place = place
        self.is_broken = False
        self._writing = writing(connection, place)
        self._folder = Folder(place)

    def select(self, statement: Statement) -> Rows:
        """Read outside of any transaction."""
        return self._connection.execute(*statement).fetchall()

    def transact(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        """Run all of it in one transaction; see :meth:`onhand.ledger.link.Link.transact`.

        An error while the log is synced leaves the commit in the file but out of sight: a later
        commit overwrites it, while a crash before that would bring it back.
        """
        try:
            returned = self._writing.transact(fence, list(statements))
        except native.CommitError as error:
            if error.sqlite_errorcode & 0xFF not in self._UNDONE:
                self.is_broken = True
                raise unknown(self._place, error) from error
            self._rollback()
            raise not_made(self._place, error) from error
        if returned:
            self._folder.note_commit(sum(len(parameters) for _, parameters in statements))
        return returned

    def close(self) -> None:
        """Close it."""
        self._folder.close()
        for each in (self._writing, self._connection):
            with contextlib.suppress(sqlite3.Error):
                each.close()

    def _rollback(self) -> None:
        try:
            self._writing.rollback()
        except sqlite3.Error:
            self.is_broken = True


class Writing(Protocol):
    """What transactions run on: :class:`onhand._native.sqlite.Connection`, or the driver."""

    def transact(self, fence: Statement, statements: list[Statement]) -> Rows:
        """Commit statements in one transaction, if ``fence``, the first, returns a row."""

    def rollback(self) -> None:
        """Undo what a failed COMMIT may have left open."""

    def close(self) -> None:
        """Close it."""


def writing(connection: sqlite3.Connection, place: str) -> Writing:
    """Open what transactions run on.

    Raises
    ------
    sqlite3.Error
    """
    if not IS_NATIVE:
        return DriverWriting(connection)
    opened = native.Connection(place, BUSY_TIMEOUT_MS)
    for pragma in (*PRAGMAS, *_WRITING_PRAGMAS):
        opened.execute(f"PRAGMA {pragma}")
    return opened


class DriverWriting:
    """Transactions on Python's driver, where its SQLite is out of our reach.

    Whatever the driver is asked to execute gives the interpreter lock away three times, what it
    begins and commits by itself once, and beside a busy event loop the lock may take half a
    millisecond to come back.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        for pragma in _WRITING_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        # The driver begins before the first statement that writes.
        connection.isolation_level = "IMMEDIATE"

    def transact(self, fence: Statement, statements: list[Statement]) -> Rows:
        """Commit statements in one transaction, if ``fence``, the first, returns a row."""
        execute = self._connection.execute
        try:
            returned: Rows = execute(*fence).fetchall()
            for text, parameters in statements if returned else ():
                execute(text, parameters)
        except (OverflowError, ValueError) as error:
            self._undo()
            raise sqlite3.ProgrammingError(f"a parameter cannot be bound: {error}") from error
        except BaseException:
            self._undo()
            raise
        if not returned:
            self._undo()
            return []
        try:
            self._connection.commit()
        except sqlite3.Error as error:
            raise _commit_error(error) from error
        return returned

    def rollback(self) -> None:
        """Undo what a failed COMMIT may have left open."""
        self._connection.rollback()

    def close(self) -> None:
        """Do nothing: the connection is closed by whoever opened it."""

    def _undo(self) -> None:
        try:
            self._connection.rollback()
        except sqlite3.Error as error:
            # The transaction is open still: only closing the connection ends it.
            raise _commit_error(error) from error


def _commit_error(error: sqlite3.Error) -> native.CommitError:
    made = native.CommitError(str(error))
    made.sqlite_errorcode = getattr(error, "sqlite_errorcode", 0)
    return made


def _find_library() -> bool:
    """Find the SQLite that Python's own driver uses; some Pythons have it inside and hidden."""
    import _sqlite3  # noqa: PLC0415 - only its file's name is wanted

    path: Any = getattr(_sqlite3, "__file__", None)
    return path is not None and native.find_library(path)


IS_NATIVE: Final = _find_library()
"""Whether transactions run in native code."""
