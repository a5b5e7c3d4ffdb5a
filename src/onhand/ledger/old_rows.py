"""Which rows of the ledger are old, a bounded number of each kind, the oldest first.

Each is found in the order of an index that follows its age, so that looking costs what there is to
be found.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from onhand.ledger.answer_index import HASH_BYTES
from onhand.ledger.order_reads import order_row, return_row
from onhand.ledger.schema import (
    HOLD_IS_FINISHED,
    ORDER_IS_CLOSED,
    answer,
    hold,
    ledger_event,
    orders,
    returns,
    writer,
)

if TYPE_CHECKING:
    from onhand.ledger.order_store import OrderStore
    from onhand.ledger.rows import OrderRow, ReturnRow


class Place(NamedTuple):
    """Where a walk over rows has come to: the time that orders them, and an id for ties."""

    at_us: int
    row_id: str


class Packs(NamedTuple):
    """Commits whose answers are old; ``has_more`` when those are not all."""

    numbers: list[int]
    has_more: bool


BEGIN: Final = Place(-1, "")


class OldRows:
    """Reads on the writer's connection. Times are microseconds since 1970-01-01 UTC.

    Every method raises LedgerUnavailable when the database fails.
    """

    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def answers(self, before_us: int, limit: int, answer_count: int) -> Packs:
        """List commits whose answers were given before a time, until they have so many answers."""
        found = self._store.rows_of(_ANSWERS, before=before_us, limit=limit)
        before = accumulate((size for _, size in found), initial=0)
        taken = [
            number
            for (number, _), size in zip(found, before, strict=False)
            if size < answer_count * HASH_BYTES
        ]
        return Packs(taken, has_more=len(taken) < len(found) or len(found) == limit)

    def first_answer(self) -> int:
        """Return the first commit whose answers are there, the newest commit without any."""
        newest = self._store.statistics().position.commit_number
        ((first,),) = self._store.rows_of(_FIRST_ANSWER)
        return newest if first is None else int(first)

    def holds(self, before_us: int, limit: int) -> list[str]:
        """List finished holds that were to expire before a time."""
        return self._keys(_HOLDS, before=before_us, limit=limit)

    def ledger_events(self, before_us: int, applied_sequence: int, limit: int) -> list[int]:
        """List movements written before a time, published, and applied up to a sequence."""
        return self._keys(_LEDGER_EVENTS, before=before_us, applied=applied_sequence, limit=limit)

    def orders(self, before_us: int, after: Place, limit: int) -> list[OrderRow]:
        """List closed orders that have last changed before a time, and where a walk goes on."""
        found = self._store.rows_of(
            _ORDERS, before=before_us, after_us=after.at_us, after_id=after.row_id, limit=limit
        )
        return list(map(order_row, found))

    def returns(self, before_us: int, after: Place, limit: int) -> list[ReturnRow]:
        """List closed returns of no order that were announced before a time."""
        found = self._store.rows_of(
            _RETURNS, before=before_us, after_us=after.at_us, after_id=after.row_id, limit=limit
        )
        return list(map(return_row, found))

    def _keys(self, query: sa.Select[Any], **values: int) -> list[Any]:
        return [key for (key,) in self._store.rows_of(query, **values)]


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


_BEFORE: Final = _number("before")
_LIMIT: Final = _number("limit")
# Left out, SQLAlchemy writes it for SQLite as a parameter of its own.
_FROM_THE_FIRST: Final[Any] = sa.literal_column("0")
_AFTER: Final = sa.tuple_(_number("after_us"), sa.bindparam("after_id", type_=sa.String))

_ANSWERS: Final = (
    sa.select(answer.c.commit_number, sa.func.length(answer.c.hashes))
    .where(answer.c.created_us < _BEFORE)
    .order_by(answer.c.created_us)
    .limit(_LIMIT)
    .offset(_FROM_THE_FIRST)
)
_FIRST_ANSWER: Final = sa.select(sa.func.min(answer.c.commit_number))
_HOLDS: Final = (
    sa.select(hold.c.id)
    .where(HOLD_IS_FINISHED, hold.c.expires_us < _BEFORE)
    .order_by(hold.c.expires_us)
    .limit(_LIMIT)
    .offset(_FROM_THE_FIRST)
)
# Times rise with sequences, so the first ones are the oldest; none behind them is looked at.
_FIRST_EVENTS: Final = (
    sa.select(ledger_event.c.sequence, ledger_event.c.created_us)
    .where(
        ledger_event.c.sequence <= _number("applied"),
        ledger_event.c.sequence <= sa.select(writer.c.ledger_published).scalar_subquery(),
    )
    .order_by(ledger_event.c.sequence)
    .limit(_LIMIT)
    .offset(_FROM_THE_FIRST)
    .subquery()
)
_LEDGER_EVENTS: Final = sa.select(_FIRST_EVENTS.c.sequence).where(
    _FIRST_EVENTS.c.created_us < _BEFORE
)
_ORDERS: Final = (
    sa.select(orders)
    .where(
        ORDER_IS_CLOSED,
        orders.c.updated_us < _BEFORE,
        sa.tuple_(orders.c.updated_us, orders.c.id) > _AFTER,
    )
    .order_by(orders.c.updated_us, orders.c.id)
    .limit(_LIMIT)
    .offset(_FROM_THE_FIRST)
)
_RETURNS: Final = (
    sa.select(returns)
    .where(
        returns.c.order_id.is_(None),
        returns.c.is_open.is_(False),
        returns.c.created_us < _BEFORE,
        sa.tuple_(returns.c.created_us, returns.c.id) > _AFTER,
    )
    .order_by(returns.c.order_id, returns.c.created_us, returns.c.id)
    .limit(_LIMIT)
    .offset(_FROM_THE_FIRST)
)
