"""Finding what a till sold by what is printed on its receipt, for goods that come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from onhand.customers.purchases import Details
from onhand.customers.schema import purchase
from onhand.log.base import now_us
from onhand.orders.purchases import Purchase, PurchasedLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection

    from onhand.ledger.engine import Ledger

ROW_COUNT_MAX: Final = 1_000
"""Rows looked at for one receipt; a name that stands for more is none."""

BASKET_US_MAX: Final = 3_600_000_000
"""Sales of one basket are no farther apart."""

_decode_details = msgspec.json.Decoder(Details).decode


class Receipts:
    """Finds purchases by receipt; any thread. See :class:`onhand.orders.purchases.Purchases`.

    Parameters
    ----------
    keep_us
        Sales that entered the log longer ago are not found, dropped or not: what came back of them
        is kept no longer.
    clock
        Returns the time; microseconds since 1970-01-01 UTC.
    """

    def __init__(self, database: Ledger, keep_us: int, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._keep_us = keep_us
        self._clock = clock

    def find(self, receipts: Sequence[str]) -> dict[str, Purchase]:
        """Find by the ``id``, ``basket_id`` or ``reference`` of the sale's event.

        Receipts that nobody knows, and those that several sales share without being one basket,
        are left out. So are hand-overs of orders: what an order sold comes back to the order.

        Raises
        ------
        LedgerUnavailable
            The database fails.
        """
        # What cannot be printed is stored nowhere, and databases refuse some of it.
        asked = [each for each in dict.fromkeys(receipts) if each.isprintable()]
        if not asked:
            return {}
        with self._database.read() as connection:
            since_us = self._clock() - self._keep_us
            found = {each: _purchase_of(connection, each, since_us) for each in asked}
        return {receipt: each for receipt, each in found.items() if each is not None}


def _purchase_of(connection: Connection, receipt: str, since_us: int) -> Purchase | None:
    sales = [row for row in _sales_of(connection, receipt) if row.appended_us >= since_us]
    if not sales:
        return None
    quantities = _units(row.document for row in sales)
    names = {receipt, *(row.event_id for row in sales)}
    names.update(row.basket_id for row in sales if row.basket_id)
    names.update(row.reference for row in sales if row.reference)
    returned = _units(
        row.document
        for row in _matching(connection, names, ("basket_id", "reference"))
        if row.kind == "return" and _is_plain(row.document)
    )
    customers = {row.customer for row in sales}
    locations = {row.location for row in sales}
    return Purchase(
        receipt=receipt,
        sold_us=min(row.occurred_us for row in sales),
        lines=tuple(
            PurchasedLine(sku=sku, quantity=units, returned=min(units, returned.get(sku, 0)))
            for sku, units in quantities.items()
        ),
        location=locations.pop() if len(locations) == 1 else None,
        customer_id=customers.pop() if len(customers) == 1 else None,
    )


def _sales_of(connection: Connection, receipt: str) -> list[Any]:
    """Find the sales of one receipt; none when several that are no one basket share its name."""
    for name in ("event_id", "basket_id", "reference"):
        rows = _matching(connection, {receipt}, (name,))
        sales = [row for row in rows if row.kind == "purchase"]
        if not sales:
            continue
        if len(rows) >= ROW_COUNT_MAX or not _are_one(sales):
            return []
        return [row for row in sales if _decode_details(row.document).allocation_id is None]
    return []


def _are_one(sales: Sequence[Any]) -> bool:
    """Tell whether sales are one basket: tills may number baskets from 1 again, on another day."""
    baskets = {(row.basket_id, row.location) for row in sales}
    times = [row.occurred_us for row in sales]
    is_basket = len(baskets) == 1 and sales[0].basket_id is not None
    return len(sales) == 1 or (is_basket and max(times) - min(times) <= BASKET_US_MAX)


def _matching(connection: Connection, names: set[str], columns: Sequence[str]) -> list[Any]:
    # One query a column: each has an index of its own.
    found: dict[int, Any] = {}
    for column in columns:
        query = sa.select(purchase).where(purchase.c[column].in_(sorted(names)))
        rows = connection.execute(query.order_by(purchase.c.number).limit(ROW_COUNT_MAX))
        found |= {row.number: row for row in rows}
    return list(found.values())


def _units(documents: Iterable[bytes]) -> dict[str, int]:
    units: dict[str, int] = {}
    for document in documents:
        for sku, quantity in _decode_details(document).lines:
            units[sku] = units.get(sku, 0) + quantity
    return units


def _is_plain(document: bytes) -> bool:
    """Tell whether the ledger knows nothing of a till's return."""
    details = _decode_details(document)
    return details.return_id is None and details.order_id is None
