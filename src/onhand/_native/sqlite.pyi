"""Whole transactions on an SQLite file, in one call; :mod:`onhand.ledger.sqlite_link` uses it."""

import sqlite3
from typing import TypeAlias

Parameters: TypeAlias = tuple[str | int | bytes | None, ...]

class CommitError(sqlite3.OperationalError):
    """COMMIT failed; the transaction may still be open, and may be on disk or not."""

def find_library(path: str) -> bool:
    """Find SQLite in the library of this path, or in one that it is linked to.

    Returns
    -------
    bool
        False when it is not there, or older than 3.35.
    """

class Connection:
    """A connection to a file that exists; used by one thread at a time.

    Parameters
    ----------
    busy_timeout_ms
        How long a transaction waits for another one to end.

    Raises
    ------
    sqlite3.OperationalError
        It cannot be opened. As those of all methods, it has ``sqlite_errorcode``.
    """

    def __init__(self, path: str, busy_timeout_ms: int) -> None: ...
    def execute(self, text: str) -> None:
        """Run a statement that has no parameters, and leave what it returns."""

    def transact(
        self, fence: tuple[str, Parameters], statements: list[tuple[str, Parameters]]
    ) -> list[tuple[int, ...]]:
        """Commit statements in one transaction, if the first returns a row.

        Parameters
        ----------
        fence
            Text and parameters of a statement that returns at most one row of up to 8 integers.
        statements
            What follows it.

        Returns
        -------
        list
            The fence's row; empty when there was none, and then nothing is written.

        Raises
        ------
        CommitError
            Nobody knows whether it is written, until the code says so.
        sqlite3.Error
            Nothing is written; a ``ProgrammingError`` where a text or a parameter cannot be used.
        """

    def rollback(self) -> None:
        """Undo what a failed COMMIT may have left open."""

    def close(self) -> None:
        """Close it; closing twice does nothing."""
