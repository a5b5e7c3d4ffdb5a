"""Finding ledger events by the time at which they were written, in an index of their sequence.

Sequence and time rise together, so a time is found by halving, and no index of times is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from onhand.ledger.schema import ledger_event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.ledger.engine import Ledger


class WrittenEvent(NamedTuple):
    """An event of ``stock.ledger``, the time it was written, and its JSON."""

    sequence: int
    created_us: int
    document: bytes


def ledger_events_at(ledger: Ledger, times: Iterable[int]) -> list[WrittenEvent]:
    """List the ledger events written at some times (microseconds), by their sequence.

    Raises
    ------
    LedgerUnavailable
        The database fails.

    Notes
    -----
    O(times x log events); what was pruned is not found.
    """
    found: list[WrittenEvent] = []
    with ledger.read() as connection:
        first, last = connection.execute(_BOUNDS).one()
        for at_us in sorted(times) if first is not None else ():
            first = _first_since(connection, at_us, first, last)
            end = _first_since(connection, at_us + 1, first, last)
            rows = connection.execute(_BETWEEN, {"first": first, "end": end})
            found += [WrittenEvent(row.sequence, at_us, row.document) for row in rows]
    return found


def _first_since(connection: sa.Connection, at_us: int, first: int, last: int) -> int:
    """Find the first sequence of a time or later, ``last + 1`` when there is none."""
    end = last + 1
    while first < end:
        middle = (first + end) // 2
        created_us = connection.execute(_CREATED, {"sequence": middle}).scalar()
        if created_us is not None and created_us < at_us:
            first = middle + 1
        else:
            end = middle
    return first


_BOUNDS: Final = sa.select(
    sa.func.min(ledger_event.c.sequence), sa.func.max(ledger_event.c.sequence)
)
_CREATED: Final = sa.select(ledger_event.c.created_us).where(
    ledger_event.c.sequence == sa.bindparam("sequence")
)
_BETWEEN: Final = (
    sa.select(ledger_event.c.sequence, ledger_event.c.document)
    .where(ledger_event.c.sequence >= sa.bindparam("first"))
    .where(ledger_event.c.sequence < sa.bindparam("end"))
    .order_by(ledger_event.c.sequence)
)
