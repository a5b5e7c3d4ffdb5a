"""What is behind ``reserved`` of a cell: holds and allocations, newest first."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from onhand.ledger.rows import HoldRow
from onhand.model.orders import Hold, Order
from onhand.orders.book import decode_hold, decode_order
from onhand.orders.desk import rfc3339
from onhand.orders.views import handed_as, status_of
from onhand.web.problem import invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onhand.ledger.order_reads import OrderReads
    from onhand.orders.book import Book

Place = tuple[int, str]
"""Where a promise stands among others: when it was made, and its id."""


class ExplainedPromise(Struct, frozen=True, kw_only=True):
    """A hold or an allocation that reserves units of the cell."""

    kind: Literal["hold", "allocation"]
    id: str
    order_id: str | None
    quantity: int
    status: str
    created_at: str
    expires_at: str | None


class Promises(Struct, frozen=True):
    """A page of what reserves units of a cell."""

    items: list[ExplainedPromise]
    in_flight: Annotated[
        int, Meta(description="Units handed over whose movement is not applied to stock yet.")
    ]
    next: str | None


def promises_in_book(
    book: Book, sku: str, location: str, *, limit: int, cursor: str | None
) -> Promises:
    """List what reserves a cell, from the order writer's memory; any thread may ask.

    Takes 0.5 us for each hold and order in the cell.

    Raises
    ------
    ProblemError
        The cursor is none of ours.
    """
    cell = (sku, location)
    # A copy: the writer goes on beside it.
    found: list[Hold | Order] = [
        *filter(None, map(book.holds.get, list(book.held.get(cell, ())))),
        *filter(None, map(book.orders.get, list(book.allocated.get(cell, ())))),
    ]
    return _page(found, cell, limit, _place(cursor), book.in_flight.get(cell, 0))


def promises_in_ledger(reads: OrderReads, sku: str, location: str, *, limit: int) -> Promises:
    """List the newest of what reserves a cell, from the ledger; reads all that is open."""
    name = msgspec.json.encode(sku)
    rows = (row for row in reads.load_open() if name in row.document)
    found = (
        decode_hold(row.document) if isinstance(row, HoldRow) else decode_order(row.document)
        for row in rows
    )
    return _page(found, (sku, location), limit, None, 0)


def _page(
    found: Iterable[Hold | Order],
    cell: tuple[str, str],
    limit: int,
    before: Place | None,
    in_flight: int,
) -> Promises:
    places = (
        ((promise.created_us, promise.id), promise)
        for promise in found
        if before is None or (promise.created_us, promise.id) < before
    )
    chosen = heapq.nlargest(limit + 1, places, key=lambda each: each[0])
    items = [item for _, promise in chosen[:limit] for item in _explained(promise, cell)]
    more = len(chosen) > limit
    return Promises(items, in_flight, _cursor(chosen[limit - 1][0]) if more else None)


def _explained(promise: Hold | Order, cell: tuple[str, str]) -> Iterator[ExplainedPromise]:
    if isinstance(promise, Hold):
        units = sum(line.quantity for line in promise.lines if (line.sku, line.location) == cell)
        yield ExplainedPromise(
            kind="hold",
            id=promise.id,
            order_id=None,
            quantity=units,
            status=promise.status,
            created_at=rfc3339(promise.created_us),
            expires_at=rfc3339(promise.expires_us),
        )
        return
    for each in promise.allocations:
        if (each.sku, each.location) == cell and each.reserved:
            yield ExplainedPromise(
                kind="allocation",
                id=each.id,
                order_id=promise.id,
                quantity=each.reserved,
                status=status_of(each.by_status(handed_as(promise))),
                created_at=rfc3339(promise.created_us),
                expires_at=None,
            )


def _cursor(place: Place) -> str:
    return f"{place[0]}.{place[1]}"


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    created, dot, promise_id = cursor.partition(".")
    if not dot or not created.isdecimal() or len(created) > _TIME_DIGITS_MAX:
        raise invalid_parameter("promises_cursor", "must be `promises.next` of the page before")
    return int(created), promise_id


_TIME_DIGITS_MAX: Final = 18
