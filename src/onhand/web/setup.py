"""Set-up over HTTP: locations, SKUs and safety stock, by whoever has the role ``admin``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from litestar import Request, Response, get, put
from litestar.params import FromPath
from msgspec import Struct

from onhand.model.setup import (
    Location,
    SafetyRule,
    Sku,
    location_document,
    parse_location,
    parse_skus,
    unconfigured_location,
)
from onhand.model.validate import Text64
from onhand.web.auth import guard
from onhand.web.openapi import described
from onhand.web.parameters import ListParameters, parse_parameters
from onhand.web.problem import decode_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onhand.web.services import Services

CREATED: Final = 201
OK: Final = 200


class LocationBody(Location, frozen=True, kw_only=True):
    """What a location is set up as; its id is in the path, and may be repeated as it is there."""

    id: Text64 = ""
    configured: bool = True


class LocationItem(Location, frozen=True, kw_only=True):
    """A location; one that only events have named is not ``configured``."""

    configured: bool = True


class LocationList(Struct, frozen=True):
    """A page of locations, by id."""

    items: list[LocationItem]
    next: str | None


class Replaced(Struct, frozen=True):
    """How many entries a request has put in place."""

    count: int


@put("/v1/locations/{location_id:str}", guards=[guard("admin")])
@described(body=LocationBody, answer=LocationItem, statuses={201: LocationItem})
async def put_location(
    request: Request[Any, Any, Any], location_id: FromPath[str]
) -> Response[Any]:
    """Create a location, or replace all that was set up for it.

    What is left out gets its default. 201 when the location was not set up before.
    """
    services: Services = request.app.state.services
    location = parse_location(unquote(location_id), decode_json(await request.body()))
    is_new = await asyncio.to_thread(services.setup_store.put_location, location)
    await services.reload()
    return Response(location_document(location), status_code=CREATED if is_new else OK)


@get("/v1/locations", guards=[guard("admin")])
@described(parameters=ListParameters, answer=LocationList)
async def list_locations(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """List locations by id, those that only events have named among them."""
    services: Services = request.app.state.services
    page = parse_parameters(ListParameters, request.scope["query_string"].decode())
    known = services.side.locations()
    # In a thread: a page takes milliseconds to write, which no read should wait for.
    return await asyncio.to_thread(_page, page, services.side.setup.locations, known)


@put("/v1/skus", guards=[guard("admin")])
@described(body=list[Sku], answer=Replaced)
async def put_skus(request: Request[Any, Any, Any]) -> Replaced:
    """Create SKUs, or replace what was set up for them; those not named stay."""
    services: Services = request.app.state.services
    skus = parse_skus(decode_json(await request.body()))
    await asyncio.to_thread(services.setup_store.put_skus, skus)
    await services.reload()
    return Replaced(len(skus))


@put("/v1/safety-stock", guards=[guard("admin")])
@described(body=list[SafetyRule], answer=Replaced)
async def put_safety_stock(request: Request[Any, Any, Any]) -> Replaced:
    """Replace all rules of safety stock; an empty list removes them."""
    services: Services = request.app.state.services
    body = decode_json(await request.body())
    rules = await asyncio.to_thread(services.setup_store.replace_safety_stock, body)
    await services.reload()
    return Replaced(len(rules))


def _page(
    page: ListParameters, configured: Mapping[str, Location], known: set[str]
) -> dict[str, Any]:
    ids = sorted(known)
    if page.cursor is not None:
        ids = [each for each in ids if each > page.cursor]
    items = [
        location_document(configured[each])
        if each in configured
        else location_document(unconfigured_location(each), configured=False)
        for each in ids[: page.limit]
    ]
    more = len(ids) > page.limit
    return {"items": items, "next": ids[page.limit - 1] if more else None}
