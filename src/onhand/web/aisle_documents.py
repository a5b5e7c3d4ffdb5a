"""What is answered about the endless aisle, as types; :mod:`onhand.web.aisle` finds it out."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from onhand.model.availability import AvailableOn
from onhand.model.commands import Channel, Method
from onhand.web.documents import Document, Time, Units


class OrderedLine(Document, frozen=True, kw_only=True):
    """A line of an order to be placed."""

    sku: str
    quantity: Units


class OrderedFor(Document, frozen=True, kw_only=True):
    """Who an order to be placed is for."""

    id: str


class SentTo(Document, frozen=True, kw_only=True):
    """Where an order to be placed goes."""

    postal_code: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class ReachedBy(Document, frozen=True, kw_only=True):
    """How an order to be placed reaches the shopper."""

    method: Method
    location: str | None = None
    destination: SentTo | None = None


class WaitsFor(Document, frozen=True, kw_only=True):
    """What an order to be placed may wait for."""

    allow_backorder: bool = False


class OrderToPlace(Document, frozen=True, kw_only=True):
    """The body that `POST /v1/orders` takes for a way."""

    channel: Annotated[Channel, Meta(description="Always `store`.")]
    lines: list[OrderedLine]
    fulfilment: ReachedBy
    customer: OrderedFor | None = None
    policy: WaitsFor | None = None


class Here(Document, frozen=True, kw_only=True):
    """What this store has. Without `order` it has too little, or hands over no orders."""

    available: Units
    enough: bool
    order: OrderToPlace | None = None


class StoreToday(Document, frozen=True, kw_only=True):
    """A store near by that has it ready today, by its own calendar."""

    location: str
    name: str
    distance_km: float
    available: Units
    ready_by: Time
    order: OrderToPlace


class Sent(Document, frozen=True, kw_only=True):
    """One way to send it home."""

    deliver_by: Time
    packages: int
    distance_km: float
    cost: float
    locations: Annotated[list[str], Meta(description="Where the packages come from.")]
    why: list[str]
    order: OrderToPlace


class Shipping(Document, frozen=True, kw_only=True, omit_defaults=False):
    """Sending it home. Without options `code` says why, in the words of problems.

    It is `address_needed` when the request names no address.
    """

    available: Annotated[Units, Meta(description="Units of all places that ship.")]
    options: list[Sent]
    code: str | None


class Waiting(Document, frozen=True, kw_only=True):
    """Waiting for stock that is on its way here: what a backorder would be promised."""

    due: Annotated[str, Meta(description="Day on which what it waits for comes in.")]
    ready_by: Time
    order: OrderToPlace


class Substitute(Document, frozen=True, kw_only=True):
    """Another SKU of the same category that can be sold now."""

    sku: str
    name: str | None = None
    similarity: Annotated[
        float, Meta(ge=0, le=1, description="How alike the baskets are that both are bought in.")
    ]
    available: Annotated[Units, Meta(description="Units in this store.")]
    shippable: Annotated[Units, Meta(description="Units that ship, when there are too few here.")]
    order: Annotated[
        OrderToPlace | None,
        Meta(description="Left out when it would be sent and the request names no address."),
    ] = None


class Aisle(Document, frozen=True, kw_only=True, omit_defaults=False):
    """Every way to give a shopper an item."""

    sku: str
    name: str | None
    location: str
    quantity: Units
    here: Here
    nearby: Annotated[list[StoreToday], Meta(description="By distance.")]
    ship: Shipping
    incoming: Annotated[
        Waiting | None, Meta(description="Null when there is enough, or nothing is on its way.")
    ]
    available_to_order: Annotated[
        list[AvailableOn], Meta(description="Of this store: today, and each day it changes.")
    ]
    substitutes: Annotated[list[Substitute], Meta(description="The most alike first.")]
    as_of: Time
    age_ms: int
