"""Exchanges: other units for those that come back, allocated at once as an order of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from onhand.errors import FieldError
from onhand.model.commands import Customer, Fulfilment, OrderLine, PlaceOrder
from onhand.model.returns import Exchange
from onhand.orders import ordering
from onhand.orders.refunds import worth
from onhand.orders.refusal import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.model.orders import Order
    from onhand.model.return_commands import AuthoriseReturn
    from onhand.model.returns import Return
    from onhand.orders.desk import Actor, Desk

_FIELDS = {"/lines": "/exchange", "/fulfilment": "/exchange_fulfilment"}


def place(
    desk: Desk,
    return_id: str,
    body: AuthoriseReturn,
    actor: Actor,
    now_us: int,
    *,
    order: Order | None,
) -> Exchange:
    """Order what is given in exchange, all of it or the whole return is refused.

    Call it before copying any order: backorders of the same rows are settled first.

    Raises
    ------
    Refusal
        What :func:`onhand.orders.ordering.place` refuses, naming the fields of the return;
        ``return_not_allowed`` when nothing says how the goods reach the customer.
    """
    wanted = body.exchange or ()
    customer = order.customer if order is not None else None
    if customer is None and body.customer_id is not None:
        customer = Customer(id=body.customer_id)
    # An associate orders in the store, also for goods that come back by mail.
    in_store = body.channel == "store" or actor.role == "associate"
    placing = PlaceOrder(
        lines=tuple(
            OrderLine(sku=each.sku, quantity=each.quantity, unit_price=each.unit_price)
            for each in wanted
        ),
        fulfilment=_fulfilment(body, order),
        channel="store" if in_store else "web",
        customer=customer,
    )
    try:
        placed = ordering.place(desk, placing, actor, now_us, exchange_of=return_id)
    except Refusal as refusal:
        refusal.errors = tuple(map(_renamed, refusal.errors))
        raise
    return Exchange(
        order_id=placed.id, value=_sum(worth(each.unit_price, each.quantity) for each in wanted)
    )


def with_returned_value(return_: Return) -> Exchange | None:
    """Note what the announced units were sold for, for the price difference."""
    if return_.exchange is None:
        return None
    value = _sum(worth(each.unit_price, each.quantity) for each in return_.lines)
    return msgspec.structs.replace(return_.exchange, returned_value=value)


def undo(desk: Desk, return_: Return, actor: Actor, now_us: int) -> None:
    """Cancel of the exchange what has not left; the working copy of the return notes it."""
    exchange = return_.exchange
    if exchange is None or exchange.cancelled:
        return
    # An order that is not in the book is closed: nothing of it is left to cancel.
    order = desk.book.orders.get(exchange.order_id)
    if order is not None and order.is_open():
        ordering.cancel(desk, order.id, None, actor, now_us)
        # Cancelling has noted in the book what is left of the exchange.
        exchange = desk.book.returns[return_.id].exchange or exchange
    return_.exchange = msgspec.structs.replace(exchange, cancelled=True, over=True)


def _fulfilment(body: AuthoriseReturn, order: Order | None) -> Fulfilment:
    """Choose how the goods reach the customer: as asked, in the store, or as before."""
    if body.exchange_fulfilment is not None:
        return body.exchange_fulfilment
    if body.channel == "store" and body.location is not None:
        return Fulfilment(method="pickup", location=body.location)
    if order is not None:
        return Fulfilment(
            method=order.method, location=order.location, destination=order.destination
        )
    detail = "is required for an exchange without an order or a store"
    raise refuse("return_not_allowed", detail, "/exchange_fulfilment")


def _renamed(error: FieldError) -> FieldError:
    for begin, other in _FIELDS.items():
        if error.pointer.startswith(begin):
            return FieldError(other + error.pointer.removeprefix(begin), error.detail)
    return error


def _sum(values: Iterable[float | None]) -> float | None:
    known = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return round(sum(known), 6)
