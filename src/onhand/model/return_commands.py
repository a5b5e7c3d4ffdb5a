"""What may be asked about returns: the bodies of the requests."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from onhand.errors import FieldError
from onhand.model.commands import Command, Fulfilment, Words
from onhand.model.events import LINE_COUNT_MAX, Id, Name, Quantity
from onhand.model.return_policy import Disposition
from onhand.model.returns import ReturnChannel
from onhand.model.validate import check, printable

Price = Annotated[float, Meta(ge=0, le=1e12)]


class AnnouncedLine(Command, frozen=True, kw_only=True):
    """Units that come back: of a line of the order, or of a SKU."""

    quantity: Quantity
    reason: Words
    line: Id | None = None
    sku: Name | None = None

    def __post_init__(self) -> None:
        """Check that the line names one thing.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = [*printable("/sku", self.sku), *printable("/reason", self.reason)]
        if (self.line is None) == (self.sku is None):
            errors.append(FieldError("/line", "give either a line or a sku"))
        check("not a valid line", errors)


class ExchangeLine(Command, frozen=True, kw_only=True):
    """Units that are given for what comes back."""

    sku: Name
    quantity: Quantity
    unit_price: Price | None = None

    def __post_init__(self) -> None:
        """Check that the SKU is printable.

        Raises
        ------
        InvalidInput
            Naming the field and the rule.
        """
        check("not a valid line", printable("/sku", self.sku))


class AuthoriseReturn(Command, frozen=True, kw_only=True):
    """Announce that units come back, and take others for them if that is wished.

    Without an order or a receipt the lines name SKUs, and the location must take such back.
    ``override`` is why rules of the policy are set aside, by someone who may.
    """

    lines: Annotated[tuple[AnnouncedLine, ...], Meta(min_length=1, max_length=LINE_COUNT_MAX)]
    channel: ReturnChannel
    order_id: Id | None = None
    receipt: Id | None = None
    location: Name | None = None
    customer_id: Id | None = None
    exchange: Annotated[tuple[ExchangeLine, ...], Meta(max_length=LINE_COUNT_MAX)] | None = None
    exchange_fulfilment: Fulfilment | None = None
    override: Words | None = None

    def __post_init__(self) -> None:
        """Check what fields owe to each other.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = [
            error
            for name in ("order_id", "receipt", "location", "customer_id")
            for error in printable(f"/{name}", getattr(self, name))
        ]
        if self.order_id is not None and self.receipt is not None:
            errors.append(FieldError("/receipt", "must be left out beside order_id"))
        if self.order_id is None:
            errors += [
                FieldError(f"/lines/{index}/sku", "is required without order_id")
                for index, line in enumerate(self.lines)
                if line.sku is None
            ]
        if self.order_id is None and self.receipt is None and self.location is None:
            errors.append(FieldError("/location", "is required without order_id and receipt"))
        if self.exchange_fulfilment is not None and not self.exchange:
            errors.append(FieldError("/exchange_fulfilment", "must be left out without exchange"))
        check("not a valid return", errors)


class ReceivedLine(Command, frozen=True, kw_only=True):
    """Units that are there: of a line of the return, or of a SKU that was found in the parcel.

    ``disposition`` left out is what the policy says of them.
    """

    quantity: Quantity
    line: Id | None = None
    sku: Name | None = None
    disposition: Disposition | None = None

    def __post_init__(self) -> None:
        """Check that the line names one thing.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = list(printable("/sku", self.sku))
        if (self.line is None) == (self.sku is None):
            errors.append(FieldError("/line", "give either a line or a sku"))
        check("not a valid line", errors)


class ReceiveReturn(Command, frozen=True, kw_only=True):
    """Take units in, at whatever location they have come to."""

    location: Name
    lines: Annotated[tuple[ReceivedLine, ...], Meta(min_length=1, max_length=LINE_COUNT_MAX)]

    def __post_init__(self) -> None:
        """Check that the location is printable.

        Raises
        ------
        InvalidInput
            Naming the field and the rule.
        """
        check("not a valid reception", printable("/location", self.location))


class InspectedLine(Command, frozen=True, kw_only=True):
    """Held units of a line that were looked at."""

    line: Id
    quantity: Quantity
    disposition: Literal["sellable", "damaged"]


class InspectReturn(Command, frozen=True, kw_only=True):
    """Say what held units at a location turned out to be."""

    location: Name
    lines: Annotated[tuple[InspectedLine, ...], Meta(min_length=1, max_length=LINE_COUNT_MAX)]

    def __post_init__(self) -> None:
        """Check that the location is printable.

        Raises
        ------
        InvalidInput
            Naming the field and the rule.
        """
        check("not a valid inspection", printable("/location", self.location))


class CancelReturn(Command, frozen=True, kw_only=True):
    """Wait no longer for what has not come."""

    reason: Words | None = None
