"""Placing: units that are wanted become allocations at locations, and tasks for their staff.

It works on a copy of an order and reserves nothing: putting the order does. Lines of one SKU are
summed before the stock is asked, and what the copy was given before and does not reserve yet counts
as taken, so no unit is promised twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from onhand.model.orders import Allocation, Task, summed
from onhand.orders.book import reserved_by
from onhand.orders.ways import can_take_more, find_ways, wish_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onhand.model.commands import OrderPolicy
    from onhand.model.orders import Order
    from onhand.orders.book import Cell
    from onhand.orders.desk import Desk
    from onhand.orders.ways import Part, Way, Wish

_NOTHING_FREED: Final[Mapping[Cell, int]] = {}


class Wanted(NamedTuple):
    """Units of a line that are to be placed."""

    line: str
    sku: str
    quantity: int


class Missing(NamedTuple):
    """A line that is not placed in full; ``available`` of the units wanted can be."""

    line: str
    sku: str
    wanted: int
    available: int

    @property
    def quantity(self) -> int:
        """Units that no place can give."""
        return self.wanted - self.available


def place(
    desk: Desk,
    order: Order,
    wanted: Sequence[Wanted],
    now_us: int,
    *,
    sourced: int = 0,
    freed: Mapping[Cell, int] | None = None,
    policy: OrderPolicy | None = None,
    only: str | None = None,
    late: bool = False,
) -> list[Missing]:
    """Add allocations and tasks for units of lines to a working copy of an order.

    Lines of one SKU are placed as one and given their units in the order of ``wanted``. When
    neither ``allow_partial`` nor ``allow_backorder`` is set, all is placed or nothing.

    Parameters
    ----------
    sourced
        How often these units were sourced before.
    freed
        Units by (sku, location) that a hold of this order reserves there: available to it.
    policy
        In the place of the order's own.
    only
        The one location that may ship them.
    late
        What no place can deliver by the time that the customer named is placed all the same.

    Returns
    -------
    list of Missing
        Lines that lack units, empty when all is placed. All or nothing: any line in it means that
        nothing was placed.
    """
    left = [each for each in wanted if each.quantity > 0]
    if not left:
        return []
    rules = policy or order.policy
    partial = rules.allow_partial or rules.allow_backorder
    wish = wish_of(order, allow_split=rules.allow_split, only=only)
    how = _How(sourced, freed or _NOTHING_FREED, partial)
    missing = _place(desk, order, left, now_us, wish=wish, how=how)
    if not missing or not late or order.deliver_by_us is None:
        return missing
    wish = wish_of(order, allow_split=rules.allow_split, only=only, late=True)
    if not partial:
        return _place(desk, order, left, now_us, wish=wish, how=how)
    rest = [Wanted(each.line, each.sku, each.quantity) for each in missing]
    wanted_of = {each.line: each.wanted for each in missing}
    return [
        Missing(each.line, each.sku, wanted_of[each.line], wanted_of[each.line] - each.quantity)
        for each in _place(desk, order, rest, now_us, wish=wish, how=how)
    ]


def add(
    order: Order, wanted: Iterable[Wanted], way: Way, now_us: int, *, sourced: int = 0
) -> list[Allocation]:
    """Add what one way gives to an order's lines, with a task for each of its packages.

    A task is due when its package is to be ready, however long that travels.
    """
    tasks = {
        location: _task_at(order, location, times.ready_us, now_us)
        for location, times in way.times.items()
    }
    added = []
    for line, (sku, location, quantity) in _shared(wanted, way.parts):
        times = way.times[location]
        allocation = Allocation(
            id=order.next_id("a"),
            line=line,
            sku=sku,
            location=location,
            quantity=quantity,
            task=tasks[location].id,
            ready_by_us=times.ready_us if times.deliver_us is None else None,
            deliver_by_us=times.deliver_us,
            sourced=sourced,
            why=way.why,
        )
        order.allocations.append(allocation)
        added.append(allocation)
    return added


def lacking(wanted: Iterable[Wanted], short: Mapping[str, int]) -> list[Missing]:
    """Say which lines lack units of SKUs that are short: the last ones of each."""
    if not short:
        return []
    wanted = list(wanted)
    units = summed((each.sku, each.quantity) for each in wanted)
    left = {sku: wanted_units - short.get(sku, 0) for sku, wanted_units in units.items()}
    missing = []
    for line, sku, quantity in wanted:
        given = min(quantity, left[sku])
        left[sku] -= given
        if given < quantity:
            missing.append(Missing(line, sku, quantity, given))
    return missing


def unput(desk: Desk, order: Order, freed: Mapping[Cell, int]) -> Mapping[Cell, int]:
    """Take what the copy has been given but does not reserve yet off what is available to it."""
    if not order.allocations:
        return freed
    known = desk.book.orders.get(order.id)
    before = reserved_by(known) if known is not None else {}
    available = dict(freed)
    for cell, units in reserved_by(order).items():
        # What the copy has given up is not available again before it is put.
        more = max(0, units - before.get(cell, 0))
        if more:
            available[cell] = available.get(cell, 0) - more
    return available


class _How(NamedTuple):
    sourced: int
    freed: Mapping[Cell, int]
    partial: bool


def _place(
    desk: Desk, order: Order, wanted: list[Wanted], now_us: int, *, wish: Wish, how: _How
) -> list[Missing]:
    units = summed((each.sku, each.quantity) for each in wanted)
    freed = unput(desk, order, how.freed)
    ways = find_ways(desk, wish, units, now_us, freed=freed, partial=how.partial)
    if ways:
        add(order, wanted, ways[0], now_us, sourced=how.sourced)
        return lacking(wanted, ways[0].short)
    best = find_ways(desk, wish, units, now_us, freed=freed, partial=True)
    return lacking(wanted, best[0].short if best else units)


def _shared(wanted: Iterable[Wanted], parts: Iterable[Part]) -> list[tuple[str, Part]]:
    """Share a way's parts out: each to the lines of its SKU that still lack units, in order."""
    lines: dict[str, list[Wanted]] = {}
    for each in wanted:
        lines.setdefault(each.sku, []).append(each)
    shared = []
    for sku, location, quantity in parts:
        left = quantity
        waiting = lines[sku]
        while left:
            line = waiting[0]
            taken = min(left, line.quantity)
            shared.append((line.line, (sku, location, taken)))
            left -= taken
            if taken == line.quantity:
                del waiting[0]
            else:
                waiting[0] = line._replace(quantity=line.quantity - taken)
    return shared


def _task_at(order: Order, location: str, due_us: int, now_us: int) -> Task:
    for task in order.tasks:
        if task.location == location and can_take_more(order, task.id):
            return task
    task = Task(
        id=order.next_id("t"),
        location=location,
        status="open",
        due_us=due_us,
        created_us=now_us,
    )
    order.tasks.append(task)
    return task
