"""Taking a customer out of what the ledger keeps beside orders, in bounded steps.

Those are documents written once: answers kept for commands that are sent again, events that are not
in the log yet, movements, returns. Rows that hold the id are found by the database, a range of
keys at a time, and only those are rewritten.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from onhand.ledger.rows import AnswerRow
from onhand.ledger.schema import answer, ledger_event, order_event, orders, returns
from onhand.orders.book import decode_return

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Column, Connection

    from onhand.ledger.engine import Ledger

RANGE_COUNT: Final = 1_000
"""Rows that one query looks through."""

REWRITE_COUNT: Final = 20
"""Rows that one transaction rewrites; each may hold the answers of a thousand commands."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_unpack_answers = msgspec.msgpack.Decoder(list[AnswerRow]).decode
_unpack_events = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class Scrubber:
    """Finds and rewrites what names one customer; used by one thread.

    Parameters
    ----------
    customer
        The id, in whose place ``token`` is put.
    """

    def __init__(self, ledger: Ledger, customer: str, token: str) -> None:
        self._ledger = ledger
        self.customer = customer
        self.token = token
        # Within a document the id stands as a string of JSON, and nothing else looks like it.
        self._needle = _encode(customer)

    def order_ids(self, limit: int, after: tuple[int, str] | None = None) -> list[tuple[int, str]]:
        """List some orders of the customer by time and id, those after such a pair."""
        place = sa.tuple_(orders.c.created_us, orders.c.id)
        query = sa.select(orders.c.created_us, orders.c.id)
        query = query.where(orders.c.customer == self.customer)
        if after is not None:
            query = query.where(place > sa.tuple_(*map(sa.literal, after)))
        query = query.order_by(orders.c.created_us, orders.c.id).limit(limit)
        with self._ledger.read() as connection:
            return [(row.created_us, row.id) for row in connection.execute(query)]

    def return_ids(self) -> list[str]:
        """Find the returns that name the customer."""
        return list(self._matching(returns.c.id, returns.c.document, self._needle))

    def times(self) -> tuple[int, int] | None:
        """Say from when to when orders and returns were dealt with that are now the token's."""
        created, updated = orders.c.created_us, orders.c.updated_us
        query = sa.select(sa.func.min(created), sa.func.max(updated))
        with self._ledger.read() as connection:
            found = connection.execute(query.where(orders.c.customer == self.token)).one()
        times = [each for each in found if each is not None]
        keys = self._matching(returns.c.id, returns.c.document, _encode(self.token))
        for some in _chunks(keys):
            query = sa.select(returns.c.document).where(returns.c.id.in_(some))
            with self._ledger.read() as connection:
                for document in connection.execute(query).scalars():
                    return_ = decode_return(document)
                    times += [return_.created_us, return_.updated_us]
        return (min(times), max(times)) if times else None

    def scrub_events(self) -> None:
        """Rewrite events that are committed and not dropped yet, and movements."""
        self._rewrite(order_event.c.last_number, order_event.c.records, self._without_in_events)
        self._rewrite(ledger_event.c.sequence, ledger_event.c.document, self._without)

    def scrub_answers(self, first_us: int, last_us: int) -> None:
        """Rewrite the answers of a span of time."""
        key = answer.c.commit_number
        within = answer.c.created_us.between(first_us, last_us)
        query = sa.select(sa.func.min(key), sa.func.max(key)).where(within)
        with self._ledger.read() as connection:
            first, last = connection.execute(query).one()
        if first is not None:
            bounds = key.between(first, last)
            self._rewrite(key, answer.c.records, self._without_in_answers, bounds)

    def _rewrite(
        self,
        key: Column[Any],
        document: Column[bytes],
        without: Callable[[bytes], bytes],
        bounds: sa.ColumnElement[bool] | None = None,
    ) -> None:
        for keys in _chunks(self._matching(key, document, self._needle, bounds)):
            self._replace(key, document, without, keys)

    def _replace(
        self,
        key: Column[Any],
        document: Column[bytes],
        without: Callable[[bytes], bytes],
        keys: Sequence[Any],
    ) -> None:
        with self._ledger.write() as connection:
            # Read under the lock: another customer of the same row may be erased at once.
            query = sa.select(key, document).where(key.in_(keys)).with_for_update()
            for found, content in connection.execute(query).all():
                statement = sa.update(key.table).where(key == found)
                connection.execute(statement.values({document: without(content)}))

    def _matching(
        self,
        key: Column[Any],
        document: Column[bytes],
        needle: bytes,
        bounds: sa.ColumnElement[bool] | None = None,
    ) -> Iterator[Any]:
        after = None
        while True:
            query = sa.select(key.label("key"))
            if bounds is not None:
                query = query.where(bounds)
            if after is not None:
                query = query.where(key > after)
            some = query.order_by(key).limit(RANGE_COUNT).subquery()
            with self._ledger.read() as connection:
                first, last = connection.execute(
                    sa.select(sa.func.min(some.c.key), sa.func.max(some.c.key))
                ).one()
                if first is None:
                    return
                within = sa.select(key).where(key.between(first, last))
                holds = _position(connection, document, needle) > 0
                found = list(connection.execute(within.where(holds)).scalars())
            yield from found
            after = last

    def _without(self, document: bytes) -> bytes:
        if self._needle not in document:
            return document
        value = _decode(document)
        self._replace_within(value)
        return _encode(value)

    def _without_in_answers(self, records: bytes) -> bytes:
        rows = _unpack_answers(records)
        return _pack([row._replace(document=self._without(row.document)) for row in rows])

    def _without_in_events(self, records: bytes) -> bytes:
        return _pack([(name, self._without(value)) for name, value in _unpack_events(records)])

    def _replace_within(self, value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                self._replace_within(each)
        elif isinstance(value, dict):
            customer = value.get("customer")
            if isinstance(customer, dict) and customer.get("id") == self.customer:
                value["customer"] = {"id": self.token}
            if value.get("customer_id") == self.customer:
                value["customer_id"] = self.token
            for each in value.values():
                self._replace_within(each)


def _chunks(keys: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(keys, REWRITE_COUNT)):
        yield some


def _position(
    connection: Connection, document: Column[bytes], needle: bytes
) -> sa.ColumnElement[int]:
    literal = sa.literal(needle, sa.LargeBinary)
    if connection.dialect.name == "postgresql":
        return sa.func.pg_catalog.position(document, literal)
    return sa.func.instr(document, literal)
