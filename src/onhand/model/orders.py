"""Holds and orders: what is promised, as the ledger keeps it.

A hold never changes; a later state of it is another object under the same id. An order is worked on
in a copy (:meth:`Order.copy`) that takes its place, so whoever holds one sees it as it was.

Their documents leave out what is as by default: most of an order is, and each is written at every
change. So a default is for good: another one would change the documents there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from onhand.model.commands import (
    Channel,
    Customer,
    Destination,
    Method,
    OrderPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Key = TypeVar("Key")

HoldStatus = Literal["active", "ordered", "released", "expired"]
OrderStatus = Literal["open", "partially_fulfilled", "fulfilled", "cancelled"]
AllocationStatus = Literal[
    "allocated",
    "backordered",
    "picked",
    "packed",
    "ready",
    "shipped",
    "collected",
    "cancelled",
    "expired",
    "returned",
]
Stage = Literal["backordered", "allocated", "picked", "packed", "ready"]
TaskStatus = Literal["open", "picked", "packed", "ready", "done", "rejected", "cancelled"]

STATUS_ORDER: Final[tuple[AllocationStatus, ...]] = (
    "backordered",
    "allocated",
    "picked",
    "packed",
    "ready",
    "shipped",
    "collected",
    "returned",
    "expired",
    "cancelled",
)
"""From the least to the most finished; a line that is in several is called by the first."""


class HeldLine(Struct, frozen=True, omit_defaults=True, gc=False):
    """Units reserved in one cell. ``group`` is where they may be moved to, None for nowhere."""

    sku: str
    quantity: int
    location: str
    group: str | None = None


class Hold(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A reservation with an expiry.

    A request's line on a group may be placed on several cells: it is several lines here.
    """

    id: str
    status: HoldStatus
    lines: tuple[HeldLine, ...]
    channel: Channel
    created_us: int
    expires_us: int
    order_id: str | None = None
    moves: int = 0


class Allocation(Struct, kw_only=True, omit_defaults=True, gc=False):
    """Units of one line of an order, bound to a location.

    Of ``quantity`` units, ``handed`` have left, ``cancelled`` and ``expired`` are given up, the
    rest is open: reserved, unless the stage is ``backordered``. ``picked`` counts units taken off
    the shelf, handed ones included. ``told_by_app`` and ``told_by_till`` are what each has said to
    have handed over; the larger of them is what has left, so that the same hand-over told by both
    counts once. Of what was handed over, ``returned`` units are back and ``returning`` ones are
    awaited by returns.
    """

    id: str
    line: str
    sku: str
    location: str | None
    quantity: int
    stage: Stage = "allocated"
    picked: int = 0
    handed: int = 0
    short: int = 0
    cancelled: int = 0
    expired: int = 0
    returned: int = 0
    returning: int = 0
    told_by_app: int = 0
    told_by_till: int = 0
    task: str | None = None
    ready_by_us: int | None = None
    deliver_by_us: int | None = None
    due_day: int | None = None
    sourced: int = 0
    why: tuple[str, ...] = ()

    @property
    def open(self) -> int:
        """Units not yet handed over nor given up."""
        return self.quantity - self.handed - self.cancelled - self.expired

    @property
    def reserved(self) -> int:
        """Units reserved in the cell (sku, location)."""
        return 0 if self.stage == "backordered" else self.open

    @property
    def on_shelf(self) -> int:
        """Open units that nobody has picked yet."""
        return self.open - (self.picked - self.handed)

    def by_status(self, handed_as: AllocationStatus) -> dict[AllocationStatus, int]:
        """Count the units in each status, leaving out those of none."""
        if not (self.picked or self.handed or self.expired or self.cancelled) and self.quantity:
            # Nothing has happened to it yet.
            return {"backordered" if self.stage == "backordered" else "allocated": self.quantity}
        moving = self.picked - self.handed
        stage: AllocationStatus = "picked" if self.stage == "allocated" else self.stage
        counts: dict[AllocationStatus, int] = {}
        for status, units in (
            ("backordered" if self.stage == "backordered" else "allocated", self.on_shelf),
            (stage, moving),
            (handed_as, self.handed - self.returned),
            ("returned", self.returned),
            ("expired", self.expired),
            ("cancelled", self.cancelled),
        ):
            if units:
                counts[status] = counts.get(status, 0) + units  # type: ignore[index, call-overload]
        return counts


class OrderedLine(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the customer asked for."""

    id: str
    sku: str
    quantity: int
    unit_price: float | None = None


class Task(Struct, kw_only=True, omit_defaults=True, gc=False):
    """Work for one location: the allocations of one package or pickup.

    ``due_us`` is when it is promised. ``collect_by_us`` is set once it is ready.
    """

    id: str
    location: str
    status: TaskStatus
    due_us: int
    created_us: int
    carrier: str | None = None
    tracking_number: str | None = None
    reason: str | None = None
    collect_by_us: int | None = None


class HistoryEntry(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One thing that happened to an order."""

    at_us: int
    what: str
    by: str | None = None
    location: str | None = None
    line: str | None = None
    quantity: int | None = None
    reason: str | None = None


class Order(Struct, kw_only=True, omit_defaults=True, gc=False):
    """A customer's order with everything that was decided about it.

    ``refused`` lists (line, location) pairs that are not asked again; line ``*`` stands for all.
    ``returns`` are the ids of its returns, ``exchange_of`` that of the one that it is given for.
    """

    id: str
    channel: Channel
    method: Method
    policy: OrderPolicy
    lines: tuple[OrderedLine, ...]
    created_us: int
    updated_us: int
    status: OrderStatus = "open"
    customer: Customer | None = None
    hold_id: str | None = None
    location: str | None = None
    destination: Destination | None = None
    deliver_by_us: int | None = None
    allocations: list[Allocation] = []
    tasks: list[Task] = []
    history: list[HistoryEntry] = []
    pickup_code: str | None = None
    refused: list[tuple[str, str]] = []
    counter: int = 0
    returns: list[str] = []
    exchange_of: str | None = None

    def copy(self) -> Order:
        """Return a copy to work on; what lies within and may change is copied too."""
        return msgspec.structs.replace(
            self,
            allocations=[msgspec.structs.replace(each) for each in self.allocations],
            tasks=[msgspec.structs.replace(each) for each in self.tasks],
            history=list(self.history),
            refused=list(self.refused),
            returns=list(self.returns),
        )

    def line(self, line_id: str) -> OrderedLine | None:
        """Find a line by its id."""
        return next((each for each in self.lines if each.id == line_id), None)

    def task(self, task_id: str) -> Task | None:
        """Find a task by its id."""
        return next((each for each in self.tasks if each.id == task_id), None)

    def of_task(self, task_id: str) -> list[Allocation]:
        """List the allocations that a task hands over."""
        return [each for each in self.allocations if each.task == task_id]

    def of_line(self, line_id: str) -> list[Allocation]:
        """List the allocations of a line."""
        return [each for each in self.allocations if each.line == line_id]

    def next_id(self, kind: str) -> str:
        """Make the id of a new part of this order, such as ``<order>.a3``."""
        self.counter += 1
        return f"{self.id}.{kind}{self.counter}"

    def is_open(self) -> bool:
        """Tell whether anything of it is reserved, backordered or to be done."""
        return any(each.open for each in self.allocations)

    def is_kept(self) -> bool:
        """Tell whether it is open, or a return waits for units of it."""
        return any(each.open or each.returning for each in self.allocations)

    def settle_status(self) -> None:
        """Set the status from the allocations."""
        handed = sum(each.handed for each in self.allocations)
        if self.is_open():
            self.status = "partially_fulfilled" if handed else "open"
        else:
            self.status = "fulfilled" if handed else "cancelled"


def summed(pairs: Iterable[tuple[Key, int]]) -> dict[Key, int]:
    """Sum quantities by key, in order of first appearance."""
    totals: dict[Key, int] = {}
    for key, quantity in pairs:
        totals[key] = totals.get(key, 0) + quantity
    return totals
