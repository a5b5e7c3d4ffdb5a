"""The order writer's own connection: one transaction at a time, spoken to without detours.

It is a connection of the engine's driver, taken out of the pool; on SQLite it reads, and a native
one beside it writes. What counts here is to tell three ends of a transaction apart: committed, not
committed, and nobody knows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from onhand.ledger.engine import unavailable
from onhand.ledger.outcome import DriverErrors
from onhand.ledger.postgres_link import PostgresLink
from onhand.ledger.sqlite_link import SqliteLink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onhand.ledger.bulk import Statement
    from onhand.ledger.engine import Ledger

Rows = list[tuple[Any, ...]]


class Link(Protocol):
    """A connection; used by one thread at a time. Its methods raise the driver's errors."""

    def select(self, statement: Statement) -> Rows:
        """Read outside of any transaction."""

    def transact(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        """Run all of it in one transaction, and make that durable.

        Parameters
        ----------
        fence
            Comes first, and returns a row of integers; without one nothing is written.

        Returns
        -------
        list
            What the fence returned.

        Raises
        ------
        CommitFailed
            Nothing is written, and so it is after an error of the driver's.
        CommitUnknown
            Nobody knows whether it is.
        """

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
