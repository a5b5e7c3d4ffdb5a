"""What the ledger says of holds, orders and tasks, as JSON. Every read blocks; use a thread.

It is what is on disk: what an answer has said is here, and what is being decided is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from onhand.errors import FieldError
from onhand.ledger.movements import ledger_events_at
from onhand.model.orders import Hold, Order
from onhand.model.validate import printable
from onhand.orders.book import decode_hold, decode_order
from onhand.orders.desk import rfc3339
from onhand.orders.refusal import refuse
from onhand.orders.views import handed_as, hold_view, order_view, status_of, task_view
from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from onhand.ledger.engine import Ledger
    from onhand.ledger.order_reads import OrderReads
    from onhand.ledger.rows import TaskRow
    from onhand.settings import Settings
    from onhand.web.parameters import OrderListParameters, TaskListParameters

ID_LENGTH_MAX: Final = 128
RULES: Final = (
    "pickup_ready_minutes",
    "transit_km_per_day",
    "shortfall_policy",
    "resource_max",
)
"""Settings that decide how orders are fulfilled."""

_encode = msgspec.json.Encoder().encode


class OrderPages:
    """Writes the ledger's answers.

    Parameters
    ----------
    reads
        Of the ledger, by any thread.
    settings
        For explanations.
    """

    def __init__(self, reads: OrderReads, ledger: Ledger, settings: Settings) -> None:
        self._reads = reads
        self._movements = LedgerMovements(ledger)
        self._rules = {name: getattr(settings, name) for name in RULES}

    def hold(self, hold_id: str, now_us: int) -> bytes:
        """Write a hold; one whose time is over is expired, whether or not that is written yet.

        Raises
        ------
        Refusal
            ``unknown_hold``.
        """
        hold = self.find_hold(hold_id, now_us)
        if hold is None:
            raise refuse("unknown_hold", f"there is no hold {hold_id!r}")
        return _encode(hold_view(hold))

    def order(self, order_id: str) -> bytes:
        """Write an order.

        Raises
        ------
        Refusal
            ``unknown_order``.
        """
        return _encode(order_view(self.find_order(order_id)))

    def orders(self, asked: OrderListParameters) -> bytes:
        """Write a page of orders, the newest first.

        Raises
        ------
        InvalidInput, ProblemError
            A parameter is wrong.
        """
        must_be_printable("customer", asked.customer)
        page = self._reads.orders(
            customer=asked.customer, status=asked.status, cursor=asked.cursor, limit=asked.limit
        )
        items = [order_view(decode_order(row.document)) for row in page.rows]
        return _encode({"items": items, "next": page.next})

    def tasks(self, location: str, asked: TaskListParameters) -> bytes:
        """Write a page of a location's tasks, the oldest promise first.

        Raises
        ------
        InvalidInput
            The cursor is wrong.
        """
        page = self._reads.tasks(location, asked.status, cursor=asked.cursor, limit=asked.limit)
        orders = {name: decode_order(document) for name, document in page.documents.items()}
        return _encode({"items": list(_task_views(page.tasks, orders)), "next": page.next})

    def explanation(self, order_id: str) -> bytes:
        """Write why an order is as it is.

        Raises
        ------
        Refusal
            ``unknown_order``.
        """
        order = self.find_order(order_id)
        hold = self.find_hold(order.hold_id, order.updated_us) if order.hold_id else None
        return _encode(
            {
                "order": order_view(order),
                "policy": order.policy,
                "rules": self._rules,
                "allocations": _explained(order),
                "refused": [
                    {"line": line, "location": location} for line, location in order.refused
                ],
                "hold": hold_view(hold) if hold is not None else None,
                "ledger": self._movements.of(order),
            }
        )

    def find_hold(self, hold_id: str, now_us: int) -> Hold | None:
        """Read a hold as it is at a time."""
        row = self._reads.hold(hold_id) if may_exist(hold_id) else None
        if row is None:
            return None
        hold = decode_hold(row.document)
        if hold.status == "active" and hold.expires_us <= now_us:
            return msgspec.structs.replace(hold, status="expired")
        return hold

    def find_order(self, order_id: str) -> Order:
        """Read an order.

        Raises
        ------
        Refusal
            ``unknown_order``.
        """
        row = self._reads.order(order_id) if may_exist(order_id) else None
        if row is None:
            raise refuse("unknown_order", f"there is no order {order_id!r}")
        return decode_order(row.document)


class LedgerMovements:
    """Tells of the movements that an order has caused: each has the time of one of its entries."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, order: Order) -> list[dict[str, Any]]:
        """List an order's movements by their sequence."""
        times = {entry.at_us for entry in order.history if entry.what in _MOVING}
        return self.at(times, lambda moved: moved.order_id == order.id)

    def at(self, times: Iterable[int], is_wanted: Callable[[Moved], bool]) -> list[dict[str, Any]]:
        """List the movements wanted of those written at some times, by their sequence."""
        return [
            {"sequence": event.sequence, "at": rfc3339(event.created_us), "type": said.type}
            for event in ledger_events_at(self._ledger, times)
            if is_wanted(said := _decode_movement(event.document))
        ]


class Moved(msgspec.Struct):
    """What a ledger event says of its cause."""

    type: str
    order_id: str | None = None
    attributes: dict[str, Any] | None = None


def _explained(order: Order) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id,
            "line": each.line,
            "sku": each.sku,
            "quantity": each.quantity,
            "location": each.location,
            "status": status_of(each.by_status(handed_as(order))),
            "why": each.why,
            "sourced": each.sourced,
        }
        for each in order.allocations
    ]


def _task_views(rows: Iterable[TaskRow], orders: dict[str, Order]) -> Iterable[dict[str, Any]]:
    for row in rows:
        order = orders[row.order_id]
        task = order.task(row.id)
        if task is None:
            raise ValueError(f"Invariant: order {order.id!r} has its task {row.id!r}")
        yield task_view(order, task)


def may_exist(some_id: str) -> bool:
    """Tell whether a text could be an id."""
    # What was never accepted as an id is not asked for: databases refuse some characters.
    return 0 < len(some_id) <= ID_LENGTH_MAX and some_id.isprintable()


def must_be_printable(name: str, text: str | None) -> None:
    """Refuse a parameter that no id or name could be.

    Raises
    ------
    ProblemError
        ``invalid_request``, naming the parameter.
    """
    errors: list[FieldError] = printable(f"/{name}", text)
    if errors:
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"{name} {errors[0].detail}", errors)


_MOVING: Final = frozenset({"shipped", "collected", "handed_over", "short", "returned"})
_decode_movement: Final = msgspec.json.Decoder(Moved).decode
