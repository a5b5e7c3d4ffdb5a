"""Holds, orders and tasks as the outside sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from onhand.model.orders import STATUS_ORDER, Allocation, Hold, Order, OrderedLine, Task, summed
from onhand.orders.desk import rfc3339

if TYPE_CHECKING:
    from onhand.model.commands import Method
    from onhand.model.orders import AllocationStatus

_HANDED_AS: Final[dict[Method, AllocationStatus]] = {"pickup": "collected", "ship": "shipped"}
_encode: Final = msgspec.json.Encoder().encode


def document_of(promise: Hold | Order) -> msgspec.Raw:
    """Write the view of a hold, or of an order that is in the book, as JSON.

    What is told of it is answered as well, so the last one is kept.
    """
    last = _last[0]
    if promise is last[0]:
        return last[1]
    view = hold_view(promise) if isinstance(promise, Hold) else order_view(promise)
    document = msgspec.Raw(_encode(view))
    _last[0] = (promise, document)
    return document


# One element, replaced whole: more than one writer may be at work in a process.
_last: Final[list[tuple[Hold | Order | None, msgspec.Raw]]] = [(None, msgspec.Raw())]


def hold_view(hold: Hold) -> dict[str, Any]:
    """Describe a hold."""
    view: dict[str, Any] = {
        "id": hold.id,
        "status": hold.status,
        "lines": [
            {"sku": line.sku, "quantity": line.quantity, "location": line.location}
            for line in hold.lines
        ],
        "channel": hold.channel,
        "created_at": rfc3339(hold.created_us),
        "expires_at": rfc3339(hold.expires_us),
    }
    if hold.order_id is not None:
        view["order_id"] = hold.order_id
    return view


def order_view(order: Order) -> dict[str, Any]:
    """Describe an order with its lines, allocations, tasks and history."""
    view: dict[str, Any] = {
        "id": order.id,
        "status": order.status,
        "channel": order.channel,
        "lines": [_line_view(order, line) for line in order.lines],
        "fulfilment": _fulfilment_view(order),
        "tasks": [task.id for task in order.tasks],
        "created_at": rfc3339(order.created_us),
        "updated_at": rfc3339(order.updated_us),
        "history": [entry_view(entry) for entry in order.history],
    }
    if order.customer is not None:
        view["customer"] = _present(order.customer)
    if order.hold_id is not None:
        view["hold_id"] = order.hold_id
    if order.pickup_code is not None:
        view["pickup_code"] = order.pickup_code
    if order.returns:
        view["returns"] = list(order.returns)
    if order.exchange_of is not None:
        view["exchange_of"] = order.exchange_of
    return view


def task_view(order: Order, task: Task) -> dict[str, Any]:
    """Describe a task with the lines it hands over."""
    view: dict[str, Any] = {
        "id": task.id,
        "order_id": order.id,
        "location": task.location,
        "method": order.method,
        "status": task.status,
        "lines": [
            {
                "line": each.line,
                "sku": each.sku,
                "quantity": each.quantity,
                "picked": each.picked,
                "short": each.short,
                "handed_over": each.handed,
            }
            for each in order.of_task(task.id)
        ],
        "due_at": rfc3339(task.due_us),
        "created_at": rfc3339(task.created_us),
    }
    for name in ("carrier", "tracking_number", "reason"):
        if getattr(task, name) is not None:
            view[name] = getattr(task, name)
    if task.collect_by_us is not None:
        view["collect_by"] = rfc3339(task.collect_by_us)
    return view


def status_of(counts: dict[AllocationStatus, int]) -> AllocationStatus:
    """Name the least finished status that any unit is in."""
    if len(counts) == 1:
        return next(iter(counts))
    return next((status for status in STATUS_ORDER if counts.get(status)), "cancelled")


def handed_as(order: Order) -> AllocationStatus:
    """Name the status of units that have left."""
    return _HANDED_AS[order.method]


def _line_view(order: Order, line: OrderedLine) -> dict[str, Any]:
    handed = handed_as(order)
    allocations = [(each, each.by_status(handed)) for each in order.of_line(line.id)]
    counts = summed(pair for _, units in allocations for pair in units.items())
    # What one place gave up may have been sourced again: of a line only the rest is cancelled.
    counts.pop("cancelled", None)
    cancelled = line.quantity - sum(counts.values())
    if cancelled > 0:
        counts["cancelled"] = cancelled
    view: dict[str, Any] = {
        "id": line.id,
        "sku": line.sku,
        "quantity": line.quantity,
        "status": status_of(counts),
        "quantities": counts,
        "allocations": [_allocation_view(each, units) for each, units in allocations],
    }
    if line.unit_price is not None:
        view["unit_price"] = line.unit_price
    return view


def _allocation_view(each: Allocation, counts: dict[AllocationStatus, int]) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": each.id,
        "location": each.location,
        "quantity": each.quantity,
        "status": status_of(counts),
        "quantities": counts,
    }
    if each.task is not None:
        view["task"] = each.task
    if each.ready_by_us is not None:
        view["ready_by"] = rfc3339(each.ready_by_us)
    if each.deliver_by_us is not None:
        view["deliver_by"] = rfc3339(each.deliver_by_us)
    return view


def _fulfilment_view(order: Order) -> dict[str, Any]:
    view: dict[str, Any] = {"method": order.method}
    if order.location is not None:
        view["location"] = order.location
    if order.destination is not None:
        view["destination"] = _present(order.destination)
    if order.deliver_by_us is not None:
        view["deliver_by"] = rfc3339(order.deliver_by_us)
    return view


def entry_view(entry: Any) -> dict[str, Any]:
    """Describe an entry of a history."""
    view = _present(entry)
    return {"at": rfc3339(view.pop("at_us")), **view}


def _present(struct: Any) -> dict[str, Any]:
    fields = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {name: value for name, value in fields if value is not None}
