"""Returns announced, inspected, cancelled and expired; what comes back is in ``arriving``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from onhand.model.returns import Return, ReturnedLine
from onhand.orders import exchanging
from onhand.orders.arriving import receipt_room
from onhand.orders.desk import SYSTEM
from onhand.orders.handover import Movement, inspected
from onhand.orders.refusal import Refusal, refuse
from onhand.orders.return_case import Case, Loose
from onhand.orders.return_rules import (
    DAY_US,
    Asked,
    Broken,
    judge,
    must_accept_blind,
    refused,
    unasked,
    unknown_receipt,
)

if TYPE_CHECKING:
    from onhand.model.orders import Order
    from onhand.model.return_commands import (
        AnnouncedLine,
        AuthoriseReturn,
        CancelReturn,
        InspectReturn,
    )
    from onhand.orders.desk import Actor, Desk
    from onhand.orders.purchases import Purchase

_HANDED = frozenset({"shipped", "collected", "handed_over"})


class _Found(NamedTuple):
    """Units that may come back: of which line of an order, at what price, sold when."""

    sku: str
    units: int
    order_line: str | None
    unit_price: float | None
    sold_us: int | None


def authorise(desk: Desk, body: AuthoriseReturn, actor: Actor, now_us: int) -> Return:
    """Announce a return, with an exchange if one is wished: all of it or nothing.

    Raises
    ------
    Refusal
        ``unknown_order``, ``unknown_receipt``, ``wrong_customer``, ``unknown_line``,
        ``unknown_sku``, ``quantity_exceeded``, ``return_window_over``, ``return_not_allowed``,
        ``override_forbidden``, ``wrong_location``, ``unknown_location``, ``too_many_open``; for the
        exchange what :func:`onhand.orders.exchanging.place` refuses.
    """
    desk.must_have_room()
    _must_be_a_place(desk, body, actor)
    order = _order_of(desk, body)
    return_id = desk.ids.next("return")
    exchange = None
    if body.exchange:
        exchange = exchanging.place(desk, return_id, body, actor, now_us, order=order)
        order = desk.book.orders.get(order.id) if order is not None else None
    case = Case(desk, order, now_us)
    return_ = _begun(desk, return_id, body, order, now_us)
    return_.exchange = exchange
    case.add(return_)
    announcing = _Announcing(case, body, return_, actor)
    if order is None:
        announcing.of_units()
    else:
        announcing.of_order(order.id)
    announcing.must_be_allowed()
    return_.exchange = exchanging.with_returned_value(return_)
    case.note(return_, "authorised", actor.name, location=body.location)
    case.put()
    case.tell(return_, "authorised")
    return return_


def cancel(desk: Desk, return_id: str, body: CancelReturn, actor: Actor, now_us: int) -> Return:
    """Wait no longer for what has not come; an exchange is undone when nothing has.

    Raises
    ------
    Refusal
        ``unknown_return``; ``wrong_location`` for an associate who does not work where it was to
        be brought; ``wrong_state`` when nothing is awaited. A cancelled return stays so.
    """
    known = desk.book.returns.get(return_id)
    if known is not None and known.channel == "store" and known.location is not None:
        actor.must_work_at(known.location)
    if known is not None and known.status == "cancelled":
        return known
    if known is not None and not known.is_open():
        detail = f"all of return {return_id!r} has come; what has come stays"
        raise refuse("wrong_state", detail)
    return _end(desk, return_id, "cancelled", actor, now_us, reason=body.reason)


def expire(desk: Desk, return_: Return, now_us: int) -> Return:
    """Wait no longer for what has not come in time."""
    return _end(desk, return_.id, "expired", SYSTEM, now_us)


def inspect(desk: Desk, return_id: str, body: InspectReturn, actor: Actor, now_us: int) -> Return:
    """Say what held units at a location turned out to be: sellable, or damaged.

    Raises
    ------
    Refusal
        ``unknown_return``, ``wrong_location``, ``unknown_line`` or ``quantity_exceeded``.
    """
    case, return_ = Case.of_return(desk, return_id, now_us)
    actor.must_work_at(body.location)
    moved: dict[str, dict[str, int]] = {}
    for index, item in enumerate(body.lines):
        line = return_.line(item.line)
        if line is None:
            detail = f"return {return_id!r} has no line {item.line!r}"
            raise refuse("unknown_line", detail, f"/lines/{index}/line")
        arrival = line.at(body.location)
        held = arrival.held if arrival is not None else 0
        if arrival is None or item.quantity > held:
            detail = f"{held} units of line {line.id!r} are held at {body.location!r}"
            raise refuse("quantity_exceeded", detail, f"/lines/{index}/quantity")
        arrival.held -= item.quantity
        arrival.inspected += item.quantity
        arrival.put(item.disposition, item.quantity)
        units = moved.setdefault(item.disposition, {})
        units[line.sku] = units.get(line.sku, 0) + item.quantity
        case.note(
            return_,
            "inspected",
            actor.name,
            location=body.location,
            line=line.id,
            quantity=item.quantity,
            reason=item.disposition,
        )
    for disposition, units in moved.items():
        movement = Movement(
            body.location,
            units,
            now_us,
            order_id=return_.order_id,
            attributes={"return_id": return_.id},
        )
        inspected(desk, movement, disposition)
    status = return_.status
    case.put()
    case.tell(return_, "inspected")
    if return_.status != status:
        case.tell(return_, return_.status)
    return return_


# ---- announcing ----


def _must_be_a_place(desk: Desk, body: AuthoriseReturn, actor: Actor) -> None:
    if body.location is None:
        return
    if body.channel == "store":
        actor.must_work_at(body.location)
    if not desk.stock.knows_location(body.location):
        raise refuse("unknown_location", f"nobody has named {body.location!r}", "/location")


def _order_of(desk: Desk, body: AuthoriseReturn) -> Order | None:
    if body.order_id is None:
        return None
    order = desk.book.orders.get(body.order_id)
    if order is None:
        raise refuse("unknown_order", f"there is no order {body.order_id!r}", "/order_id")
    owner = order.customer.id if order.customer is not None else None
    if body.customer_id is not None and body.customer_id != owner:
        detail = f"order {order.id!r} is not of customer {body.customer_id!r}"
        raise refuse("wrong_customer", detail, "/customer_id")
    return order


def _begun(
    desk: Desk, return_id: str, body: AuthoriseReturn, order: Order | None, now_us: int
) -> Return:
    customer = order.customer.id if order is not None and order.customer is not None else None
    policy = desk.setup.return_policy
    return Return(
        id=return_id,
        channel=body.channel,
        created_us=now_us,
        updated_us=now_us,
        expires_us=now_us + policy.authorisation_days * DAY_US,
        order_id=body.order_id,
        receipt=body.receipt,
        customer_id=body.customer_id or customer,
        location=body.location or (policy.mail_location if body.channel == "mail" else None),
        lines=[],
    )


class _Announcing:
    """Lines being announced, each judged by the policy."""

    def __init__(self, case: Case, body: AuthoriseReturn, return_: Return, actor: Actor) -> None:
        self._case = case
        self._desk = case.desk
        self._body = body
        self._return = return_
        self._actor = actor
        self._broken: list[Broken] = []

    def must_be_allowed(self) -> None:
        """Refuse for the rules that lines break, unless someone who may sets them aside."""
        if self._broken:
            raise refused(self._broken, self._body, self._desk.setup.return_policy)

    def of_order(self, order_id: str) -> None:
        """Announce units of lines of the order."""
        for index, item in enumerate(self._body.lines):
            for found in self._find(order_id, item, f"/lines/{index}"):
                line = self._add(item, found, f"/lines/{index}")
                told = self._take_up(line)
                self._case.wait(line.order_line, line.quantity - told)

    def of_units(self) -> None:
        """Announce units of SKUs: on a receipt, or of which nobody knows where they were sold."""
        body, desk = self._body, self._desk
        purchase = desk.purchases.get(body.receipt) if body.receipt is not None else None
        if body.receipt is not None and purchase is None:
            raise unknown_receipt(body.receipt)
        if purchase is not None and body.customer_id not in {None, purchase.customer_id}:
            detail = f"receipt {body.receipt!r} is not of customer {body.customer_id!r}"
            raise refuse("wrong_customer", detail, "/customer_id")
        if purchase is None and body.location is not None:
            must_accept_blind(desk, body.location, body, self._actor)
        for index, item in enumerate(body.lines):
            sku, price, pointer = item.sku or "", None, f"/lines/{index}"
            desk.must_know_sku(sku, f"{pointer}/sku")
            if purchase is not None:
                room, price = receipt_room(desk, purchase.receipt, sku, beside=self._return)
                _must_be_on_receipt(purchase, item, room, pointer)
            sold_us = purchase.sold_us if purchase is not None else None
            self._add(item, _Found(sku, item.quantity, None, price, sold_us), pointer)

    def _add(self, item: AnnouncedLine, found: _Found, pointer: str) -> ReturnedLine:
        asked = Asked(found.sku, item.reason, found.sold_us, pointer)
        decision = judge(self._desk, asked, self._body, self._actor, self._case.now_us)
        if isinstance(decision, list):
            self._broken += decision
            decision = unasked(self._desk, found.sku, self._actor.name)
        line = ReturnedLine(
            id=self._return.next_line_id(),
            sku=found.sku,
            quantity=found.units,
            reason=item.reason,
            decision=decision,
            order_line=found.order_line,
            unit_price=found.unit_price,
            arrivals=[],
        )
        self._return.lines.append(line)
        return line

    def _find(self, order_id: str, item: AnnouncedLine, pointer: str) -> list[_Found]:
        """Find which lines of the order an announced one is of."""
        order = self._case.order
        if order is None:
            raise ValueError(f"Invariant: order {order_id!r} is there")
        lines = [each for each in order.lines if item.line in {None, each.id}]
        lines = [each for each in lines if item.sku in {None, each.sku}]
        if not lines:
            field, name = ("line", item.line) if item.line is not None else ("sku", item.sku)
            detail = f"order {order_id!r} has no line of {field} {name!r}"
            raise refuse("unknown_line", detail, f"{pointer}/{field}")
        left = item.quantity
        found = []
        for line in lines:
            room = self._case.room(line.id)
            units = min(left, room + sum(each.units for each in self._loose(line.sku, line.id)))
            if units:
                sold_us = _handed_us(order, line.id)
                found.append(_Found(line.sku, units, line.id, line.unit_price, sold_us))
                left -= units
        if left:
            raise _too_many(order, {line.id for line in lines}, item, pointer)
        return found

    def _loose(self, sku: str, order_line: str | None) -> list[Loose]:
        """List what a till in this store has taken in of a line, with nothing announced."""
        body = self._body
        if body.channel != "store" or body.location is None:
            return []
        return [
            each
            for each in self._case.loose(sku, body.location, self._return)
            if each.return_.by_till and each.line.order_line == order_line
        ]

    def _take_up(self, line: ReturnedLine) -> int:
        """Let units that a till in this store has taken in be those that a line has no room for."""
        location = self._body.location
        if line.order_line is None or location is None:
            return 0
        wanted = left = max(0, line.quantity - self._case.room(line.order_line))
        for loose in self._loose(line.sku, line.order_line):
            left -= self._case.take_up(loose, line, location, left, awaited=False)
        return wanted - left


def _too_many(order: Order, line_ids: set[str], item: AnnouncedLine, pointer: str) -> Refusal:
    allocations = [each for each in order.allocations if each.line in line_ids]
    handed = sum(each.handed for each in allocations)
    back = sum(each.returned for each in allocations)
    awaited = sum(each.returning for each in allocations)
    detail = (
        f"{item.quantity} are more than may come back: {handed} were handed over, {back} are "
        f"back and {awaited} are awaited"
    )
    return refuse("quantity_exceeded", detail, f"{pointer}/quantity")


def _must_be_on_receipt(purchase: Purchase, item: AnnouncedLine, room: int, pointer: str) -> None:
    if item.sku not in {each.sku for each in purchase.lines}:
        detail = f"{item.sku!r} was not sold on receipt {purchase.receipt!r}"
        raise refuse("unknown_line", detail, f"{pointer}/sku")
    if item.quantity > room:
        detail = f"{room} of {item.sku!r} may still come back on receipt {purchase.receipt!r}"
        raise refuse("quantity_exceeded", detail, f"{pointer}/quantity")


def _handed_us(order: Order, line_id: str) -> int:
    """Say when the last units of a line were handed over."""
    times = [
        each.at_us
        for each in order.history
        if each.what in _HANDED and each.line in {None, line_id}
    ]
    return max(times, default=order.updated_us)


# ---- ending ----


def _end(
    desk: Desk,
    return_id: str,
    what: Literal["cancelled", "expired"],
    actor: Actor,
    now_us: int,
    *,
    reason: str | None = None,
) -> Return:
    """Give up what is awaited; with nothing received, undo the exchange too."""
    case, return_ = Case.of_return(desk, return_id, now_us)
    has_come = any(line.received for line in return_.lines)
    for line in return_.lines:
        awaited = line.awaited
        if awaited:
            line.given_up += awaited
            case.wait(line.order_line, -awaited)
            case.note(return_, what, actor.name, line=line.id, quantity=awaited, reason=reason)
    if not has_come:
        exchanging.undo(desk, return_, actor, now_us)
    case.put()
    case.tell(return_, return_.status)
    return return_
