"""What is answered about returns, as types; :mod:`onhand.orders.return_views` writes it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from onhand.model.return_policy import Disposition, ReturnPolicy
from onhand.model.returns import ReturnChannel, ReturnStatus
from onhand.web.documents import Document, HistoryDocument, LedgerMovement, Time, Units

Fate = Literal["sellable", "held", "damaged"]


class DecisionDocument(Document, frozen=True, kw_only=True):
    """By which rule of which version of the return policy a line may come back."""

    policy_version: int
    rule: Annotated[str, Meta(description="`default`, or the SKU or category it is about.")]
    restock: Annotated[Disposition, Meta(description="The best that units can come back as.")]
    fee_percent: float = 0.0
    window_ends_at: Time | None = None
    overridden: Annotated[list[str], Meta(description="Rules broken, and set aside.")] = field(
        default_factory=list
    )
    override_reason: str | None = None
    by: str | None = None


class ArrivalDocument(Document, frozen=True, kw_only=True):
    """Units that came to a location; told by app and till alike they have come once."""

    location: str
    quantities: dict[Fate, Units]
    told_by_app: Units
    told_by_till: Units


class ReturnLineDocument(Document, frozen=True, kw_only=True):
    """Units of a SKU that come back. `held` ones await inspection and are not promised."""

    line: str
    sku: str
    quantity: Units
    received: Units
    reason: str
    quantities: dict[Literal["awaited", "sellable", "held", "damaged", "given_up"], Units]
    arrivals: list[ArrivalDocument]
    decision: DecisionDocument
    order_line: str | None = None
    unit_price: float | None = None
    announced: Annotated[bool, Meta(description="False: it was found in the parcel.")] = True


class ExchangeDocument(Document, frozen=True, kw_only=True):
    """The order that is given for what comes back."""

    order_id: str
    cancelled: bool
    value: float | None = None
    settled: Annotated[float, Meta(description="What units that came back have paid of it.")] = 0.0
    cancelled_value: Annotated[
        float, Meta(description="What units cost that are not given after all.")
    ] = 0.0
    price_difference: Annotated[
        float | None, Meta(description="What the customer owes; below 0: is owed.")
    ] = None


class OnwardTransfer(Document, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A transfer of units that the receiving place should not keep: a suggestion."""

    sku: str
    quantity: Units
    from_: str
    to: str
    why: str


class UnmatchedUnits(Document, frozen=True, kw_only=True):
    """Units that were in the parcel and belong to no return: taken in, and not refunded."""

    sku: str
    quantity: Units
    disposition: Disposition


class ReturnDocument(Document, frozen=True, kw_only=True):
    """A return. Its id is the authorisation that a parcel or a customer shows."""

    id: str
    status: ReturnStatus
    channel: ReturnChannel
    lines: list[ReturnLineDocument]
    created_at: Time
    updated_at: Time
    expires_at: Annotated[Time, Meta(description="Until when units are waited for.")]
    history: list[HistoryDocument]
    order_id: str | None = None
    receipt: str | None = None
    customer_id: str | None = None
    location: str | None = None
    by_till: Annotated[bool, Meta(description="Began with a till's word.")] = False
    exchange: ExchangeDocument | None = None
    unmatched: Annotated[list[UnmatchedUnits], Meta(description="Answered on receiving.")] = field(
        default_factory=list
    )
    onward: Annotated[list[OnwardTransfer], Meta(description="Answered on receiving.")] = field(
        default_factory=list
    )


class ReturnList(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A page of returns, the newest first."""

    items: list[ReturnDocument]
    next: str | None


class ExplainedReturn(
    Document, frozen=True, kw_only=True, omit_defaults=False, rename={"return_": "return"}
):
    """A return, the policies that decided about its lines, and what it has moved."""

    return_: ReturnDocument
    policies: list[ReturnPolicy]
    ledger: list[LedgerMovement]
