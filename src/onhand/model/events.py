"""The stock events: what publishers write, as one struct a type.

These structs are the definition of an event's fields. :mod:`onhand.model.check` judges by them, the
published schemas are made of them, and native decoding is held to them by a test.

A field that is null counts as left out. Either ``sku`` and ``quantity`` or ``lines`` must be there;
an adjustment has ``delta`` in the place of ``quantity``, in its lines too. Fields that a type has
not got are kept, ignored and counted.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

QUANTITY_MAX: Final = 2_147_483_647
LINE_COUNT_MAX: Final = 1_000
EVENT_BYTES_MAX: Final = 1_048_576
EVENT_DEPTH_MAX: Final = 64
"""Far below what any parser takes: where Python's own limit lies depends on who calls, and the same
record must get the same verdict everywhere."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        description="1-64 printable characters",
        extra={"printable": True},
    ),
]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Time = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339 with an offset")]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
QuantityOrZero = Annotated[int, msgspec.Meta(ge=0, le=QUANTITY_MAX)]
Delta = Annotated[
    int,
    msgspec.Meta(
        ge=-QUANTITY_MAX,
        le=QUANTITY_MAX,
        description="Not 0",
        extra={"nonzero": True},
        extra_json_schema={"not": {"const": 0}},
    ),
]


class Line(msgspec.Struct, frozen=True):
    """Units of one SKU."""

    sku: Name
    quantity: Quantity


class TotalLine(msgspec.Struct, frozen=True):
    """A total of one SKU, counted or ordered; it may be 0."""

    sku: Name
    quantity: QuantityOrZero


class AdjustmentLine(msgspec.Struct, frozen=True):
    """A correction of one SKU."""

    sku: Name
    delta: Delta


_LINES: Final = msgspec.Meta(min_length=1, max_length=LINE_COUNT_MAX)
Lines = Annotated[list[Line], _LINES]
TotalLines = Annotated[list[TotalLine], _LINES]
AdjustmentLines = Annotated[list[AdjustmentLine], _LINES]


class Event(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, tag_field="type"):
    """What every event has. ``id`` is unique within ``source``."""

    id: Id
    source: Id
    occurred_at: Time
    order_id: Id | None = None
    customer_id: Id | None = None
    basket_id: Id | None = None
    reference: Id | None = None
    attributes: dict[str, Any] | None = None
    sku: Name | None = None


class Sale(Event, kw_only=True, frozen=True, tag="sale"):
    """Units sold. With ``allocation_id`` it is a claim, which the order layer decides."""

    location: Name
    quantity: Quantity | None = None
    lines: Lines | None = None
    allocation_id: Id | None = None


class Receipt(Event, kw_only=True, frozen=True, tag="receipt"):
    """Units that came in; with ``purchase_order`` they count as received on it."""

    location: Name
    quantity: Quantity | None = None
    lines: Lines | None = None
    purchase_order: Id | None = None


class Expected(Event, kw_only=True, frozen=True, tag="expected"):
    """The total that a purchase order will bring; the newest rules, 0 cancels."""

    location: Name
    quantity: QuantityOrZero | None = None
    lines: TotalLines | None = None
    expected_on: date
    purchase_order: Id


class _Transfer(Event, kw_only=True, frozen=True):
    transfer_id: Id
    from_: Name = msgspec.field(name="from")
    to: Name
    quantity: Quantity | None = None
    lines: Lines | None = None


class TransferShipped(_Transfer, frozen=True, tag="transfer_shipped"):
    """Units that left ``from`` for ``to``."""


class TransferReceived(_Transfer, frozen=True, tag="transfer_received"):
    """Units that arrived at ``to``."""


class TransferLost(_Transfer, frozen=True, tag="transfer_lost"):
    """Units that will not arrive."""


class Return(Event, kw_only=True, frozen=True, tag="return"):
    """Units that came back. With ``return_id`` or ``order_id`` it is a claim."""

    location: Name
    quantity: Quantity | None = None
    lines: Lines | None = None
    disposition: Literal["sellable", "inspect", "damaged"]
    return_id: Id | None = None


class Inspected(Event, kw_only=True, frozen=True, tag="inspected"):
    """Held units that were looked at."""

    location: Name
    quantity: Quantity | None = None
    lines: Lines | None = None
    disposition: Literal["sellable", "damaged"]


class Count(Event, kw_only=True, frozen=True, tag="count"):
    """What was found on the shelf at ``occurred_at``; no SKU twice."""

    location: Name
    quantity: QuantityOrZero | None = None
    lines: TotalLines | None = None


class Adjustment(Event, kw_only=True, frozen=True, tag="adjustment"):
    """A correction by a difference."""

    location: Name
    delta: Delta | None = None
    lines: AdjustmentLines | None = None
    reason: Reason


class LedgerFields(msgspec.Struct, kw_only=True, frozen=True):
    """What events on ``stock.ledger`` have besides; elsewhere it is an unknown field."""

    sequence: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


AnyEvent = (
    Sale
    | Receipt
    | Expected
    | TransferShipped
    | TransferReceived
    | TransferLost
    | Return
    | Inspected
    | Count
    | Adjustment
)

EVENT_STRUCTS: Final[dict[str, type[Event]]] = {
    "sale": Sale,
    "receipt": Receipt,
    "expected": Expected,
    "transfer_shipped": TransferShipped,
    "transfer_received": TransferReceived,
    "transfer_lost": TransferLost,
    "return": Return,
    "inspected": Inspected,
    "count": Count,
    "adjustment": Adjustment,
}
"""The struct of each type, in the order of their numbers in a batch."""
