"""The order writer's connection to PostgreSQL; see :mod:`onhand.ledger.link`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.types.numeric import Int8Dumper

from onhand.errors import CommitFailed
from onhand.ledger.deadline import Deadline
from onhand.ledger.outcome import not_made, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.ledger.bulk import Statement
    from onhand.ledger.link import Rows

STATEMENT_TIMEOUT_MS: Final = 5_000
LOCK_TIMEOUT_MS: Final = 4_000
ANSWER_S_MAX: Final = 8.0
"""How long PostgreSQL may leave a statement, or all those sent at once, without an answer."""
IDLE_TIMEOUT_MS: Final = 10_000
"""After this long PostgreSQL ends a transaction whose writer has stopped in the middle of it, so
that the next writer does not wait for it for ever."""


class PostgresLink:
    """A connection to PostgreSQL. What needs no answer in between goes in one round trip."""

    def __init__(self, connection: psycopg.Connection[Any], place: str) -> None:
        self._connection = connection
        self._place = place
        connection.autocommit = True
        connection.cursor_factory = psycopg.RawCursor
        # A table has an upsert of each size: in all a few hundred, of which a hundred are kept
        # prepared otherwise.
        connection.prepared_max = None
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

    def transact(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        """Run all of it in one transaction; see :meth:`onhand.ledger.link.Link.transact`.

        Fenced off, the rest is written as well and rolled back.
        """
        try:
            returned = self._write(fence, statements)
        except BaseException:
            self._rollback()
            raise
        if returned:
            self._commit()
        else:
            self._rollback()
        return returned

    def close(self) -> None:
        """Close it."""
        self._deadline.close()
        self._connection.close()

    def _write(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        execute = self._connection.execute
        with self._deadline.running(), self._connection.pipeline():
            execute("BEGIN")
            answer = execute(*fence, prepare=True)
            for text, parameters in statements:
                execute(text, parameters, prepare=True)
        return answer.fetchall()

    def _commit(self) -> None:
        try:
            with self._deadline.running():
                status = self._connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if self.is_broken:
                raise unknown(self._place, error) from error
            self._rollback()
            raise not_made(self._place, error) from error
        if status != "COMMIT":
            what = f"the ledger at {self._place} rolled a transaction back instead of committing"
            raise CommitFailed(what, "See the log of PostgreSQL for the reason")

    def _rollback(self) -> None:
        if not self.is_broken:
            with contextlib.suppress(psycopg.Error), self._deadline.running():
                self._connection.rollback()
