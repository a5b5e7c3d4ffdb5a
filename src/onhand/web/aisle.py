"""The endless aisle: every way to give a shopper an item, whether or not this store has it.

Each way carries the order that would take it, so that a store sells it in one more call. What is
here is told from the tables; what an order would be promised is asked of the order writer.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import unquote

import msgspec
from litestar import Request, get
from litestar.params import FromPath
from msgspec import Meta, Struct

from onhand.geo import Point
from onhand.model.commands import (
    AskPromise,
    Destination,
    Fulfilment,
    OrderLine,
    OrderPolicy,
)
from onhand.model.events import QUANTITY_MAX
from onhand.model.hours import ready_by
from onhand.model.setup import unconfigured_location
from onhand.model.validate import Text64
from onhand.recommendations.recommender import most_bought
from onhand.web.aisle_documents import (
    Aisle,
    Here,
    OrderedFor,
    OrderedLine,
    OrderToPlace,
    ReachedBy,
    Sent,
    SentTo,
    Shipping,
    StoreToday,
    Substitute,
    Waiting,
    WaitsFor,
)
from onhand.web.auth import guard
from onhand.web.availability import unknown_sku
from onhand.web.commands import ASK_PROMISE, actor_of, commands_of
from onhand.web.documents import PromiseList, PromiseOption
from onhand.web.openapi import described
from onhand.web.order_pages import must_be_printable
from onhand.web.parameters import parse_parameters
from onhand.web.problem import ProblemCode, ProblemError, invalid_parameter

if TYPE_CHECKING:
    from onhand.geo import Near
    from onhand.metrics import Page
    from onhand.model.access import Grant
    from onhand.model.availability import Answer
    from onhand.model.setup import Location, Setup
    from onhand.web.commands import Commands
    from onhand.web.readside import ReadSide
    from onhand.web.recommendations import Recommending
    from onhand.web.services import Services

ROUTE: Final = "/v1/aisle/{sku}"
STORES_ASKED: Final = 50
"""The nearest stores whose stock is looked at."""

STORES_MAX: Final = 5
OPTIONS_MAX: Final = 3
SUBSTITUTES_MAX: Final = 5
CANDIDATES_MAX: Final = 128
"""SKUs of the same category that are compared: those bought most."""

CHANNEL: Final = "store"
_OK: Final = 200

Quantity = Annotated[int, Meta(ge=1, le=QUANTITY_MAX, description="Units that the shopper wants.")]


class AisleParameters(Struct, frozen=True):
    """Where the shopper is, and where it may be sent."""

    location: Annotated[Text64, Meta(description="The store in which the shopper is.")]
    quantity: Quantity = 1
    postal_code: (
        Annotated[str, Meta(min_length=1, max_length=16, description="Where it may be sent.")]
        | None
    ) = None
    country: (
        Annotated[str, Meta(min_length=2, max_length=2, description="Of the postal code.")] | None
    ) = None
    latitude: (
        Annotated[float, Meta(ge=-90, le=90, description="Degrees north; before a postal code.")]
        | None
    ) = None
    longitude: Annotated[float, Meta(ge=-180, le=180, description="Degrees east.")] | None = None
    radius_km: Annotated[
        float, Meta(gt=0, le=20_040, description="No store farther away than this.")
    ] = 50.0
    customer: (
        Annotated[str, Meta(min_length=1, max_length=128, description="Id, for the orders.")] | None
    ) = None


class Wanted(Struct, frozen=True):
    """What is asked about: units of a SKU for a shopper in a store, and where home is."""

    sku: str
    quantity: int
    location: str
    customer: str | None
    home: Destination | None

    def order(
        self, fulfilment: ReachedBy, *, sku: str | None = None, may_wait: bool = False
    ) -> OrderToPlace:
        """Write the order that takes a way."""
        return OrderToPlace(
            channel=CHANNEL,
            lines=[OrderedLine(sku=sku or self.sku, quantity=self.quantity)],
            fulfilment=fulfilment,
            customer=OrderedFor(id=self.customer) if self.customer is not None else None,
            policy=WaitsFor(allow_backorder=True) if may_wait else None,
        )

    def collected(self, location: str) -> ReachedBy:
        """Say that the shopper collects at a location."""
        return ReachedBy(method="pickup", location=location)

    def sent(self) -> ReachedBy | None:
        """Say that it is sent home; None when nobody said where that is."""
        if self.home is None:
            return None
        return ReachedBy(
            method="ship",
            destination=SentTo(
                postal_code=self.home.postal_code,
                country=self.home.country,
                latitude=self.home.latitude,
                longitude=self.home.longitude,
            ),
        )


class Aisles:
    """Looks through the endless aisle; used by the event loop's thread alone.

    Parameters
    ----------
    side
        Tables and set-up.
    recommending
        For what can be sold instead.
    preparation
        Opening time that a store needs to make a pickup ready.
    """

    def __init__(
        self, side: ReadSide, recommending: Recommending, preparation: timedelta, page: Page
    ) -> None:
        self._side = side
        self._recommending = recommending
        self._preparation = preparation
        self._seconds = page.histogram("onhand_read_seconds", ROUTE)
        self._categories: dict[str, list[str]] = {}
        self._categories_of: Setup | None = None

    async def look(
        self, sku: str, asked: AisleParameters, commands: Commands, grant: Grant
    ) -> Aisle:
        """Answer ``GET /v1/aisle/{sku}``.

        Raises
        ------
        ProblemError
            Nobody knows the SKU, the location or the postal code, or there is no table.
        """
        begun_s = perf_counter()
        self._side.must_know_location(asked.location)
        answer = self._side.answer(sku, f"location:{asked.location}")
        if answer is None:
            raise unknown_sku(sku)
        wanted = Wanted(sku, asked.quantity, asked.location, asked.customer, _home(asked))
        here = self._here(answer, wanted)
        nearby, ship, incoming, substitutes = await asyncio.gather(
            self._nearby(wanted, asked.radius_km),
            self._ship(wanted, commands, grant),
            self._incoming(wanted, here, commands, grant),
            self._substitutes(wanted),
        )
        self._seconds.observe(perf_counter() - begun_s)
        return Aisle(
            sku=sku,
            name=self._name(sku),
            location=asked.location,
            quantity=asked.quantity,
            here=here,
            nearby=nearby,
            ship=ship,
            incoming=incoming,
            available_to_order=answer.available_to_order,
            substitutes=substitutes,
            as_of=answer.as_of,
            age_ms=answer.age_ms,
        )

    # -- ways ----------------------------------------------------------------------------------

    def _here(self, answer: Answer, wanted: Wanted) -> Here:
        enough = answer.available >= wanted.quantity
        place = self._location(wanted.location)
        can = enough and place.enabled and place.pickup
        order = wanted.order(wanted.collected(wanted.location)) if can else None
        return Here(available=answer.available, enough=enough, order=order)

    async def _nearby(self, wanted: Wanted, radius_km: float) -> list[StoreToday]:
        # Distances and opening hours of many stores take milliseconds, numbers do not: those are
        # read in between, in the one thread that may.
        stores = await asyncio.to_thread(self._stores, wanted, radius_km)
        tables = self._side.tables(_now_us())
        names = [near.location.id for near in stores]
        units = tables.available_many([wanted.sku] * len(names), names).tolist()
        stocked = [pair for pair in zip(stores, units, strict=True) if pair[1] >= wanted.quantity]
        return await asyncio.to_thread(self._today, wanted, stocked)

    def _stores(self, wanted: Wanted, radius_km: float) -> list[Near]:
        point = self._point(wanted)
        if point is None:
            return []
        found = self._side.stores.nearest(
            point, limit=STORES_ASKED, radius_km=radius_km, pickup=True
        )
        return [near for near in found if near.location.id != wanted.location]

    def _today(self, wanted: Wanted, stocked: list[tuple[Near, int]]) -> list[StoreToday]:
        now = datetime.now(UTC)
        found = []
        for near, units in stocked:
            place = near.location
            ready = ready_by(place.opening_hours, place.zone, place.cutoff, now, self._preparation)
            if ready is None or ready.date() != now.astimezone(place.zone).date():
                continue
            store = StoreToday(
                location=place.id,
                name=place.name,
                distance_km=round(near.distance_km, 3),
                available=units,
                ready_by=ready.isoformat(timespec="seconds"),
                order=wanted.order(wanted.collected(place.id)),
            )
            found.append(store)
            if len(found) == STORES_MAX:
                break
        return found

    async def _ship(self, wanted: Wanted, commands: Commands, grant: Grant) -> Shipping:
        shippable = int(self._recommending.sellable().shippable([wanted.sku])[0])
        sent = wanted.sent()
        if sent is None:
            return Shipping(available=shippable, options=[], code="address_needed")
        fulfilment = Fulfilment(method="ship", destination=wanted.home)
        found = await _promises(commands, grant, wanted, fulfilment, OrderPolicy())
        if isinstance(found, str):
            return Shipping(available=shippable, options=[], code=found)
        options = [
            Sent(
                deliver_by=option.deliver_by or "",
                packages=option.packages,
                distance_km=option.distance_km,
                cost=option.cost,
                locations=list(dict.fromkeys(line.location for line in option.lines)),
                why=option.why,
                order=wanted.order(sent),
            )
            for option in found
        ]
        code = None if options else "insufficient_stock"
        return Shipping(available=shippable, options=options, code=code)

    async def _incoming(
        self, wanted: Wanted, here: Here, commands: Commands, grant: Grant
    ) -> Waiting | None:
        if here.enough:
            return None
        fulfilment = Fulfilment(method="pickup", location=wanted.location)
        policy = OrderPolicy(allow_backorder=True)
        found = await _promises(commands, grant, wanted, fulfilment, policy)
        if isinstance(found, str) or not found:
            return None
        due = [line.due for line in found[0].lines if line.due is not None]
        if not due or found[0].short:
            return None
        return Waiting(
            due=max(due),
            ready_by=found[0].ready_by or "",
            order=wanted.order(wanted.collected(wanted.location), may_wait=True),
        )

    async def _substitutes(self, wanted: Wanted) -> list[Substitute]:
        alike = await asyncio.to_thread(self._of_category, wanted.sku)
        ranked = self._recommending.recommender.similar(wanted.sku, alike)
        names = [sku for sku, _ in ranked]
        units = self._recommending.sellable().units(names, wanted.location, wanted.quantity)
        found = []
        columns = zip(ranked, units.available.tolist(), units.shippable.tolist(), strict=True)
        for (sku, similarity), here, shippable in columns:
            if max(here, shippable) < wanted.quantity:
                continue
            is_here = here >= wanted.quantity
            fulfilment = wanted.collected(wanted.location) if is_here else wanted.sent()
            found.append(
                Substitute(
                    sku=sku,
                    name=self._name(sku),
                    similarity=round(similarity, 4),
                    available=here,
                    shippable=shippable,
                    order=wanted.order(fulfilment, sku=sku) if fulfilment is not None else None,
                )
            )
            if len(found) == SUBSTITUTES_MAX:
                break
        return found

    # -- set-up --------------------------------------------------------------------------------

    def _of_category(self, sku: str) -> list[str]:
        """Name other SKUs of the same category, those bought most first; in any thread."""
        setup = self._side.setup
        known = setup.skus.get(sku)
        if known is None or known.category is None:
            return []
        if self._categories_of is not setup:
            categories: dict[str, list[str]] = {}
            for each in setup.skus.values():
                if each.category is not None:
                    categories.setdefault(each.category, []).append(each.sku)
            self._categories, self._categories_of = categories, setup
        others = [other for other in self._categories.get(known.category, ()) if other != sku]
        return most_bought(self._recommending.recommender.snapshot(), others, CANDIDATES_MAX)

    def _location(self, location: str) -> Location:
        known = self._side.setup.locations.get(location)
        return known if known is not None else unconfigured_location(location)

    def _name(self, sku: str) -> str | None:
        known = self._side.setup.skus.get(sku)
        return known.name if known is not None else None

    def _point(self, wanted: Wanted) -> Point | None:
        """Find where the shopper looks from: home when it is named, else the store."""
        home = wanted.home
        if home is None:
            place = self._location(wanted.location)
            if place.latitude is None or place.longitude is None:
                return None
            return Point(place.latitude, place.longitude)
        if home.latitude is not None and home.longitude is not None:
            return Point(home.latitude, home.longitude)
        code = home.postal_code or ""
        point = self._side.stores.find_postal_code(code, home.country)
        if point is None:
            where = f" of {home.country}" if home.country else ""
            raise ProblemError(
                ProblemCode.UNKNOWN_POSTAL_CODE,
                f"Nobody knows where the postal code {code}{where} is.",
            )
        return point


@get("/v1/aisle/{sku:str}", guards=[guard("associate", "orders")])
@described(parameters=AisleParameters, answer=Aisle)
async def look_through_aisle(request: Request[Any, Any, Any], sku: FromPath[str]) -> Aisle:
    """Show every way to give a shopper an item: here, near by today, sent home, later, or another.

    Each way carries the order that takes it, for `POST /v1/orders`. It holds nothing: what an order
    is promised in the end is decided when it is placed. Stores near by are those near the address
    when one is given, else near this store.
    """
    services: Services = request.app.state.services
    commands = commands_of(request)
    grant = commands.admit(request.headers.get("authorization"), "associate", "orders")
    asked = parse_parameters(AisleParameters, request.scope["query_string"].decode())
    actor_of(grant).must_work_at(asked.location)
    must_be_printable("customer", asked.customer)
    return await services.aisles.look(unquote(sku), asked, commands, grant)


async def _promises(
    commands: Commands,
    grant: Grant,
    wanted: Wanted,
    fulfilment: Fulfilment,
    policy: OrderPolicy,
) -> list[PromiseOption] | str:
    """Ask the order writer how an order could be fulfilled; its code when it refuses to say."""
    body = AskPromise(
        lines=(OrderLine(sku=wanted.sku, quantity=wanted.quantity),),
        fulfilment=fulfilment,
        policy=policy,
        limit=OPTIONS_MAX,
    )
    reply = await commands.carry_out(ASK_PROMISE, msgspec.json.encode(body), grant)
    if reply.status != _OK:
        return msgspec.json.decode(reply.body, type=_Refused).code
    return msgspec.json.decode(reply.body, type=PromiseList).options


class _Refused(Struct):
    code: str


def _home(asked: AisleParameters) -> Destination | None:
    """Read where it may be sent.

    Raises
    ------
    ProblemError
        One coordinate is given without the other, or a country without its postal code.
    """
    if (asked.latitude is None) != (asked.longitude is None):
        name = "latitude" if asked.latitude is None else "longitude"
        raise invalid_parameter(name, "is required when the other coordinate is given")
    if asked.latitude is None and asked.postal_code is None:
        if asked.country is not None:
            raise invalid_parameter("postal_code", "is required when a country is given")
        return None
    return Destination(
        postal_code=asked.postal_code,
        country=asked.country,
        latitude=asked.latitude,
        longitude=asked.longitude,
    )


def _now_us() -> int:
    return time.time_ns() // 1000
