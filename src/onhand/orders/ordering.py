"""Orders: placed whole or as their policy allows, and cancelled as far as they have not left."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from onhand.errors import FieldError
from onhand.model.orders import Allocation, HistoryEntry, Order, OrderedLine, summed
from onhand.model.setup import ALL
from onhand.orders import backorders, holds
from onhand.orders.checks import must_be_servable
from onhand.orders.desk import SYSTEM
from onhand.orders.placing import Missing, Wanted, add
from onhand.orders.progress import follow, give_up, note
from onhand.orders.refunds import follow_exchange
from onhand.orders.refusal import Refusal, refuse
from onhand.orders.sites import instant_us, sites_of
from onhand.orders.views import document_of
from onhand.orders.ways import find_ways, sources_of, way_through, wish_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.model.commands import (
        CancelOrder,
        Fulfilment,
        OrderLine,
        OrderPolicy,
        PlaceOrder,
    )
    from onhand.model.orders import HeldLine, Hold
    from onhand.orders.desk import Actor, Desk
    from onhand.orders.ways import Part


def place(
    desk: Desk,
    body: PlaceOrder,
    actor: Actor,
    now_us: int,
    *,
    exchange_of: str | None = None,
) -> Order:
    """Place an order: all of it, or what its policy allows, or nothing.

    Lines short under ``allow_partial`` are cancelled units; under ``allow_backorder`` they wait
    for stock that is on its way. What a hold reserves and the order does not take is free again.

    Parameters
    ----------
    exchange_of
        The return for which it is given.

    Raises
    ------
    Refusal
        ``insufficient_stock`` with what is wanted and available a line; ``order_exists``; what
        :func:`onhand.orders.checks.must_be_servable` and :func:`onhand.orders.holds.find_active`
        refuse; ``hold_mismatch``; ``shipping_unavailable``; ``too_many_open``.
    """
    if actor.role == "associate" and body.channel != "store":
        detail = "an associate orders for the shopper in the store, on channel 'store'"
        raise refuse("wrong_channel", detail, "/channel")
    desk.must_have_room()
    if body.id is not None and body.id in desk.book.orders:
        raise refuse("order_exists", f"an order {body.id!r} was placed before", "/id")
    must_be_servable(desk, body.lines, body.fulfilment)
    backorders.settle(desk, dict.fromkeys(line.sku for line in body.lines), now_us)
    hold = None
    if body.hold_id is not None:
        hold = holds.find_active(desk, body.hold_id, now_us, "/hold_id")
    order = _begun(desk, body, actor, now_us)
    order.exchange_of = exchange_of
    missing = _fulfilled(desk, order, hold, now_us)
    if missing and not (order.policy.allow_partial and order.allocations):
        raise refused_for_stock(desk, order, missing, now_us)
    for each in missing:
        note(order, _entry(each, each.quantity, SYSTEM, now_us, reason="insufficient_stock"))
    desk.book.put_order(order)
    if hold is not None:
        holds.consume(desk, hold, order.id, now_us)
    desk.tell("order.placed", order.id, now_us, document_of(order))
    return order


def cancel(desk: Desk, order_id: str, body: CancelOrder | None, actor: Actor, now_us: int) -> Order:
    """Cancel units of lines, or all that has not left; a cancelled order stays as it is.

    What waits is cancelled first, then what is on the shelf, then what is picked: that goes back to
    the shelf, and nothing needs to be told to supply.

    Raises
    ------
    Refusal
        ``unknown_order``; ``unknown_line``; ``quantity_exceeded`` for more units than have not
        left; ``wrong_state`` when everything has left.
    """
    known = desk.book.orders.get(order_id)
    if known is None:
        raise refuse("unknown_order", f"there is no order {order_id!r}")
    if body is None or body.lines is None:
        if known.status == "cancelled":
            return known
        units = {line.id: _open_units(known, line.id) for line in known.lines}
    else:
        units = _named_units(known, body)
    if not known.is_open():
        detail = f"everything of order {order_id!r} has left; what comes back is a return"
        raise refuse("wrong_state", detail)
    if not units:
        return known
    order = known.copy()
    for line_id, quantity in units.items():
        _cancel_units(order, line_id, quantity, actor, now_us)
    for task in order.tasks:
        if task.status not in ("done", "rejected", "cancelled"):
            follow(order, task)
    order.updated_us = now_us
    desk.book.put_order(order)
    document = document_of(order)
    is_whole = order.status == "cancelled"
    desk.tell(
        "order.cancelled" if is_whole else "order.partially_cancelled", order.id, now_us, document
    )
    if not is_whole and order.status != known.status:
        desk.tell(f"order.{order.status}", order.id, now_us, document)
    follow_exchange(desk, order, now_us)
    return order


# ---- placing ----


def new_order(
    order_id: str,
    lines: Iterable[OrderLine],
    fulfilment: Fulfilment,
    policy: OrderPolicy,
    now_us: int,
) -> Order:
    """Write down what is wanted as an order that nothing was decided about yet."""
    deliver_by = fulfilment.deliver_by
    return Order(
        id=order_id,
        channel="web",
        method=fulfilment.method,
        policy=policy,
        lines=_ordered_lines(tuple(lines)),
        created_us=now_us,
        updated_us=now_us,
        location=fulfilment.location,
        destination=fulfilment.destination,
        deliver_by_us=None if deliver_by is None else instant_us(deliver_by),
    )


def refused_for_stock(desk: Desk, order: Order, missing: Iterable[Missing], now_us: int) -> Refusal:
    """Refuse for want of stock, naming each line's wanted and available units.

    What could be delivered, but not by the time asked for, is not available; the refusal then
    names that time too.
    """
    lines = lines_lacking(order, missing)
    refusal = holds.insufficient(lines)
    wish = wish_of(order, allow_split=order.policy.allow_split, late=True)
    if order.method == "ship" and not sources_of(desk, wish, order.lines[0].sku):
        return refuse("shipping_unavailable", "no enabled location ships", "/fulfilment/method")
    if order.deliver_by_us is not None:
        units = summed((line.sku, line.quantity) for line in order.lines)
        late = find_ways(desk, wish, units, now_us, partial=True)
        in_time = sum(each.quantity for each in order.lines) - sum(
            each["wanted"] - each["available"] for each in lines
        )
        if late and sum(units for _, _, units in late[0].parts) > in_time:
            detail = "more could be delivered, but not by then"
            refusal.errors += (FieldError("/fulfilment/deliver_by", detail),)
    return refusal


def lines_lacking(order: Order, missing: Iterable[Missing]) -> list[dict[str, Any]]:
    """Describe the lines that lack units: what is wanted of them and what is available."""
    numbers = {line.id: number for number, line in enumerate(order.lines)}
    return [
        {
            "line": numbers[each.line],
            "sku": each.sku,
            "wanted": order.lines[numbers[each.line]].quantity,
            "available": order.lines[numbers[each.line]].quantity - each.quantity,
        }
        for each in missing
    ]


def _begun(desk: Desk, body: PlaceOrder, actor: Actor, now_us: int) -> Order:
    order_id = body.id or desk.ids.next("order")
    order = new_order(order_id, body.lines, body.fulfilment, body.policy, now_us)
    order.channel = body.channel
    order.customer = body.customer
    order.hold_id = body.hold_id
    if order.method == "pickup":
        order.pickup_code = desk.ids.pickup_code()
    note(order, HistoryEntry(at_us=now_us, what="placed", by=actor.name))
    return order


def _ordered_lines(lines: tuple[OrderLine, ...]) -> tuple[OrderedLine, ...]:
    """Give lines without an id the numbers from 1 on that no other line has taken."""
    taken = {line.id for line in lines}
    numbers = (str(number) for number in itertools.count(1) if str(number) not in taken)
    return tuple(
        OrderedLine(
            id=line.id if line.id is not None else next(numbers),
            sku=line.sku,
            quantity=line.quantity,
            unit_price=line.unit_price,
        )
        for line in lines
    )


def _fulfilled(desk: Desk, order: Order, hold: Hold | None, now_us: int) -> list[Missing]:
    """Decide where every line comes from, from a hold's own units first."""
    wanted = [Wanted(line.id, line.sku, line.quantity) for line in order.lines]
    if hold is None:
        missing = backorders.fulfil(desk, order, wanted, now_us)
    else:
        _must_hold(desk, order, hold)
        freed = summed(((line.sku, line.location), line.quantity) for line in hold.lines)
        left = _take_bound(desk, order, hold, wanted, now_us)
        missing = backorders.fulfil(desk, order, left, now_us, freed=freed)
        _merge_allocations(order)
    for each in order.allocations:
        if each.stage == "backordered":
            entry = HistoryEntry(
                at_us=now_us,
                what="backordered",
                location=each.location,
                line=each.line,
                quantity=each.quantity,
            )
            note(order, entry)
    return missing


def _must_hold(desk: Desk, order: Order, hold: Hold) -> None:
    """Refuse an order for units that its hold does not hold, or holds where they cannot serve."""
    held = holds.held_units(hold)
    usable = summed(
        (line.sku, line.quantity) for line in hold.lines if _may_serve(desk, order, line)
    )
    for number, line in enumerate(order.lines):
        for units, why, pointer in (
            (held, "holds", f"/lines/{number}/quantity"),
            (usable, f"holds for {order.location!r}", "/fulfilment/location"),
        ):
            left = units.get(line.sku, 0) - line.quantity
            if left < 0:
                detail = f"of {line.sku!r}, more is ordered than hold {hold.id!r} {why}"
                raise refuse("hold_mismatch", detail, pointer)
            units[line.sku] = left


def _may_serve(desk: Desk, order: Order, line: HeldLine) -> bool:
    if order.method == "ship" or line.location == order.location:
        return True
    if line.group is None or order.location is None:
        return False
    at = sites_of(desk).location(order.location)
    return line.group == ALL or line.group in at.groups


def _take_bound(
    desk: Desk, order: Order, hold: Hold, wanted: list[Wanted], now_us: int
) -> list[Wanted]:
    """Ship what is held at locations of the caller's choice from there; return what is left.

    What a location cannot ship, or an order that may not be split would have to part, is sourced
    with all the rest. At a pickup there is but one place, and nothing to choose.
    """
    if order.method == "pickup":
        return wanted
    left = summed((each.sku, each.quantity) for each in wanted)
    bound: dict[str, list[Part]] = {}
    for line in hold.lines:
        units = min(line.quantity, left.get(line.sku, 0))
        if line.group is None and units:
            bound.setdefault(line.location, []).append((line.sku, line.location, units))
            left[line.sku] -= units
    if not order.policy.allow_split and (len(bound) > 1 or any(left.values())):
        return wanted
    wish = wish_of(order, allow_split=order.policy.allow_split)
    for parts in bound.values():
        way = way_through(desk, wish, parts, now_us)
        if way is not None:
            given = summed((each.line, each.quantity) for each in add(order, wanted, way, now_us))
            wanted = [
                Wanted(line, sku, quantity - given.get(line, 0)) for line, sku, quantity in wanted
            ]
    return wanted


def _merge_allocations(order: Order) -> None:
    """Make one allocation of those of a line that one package takes: staff see the line once."""
    merged: dict[tuple[Any, ...], Allocation] = {}
    for each in order.allocations:
        key = (each.line, each.location, each.stage, each.task, each.due_day)
        first = merged.setdefault(key, each)
        if first is not each:
            first.quantity += each.quantity
    order.allocations = list(merged.values())


# ---- cancelling ----


def _named_units(order: Order, body: CancelOrder) -> dict[str, int]:
    units: dict[str, int] = {}
    for number, named in enumerate(body.lines or ()):
        if order.line(named.id) is None:
            detail = f"order {order.id!r} has no line {named.id!r}"
            raise refuse("unknown_line", detail, f"/lines/{number}/id")
        units[named.id] = units.get(named.id, 0) + named.quantity
        there = _open_units(order, named.id)
        if units[named.id] > there:
            detail = f"{there} units of line {named.id!r} have neither left nor been given up"
            raise refuse("quantity_exceeded", detail, f"/lines/{number}/quantity")
    return units


def _open_units(order: Order, line_id: str) -> int:
    return sum(each.open for each in order.of_line(line_id))


def _cancel_units(order: Order, line_id: str, units: int, actor: Actor, now_us: int) -> None:
    newest_first = order.of_line(line_id)[::-1]
    waiting = [each for each in newest_first if each.stage == "backordered"]
    placed = [each for each in newest_first if each.stage != "backordered"]
    steps = (
        [(each, each.open) for each in waiting]
        + [(each, each.on_shelf) for each in placed]
        + [(each, each.open - each.on_shelf) for each in placed]
    )
    for each, there in steps:
        taken = min(units, there)
        if taken:
            give_up(each, taken, "cancelled")
            note(order, _entry(each, taken, actor, now_us))
            units -= taken


def _entry(
    what: Allocation | Missing, units: int, actor: Actor, now_us: int, *, reason: str | None = None
) -> HistoryEntry:
    return HistoryEntry(
        at_us=now_us,
        what="cancelled",
        by=actor.name,
        location=what.location if isinstance(what, Allocation) else None,
        line=what.line,
        quantity=units,
        reason=reason,
    )
