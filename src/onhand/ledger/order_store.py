"""Where the order writer keeps what it decides: one fenced, durable transaction a batch.

There is one order writer. It takes over by raising the epoch, decides in memory, and hands every
batch over as a :class:`Commit`. Each commit first raises ``commit_number`` of the one row of
``writer``, and only if that row is still as this writer left it: whoever was overtaken changes
nothing any more, and after a lost answer the number tells what became of the commit.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from onhand.errors import CommitFailed, CommitUnknown, LedgerUnavailable, WriterFenced
from onhand.ledger import bulk
from onhand.ledger.answer_index import AnswerIndex, hashes_of
from onhand.ledger.engine import unavailable
from onhand.ledger.link import open_link
from onhand.ledger.order_reads import OrderReads, order_row, return_row
from onhand.ledger.outcome import DriverErrors, not_made
from onhand.ledger.rows import AnswerRow, Commit, Epoch, HoldRow, OrderRow, ReturnRow
from onhand.ledger.schema import (
    answer,
    claim_offset,
    hold,
    ledger_event,
    order_event,
    orders,
    returns,
    task,
    writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from onhand.ledger.bulk import Statement
    from onhand.ledger.engine import Ledger
    from onhand.ledger.link import Link, Rows

DAY_US: Final = 86_400_000_000
ANSWERS_KEEP_US: Final = 7 * DAY_US
"""How long answers are kept after they were given."""

_TABLES: Final = (hold, orders, task, returns, answer, ledger_event, order_event, claim_offset)
_OWNER_LENGTH: Final = 200

_encode_records = msgspec.msgpack.Encoder().encode
_decode_answers = msgspec.msgpack.Decoder(list[AnswerRow]).decode
_compiled = functools.cache(bulk.compile_text)  # of the constants below
T = TypeVar("T")


class Position(NamedTuple):
    """How far a writer has come: the numbers of its newest commit, event and ledger event."""

    commit_number: int
    event_number: int
    ledger_sequence: int


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What an order store has come to."""

    epoch: int
    position: Position
    is_settled: bool
    reconnects: int
    answer_count: int


class OrderStore(OrderReads):
    """The ledger's part for orders. Reads from any thread; the writer's methods take turns.

    Use: :meth:`take_over`, load what is open, then :meth:`commit` batch after batch, and
    :meth:`close`. After CommitUnknown only :meth:`settle` is possible, again and again until it
    answers.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._dialect_name = ledger.engine.dialect.name
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._links_opened = 0
        self._epoch: Epoch | None = None
        self._position = Position(0, 0, 0)
        self._unknown: Position | None = None
        self._unknown_answers: list[AnswerRow] = []
        self._index = AnswerIndex()
        self._is_fenced = False

    def take_over(self, owner: str, now_us: int) -> Epoch:
        """Become the one writer; whoever was it before is fenced from its next commit on.

        The keys of all answers that are kept are loaded, about a second for 10 million.

        Parameters
        ----------
        owner
            Who takes over, for people who look into the table.

        Raises
        ------
        LedgerUnavailable
            When the database fails; it may be called again.
        """
        bulk.prepare(self._dialect_name, _TABLES)
        values = {"new_owner": owner[:_OWNER_LENGTH], "now_us": now_us}
        with self._lock:
            taken = self._change(_bound(self._dialect_name, _TAKE_OVER, values))
            epoch, *position = taken[0]
            # Before anything else of this writer's is set: it may not decide without its answers.
            self._index = self._load_index(now_us, base=position[0])
            self._epoch = Epoch(epoch)
            self._position = Position(*position)
            self._unknown, self._unknown_answers = None, []
            self._is_fenced = False
            return self._epoch

    def commit(self, commit: Commit) -> None:
        """Write everything in one transaction, on disk when it returns. Empty ones cost nothing.

        Raises
        ------
        WriterFenced
            When another writer has taken over: nothing is written, and never will be.
        CommitFailed
            When nothing is written; what was decided has to be undone.
        CommitUnknown
            When nobody knows; see :meth:`settle`.

        Notes
        -----
        One statement for at most 256 rows of a table, and one wait for the disk.
        """
        if commit.is_empty:
            return
        with self._lock:
            self._check_may_write()
            after = self._after(commit)
            fence = self._bound_fence(commit, after)
            statements = list(self._statements(commit, after))
            self._unknown, self._unknown_answers = after, commit.answers
            try:
                self._transact(fence, statements)
            except (CommitFailed, WriterFenced):
                self._unknown = None
                raise
            self._advance(after, commit.answers)

    def settle(self) -> bool:
        """Find out whether the commit of unknown outcome is in the database.

        It waits for what may still run of that commit, and writes, so that the answer stays true
        whatever happens next.

        Raises
        ------
        LedgerUnavailable
            While the database does not answer; call again.
        WriterFenced
            When another writer has taken over.
        """
        with self._lock:
            unknown = self._unknown
            if unknown is None:
                raise ValueError("Condition failed: no commit is of unknown outcome")
            settled = self._change(self._bound_check())
            is_written = bool(settled[0][0] == unknown.commit_number)
            if is_written:
                self._advance(unknown, self._unknown_answers)
            self._unknown = None
            return is_written

    def answers(self, keys: Sequence[bytes]) -> dict[bytes, AnswerRow]:
        """Read what was answered under those keys; keys never seen are left out.

        Those never seen cost no visit to the database, nor do the newest 8,000, or 16 MiB of them.
        """
        with self._lock:
            self._check_is_settled()
            found, numbers = self._index.find(keys)
            if numbers:
                wanted = set(keys).difference(found)
                rows = self._select_locked(_ANSWERS, answer.c.commit_number, numbers)
                for _, records in sorted(rows):
                    found |= {row.key: row for row in _decode_answers(records) if row.key in wanted}
            return found

    def forget_answers(self) -> None:
        """Keep no answers in memory, so that each is read as it is in the database now."""
        with self._lock:
            self._index.settle()

    def load_holds(self, hold_ids: Sequence[str]) -> dict[str, HoldRow]:
        """Read holds by id, whatever their status, on the writer's connection."""
        rows = self._select(_HOLDS, hold.c.id, hold_ids)
        return {row[0]: HoldRow._make(row) for row in rows}

    def load_orders(self, order_ids: Sequence[str]) -> dict[str, OrderRow]:
        """Read orders by id, whatever their status, on the writer's connection."""
        rows = self._select(_ORDERS, orders.c.id, order_ids)
        return {row[0]: order_row(row) for row in rows}

    def load_returns(self, return_ids: Sequence[str]) -> dict[str, ReturnRow]:
        """Read returns by id, whatever their status, on the writer's connection."""
        rows = self._select(_RETURNS, returns.c.id, return_ids)
        return {row[0]: return_row(row) for row in rows}

    def returns_of_receipts(self, receipts: Sequence[str]) -> list[ReturnRow]:
        """Read every return of units on those receipts, on the writer's connection."""
        return list(map(return_row, self._select(_RETURNS, returns.c.receipt, receipts)))

    def rows_of(self, query: sa.Select[Any], **values: Any) -> Rows:
        """Read by a query that is a constant of its module, on the writer's connection."""
        statement = _bound(self._dialect_name, query, values)
        with self._lock:
            self._check_is_settled()
            return self._read_on_link([statement])

    def drop(self, keys: Mapping[sa.Table, Sequence[Any]]) -> None:
        """Delete rows by key, in one transaction.

        Raises
        ------
        WriterFenced, CommitFailed, CommitUnknown
            As :meth:`commit` does; of unknown outcome it is to be settled likewise.
        """
        with self._lock:
            self._check_may_write()
            statements = [
                each
                for table, some in keys.items()
                for each in bulk.deletes(self._dialect_name, table, some)
            ]
            if not statements:
                return
            self._unknown, self._unknown_answers = self._position, []
            try:
                self._transact(self._bound_check(), statements)
            except (CommitFailed, WriterFenced):
                self._unknown = None
                raise
            self._unknown = None

    def forget_answers_before(self, commit_number: int) -> None:
        """Look for none in the rows of earlier commits: they are dropped."""
        with self._lock:
            self._index.forget(commit_number)

    def size_bytes(self) -> int:
        """Measure what the ledger takes on disk; of PostgreSQL, the whole database."""
        if self._dialect_name == "postgresql":
            ((size,),) = self.rows_of(_DATABASE_BYTES)
            return int(size)
        files = [Path(self._ledger.place + suffix) for suffix in ("", "-wal")]
        return sum(file.stat().st_size for file in files if file.exists())

    def statistics(self) -> StoreStatistics:
        """Describe how far this writer has come."""
        return StoreStatistics(
            epoch=self._epoch or 0,
            position=self._position,
            is_settled=self._unknown is None,
            reconnects=max(0, self._links_opened - 1),
            answer_count=len(self._index),
        )

    def close(self) -> None:
        """Let the writer's connection go; the ledger stays open."""
        with self._lock:
            self._drop_link()

    def _check_may_write(self) -> None:
        if self._epoch is None:
            raise ValueError("Condition failed: take_over comes before commit")
        if self._is_fenced:
            raise _fenced(self._ledger.place)
        self._check_is_settled()

    def _check_is_settled(self) -> None:
        if self._unknown is not None:
            raise CommitUnknown("the outcome of a commit is not known yet", "Settle it first")

    def _advance(self, after: Position, answers: Sequence[AnswerRow]) -> None:
        self._index.add(after.commit_number, answers)
        self._position, self._unknown, self._unknown_answers = after, None, []

    def _load_index(self, now_us: int, *, base: int) -> AnswerIndex:
        query = sa.select(answer.c.commit_number, answer.c.hashes).where(
            answer.c.created_us >= now_us - ANSWERS_KEEP_US
        )
        with self._ledger.read() as connection:
            rows = connection.execute(query).all()
        numbers = [row.commit_number for row in rows]
        index = AnswerIndex(min(numbers, default=base))
        index.load(numbers, [row.hashes for row in rows])
        return index

    def _after(self, commit: Commit) -> Position:
        number, event_number, sequence = self._position
        for expected, event in enumerate(commit.ledger_events, sequence + 1):
            if event.sequence != expected:
                what = f"Condition failed: ledger event {event.sequence} where {expected} is due"
                raise ValueError(what)
        return Position(
            number + 1, event_number + len(commit.events), sequence + len(commit.ledger_events)
        )

    def _bound_fence(self, commit: Commit, after: Position) -> Statement:
        if commit.events_published > after.event_number:
            raise ValueError("Condition failed: no event beyond the newest can be published")
        if commit.ledger_published > after.ledger_sequence:
            raise ValueError("Condition failed: no ledger event beyond the newest can be published")
        values = {
            "my_epoch": self._epoch,
            "before": self._position.commit_number,
            "after": after.commit_number,
            "events": after.event_number,
            "sequence": after.ledger_sequence,
            "events_published": commit.events_published,
            "ledger_published": commit.ledger_published,
        }
        return _bound(self._dialect_name, _FENCE, values)

    def _bound_check(self) -> Statement:
        return _bound(self._dialect_name, _CHECK, {"my_epoch": self._epoch})

    def _statements(self, commit: Commit, after: Position) -> Iterator[Statement]:
        for table, rows in (
            (hold, commit.holds),
            (orders, commit.orders),
            (task, commit.tasks),
            (returns, commit.returns),
            (answer, _packed_answers(commit, after)),
            (ledger_event, commit.ledger_events),
            (order_event, _packed_events(commit, after)),
            (claim_offset, list(commit.claim_offsets.items())),
        ):
            yield from bulk.upserts(self._dialect_name, table, rows)
        if commit.events_published:
            values = {"published": commit.events_published}
            yield _bound(self._dialect_name, _DROP_PUBLISHED, values)

    def _change(self, statement: Statement) -> Rows:
        try:
            return self._transact(statement, ())
        except CommitUnknown as error:
            raise LedgerUnavailable(error.what, error.advice) from error

    def _transact(self, fence: Statement, statements: Sequence[Statement]) -> Rows:
        try:
            returned = self._on_link(lambda link: link.transact(fence, statements))
        except DriverErrors as error:
            self._drop_broken_link()
            raise not_made(self._ledger.place, error) from error
        except CommitFailed:
            self._drop_broken_link()
            raise
        except CommitUnknown:
            self._drop_link()
            raise
        except LedgerUnavailable as error:
            raise CommitFailed(error.what, error.advice) from error
        except BaseException:
            self._drop_link()
            raise
        if not returned:
            self._is_fenced = True
            raise _fenced(self._ledger.place)
        return returned

    def _select(self, query: sa.Select[Any], column: sa.Column[Any], keys: Sequence[Any]) -> Rows:
        with self._lock:
            self._check_is_settled()
            return self._select_locked(query, column, keys)

    def _select_locked(
        self, query: sa.Select[Any], column: sa.Column[Any], keys: Sequence[Any]
    ) -> Rows:
        return self._read_on_link(list(bulk.by_keys(self._dialect_name, query, column, keys)))

    def _read_on_link(self, statements: Sequence[Statement]) -> Rows:
        def read(link: Link) -> Rows:
            return [row for statement in statements for row in link.select(statement)]

        try:
            return self._on_link(read)
        except DriverErrors as error:
            self._drop_broken_link()
            raise unavailable(self._ledger.place, error) from error

    def _on_link(self, action: Callable[[Link], T]) -> T:
        link = self._link
        if link is not None:
            try:
                return action(link)
            except DriverErrors:
                if not link.is_broken:
                    raise
                # It was cut while it lay idle, or at least before any COMMIT: once more.
                self._drop_link()
        self._link = open_link(self._ledger)
        self._links_opened += 1
        return action(self._link)

    def _drop_broken_link(self) -> None:
        if self._link is not None and self._link.is_broken:
            self._drop_link()

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _packed_events(commit: Commit, after: Position) -> list[tuple[int, int, bytes]]:
    # One row for all events of a commit: a quarter of the writing, and one row to drop.
    if not commit.events:
        return []
    first = after.event_number - len(commit.events) + 1
    return [(after.event_number, first, _encode_records(commit.events))]


def _packed_answers(commit: Commit, after: Position) -> list[tuple[int, int, bytes, bytes]]:
    rows = commit.answers
    if not rows:
        return []
    created_us = max(row.created_us for row in rows)
    hashes = hashes_of([row.key for row in rows])
    return [(after.commit_number, created_us, hashes, _encode_records(rows))]


def _fenced(place: str) -> WriterFenced:
    what = f"another order writer has taken over the ledger at {place}"
    return WriterFenced(what, "Run one order writer for a deployment; this one has to end")


def _bound(dialect_name: str, statement: Any, values: dict[str, Any]) -> Statement:
    text, names = _compiled(dialect_name, statement)
    return text, tuple(values[name] for name in names)


def _raised(column: sa.Column[int], name: str) -> sa.Case[int]:
    value = sa.bindparam(name, type_=sa.BigInteger)
    return sa.case((column < value, value), else_=column)


_ANSWERS: Final = sa.select(answer.c.commit_number, answer.c.records)
_DATABASE_BYTES: Final = sa.select(sa.func.pg_database_size(sa.func.current_database()))
_HOLDS: Final = sa.select(hold)
_ORDERS: Final = sa.select(orders)
_RETURNS: Final = sa.select(returns)
_FENCE: Final = (
    sa.update(writer)
    .where(
        writer.c.id == sa.literal_column("1"),
        writer.c.epoch == sa.bindparam("my_epoch"),
        writer.c.commit_number == sa.bindparam("before"),
    )
    .values(
        commit_number=sa.bindparam("after"),
        event_number=sa.bindparam("events"),
        ledger_sequence=sa.bindparam("sequence"),
        event_published=_raised(writer.c.event_published, "events_published"),
        ledger_published=_raised(writer.c.ledger_published, "ledger_published"),
    )
    .returning(writer.c.commit_number)
)
_TAKE_OVER: Final = (
    sa.update(writer)
    .where(writer.c.id == sa.literal_column("1"))
    .values(
        epoch=writer.c.epoch + sa.literal_column("1"),
        owner=sa.bindparam("new_owner"),
        taken_us=sa.bindparam("now_us"),
    )
    .returning(
        writer.c.epoch, writer.c.commit_number, writer.c.event_number, writer.c.ledger_sequence
    )
)
# It writes, and so waits for whatever is not ended yet of a transaction of this writer's.
_CHECK: Final = (
    sa.update(writer)
    .where(
        writer.c.id == sa.literal_column("1"),
        writer.c.epoch == sa.bindparam("my_epoch"),
    )
    .values(settlement=writer.c.settlement + sa.literal_column("1"))
    .returning(writer.c.commit_number)
)
_DROP_PUBLISHED: Final = sa.delete(order_event).where(
    order_event.c.last_number <= sa.bindparam("published")
)
