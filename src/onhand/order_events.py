"""What is told on ``orders.events``, as types: for the published schema, and for those who listen.

A record's value is a CloudEvent in JSON, its key the id of the hold or order. Each is told once it
is on disk, in the order in which things happened to one hold or order, and again after a fault: the
``id`` says which were told before.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from onhand.web.documents import Document, HoldDocument, OrderDocument, TaskDocument, Time, Units

TYPE_PREFIX: Final = "onhand."


class ShortCell(Document, frozen=True, kw_only=True):
    """Units that the shelf does not hold."""

    sku: str
    location: str
    quantity: Units


class HoldChange(HoldDocument, frozen=True, kw_only=True):
    """A hold as it is now; of one that is `short`, the units that the shelf does not hold."""

    short: ShortCell | None = None


class AllocationChange(Document, frozen=True, kw_only=True):
    """What became of units of an allocation."""

    order_id: str
    allocation_id: str
    line: str
    sku: str
    location: str | None
    quantity: Units
    reason: str | None = None
    by: Annotated[str, Meta(description="Source of the till's event.")] | None = None


class ReturnedLine(Document, frozen=True, kw_only=True):
    """Units of a SKU that came back."""

    sku: str
    quantity: Units


class ReturnChange(Document, frozen=True, kw_only=True):
    """Units that came back; `source` and `id` are those of the event that said so."""

    order_id: str | None
    return_id: str | None
    location: str | None
    disposition: str | None
    lines: list[ReturnedLine]
    source: str
    id: str


HOLD_CHANGES: Final = ("placed", "extended", "moved", "short", "released", "ordered", "expired")
ORDER_CHANGES: Final = (
    "placed",
    "open",
    "backorder_filled",
    "partially_cancelled",
    "partially_fulfilled",
    "fulfilled",
    "cancelled",
)
TASK_CHANGES: Final = (
    "picked",
    "packed",
    "ready",
    "shipped",
    "collected",
    "rejected",
    "expired",
)
ALLOCATION_CHANGES: Final = (
    "short",
    "rejected",
    "sourced_again",
    "backordered",
    "cancelled",
    "handed_over",
)
RETURN_CHANGES: Final = ("received", "unmatched")

CHANGES: Final[dict[str, tuple[type[Struct], tuple[str, ...]]]] = {
    "hold": (HoldChange, HOLD_CHANGES),
    "order": (OrderDocument, ORDER_CHANGES),
    "task": (TaskDocument, TASK_CHANGES),
    "allocation": (AllocationChange, ALLOCATION_CHANGES),
    "return": (ReturnChange, RETURN_CHANGES),
}
"""What things change, the type that tells of it, and how: ``onhand.hold.placed`` and so on."""


class OrderEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The envelope of every one of them; ``data`` is of the type of :data:`CHANGES`."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: Annotated[str, Meta(description="Id of the hold or order.")]
    time: Time
    datacontenttype: Literal["application/json"]
    data: dict[str, Any]


def event_types(thing: str) -> list[str]:
    """List the values of ``type`` that tell of changes of one thing."""
    return [f"{TYPE_PREFIX}{thing}.{what}" for what in CHANGES[thing][1]]
