"""Who gives way when a cell cannot keep all of its promises: the least firm, then the newest.

Holds on a group move within it. Shipments that nobody has picked are sourced again. Holds at a
location and pickups are bound to their place, and bear what is left.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from onhand.model.orders import HeldLine, Hold, Order
from onhand.model.setup import ALL
from onhand.orders import holds
from onhand.orders.progress import follow, put
from onhand.orders.sourcing_again import Lost, place_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.model.orders import Allocation
    from onhand.orders.book import Cell
    from onhand.orders.desk import Desk

PROMISES_MAX: Final = 1_000
"""Holds, and orders, of one cell that are looked at at once, from the newest on."""

REASON: Final = "shortfall"

Promise = TypeVar("Promise", Hold, Order)


class Bearer(NamedTuple):
    """Units of a promise that are not to be had; ``allocation`` is None for a hold."""

    promise: Hold | Order
    allocation: Allocation | None
    units: int

    @property
    def id(self) -> str:
        """The id of the hold or allocation."""
        return self.promise.id if self.allocation is None else self.allocation.id


def move(desk: Desk, cell: Cell, units: int, now_us: int) -> int:
    """Move promises of a cell to other cells, until so many units are off it.

    Returns
    -------
    int
        Units that are off it: fewer when nothing elsewhere can take them.
    """
    moved = 0
    for hold in _holds(desk, cell):
        if moved < units:
            moved += _move_hold(desk, hold, cell, units - moved, now_us)
    # What is still held is less firm than any order, so it bears what it can before one moves.
    units -= sum(_held(hold, cell) for hold in _holds(desk, cell))
    there = _elsewhere(desk, cell, ALL)
    for order, allocation in _unpicked(desk, cell):
        if moved >= units or not there:
            break
        if order.method == "ship" and allocation.sourced < desk.rules.resource_max:
            given = _move_allocation(desk, allocation, order.id, units - moved, now_us)
            moved += given
            there = _elsewhere(desk, cell, ALL) if given else there
    return moved


def bearers(desk: Desk, cell: Cell, units: int) -> list[Bearer]:
    """Say whose units they are that a cell lacks, the least firm promise first."""
    found = []
    for hold in _holds(desk, cell):
        found.append(Bearer(hold, None, min(units, _held(hold, cell))))
        units -= found[-1].units
    for order, each in _unpicked(desk, cell):
        found.append(Bearer(order, each, min(units, each.on_shelf)))
        units -= found[-1].units
    return [each for each in found if each.units]


def _move_hold(desk: Desk, hold: Hold, cell: Cell, units: int, now_us: int) -> int:
    if hold.expires_us <= now_us:
        holds.expire(desk, hold, now_us)
        return _held(hold, cell)
    lines: list[HeldLine] = []
    taken: dict[str, int] = {}
    moved = 0
    for line in hold.lines:
        if (line.sku, line.location) != cell or line.group is None:
            lines.append(line)
            continue
        wanted = min(line.quantity, units - moved)
        parts = _parts(line, wanted, _elsewhere(desk, cell, line.group), taken)
        given = sum(part.quantity for part in parts)
        if given < line.quantity:
            lines.append(HeldLine(line.sku, line.quantity - given, line.location, line.group))
        lines += parts
        moved += given
    if moved:
        holds.move(desk, hold, tuple(lines), now_us)
    return moved


def _parts(
    line: HeldLine, wanted: int, there: dict[str, int], taken: dict[str, int]
) -> list[HeldLine]:
    """Take units from the fullest cells first, net of what lines before have taken."""
    parts = []
    for name in sorted(there, key=lambda name: (-there[name], name)):
        units = min(wanted, there[name] - taken.get(name, 0))
        if units > 0:
            parts.append(HeldLine(line.sku, units, name, line.group))
            taken[name] = taken.get(name, 0) + units
            wanted -= units
    return parts


def _move_allocation(
    desk: Desk, allocation: Allocation, order_id: str, units: int, now_us: int
) -> int:
    """Source units of an allocation again; those that no place gives stay where they are."""
    # Another allocation of it may have moved just before.
    order = desk.book.orders[order_id].copy()
    mine = next(each for each in order.allocations if each.id == allocation.id)
    wanted = min(units, mine.on_shelf)
    mine.cancelled += wanted
    missing = place_elsewhere(desk, order, [Lost(mine, wanted, REASON)], now_us)
    left = sum(each.quantity for each in missing)
    mine.cancelled -= left
    if wanted == left:
        return 0
    task = order.task(mine.task) if mine.task is not None else None
    if task is not None:
        follow(order, task)
    put(desk, order, now_us)
    return wanted - left


def _unpicked(desk: Desk, cell: Cell) -> list[tuple[Order, Allocation]]:
    """List the allocations of a cell that nobody has picked in full, the newest orders first."""
    return [
        (order, each)
        for order in _newest(desk.book.orders[each] for each in desk.book.allocated.get(cell, ()))
        for each in order.allocations
        if (each.sku, each.location) == cell and each.reserved and each.on_shelf
    ]


def _elsewhere(desk: Desk, cell: Cell, group: str) -> dict[str, int]:
    """Read what other members of a group have available, where they have any."""
    sku, location = cell
    if not desk.stock.has_group(group):
        return {}
    names, cells = desk.stock.group_cells([sku], group)
    pairs = zip(names, cells[0].tolist(), strict=True)
    return {name: units for name, units in pairs if units > 0 and name != location}


def _holds(desk: Desk, cell: Cell) -> list[Hold]:
    return _newest(desk.book.holds[each] for each in desk.book.held.get(cell, ()))


def _newest(promises: Iterable[Promise]) -> list[Promise]:
    return heapq.nlargest(PROMISES_MAX, promises, key=lambda each: (each.created_us, each.id))


def _held(hold: Hold, cell: Cell) -> int:
    return sum(line.quantity for line in hold.lines if (line.sku, line.location) == cell)
