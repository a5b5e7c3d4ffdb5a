"""What may be asked of the order layer: the bodies of its requests, as one struct a command.

Structs refuse unknown fields and judge themselves when made; :func:`onhand.model.validate.build`
names every field that breaks a rule.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from onhand.errors import FieldError
from onhand.model.events import LINE_COUNT_MAX, Id, Name, Quantity
from onhand.model.validate import check, printable

HOLD_TTL_S_MAX: Final = 14_400

Ttl = Annotated[int, Meta(ge=1, le=HOLD_TTL_S_MAX)]
Words = Annotated[str, Meta(min_length=1, max_length=256)]
Channel = Literal["web", "store", "marketplace"]
Method = Literal["pickup", "ship"]


class Command(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The base of every body."""


class HoldLine(Command, frozen=True, kw_only=True):
    """Units wanted at one location, or anywhere in a group."""

    sku: Name
    quantity: Quantity
    location: Name | None = None
    group: Name | None = None

    def __post_init__(self) -> None:
        """Check that the line names one place and printable ids.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = [*printable("/sku", self.sku), *printable("/location", self.location)]
        if (self.location is None) == (self.group is None):
            errors.append(FieldError("/location", "give either a location or a group"))
        check("not a valid line", errors)


class PlaceHold(Command, frozen=True, kw_only=True):
    """Reserve units for a while."""

    lines: Annotated[tuple[HoldLine, ...], Meta(min_length=1, max_length=LINE_COUNT_MAX)]
    ttl_s: Ttl
    channel: Channel = "web"


class ExtendHold(Command, frozen=True, kw_only=True):
    """Let a hold end so many seconds from now."""

    ttl_s: Ttl


class OrderLine(Command, frozen=True, kw_only=True):
    """Units of one SKU that a customer buys."""

    sku: Name
    quantity: Quantity
    id: Id | None = None
    unit_price: Annotated[float, Meta(ge=0, le=1e12)] | None = None

    def __post_init__(self) -> None:
        """Check that ids are printable.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        check("not a valid line", [*printable("/sku", self.sku), *printable("/id", self.id)])


class Customer(Command, frozen=True, kw_only=True):
    """Who buys."""

    id: Id
    name: Annotated[str, Meta(max_length=200)] | None = None
    email: Annotated[str, Meta(max_length=320)] | None = None

    def __post_init__(self) -> None:
        """Check that the id is printable.

        Raises
        ------
        InvalidInput
            Naming the field and the rule.
        """
        check("not a valid customer", printable("/id", self.id))


class Destination(Command, frozen=True, kw_only=True):
    """Where a parcel goes. Coordinates, when given, decide over the postal code."""

    postal_code: Annotated[str, Meta(min_length=1, max_length=16)] | None = None
    country: Annotated[str, Meta(min_length=2, max_length=2)] | None = None
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None

    def __post_init__(self) -> None:
        """Check that there is a place to measure from.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = []
        if (self.latitude is None) != (self.longitude is None):
            missing = "latitude" if self.latitude is None else "longitude"
            errors.append(FieldError(f"/{missing}", "is required beside the other coordinate"))
        if self.latitude is None and self.longitude is None and self.postal_code is None:
            errors.append(FieldError("/postal_code", "is required without coordinates"))
        check("not a valid destination", errors)


class Fulfilment(Command, frozen=True, kw_only=True):
    """How the goods reach the customer."""

    method: Method
    location: Name | None = None
    destination: Destination | None = None
    deliver_by: Annotated[datetime, Meta(tz=True)] | None = None

    def __post_init__(self) -> None:
        """Check that the method has what it needs and nothing of the other's.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        needed, foreign = (
            ("location", ("destination", "deliver_by"))
            if self.method == "pickup"
            else ("destination", ("location",))
        )
        errors = [
            FieldError(f"/{name}", f"must be left out for {self.method}")
            for name in foreign
            if getattr(self, name) is not None
        ]
        if getattr(self, needed) is None:
            errors.append(FieldError(f"/{needed}", f"is required for {self.method}"))
        check("not a valid fulfilment", [*errors, *printable("/location", self.location)])


class OrderPolicy(Command, frozen=True, kw_only=True):
    """What to do when one place, or all places, cannot give everything."""

    allow_split: bool = True
    allow_partial: bool = False
    allow_backorder: bool = False


class AskPromise(Command, frozen=True, kw_only=True):
    """Ask how an order could be fulfilled; holds nothing."""

    lines: Annotated[tuple[OrderLine, ...], Meta(min_length=1, max_length=LINE_COUNT_MAX)]
    fulfilment: Fulfilment
    policy: OrderPolicy = OrderPolicy()
    limit: Annotated[int, Meta(ge=1, le=20)] = 3


class PlaceOrder(Command, frozen=True, kw_only=True):
    """Buy, all or nothing unless the policy says otherwise."""

    lines: Annotated[tuple[OrderLine, ...], Meta(min_length=1, max_length=LINE_COUNT_MAX)]
    fulfilment: Fulfilment
    id: Id | None = None
    channel: Channel = "web"
    customer: Customer | None = None
    hold_id: Id | None = None
    policy: OrderPolicy = OrderPolicy()

    def __post_init__(self) -> None:
        """Check that ids are printable and lines are told apart.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = [*printable("/id", self.id), *printable("/hold_id", self.hold_id)]
        seen: set[str] = set()
        for index, line in enumerate(self.lines):
            if line.id is not None and line.id in seen:
                errors.append(FieldError(f"/lines/{index}/id", "stands in this order before"))
            seen.add(line.id or "")
        check("not a valid order", errors)


class LineQuantity(Command, frozen=True, kw_only=True):
    """Units of one line of an order; ``line`` is its id."""

    line: Id
    quantity: Quantity


class CancelledLine(Command, frozen=True, kw_only=True):
    """Units of one line of an order to cancel; ``id`` is the line's."""

    id: Id
    quantity: Quantity


class CancelOrder(Command, frozen=True, kw_only=True):
    """Cancel what is named, or all that has not left."""

    lines: Annotated[tuple[CancelledLine, ...], Meta(max_length=LINE_COUNT_MAX)] | None = None


class ShortLine(Command, frozen=True, kw_only=True):
    """Units of a line that were not on the shelf."""

    line: Id
    quantity: Quantity
    reason: Words


class PickTask(Command, frozen=True, kw_only=True):
    """Say what was picked and what was not there; both left out: all of it was picked."""

    picked: Annotated[tuple[LineQuantity, ...], Meta(max_length=LINE_COUNT_MAX)] | None = None
    short: Annotated[tuple[ShortLine, ...], Meta(max_length=LINE_COUNT_MAX)] | None = None


class PackTask(Command, frozen=True, kw_only=True):
    """Say that what was picked is packed."""


class ReadyTask(Command, frozen=True, kw_only=True):
    """Say that what was picked waits for its customer."""


class ShipTask(Command, frozen=True, kw_only=True):
    """Hand packed units to a carrier; all of them when ``lines`` is left out."""

    carrier: Words
    tracking_number: Words
    lines: Annotated[tuple[LineQuantity, ...], Meta(max_length=LINE_COUNT_MAX)] | None = None


class CollectTask(Command, frozen=True, kw_only=True):
    """Hand ready units to the customer who knows the code; all when ``lines`` is left out."""

    pickup_code: Annotated[str, Meta(min_length=1, max_length=32)]
    lines: Annotated[tuple[LineQuantity, ...], Meta(max_length=LINE_COUNT_MAX)] | None = None


class RejectTask(Command, frozen=True, kw_only=True):
    """Refuse a task: this place cannot do it."""

    reason: Words
