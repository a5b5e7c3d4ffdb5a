"""What becomes of units that a place could not give: sourced elsewhere at once, or reported.

A pickup is bound to the store that its customer chose, so its units are not looked for elsewhere.
What is not found is backordered when the order's policy allows it and somebody may still give it,
and cancelled otherwise; both are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from onhand.model.commands import OrderPolicy
from onhand.model.orders import Allocation, HistoryEntry, summed
from onhand.orders.backorders import wait
from onhand.orders.placing import Wanted, place
from onhand.orders.progress import note, tell_allocation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onhand.model.orders import Order
    from onhand.orders.desk import Desk


class Lost(NamedTuple):
    """Units of an allocation that its location does not give; they are given up there already."""

    allocation: Allocation
    quantity: int
    reason: str


def source_again(desk: Desk, order: Order, lost: Sequence[Lost], now_us: int) -> None:
    """Find other places for lost units, at most ``resource_max`` times over, or report them.

    It works on the copy of the order in which they are given up. As many as can be are placed,
    whatever the order said when it was new, and late rather than not at all; they come from one
    place when the order may not be split.
    """
    movable = [each for each in lost if _may_move(desk, order, each.allocation)]
    bound = [each for each in lost if not _may_move(desk, order, each.allocation)]
    left = _units(bound)
    if movable:
        left += place_elsewhere(desk, order, movable, now_us)
    given_up = {each.allocation.line: each.allocation for each in lost}
    waiting, given_up_for_good = _parted(order, _merged(left))
    for each in _backorder(desk, order, waiting, now_us):
        _tell(desk, order, each, "backordered", units=each.quantity, now_us=now_us)
    for wanted in given_up_for_good:
        allocation = given_up[wanted.line]
        _tell(desk, order, allocation, "cancelled", units=wanted.quantity, now_us=now_us)


def place_elsewhere(desk: Desk, order: Order, lost: Sequence[Lost], now_us: int) -> list[Wanted]:
    """Add allocations at other places for lost units, and tell of them.

    Returns
    -------
    list of Wanted
        What no place gives.
    """
    before = len(order.allocations)
    sourced = max(each.allocation.sourced for each in lost) + 1
    policy = OrderPolicy(allow_split=order.policy.allow_split, allow_partial=True)
    missing = place(desk, order, _units(lost), now_us, sourced=sourced, policy=policy, late=True)
    for each in order.allocations[before:]:
        _tell(desk, order, each, "sourced_again", units=each.quantity, now_us=now_us)
    return [Wanted(each.line, each.sku, each.quantity) for each in missing]


def _parted(order: Order, left: list[Wanted]) -> tuple[list[Wanted], list[Wanted]]:
    """Part units that may wait for what comes from those the customer does not get."""
    waiting = [each for each in left if _may_wait(order, each)]
    return waiting, [each for each in left if each not in waiting]


def _backorder(desk: Desk, order: Order, waiting: list[Wanted], now_us: int) -> list[Allocation]:
    """Promise units from what is on its way; those that nothing covers wait without a day."""
    before = len(order.allocations)
    missing = wait(desk, order, waiting, now_us, freed={}) if waiting else []
    for each in missing:
        allocation = Allocation(
            id=order.next_id("a"),
            line=each.line,
            sku=each.sku,
            location=order.location,
            quantity=each.quantity,
            stage="backordered",
        )
        order.allocations.append(allocation)
    return order.allocations[before:]


def _may_move(desk: Desk, order: Order, allocation: Allocation) -> bool:
    return order.method == "ship" and allocation.sourced < desk.rules.resource_max


def _may_wait(order: Order, left: Wanted) -> bool:
    refused = {(left.line, order.location), ("*", order.location)} & {*order.refused}
    return order.policy.allow_backorder and not refused


def _units(lost: Iterable[Lost]) -> list[Wanted]:
    return _merged(Wanted(each.line, each.sku, units) for each, units, _ in lost)


def _merged(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Sum units by line."""
    totals = summed(((line, sku), units) for line, sku, units in wanted)
    return [Wanted(line, sku, units) for (line, sku), units in totals.items()]


def _tell(
    desk: Desk, order: Order, allocation: Allocation, what: str, *, units: int, now_us: int
) -> None:
    entry = HistoryEntry(
        at_us=now_us,
        what=what,
        location=allocation.location,
        line=allocation.line,
        quantity=units,
    )
    note(order, entry)
    tell_allocation(desk, order, allocation, what, now_us, quantity=units)
