"""The ledger's database with what may become of a commit, and of any visit.

It is the real store on a real SQLite file; what is simulated is the connection to it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from onhand.errors import CommitFailed, CommitUnknown, LedgerUnavailable
from onhand.ledger import Ledger, link, schema
from onhand.simulation.faults import Killed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection

    from onhand.ledger.bulk import Statement
    from onhand.ledger.link import Link, Rows
    from onhand.ledger.order_store import OrderStore
    from onhand.ledger.rows import Commit


class SimulatedLedger(Ledger):
    """The ledger of one deployment, as its order writers reach it.

    Parameters
    ----------
    real
        Open; emptied at the start.
    watch
        Is told of every commit once it is on disk.
    """

    def __init__(self, real: Ledger, watch: Callable[[Commit], None]) -> None:
        super().__init__(real.engine, real.place)
        self.next_fault: str | None = None
        """``refused``, ``lost``, ``answer_lost``, ``killed_before``, ``killed_after`` or None."""
        self.down = 0
        """How many of the next visits find the database unreachable."""
        self._watch = watch
        self._making: Commit | None = None
        _empty(self)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Hold one consistent view, unless the database cannot be reached."""
        self._reach()
        with super().read() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Hold a transaction, unless the database cannot be reached."""
        self._reach()
        with super().write() as connection:
            yield connection

    def open_link(self, _ledger: Ledger) -> SimulatedLink:
        """Open a writer's connection, unless the database cannot be reached."""
        self._reach()
        return SimulatedLink(link.open_link(self), self)

    def follow(self, store: OrderStore) -> None:
        """Be told by a store what it is about to commit, and of it when it is on disk."""
        commit = store.commit

        def followed(what: Commit) -> None:
            self._making = what
            try:
                commit(what)
            finally:
                self._making = None

        store.commit = followed  # type: ignore[method-assign, assignment]

    def end_transaction(self, transact: Callable[[], Rows]) -> Rows:
        """Let a transaction end as chance has it."""
        fault, self.next_fault = self.next_fault, None
        if fault == "refused":
            raise CommitFailed("the disk of the database is full", "Make room")
        if fault == "killed_before":
            raise Killed
        if fault == "lost":
            self.down = 3
            raise CommitUnknown("the connection broke", "Wait")
        returned = transact()
        if returned and self._making is not None:
            self._watch(self._making)
        if fault == "killed_after":
            raise Killed
        if fault == "answer_lost":
            self.down = 3
            raise CommitUnknown("the connection broke", "Wait")
        return returned

    def _reach(self) -> None:
        if self.down:
            self.down -= 1
            raise LedgerUnavailable("the database cannot be reached", "Wait")


class SimulatedLink:
    """A writer's connection."""

    def __init__(self, real: Link, ledger: SimulatedLedger) -> None:
        self._real = real
        self._ledger = ledger

    @property
    def is_broken(self) -> bool:
        """Whether it can be of no further use."""
        return self._real.is_broken

    def select(self, statement: Statement) -> Rows:
        """Read outside of any transaction."""
        return self._real.select(statement)

    def transact(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        """Make a transaction durable, or not."""
        return self._ledger.end_transaction(lambda: self._real.transact(fence, statements))

    def close(self) -> None:
        """Close it."""
        self._real.close()


def _empty(ledger: Ledger) -> None:
    """Make a ledger as it was when it was new: a schema costs more than a whole simulation."""
    kept = {schema.deployment, schema.revision, schema.writer}
    with Ledger.write(ledger) as connection:
        for table in schema.metadata.sorted_tables:
            if table not in kept:
                connection.execute(table.delete())
        connection.execute(schema.revision.update().values(version=0))
        counters: dict[str, Any] = {
            column.name: 0 for column in schema.writer.c if column.name not in ("id", "owner")
        }
        connection.execute(schema.writer.update().values(counters))
