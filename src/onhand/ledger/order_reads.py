"""Reading orders, holds and tasks from any process, each read on a connection of the pool."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import psycopg
import sqlalchemy as sa

from onhand.errors import FieldError, InvalidInput
from onhand.ledger.bulk import compile_text
from onhand.ledger.rows import (
    ORDER_STATUSES,
    RETURN_STATUSES,
    TASK_STATUSES,
    HoldRow,
    LedgerEventRow,
    OrderRow,
    Page,
    PendingEvent,
    ReturnRow,
    TaskPage,
    TaskRow,
)
from onhand.ledger.schema import (
    HOLD_IS_ACTIVE,
    ORDER_IS_OPEN,
    RETURN_IS_OPEN,
    claim_offset,
    hold,
    ledger_event,
    order_event,
    orders,
    return_policy,
    returns,
    task,
    writer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from onhand.ledger.engine import Ledger

PAGE_ROW_COUNT_MAX: Final = 1_000
LOCATIONS_A_QUERY: Final = 500
STREAM_ROW_COUNT: Final = 500
"""Rows of PostgreSQL taken at once while a table is streamed; more leave the processor's caches."""

_Position = tuple[int, str]
"""Where a page ended: the time that it is ordered by, and the id that breaks ties."""

_decode_position = msgspec.msgpack.Decoder(_Position).decode
_decode_records = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class OrderReads:
    """What the ledger says of orders, holds and tasks; any thread, any process.

    Every method raises LedgerUnavailable when the database fails.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def hold(self, hold_id: str) -> HoldRow | None:
        """Read one hold."""
        return next(iter(self._read(sa.select(hold).where(hold.c.id == hold_id), HoldRow)), None)

    def order(self, order_id: str) -> OrderRow | None:
        """Read one order."""
        query = sa.select(orders).where(orders.c.id == order_id)
        return next(iter(self._read(query, OrderRow)), None)

    def orders(
        self,
        *,
        customer: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[OrderRow]:
        """List orders, the newest first.

        Orders that are made meanwhile come before the first page, and move none to another.

        Parameters
        ----------
        cursor
            ``next`` of the page before.

        Raises
        ------
        InvalidInput
            When the cursor is none of ours.
        """
        limit = _bounded(limit)
        conditions = []
        if customer is not None:
            conditions.append(orders.c.customer == customer)
        if cursor is not None:
            position = sa.tuple_(orders.c.created_us, orders.c.id)
            conditions.append(position < _position(cursor))
        if status is not None:
            conditions.append(orders.c.status == status)
        newest_first = [orders.c.created_us.desc(), orders.c.id.desc()]
        one = sa.select(orders).where(*conditions)
        if customer is None and status is None:
            # Each status is in order within its index, so that no index for all is needed.
            several = [one.where(orders.c.status == each) for each in ORDER_STATUSES]
        else:
            several = [one]
        found = self._read(_merged(several, newest_first, limit + 1), OrderRow)
        rows, is_last = found[:limit], len(found) <= limit
        return Page(rows, None if is_last else _cursor(rows[-1].created_us, rows[-1].id))

    def tasks(
        self,
        location: str,
        status: str | None = None,
        *,
        cursor: str | None = None,
        limit: int = 100,
    ) -> TaskPage:
        """List a location's tasks, the one due first first, with the documents of their orders.

        Raises
        ------
        InvalidInput
            When the cursor is none of ours.
        """
        limit = _bounded(limit)
        one = sa.select(task).where(task.c.location == location)
        if cursor is not None:
            one = one.where(sa.tuple_(task.c.due_us, task.c.id) > _position(cursor))
        statuses = TASK_STATUSES if status is None else (status,)
        several = [one.where(task.c.status == each) for each in statuses]
        query = _merged(several, [task.c.due_us, task.c.id], limit + 1)
        with self._ledger.read() as connection:
            found = [TaskRow._make(row) for row in connection.execute(query)]
            rows, is_last = found[:limit], len(found) <= limit
            documents = _documents(connection, {row.order_id for row in rows})
        return TaskPage(rows, documents, None if is_last else _cursor(rows[-1].due_us, rows[-1].id))

    def return_(self, return_id: str) -> ReturnRow | None:
        """Read one return."""
        query = sa.select(returns).where(returns.c.id == return_id)
        return next(iter(self._read(query, ReturnRow)), None)

    def returns(
        self,
        *,
        order_id: str | None = None,
        receipt: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ReturnRow]:
        """List returns, the newest first.

        Raises
        ------
        InvalidInput
            When the cursor is none of ours.
        """
        limit = _bounded(limit)
        one = sa.select(returns)
        for column, value in (
            (returns.c.order_id, order_id),
            (returns.c.receipt, receipt),
            (returns.c.status, status),
        ):
            if value is not None:
                one = one.where(column == value)
        if cursor is not None:
            position = sa.tuple_(returns.c.created_us, returns.c.id)
            one = one.where(position < _position(cursor))
        several = [one]
        if order_id is None and receipt is None and status is None:
            # Each status is in order within its index, so that no index for all is needed.
            several = [one.where(returns.c.status == each) for each in RETURN_STATUSES]
        newest_first = [returns.c.created_us.desc(), returns.c.id.desc()]
        found = self._read(_merged(several, newest_first, limit + 1), ReturnRow)
        rows, is_last = found[:limit], len(found) <= limit
        return Page(rows, None if is_last else _cursor(rows[-1].created_us, rows[-1].id))

    def return_policy(self, version: int) -> str | None:
        """Read the return policy of a version, JSON; None when there never was one."""
        query = sa.select(return_policy.c.document).where(return_policy.c.version == version)
        with self._ledger.read() as connection:
            return connection.execute(query).scalar()

    def load_open_returns(self) -> Iterator[ReturnRow]:
        """Stream returns waited for, and those of open exchanges; as :meth:`load_open` does."""
        with self._ledger.read() as connection:
            waited_for = sa.select(returns).where(RETURN_IS_OPEN)
            yield from map(return_row, _stream(connection, waited_for))

    def load_open(self) -> Iterator[HoldRow | OrderRow]:
        """Stream every active hold, then every open order, as of one moment.

        In no particular order. A million rows take a second or two and no memory to speak of; the
        view of the database that they come from is held until the iterator ends or is closed.
        """
        with self._ledger.read() as connection:
            holds = sa.select(hold).where(HOLD_IS_ACTIVE)
            yield from map(HoldRow._make, _stream(connection, holds))
            open_orders = sa.select(orders).where(ORDER_IS_OPEN)
            yield from map(order_row, _stream(connection, open_orders))

    def load_closed_tasks(
        self, locations: Sequence[str], since_us: int
    ) -> Iterator[tuple[str, int]]:
        """Read location and time of creation of every task of closed orders.

        Parameters
        ----------
        locations
            Whose tasks are read.
        since_us
            Those created before are left out; microseconds since 1970-01-01 UTC.
        """
        query = (
            sa.select(task.c.location, task.c.created_us)
            .join(orders, orders.c.id == task.c.order_id)
            .where(task.c.created_us >= since_us, orders.c.is_open.is_(False))
        )
        with self._ledger.read() as connection:
            for at in range(0, len(locations), LOCATIONS_A_QUERY):
                some = query.where(task.c.location.in_(locations[at : at + LOCATIONS_A_QUERY]))
                yield from map(tuple, connection.execute(some))

    def load_ledger_events(self, after_sequence: int) -> Iterator[LedgerEventRow]:
        """Stream the ledger events after a sequence, in order: those not applied there yet."""
        query = (
            sa.select(ledger_event)
            .where(ledger_event.c.sequence > sa.literal_column(str(int(after_sequence))))
            .order_by(ledger_event.c.sequence)
        )
        with self._ledger.read() as connection:
            yield from map(LedgerEventRow._make, _stream(connection, query))

    def last_sequence(self) -> int:
        """Read the sequence of the newest ledger event ever written, 0 before the first."""
        return self._counter(writer.c.ledger_sequence)

    def claim_offsets(self) -> dict[int, int]:
        """Read the next offset of each partition of ``stock.claims`` that was ever decided."""
        with self._ledger.read() as connection:
            rows = connection.execute(sa.select(claim_offset)).all()
        return {row.partition: row.next_offset for row in rows}

    def pending_events(self, limit: int) -> list[PendingEvent]:
        """Read the oldest records for ``orders.events`` that are not published yet.

        Parameters
        ----------
        limit
            Most records; those that one commit wrote may be divided.
        """
        with self._ledger.read() as connection:
            published = connection.execute(sa.select(writer.c.event_published)).scalar_one()
            query = (
                sa.select(order_event.c.first_number, order_event.c.records)
                .where(order_event.c.last_number > published)
                .where(order_event.c.first_number <= published + limit)
                .order_by(order_event.c.last_number)
            )
            packs = connection.execute(query).all()
        return [
            PendingEvent(number, key, value)
            for first, records in packs
            for number, (key, value) in enumerate(_decode_records(records), first)
            if published < number <= published + limit
        ]

    def pending_ledger_events(self, limit: int) -> list[LedgerEventRow]:
        """Read the oldest ledger events that are not published yet."""
        published = sa.select(writer.c.ledger_published).scalar_subquery()
        query = (
            sa.select(ledger_event)
            .where(ledger_event.c.sequence > published)
            .order_by(ledger_event.c.sequence)
            .limit(limit)
        )
        return self._read(query, LedgerEventRow)

    def _read(self, query: Select[Any] | sa.CompoundSelect[Any], kind: type[Any]) -> list[Any]:
        with self._ledger.read() as connection:
            return [kind._make(row) for row in connection.execute(query)]

    def _counter(self, column: sa.Column[int]) -> int:
        with self._ledger.read() as connection:
            return int(connection.execute(sa.select(column)).scalar_one())


def order_row(row: tuple[Any, ...]) -> OrderRow:
    """Read a row as the driver gives it: SQLite has no truth values of its own."""
    order_id, status, customer, created_us, updated_us, is_open, document = row
    return OrderRow(order_id, status, customer, created_us, updated_us, bool(is_open), document)


def return_row(row: tuple[Any, ...]) -> ReturnRow:
    """Read a row as the driver gives it: SQLite has no truth values of its own."""
    return_id, status, order_id, receipt, created_us, is_open, document = row
    return ReturnRow(return_id, status, order_id, receipt, created_us, bool(is_open), document)


def _bounded(limit: int) -> int:
    return max(1, min(limit, PAGE_ROW_COUNT_MAX))


def _merged(
    several: Sequence[Select[Any]], order: Sequence[ColumnElement[Any]], limit: int
) -> Select[Any] | sa.CompoundSelect[Any]:
    # Each part stops after as many rows as the whole may have, so none is read to its end.
    if len(several) == 1:
        return several[0].order_by(*order).limit(limit)
    parts = [sa.select(each.order_by(*order).limit(limit).subquery()) for each in several]
    together = sa.union_all(*parts)
    names = [_ordered_as(together, element) for element in order]
    return together.order_by(*names).limit(limit)


def _ordered_as(together: sa.CompoundSelect[Any], element: ColumnElement[Any]) -> Any:
    if isinstance(element, sa.UnaryExpression):
        column = cast("sa.Column[Any]", element.element)
        return together.selected_columns[column.name].desc()
    return together.selected_columns[cast("sa.Column[Any]", element).name]


def _documents(connection: Connection, order_ids: set[str]) -> dict[str, bytes]:
    query = sa.select(orders.c.id, orders.c.document).where(orders.c.id.in_(sorted(order_ids)))
    return {row.id: row.document for row in connection.execute(query)}


def _stream(connection: Connection, query: Select[Any]) -> Iterator[tuple[Any, ...]]:
    # Straight from the driver: SQLAlchemy's own rows cost as much as reading them.
    dialect_name = connection.dialect.name
    text, parameters = compile_text(dialect_name, query)
    if parameters:
        raise AssertionError("Invariant: a streamed query has no parameters")
    driver: Any = connection.connection.driver_connection
    if dialect_name == "postgresql":
        connection.exec_driver_sql("SELECT 1")  # begins the transaction as SQLAlchemy sets it
        size = STREAM_ROW_COUNT if psycopg.capabilities.has_stream_chunked() else 1
        with driver.cursor() as cursor:
            yield from cursor.stream(text, binary=True, size=size)
    else:
        yield from driver.execute(text)


def _cursor(time_us: int, row_id: str) -> str:
    packed = msgspec.msgpack.encode((time_us, row_id))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def _position(cursor: str) -> Any:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        time_us, row_id = _decode_position(base64.b64decode(padded, b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError) as error:
        what = "not a valid cursor"
        rule = "must be `next` of the page before"
        raise InvalidInput(what, (FieldError("/cursor", rule),)) from error
    return sa.tuple_(sa.literal(time_us, sa.BigInteger), sa.literal(row_id, sa.String))
