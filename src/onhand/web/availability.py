"""Answers about stock: one SKU, many SKUs, and the stores near a place.

The first two are hot: they check the token, find the scope, and let the reader write JSON.
"""

from __future__ import annotations

import asyncio
import functools
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta, Struct

from onhand.geo import Point
from onhand.model.availability import Answer, QueryAnswer
from onhand.model.hours import ready_by
from onhand.model.setup import ALL
from onhand.model.times import show_time
from onhand.model.validate import Text64, build
from onhand.web.auth import guard, require
from onhand.web.openapi import described
from onhand.web.parameters import NearbyParameters, ReadParameters, parse_parameters
from onhand.web.problem import (
    ProblemCode,
    ProblemError,
    decode_json,
    invalid_parameter,
)
from onhand.web.reply import Reply

if TYPE_CHECKING:
    from onhand.geo import Near
    from onhand.ledger import Authenticator
    from onhand.web.readside import ReadSide

QUERY_SKUS_MAX: Final = 5_000
QUERY_LOCATIONS_MAX: Final = 1_000
QUERY_ITEMS_MAX: Final = 100_000
"""Answers of one query: SKUs times locations."""

EVERYWHERE: Final = (f"group:{ALL}", False)
"""Where a read looks that does not say, and that it lists no locations."""


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a query."""

    skus: Annotated[list[Text64], Meta(min_length=1, max_length=QUERY_SKUS_MAX)]
    locations: Annotated[list[Text64], Meta(min_length=1, max_length=QUERY_LOCATIONS_MAX)] | (
        None
    ) = None
    group: Text64 | None = None


class NearbyStore(Struct, frozen=True):
    """A store near the place asked about."""

    location: str
    name: str
    distance_km: float
    available: int
    ready_by: str | None


class Nearby(Struct, frozen=True):
    """Stores by distance."""

    sku: str
    items: list[NearbyStore]
    as_of: str
    age_ms: int


_query_decoder = msgspec.json.Decoder(Query)


class Reads:
    """Reads over HTTP, for those who may.

    Parameters
    ----------
    side
        What they stand on.
    authenticator
        Who may.
    preparation
        Opening time that a store needs to make a pickup ready.
    """

    def __init__(
        self, side: ReadSide, authenticator: Authenticator, preparation: timedelta
    ) -> None:
        self._side = side
        self._authenticator = authenticator
        self._preparation = preparation

    def read(self, sku: str, query_string: str, authorization: str | None) -> bytes:
        """Answer ``GET /v1/availability/{sku}``; hot.

        Raises
        ------
        ProblemError
            When the SKU, the location or the group is not known, or the request is not valid.
        """
        require(self._authenticator, authorization, "storefront")
        scope, detail = parse_scope(query_string) if query_string else EVERYWHERE
        answer = self._side.render(sku, scope, detail=detail)
        if answer is None:
            raise unknown_sku(sku)
        return answer

    def query(self, body: bytes, authorization: str | None) -> Reply:
        """Answer ``POST /v1/availability/query``; hot."""
        require(self._authenticator, authorization, "storefront")
        query = _parse_query(body)
        scopes = (
            [f"location:{each}" for each in query.locations]
            if query.locations is not None
            else [f"group:{query.group or ALL}"]
        )
        return Reply(200, self._side.render_query(query.skus, scopes))

    async def nearby(self, sku: str, query_string: str) -> Nearby:
        """Answer ``GET /v1/availability/{sku}/nearby``.

        Raises
        ------
        ProblemError
            When the SKU or the postal code is not known, or the request is not valid.
        """
        asked = parse_parameters(NearbyParameters, query_string)
        if not self._side.tables(time.time_ns() // 1000).knows_sku(sku):
            raise unknown_sku(sku)
        # Distances and opening hours of many stores take milliseconds, numbers do not: those are
        # read in between, in the one thread that may.
        stores = await asyncio.to_thread(self._stores, asked)
        now_us = time.time_ns() // 1000
        tables = self._side.tables(now_us)
        units = [tables.available(sku, near.location.id) for near in stores]
        as_of_us = tables.progress().as_of_us
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        items = await asyncio.to_thread(self._items, stores, units, now)
        return Nearby(sku, items, show_time(as_of_us), max(0, now_us - as_of_us) // 1000)

    def _stores(self, asked: NearbyParameters) -> list[Near]:
        return self._side.stores.nearest(
            self._point(asked), limit=asked.limit, radius_km=asked.radius_km, pickup=asked.pickup
        )

    def _items(self, stores: list[Near], units: list[int], now: datetime) -> list[NearbyStore]:
        return [self._store(*pair, now) for pair in zip(stores, units, strict=True)]

    def _point(self, asked: NearbyParameters) -> Point:
        if asked.latitude is not None and asked.longitude is not None:
            return Point(asked.latitude, asked.longitude)
        if asked.latitude is not None or asked.longitude is not None:
            name = "longitude" if asked.longitude is None else "latitude"
            raise invalid_parameter(name, "is required when the other coordinate is given")
        if asked.postal_code is None:
            raise invalid_parameter("latitude", "or postal_code is required: near what?")
        point = self._side.stores.find_postal_code(asked.postal_code, asked.country)
        if point is None:
            where = f" of {asked.country}" if asked.country else ""
            raise ProblemError(
                ProblemCode.UNKNOWN_POSTAL_CODE,
                f"Nobody knows where the postal code {asked.postal_code}{where} is.",
            )
        return point

    def _store(self, near: Near, available: int, now: datetime) -> NearbyStore:
        place = near.location
        ready = None
        if available and place.pickup:
            zone = ZoneInfo(place.timezone)
            ready = ready_by(place.opening_hours, zone, place.cutoff, now, self._preparation)
        return NearbyStore(
            location=place.id,
            name=place.name,
            distance_km=round(near.distance_km, 3),
            available=available,
            ready_by=ready.isoformat(timespec="seconds") if ready is not None else None,
        )


@functools.lru_cache(maxsize=4_096)
def parse_scope(query_string: str) -> tuple[str, bool]:
    """Read where a single read looks, and whether it lists locations.

    Raises
    ------
    ProblemError
        When a parameter is wrong, or both a location and a group are given.
    """
    asked = parse_parameters(ReadParameters, query_string)
    if asked.location is not None and asked.group is not None:
        raise invalid_parameter("group", "must be left out when location is given")
    detail = asked.detail is not None
    if asked.location is not None:
        return f"location:{asked.location}", detail
    return f"group:{asked.group or ALL}", detail


def unknown_sku(sku: str) -> ProblemError:
    """Refuse a SKU that neither events nor set-up have named."""
    return ProblemError(ProblemCode.UNKNOWN_SKU, f"No event and no set-up has named {sku!r}.")


def _parse_query(body: bytes) -> Query:
    try:
        query = _query_decoder.decode(body)
    except msgspec.ValidationError:
        # Slower, and it names every field at fault instead of the first.
        query = build(Query, decode_json(body), what="not a valid query")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(ProblemCode.MALFORMED_JSON, str(error)) from error
    if query.locations is not None:
        if query.group is not None:
            raise invalid_parameter("group", "must be left out when locations are given")
        if len(query.locations) * len(query.skus) > QUERY_ITEMS_MAX:
            rule = f"times skus must be at most {QUERY_ITEMS_MAX:,} answers"
            raise invalid_parameter("locations", rule)
    return query


@get("/v1/availability/{sku:str}", guards=[guard("storefront")])
@described(parameters=ReadParameters, answer=Answer)
async def read_availability(request: Request[Any, Any, Any], sku: FromPath[str]) -> Response[bytes]:
    """Read what is available of one SKU, at one location or in a group.

    A SKU called `query` or `stream`, or one that ends in `/nearby`, `/explain` or `/together`, is
    read by a query.
    """
    body = _reads(request).read(unquote(sku), *_call(request))
    return Response(body, media_type=MediaType.JSON)


@post("/v1/availability/query", guards=[guard("storefront")], status_code=200)
@described(body=Query, answer=QueryAnswer)
async def query_availability(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Read many SKUs at once, at locations or in one group.

    SKUs that nobody knows are listed apart. With locations there is an item for each SKU and
    location; cells of all zeros may be left out.
    """
    reply = _reads(request).query(await request.body(), request.headers.get("authorization"))
    return Response(reply.body, media_type=MediaType.JSON)


@get("/v1/availability/{sku:str}/nearby", guards=[guard("storefront")])
@described(parameters=NearbyParameters, answer=Nearby)
async def read_nearby(request: Request[Any, Any, Any], sku: FromPath[str]) -> Nearby:
    """List stores by distance from a place, with what is available and when it can be collected.

    The place is coordinates or a postal code. `ready_by` is null where there is nothing to collect.
    """
    return await _reads(request).nearby(unquote(sku), _call(request)[0])


def _reads(request: Request[Any, Any, Any]) -> Reads:
    reads: Reads = request.app.state.services.reads
    return reads


def _call(request: Request[Any, Any, Any]) -> tuple[str, str | None]:
    return request.scope["query_string"].decode(), request.headers.get("authorization")
