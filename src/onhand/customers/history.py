"""One history of a customer: orders, and what was bought and brought back in stores."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta, Struct

from onhand.errors import FieldError, InvalidInput
from onhand.ledger.schema import orders
from onhand.model.commands import Customer
from onhand.model.times import show_time
from onhand.orders.book import decode_order
from onhand.orders.views import order_view

if TYPE_CHECKING:
    from onhand.customers.store import CustomerStore, StoredPurchase
    from onhand.ledger.engine import Ledger

NAME_ORDER_COUNT: Final = 10
"""Of so many orders the newest name and address of mail are taken."""

_ORDER_FIELDS: Final = ("id", "status", "channel", "fulfilment")
_LINE_FIELDS: Final = ("id", "sku", "quantity", "status", "quantities", "unit_price")
_DETAILS: Final = ("order_id", "allocation_id", "return_id", "disposition")


Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Position(Struct, frozen=True, array_like=True):
    """Where a page ended: the last order and the last purchase on it or before, by time and id."""

    order: tuple[Int64, str] | None = None
    purchase: tuple[Int64, Int64] | None = None


class HistoryPage(Struct, frozen=True):
    """Some of a customer's history, and the cursor that the rest follows; None at the end."""

    items: list[dict[str, Any]]
    next: str | None
    name: str | None = None
    email: str | None = None


class Histories:
    """Reads histories; any thread. Every read blocks."""

    def __init__(self, ledger: Ledger, store: CustomerStore) -> None:
        self._ledger = ledger
        self._store = store

    def page(self, customer: str, cursor: str | None, limit: int) -> HistoryPage:
        """Read a page, the newest first.

        What comes meanwhile stands before the first page or among those not read yet, and moves
        nothing to another page. The hand-over of an order that a till has told of is no item: the
        order is.

        Raises
        ------
        InvalidInput
            The cursor is none of ours.
        LedgerUnavailable
            A database fails.

        Notes
        -----
        O(limit), wherever in the history.
        """
        position = _position(cursor) if cursor is not None else _Position()
        # One row more than the page has of each kind tells whether there are more.
        bought = self._store.of_customer(customer, position.purchase, limit + 1)
        with self._ledger.read() as connection:
            ordered = _orders_of(connection, customer, position.order, limit + 1)
            known = _known_orders(connection, bought)
            named = ordered if cursor is None else None
            name, email = _name_of(connection, customer, named)
        newest: list[tuple[int, Any, StoredPurchase | None]]
        newest = [(row.created_us, row, None) for row in ordered]
        newest += [(each.occurred_us, None, each) for each in bought]
        newest.sort(key=lambda each: -each[0])  # Stable: orders before purchases of one moment.
        items = []
        for at_us, row, each in newest[:limit]:
            if each is None:
                position = _Position((at_us, row.id), position.purchase)
                items.append(_order_item(row.document))
                continue
            position = _Position(position.order, (at_us, each.number))
            if (_order_of(each) or "") not in known:
                items.append(_purchase_item(each))
        more = len(newest) > limit
        return HistoryPage(items, _cursor(position) if more else None, name, email)


class _Named(Struct):
    customer: Customer | None = None


_decode_named: Final = msgspec.json.Decoder(_Named).decode
_decode_position: Final = msgspec.msgpack.Decoder(_Position).decode


def _orders_of(
    connection: sa.Connection, customer: str, before: tuple[int, str] | None, limit: int
) -> list[Any]:
    query = sa.select(orders.c.id, orders.c.created_us, orders.c.document)
    query = query.where(orders.c.customer == customer)
    if before is not None:
        place = sa.tuple_(orders.c.created_us, orders.c.id)
        query = query.where(place < sa.tuple_(*map(sa.literal, before)))
    query = query.order_by(orders.c.created_us.desc(), orders.c.id.desc()).limit(limit)
    return list(connection.execute(query))


def _name_of(
    connection: sa.Connection, customer: str, newest: list[Any] | None
) -> tuple[str | None, str | None]:
    """Find name and address of mail as the newest orders have them."""
    rows = newest or _orders_of(connection, customer, None, NAME_ORDER_COUNT)
    known = [_decode_named(row.document).customer for row in rows[:NAME_ORDER_COUNT]]
    names = (each.name for each in known if each is not None and each.name is not None)
    emails = (each.email for each in known if each is not None and each.email is not None)
    return next(names, None), next(emails, None)


def _order_of(bought: StoredPurchase) -> str | None:
    """Name the order whose hand-over a till has told of; ids of allocations say it."""
    allocation_id = bought.details.allocation_id
    return allocation_id.rpartition(".")[0] if allocation_id is not None else None


def _known_orders(connection: sa.Connection, bought: list[StoredPurchase]) -> set[str]:
    named = {each for each in map(_order_of, bought) if each and each.isprintable()}
    if not named:
        return set()
    query = sa.select(orders.c.id).where(orders.c.id.in_(sorted(named)))
    return set(connection.execute(query).scalars())


def _order_item(document: bytes) -> dict[str, Any]:
    order = decode_order(document)
    view = order_view(order)
    lines = [_picked(line, _LINE_FIELDS) for line in view["lines"]]
    # Not the pickup code: whoever reads a history need not be who collects.
    item = {"kind": "order", "at": view["created_at"], **_picked(view, _ORDER_FIELDS)}
    return item | {"lines": lines}


def _purchase_item(bought: StoredPurchase) -> dict[str, Any]:
    item: dict[str, Any] = {
        "kind": bought.kind,
        "at": show_time(bought.occurred_us),
        "id": bought.event_id,
        "source": bought.source,
        "location": bought.location,
        "lines": [{"sku": sku, "quantity": units} for sku, units in bought.details.lines],
    }
    told = [(name, getattr(bought, name)) for name in ("basket_id", "reference")]
    told += [(name, getattr(bought.details, name)) for name in _DETAILS]
    return item | {name: value for name, value in told if value is not None}


def _picked(view: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: view[name] for name in names if name in view}


def _cursor(position: _Position) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).rstrip(b"=").decode()


def _position(cursor: str) -> _Position:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        position = _decode_position(base64.b64decode(padded, b"-_", validate=True))
        is_ours = position.order is None or position.order[1].isprintable()
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError):
        is_ours = False
    if not is_ours:
        rule = "must be `next` of the page before"
        raise InvalidInput("not a valid cursor", (FieldError("/cursor", rule),))
    return position
