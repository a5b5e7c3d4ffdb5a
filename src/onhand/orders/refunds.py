"""Refund instructions: what is owed for units that came back. Paying it is done elsewhere.

An instruction is told once for each unit, when it has come, whoever was first to tell of it. What
of it was set against an exchange is owed after all when units of the exchange are cancelled.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.model.orders import Order
    from onhand.model.return_policy import Disposition
    from onhand.model.returns import Return, ReturnedLine, Teller
    from onhand.orders.desk import Desk


class Came(NamedTuple):
    """Units of a line that have come just now."""

    line: ReturnedLine
    units: int
    disposition: Disposition


def instruct(
    desk: Desk, return_: Return, came: Sequence[Came], teller: Teller, now_us: int
) -> None:
    """Tell what is owed, less fees and less what an exchange costs; the copy notes the latter."""
    if not came:
        return
    lines = [_line(each) for each in came]
    amounts = [line["amount"] for line in lines]
    amount = None if None in amounts else float(sum(map(_exact, amounts), Decimal(0)))
    data: dict[str, Any] = {"why": "returned", "told_by": teller, "lines": lines, "amount": amount}
    offset = _offset(return_, amount)
    if offset:
        data["amount"] = float(_exact(amount) - _exact(offset))
        data["set_against_exchange"] = offset
    _tell(desk, return_, now_us, data)


def follow_exchange(desk: Desk, order: Order, now_us: int) -> None:
    """Give back what has paid for units of an exchange that the customer does not get after all.

    Call it when the order has changed. The return notes what is left of its exchange; the book has
    it for as long as the order is open.
    """
    known = desk.book.returns.get(order.exchange_of) if order.exchange_of is not None else None
    if known is None or known.exchange is None:
        return
    exchange = msgspec.structs.replace(
        known.exchange,
        cancelled=known.exchange.cancelled or order.status == "cancelled",
        cancelled_value=_cancelled_value(order) if known.exchange.value is not None else 0.0,
        over=not order.is_open(),
    )
    excess = _exact(exchange.settled) - _exact(exchange.left)
    if excess > 0:
        exchange = msgspec.structs.replace(
            exchange, settled=float(_exact(exchange.settled) - excess)
        )
    if exchange == known.exchange:
        return
    return_ = known.copy()
    return_.exchange, return_.updated_us = exchange, now_us
    desk.book.put_return(return_)
    if excess > 0:
        data = {"why": "exchange_cancelled", "exchange_order_id": order.id, "lines": []}
        _tell(desk, return_, now_us, data | {"amount": float(excess)})


def worth(price: float | None, units: int) -> float | None:
    """Multiply without the dust of binary fractions; None of an unknown price."""
    return None if price is None else float(_exact(price) * units)


def _tell(desk: Desk, return_: Return, now_us: int, data: dict[str, Any]) -> None:
    data["return_id"] = return_.id
    for name in ("order_id", "receipt", "customer_id"):
        if getattr(return_, name) is not None:
            data[name] = getattr(return_, name)
    desk.tell("refund.instructed", return_.order_id or return_.id, now_us, data)


def _cancelled_value(order: Order) -> float:
    """Sum what the units cost that are neither there nor to come."""
    value = Decimal(0)
    for line in order.lines:
        given = sum(
            each.quantity - each.cancelled - each.expired for each in order.of_line(line.id)
        )
        value += _exact(line.unit_price) * (line.quantity - given)
    return float(value)


def _line(came: Came) -> dict[str, Any]:
    line, units, disposition = came
    fee = line.decision.fee_percent
    amount = None
    if line.unit_price is not None:
        amount = float(_exact(line.unit_price) * units * (100 - _exact(fee)) / 100)
    described = {
        "line": line.id,
        "sku": line.sku,
        "quantity": units,
        "reason": line.reason,
        "disposition": disposition,
        "unit_price": line.unit_price,
        "amount": amount,
    }
    if fee:
        described["fee_percent"] = fee
    return described


def _offset(return_: Return, amount: float | None) -> float:
    """Set what is owed against an exchange that is not paid yet."""
    exchange = return_.exchange
    if exchange is None or exchange.cancelled or exchange.left is None or not amount:
        return 0.0
    left = _exact(exchange.left) - _exact(exchange.settled)
    offset = min(left, _exact(amount))
    settled = float(_exact(exchange.settled) + offset)
    return_.exchange = msgspec.structs.replace(exchange, settled=settled)
    return float(offset)


def _exact(number: float | None) -> Decimal:
    return Decimal(repr(number or 0))
