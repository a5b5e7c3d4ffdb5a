"""What the order layer answers, as types: for the published schema, and for callers in Python.

The answers themselves are written by :mod:`onhand.orders.views`; a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from onhand.model.commands import (
    Channel,
    Customer,
    Destination,
    Method,
    OrderPolicy,
)
from onhand.model.orders import AllocationStatus, HoldStatus, OrderStatus, TaskStatus

Time = Annotated[
    str, Meta(description="RFC 3339, in UTC.", extra_json_schema={"format": "date-time"})
]
Units = Annotated[int, Meta(ge=0)]


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The base of every answer; what says nothing is left out."""


class HeldLineDocument(Document, frozen=True, kw_only=True):
    """Units held at a location."""

    sku: str
    quantity: Units
    location: str


class HoldDocument(Document, frozen=True, kw_only=True):
    """A hold. A line on a group may be held at several locations, and be moved among them."""

    id: str
    status: HoldStatus
    lines: list[HeldLineDocument]
    channel: Channel
    created_at: Time
    expires_at: Time
    order_id: Annotated[str, Meta(description="What it turned into.")] | None = None


class AllocationDocument(Document, frozen=True, kw_only=True):
    """Units of a line, bound to a location; `quantities` has the units in each status."""

    id: str
    location: str | None
    quantity: Units
    status: AllocationStatus
    quantities: dict[AllocationStatus, Units]
    task: str | None = None
    ready_by: Time | None = None
    deliver_by: Time | None = None


class OrderedLineDocument(Document, frozen=True, kw_only=True):
    """A line of an order. `status` is the least finished one that any unit is in."""

    id: str
    sku: str
    quantity: Units
    status: AllocationStatus
    quantities: dict[AllocationStatus, Units]
    allocations: list[AllocationDocument]
    unit_price: float | None = None


class FulfilmentDocument(Document, frozen=True, kw_only=True):
    """How the goods reach the customer."""

    method: Method
    location: str | None = None
    destination: Destination | None = None
    deliver_by: Time | None = None


class HistoryDocument(Document, frozen=True, kw_only=True):
    """One thing that happened; `by` is the id of a token, or `system`."""

    at: Time
    what: str
    by: str | None = None
    location: str | None = None
    line: str | None = None
    quantity: int | None = None
    reason: str | None = None


class OrderDocument(Document, frozen=True, kw_only=True):
    """An order. `pickup_code` is what the customer shows at collection."""

    id: str
    status: OrderStatus
    channel: Channel
    lines: list[OrderedLineDocument]
    fulfilment: FulfilmentDocument
    tasks: Annotated[list[str], Meta(description="Ids.")]
    created_at: Time
    updated_at: Time
    history: list[HistoryDocument]
    customer: Customer | None = None
    hold_id: str | None = None
    pickup_code: str | None = None
    returns: Annotated[list[str], Meta(description="Ids of its returns.")] = []
    exchange_of: Annotated[str, Meta(description="The return that it is given for.")] | None = None


class OrderList(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A page of orders, the newest first."""

    items: list[OrderDocument]
    next: str | None


class TaskLineDocument(Document, frozen=True, kw_only=True):
    """Units of a line that a task hands over; `line` is the id of the order's line."""

    line: str
    sku: str
    quantity: Units
    picked: Units
    short: Units
    handed_over: Units


class TaskDocument(Document, frozen=True, kw_only=True):
    """Work for a location: one package, or one pickup."""

    id: str
    order_id: str
    location: str
    method: Method
    status: TaskStatus
    lines: list[TaskLineDocument]
    due_at: Time
    created_at: Time
    carrier: str | None = None
    tracking_number: str | None = None
    reason: str | None = None
    collect_by: Time | None = None


class TaskList(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A page of tasks, the oldest promise first."""

    items: list[TaskDocument]
    next: str | None


class PromisedLine(Document, frozen=True, kw_only=True):
    """Units that would come from a location."""

    sku: str
    quantity: Units
    location: str
    due: Annotated[str, Meta(description="Day on which what it waits for comes in.")] | None = None


class LeftOut(Document, frozen=True, kw_only=True):
    """Units of a SKU that an option leaves out."""

    sku: str
    quantity: Units


class LackingLine(Document, frozen=True, kw_only=True):
    """A line that lacks stock; `line` is its index."""

    line: int
    sku: str
    wanted: Units
    available: Units


class PromiseOption(Document, frozen=True, kw_only=True):
    """One way to fulfil what was asked about."""

    lines: list[PromisedLine]
    packages: int
    distance_km: float
    cost: float
    score: Annotated[float, Meta(description="Falls along one answer; no other can be compared.")]
    why: Annotated[list[str], Meta(description="The most important reason first.")]
    ready_by: Time | None = None
    deliver_by: Time | None = None
    short: list[LeftOut] = []


class PromiseList(Document, frozen=True, kw_only=True):
    """Ways to fulfil what was asked about, the best first; with none, `lines` lack stock."""

    options: list[PromiseOption]
    lines: list[LackingLine] = []


class ExplainedAllocation(Document, frozen=True, kw_only=True):
    """Why units are where they are."""

    id: str
    line: str
    sku: str
    quantity: Units
    location: str | None
    status: AllocationStatus
    why: Annotated[list[str], Meta(description="Why this location, in words.")]
    sourced: Annotated[int, Meta(description="How often these units were sourced again.")] = 0


class Refused(Document, frozen=True, kw_only=True):
    """A location that is not asked again for a line; line `*` stands for all."""

    line: str
    location: str


class LedgerMovement(Document, frozen=True, kw_only=True):
    """A movement that the order has caused, by its place in the sequence of `stock.ledger`."""

    sequence: int
    at: Time
    type: str


class ExplainedOrder(Document, frozen=True, kw_only=True, omit_defaults=False):
    """An order, the rules that were applied to it, and what it has caused."""

    order: OrderDocument
    policy: OrderPolicy
    rules: Annotated[dict[str, str | int | float], Meta(description="Settings, by name.")]
    allocations: list[ExplainedAllocation]
    refused: list[Refused]
    hold: HoldDocument | None
    ledger: Annotated[
        list[LedgerMovement],
        Meta(description="While the ledger keeps them: a week after they were applied."),
    ]
