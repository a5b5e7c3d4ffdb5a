"""Forgetting a customer: orders and returns stay, and say no more whose they were.

Quantities, statuses and times stay as they are, so stock and counts of orders do too. All that is a
customer's carries one token in place of the id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from onhand.model.commands import Customer
from onhand.model.orders import HistoryEntry
from onhand.orders.progress import note

if TYPE_CHECKING:
    from onhand.model.commands import Destination
    from onhand.orders.desk import Desk

TOKEN: Final = re.compile(r"erased-[0-9a-f]{32}")
"""What tokens look like: ids of nobody, which an erasure leaves as they are."""

DEGREE_DIGITS: Final = 1
"""Of coordinates: some 10 km are left."""


class EraseCustomer(Struct, frozen=True, kw_only=True):
    """Put ``token`` in place of ``customer`` in some orders and returns."""

    customer: str
    token: str
    orders: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()


def erase(desk: Desk, body: EraseCustomer, now_us: int) -> dict[str, Any]:
    """Erase a customer in the orders and returns that are named and are the customer's.

    Of an order with nothing open the address goes too: what is left of it says the region. One that
    is open has to get there first; erase the token once it has.

    Returns
    -------
    dict
        How many orders and returns were changed, and how many of those orders are open.
    """
    counts = {"orders": 0, "open_orders": 0, "returns": 0}
    for order_id in body.orders:
        order = desk.book.orders.get(order_id)
        if order is None or order.customer is None or order.customer.id != body.customer:
            continue
        order = order.copy()
        order.customer = Customer(id=body.token)
        if order.is_open():
            counts["open_orders"] += 1
        elif order.destination is not None:
            order.destination = coarse(order.destination)
        if body.token != body.customer:
            note(order, HistoryEntry(at_us=now_us, what="customer_erased"))
        desk.book.put_order(order)
        counts["orders"] += 1
    for return_id in body.returns:
        found = desk.book.returns.get(return_id)
        if found is None or found.customer_id != body.customer:
            continue
        return_ = found.copy()
        return_.customer_id = body.token
        desk.book.put_return(return_)
        counts["returns"] += 1
    return counts


def coarse(destination: Destination) -> Destination:
    """Leave the region of an address: half of the postal code, coordinates to 10 km."""
    code = destination.postal_code
    latitude, longitude = destination.latitude, destination.longitude
    return msgspec.structs.replace(
        destination,
        postal_code=code[: (len(code) + 1) // 2] if code is not None else None,
        latitude=round(latitude, DEGREE_DIGITS) if latitude is not None else None,
        longitude=round(longitude, DEGREE_DIGITS) if longitude is not None else None,
    )
