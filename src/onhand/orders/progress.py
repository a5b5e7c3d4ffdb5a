"""How far an order has come: units given up, tasks that follow their units, history, events.

Everything here works on a copy of an order (:meth:`onhand.model.orders.Order.copy`); :func:`put`
makes it what is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from onhand.model.orders import HistoryEntry
from onhand.orders.refunds import follow_exchange
from onhand.orders.views import document_of, task_view

if TYPE_CHECKING:
    from onhand.model.orders import Allocation, Order, Task
    from onhand.orders.desk import Desk

HISTORY_COUNT_MAX: Final = 1_000
"""Entries kept of one order: the first, which says how it began, and the newest."""


def give_up(allocation: Allocation, units: int, as_: Literal["cancelled", "expired"]) -> None:
    """Give up open units of an allocation: those on the shelf first, then picked ones."""
    if not 0 <= units <= allocation.open:
        raise ValueError(f"Invariant: {units} of {allocation.open} open units can be given up")
    allocation.picked -= max(0, units - allocation.on_shelf)
    setattr(allocation, as_, getattr(allocation, as_) + units)


def hand_over(allocation: Allocation, *, app: int = 0, till: int = 0) -> int:
    """Count units that app or till say have left.

    Returns
    -------
    int
        How many of them nobody had told of before: those that leave now.
    """
    allocation.told_by_app += app
    allocation.told_by_till += till
    units = max(allocation.told_by_app, allocation.told_by_till) - allocation.handed
    if not 0 <= units <= allocation.open:
        raise ValueError(f"Invariant: {units} of {allocation.open} open units can leave")
    allocation.handed += units
    allocation.picked = max(allocation.picked, allocation.handed)
    return units


def follow(order: Order, task: Task) -> None:
    """Set a task's status after units of it were picked, handed over or given up.

    With nothing on the shelf left to pick it is picked; with nothing open it is done, or cancelled
    when nothing was handed over. A refused task stays refused.
    """
    allocations = order.of_task(task.id)
    if not any(each.open for each in allocations):
        if task.status != "rejected":
            handed = any(each.handed for each in allocations)
            task.status = "done" if handed else "cancelled"
    elif task.status == "open" and not any(each.on_shelf for each in allocations):
        task.status = "picked"
        for each in allocations:
            each.stage = "picked"


def note(order: Order, entry: HistoryEntry) -> None:
    """Add to an order's history; the same again, such as item by item, is one entry."""
    note_in(order.history, entry)


def note_in(history: list[HistoryEntry], entry: HistoryEntry) -> None:
    """Add to a history, bounded; the same again is one entry."""
    if history and entry.quantity is not None and _is_same(history[-1], entry):
        quantity = (history[-1].quantity or 0) + entry.quantity
        history[-1] = msgspec.structs.replace(entry, quantity=quantity)
        return
    history.append(entry)
    if len(history) > HISTORY_COUNT_MAX:
        del history[1]


def put(desk: Desk, order: Order, now_us: int) -> None:
    """Make a worked on copy what is known, and tell when the order's status has changed."""
    order.updated_us = now_us
    before = desk.book.orders[order.id].status
    desk.book.put_order(order)
    if order.status != before:
        desk.tell(f"order.{order.status}", order.id, now_us, document_of(order))
    follow_exchange(desk, order, now_us)


def tell_task(desk: Desk, order: Order, task: Task, what: str, now_us: int) -> None:
    """Tell of a step of a task: ``task.<what>``."""
    desk.tell(f"task.{what}", order.id, now_us, task_view(order, task))


def tell_allocation(
    desk: Desk, order: Order, allocation: Allocation, what: str, now_us: int, **more: Any
) -> None:
    """Tell what became of units of an allocation: ``allocation.<what>``."""
    data = {
        "order_id": order.id,
        "allocation_id": allocation.id,
        "line": allocation.line,
        "sku": allocation.sku,
        "location": allocation.location,
        **more,
    }
    desk.tell(f"allocation.{what}", order.id, now_us, data)


def _is_same(old: HistoryEntry, new: HistoryEntry) -> bool:
    return msgspec.structs.replace(old, at_us=new.at_us, quantity=new.quantity) == new
