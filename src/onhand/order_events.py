"""What is told on ``orders.events``, as types: for the published schema, and for those who listen.

A record's value is a CloudEvent in JSON, its key the id of the hold or order. Each is told once it
is on disk, in the order in which things happened to one hold or order, and again after a fault: the
``id`` says which were told before.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from onhand.model.return_policy import Disposition
from onhand.model.returns import Teller
from onhand.web.documents import Document, HoldDocument, OrderDocument, TaskDocument, Time, Units
from onhand.web.return_documents import ReturnDocument

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


class StrayArrival(Document, frozen=True, kw_only=True):
    """Units that came and belong to no return; `source` and `id` are of what said so."""

    location: str
    disposition: Disposition
    lines: list[ReturnedLine]
    source: str
    id: str
    order_id: str | None = None
    return_id: str | None = None


class RefundedLine(Document, frozen=True, kw_only=True):
    """Units that are to be paid back; `amount` is null when their price is not known."""

    line: str
    sku: str
    quantity: Units
    reason: str
    disposition: Disposition
    unit_price: float | None
    amount: Annotated[float | None, Meta(description="After the fee.")]
    fee_percent: float | None = None


class RefundInstruction(Document, frozen=True, kw_only=True):
    """What is owed for units that came back; paying it is done elsewhere.

    `exchange_cancelled`: units came back and paid for an exchange, of which this much is not given
    after all. It names no lines; they were those of `returned` before.
    """

    return_id: str
    why: Literal["returned", "exchange_cancelled"]
    lines: list[RefundedLine]
    amount: Annotated[
        float | None, Meta(description="Left to pay; null when a price is not known.")
    ]
    set_against_exchange: Annotated[float, Meta(description="What of it pays for an exchange.")] = (
        0.0
    )
    told_by: Annotated[
        Teller | None,
        Meta(description="Who was first to tell of units; a till may have paid already."),
    ] = None
    exchange_order_id: str | None = None
    order_id: str | None = None
    receipt: str | None = None
    customer_id: str | None = None


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
RETURN_CHANGES: Final = ("authorised", "received", "inspected", "closed", "cancelled")

CHANGES: Final[dict[str, tuple[type[Struct], tuple[str, ...]]]] = {
    "hold": (HoldChange, HOLD_CHANGES),
    "order": (OrderDocument, ORDER_CHANGES),
    "task": (TaskDocument, TASK_CHANGES),
    "allocation": (AllocationChange, ALLOCATION_CHANGES),
    "return": (ReturnDocument, RETURN_CHANGES),
    "arrival": (StrayArrival, ("unmatched",)),
    "refund": (RefundInstruction, ("instructed",)),
}
"""What things change, the type that tells of it, and how: ``onhand.hold.placed`` and so on."""


class OrderEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The envelope of every one of them; ``data`` is of the type of :data:`CHANGES`."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: Annotated[str, Meta(description="Id of the hold, order, or return without one.")]
    time: Time
    datacontenttype: Literal["application/json"]
    data: dict[str, Any]


def event_types(thing: str) -> list[str]:
    """List the values of ``type`` that tell of changes of one thing."""
    return [f"{TYPE_PREFIX}{thing}.{what}" for what in CHANGES[thing][1]]
