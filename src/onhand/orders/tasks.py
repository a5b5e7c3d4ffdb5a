"""Tasks: a location picks the units of an order and hands them over, or says that it cannot.

A pickup goes pick, ready, collect; a shipment pick, pack, ship. Every step works on what is left of
the step before, so it may be told item by item and in parts.

App and till may both tell of a hand-over. What has left is the larger of what each has told, so the
same hand-over told twice counts once, in any order and in any parts. That is why a collection or
shipment is still taken when the till was first and the task is done: the app then only catches up.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

from onhand.model.orders import HistoryEntry, summed
from onhand.orders.desk import SYSTEM
from onhand.orders.handover import Movement, sell, write_off
from onhand.orders.progress import follow, give_up, hand_over, note, put, tell_allocation, tell_task
from onhand.orders.refusal import Refusal, refuse
from onhand.orders.sourcing_again import Lost, source_again

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onhand.model.commands import (
        CollectTask,
        LineQuantity,
        Method,
        PackTask,
        PickTask,
        ReadyTask,
        RejectTask,
        ShipTask,
        ShortLine,
    )
    from onhand.model.orders import Allocation, Order, Task, TaskStatus
    from onhand.orders.desk import Actor, Desk

Step = str

DAY_US: Final = 86_400_000_000
PICKUP_DAYS: Final = 7
"""Days a pickup waits at a location that nobody has set up."""

_NEEDED: Final[dict[Method, dict[Step, TaskStatus]]] = {
    "pickup": {"pick": "open", "ready": "picked", "collect": "ready", "reject": "open"},
    "ship": {"pick": "open", "pack": "picked", "ship": "packed", "reject": "open"},
}
"""The status that a task must have for each step of its method."""

_WAY: Final[dict[Method, str]] = {
    "pickup": "a pickup goes pick, ready, collect",
    "ship": "a shipment goes pick, pack, ship",
}


class _Work(NamedTuple):
    """A step being taken: on a copy of the order, by whom and when."""

    desk: Desk
    order: Order
    task: Task
    actor: Actor
    now_us: int

    def allocations(self) -> list[Allocation]:
        return self.order.of_task(self.task.id)

    def note(
        self,
        what: str,
        *,
        line: str | None = None,
        quantity: int | None = None,
        reason: str | None = None,
    ) -> None:
        entry = HistoryEntry(
            at_us=self.now_us,
            what=what,
            by=self.actor.name,
            location=self.task.location,
            line=line,
            quantity=quantity,
            reason=reason,
        )
        note(self.order, entry)

    def done(self, what: str) -> tuple[Order, Task]:
        put(self.desk, self.order, self.now_us)
        tell_task(self.desk, self.order, self.task, what, self.now_us)
        return self.order, self.task


def pick(desk: Desk, task_id: str, body: PickTask, actor: Actor, now_us: int) -> tuple[Order, Task]:
    """Take units off the shelf, or say that they are not there; as often as it takes.

    The task is picked once nothing is left to pick. Units that are not there are written off, and
    sourced again at once where the order can be served from elsewhere.

    Raises
    ------
    Refusal
        ``unknown_task``, ``wrong_location``, ``wrong_state``, ``unknown_line`` or
        ``quantity_exceeded``.
    """
    work = _begin(desk, task_id, "pick", actor, now_us)
    if body.picked is None and body.short is None:
        _pick_all(work)
    for each, units, _ in _shares(work, body.picked or (), "/picked", _on_shelf):
        each.picked += units
        work.note("picked", line=each.line, quantity=units)
    lost = _miss(work, body.short or ())
    source_again(desk, work.order, lost, now_us)
    follow(work.order, work.task)
    return work.done("picked")


def pack(desk: Desk, task_id: str, body: PackTask, actor: Actor, now_us: int) -> tuple[Order, Task]:
    """Pack what was picked.

    Raises
    ------
    Refusal
        ``unknown_task``, ``wrong_location`` or ``wrong_state``.
    """
    del body  # It has no fields.
    work = _begin(desk, task_id, "pack", actor, now_us)
    work.task.status = "packed"
    for each in work.allocations():
        each.stage = "packed"
    work.note("packed")
    return work.done("packed")


def ready(
    desk: Desk, task_id: str, body: ReadyTask, actor: Actor, now_us: int
) -> tuple[Order, Task]:
    """Let what was picked wait for its customer, for as many days as the location keeps pickups.

    Raises
    ------
    Refusal
        ``unknown_task``, ``wrong_location`` or ``wrong_state``.
    """
    del body  # It has no fields.
    work = _begin(desk, task_id, "ready", actor, now_us)
    location = desk.setup.locations.get(work.task.location)
    days = location.pickup_days if location is not None else PICKUP_DAYS
    work.task.status = "ready"
    work.task.collect_by_us = now_us + days * DAY_US
    for each in work.allocations():
        each.stage = "ready"
    work.note("ready")
    return work.done("ready")


def ship(desk: Desk, task_id: str, body: ShipTask, actor: Actor, now_us: int) -> tuple[Order, Task]:
    """Hand packed units to a carrier.

    Raises
    ------
    Refusal
        ``unknown_task``, ``wrong_location``, ``wrong_state``, ``unknown_line`` or
        ``quantity_exceeded``.
    """
    work = _begin(desk, task_id, "ship", actor, now_us)
    work.task.carrier = body.carrier
    work.task.tracking_number = body.tracking_number
    _leave(work, body.lines, "shipped", f"{body.carrier} {body.tracking_number}")
    return work.done("shipped")


def collect(
    desk: Desk, task_id: str, body: CollectTask, actor: Actor, now_us: int
) -> tuple[Order, Task]:
    """Hand ready units to the customer who knows the code.

    Raises
    ------
    Refusal
        ``unknown_task``, ``wrong_location``, ``wrong_state``, ``wrong_pickup_code``,
        ``unknown_line`` or ``quantity_exceeded``.
    """
    work = _begin(desk, task_id, "collect", actor, now_us)
    code = work.order.pickup_code or ""
    if not hmac.compare_digest(body.pickup_code.encode(), code.encode()):
        detail = "the pickup code is not that of the order"
        raise refuse("wrong_pickup_code", detail, "/pickup_code")
    _leave(work, body.lines, "collected")
    return work.done("collected")


def reject(
    desk: Desk, task_id: str, body: RejectTask, actor: Actor, now_us: int
) -> tuple[Order, Task]:
    """Refuse what nobody has picked yet: its units stay in stock, and are sourced elsewhere.

    Units picked before go on as a task that is picked; without any the task is rejected. The
    location is not asked again for this order.

    Raises
    ------
    Refusal
        ``unknown_task``, ``wrong_location`` or ``wrong_state``.
    """
    work = _begin(desk, task_id, "reject", actor, now_us)
    order, task = work.order, work.task
    lost = [Lost(each, each.on_shelf, body.reason) for each in work.allocations() if each.on_shelf]
    for each, units, reason in lost:
        give_up(each, units, "cancelled")
        work.note("rejected", line=each.line, quantity=units, reason=reason)
        tell_allocation(desk, order, each, "rejected", now_us, quantity=units, reason=reason)
    task.reason = body.reason
    if not any(each.picked for each in work.allocations()):
        task.status = "rejected"
    order.refused.append(("*", task.location))
    source_again(desk, order, lost, now_us)
    follow(order, task)
    return work.done("rejected")


def expire_pickup(desk: Desk, order: Order, task_id: str, now_us: int) -> Order:
    """Give up a ready pickup that nobody collected in time: its stock is free again.

    Returns
    -------
    Order
        As it is known afterwards; unchanged when the task is not ready, or still in time.
    """
    known = desk.book.orders.get(order.id, order)
    order = known.copy()
    task = order.task(task_id)
    if task is None or task.status != "ready" or (task.collect_by_us or now_us) > now_us:
        return known
    work = _Work(desk, order, task, SYSTEM, now_us)
    for each in work.allocations():
        units = each.open
        if units:
            give_up(each, units, "expired")
            work.note("expired", line=each.line, quantity=units)
    follow(order, task)
    work.done("expired")
    return order


def order_id_of(task_id: str) -> str:
    """Return the order that a task's id names, empty when it names none."""
    return task_id.rpartition(".t")[0]


def _begin(desk: Desk, task_id: str, step: Step, actor: Actor, now_us: int) -> _Work:
    """Find a task that may take a step, and copy its order to work on."""
    known = desk.book.orders.get(order_id_of(task_id))
    order = known.copy() if known is not None else None
    task = order.task(task_id) if order is not None else None
    if order is None or task is None:
        raise refuse("unknown_task", f"there is no task {task_id!r}")
    actor.must_work_at(task.location)
    _must_be_at(order, task, step)
    return _Work(desk, order, task, actor, now_us)


def _must_be_at(order: Order, task: Task, step: Step) -> None:
    needed = _NEEDED[order.method].get(step)
    if needed is None:
        raise refuse("wrong_state", f"this task has no step {step}: {_WAY[order.method]}")
    catches_up = step in {"collect", "ship"} and task.status == "done"
    if catches_up and any(_not_told(each) for each in order.of_task(task.id)):
        return
    if task.status != needed:
        detail = f"task {task.id!r} is {task.status}; to {step} it, it must be {needed}"
        raise refuse("wrong_state", detail)


def _on_shelf(allocation: Allocation) -> int:
    return allocation.on_shelf


def _not_told(allocation: Allocation) -> int:
    """Units that the app may still say have left: picked ones, and those only the till told."""
    return allocation.picked - allocation.told_by_app


def _shares(
    work: _Work,
    lines: Sequence[LineQuantity | ShortLine],
    pointer: str,
    left: Callable[[Allocation], int],
) -> list[tuple[Allocation, int, int]]:
    """Share quantities of lines out among a task's allocations: allocation, units, line index."""
    room = {each.id: left(each) for each in work.allocations()}
    shares = []
    for index, line in enumerate(lines):
        mine = [each for each in work.allocations() if each.line == line.line]
        if not mine:
            detail = f"task {work.task.id!r} has no line {line.line!r}"
            raise refuse("unknown_line", detail, f"{pointer}/{index}/line")
        wanted = line.quantity
        if wanted > sum(room[each.id] for each in mine):
            raise _exceeded(line, sum(room[each.id] for each in mine), f"{pointer}/{index}")
        for each in mine:
            units = min(wanted, room[each.id])
            room[each.id] -= units
            wanted -= units
            if units:
                shares.append((each, units, index))
    return shares


def _exceeded(line: LineQuantity | ShortLine, left: int, pointer: str) -> Refusal:
    detail = f"{line.quantity} of line {line.line!r} are more than the {left} left for this step"
    return refuse("quantity_exceeded", detail, f"{pointer}/quantity")


def _pick_all(work: _Work) -> None:
    picked = sum(each.on_shelf for each in work.allocations())
    for each in work.allocations():
        each.picked += each.on_shelf
    work.note("picked", quantity=picked)


def _miss(work: _Work, lines: Sequence[ShortLine]) -> list[Lost]:
    """Give up units that are not on the shelf, and write them off."""
    order, task = work.order, work.task
    lost = []
    for each, units, index in _shares(work, lines, "/short", _on_shelf):
        reason = lines[index].reason
        lost.append(Lost(each, units, reason))
        give_up(each, units, "cancelled")
        each.short += units
        # What comes to a pickup's own store later may still serve it.
        if order.method == "ship" and (each.line, task.location) not in order.refused:
            order.refused.append((each.line, task.location))
        work.note("short", line=each.line, quantity=units, reason=reason)
        tell_allocation(work.desk, order, each, "short", work.now_us, quantity=units, reason=reason)
    for reason in dict.fromkeys(each.reason for each in lost):
        off = summed((each.allocation.sku, each.quantity) for each in lost if each.reason == reason)
        movement = Movement(task.location, off, work.now_us, order_id=order.id)
        write_off(work.desk, movement, reason)
    return lost


def _leave(
    work: _Work, lines: Sequence[LineQuantity] | None, what: str, reason: str | None = None
) -> None:
    """Hand units over, all that may be when no lines are named, and tell supply."""
    order, task = work.order, work.task
    if lines is None:
        told = [(each, _not_told(each)) for each in work.allocations()]
        work.note(what, quantity=sum(units for _, units in told), reason=reason)
    else:
        told = [(each, units) for each, units, _ in _shares(work, lines, "/lines", _not_told)]
        for each, units in told:
            work.note(what, line=each.line, quantity=units, reason=reason)
    left = summed((each.sku, hand_over(each, app=units)) for each, units in told)
    who = order.customer.id if order.customer is not None else None
    movement = Movement(task.location, left, work.now_us, order_id=order.id, customer_id=who)
    sell(work.desk, movement, reserved=left)
    follow(order, task)
