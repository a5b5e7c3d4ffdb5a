"""Holds over HTTP: a cart's reservation for a while."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar import MediaType, Request, Response, delete, get, post
from litestar.params import FromPath

from onhand.model.commands import ExtendHold, PlaceHold
from onhand.web.auth import guard
from onhand.web.commands import EXTEND_HOLD, PLACE_HOLD, RELEASE_HOLD, answer_command, commands_of
from onhand.web.documents import HoldDocument
from onhand.web.openapi import described

if TYPE_CHECKING:
    from onhand.web.services import Services


@post("/v1/holds", guards=[guard("orders")])
@described(body=PlaceHold, statuses={201: HoldDocument}, idempotent=True)
async def place_hold(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Reserve units for a while, every line or none.

    A line names a location or a group. One on a group is placed on cells of it at once, and may be
    moved among them until it becomes an order.
    """
    return await answer_command(request, PLACE_HOLD)


@get("/v1/holds/{hold_id:str}", guards=[guard("orders")])
@described(answer=HoldDocument)
async def read_hold(request: Request[Any, Any, Any], hold_id: FromPath[str]) -> Response[bytes]:
    """Read a hold, whatever became of it; one whose time is over is `expired`."""
    services: Services = request.app.state.services
    commands_of(request).admit(request.headers.get("authorization"), "orders")
    now_us = time.time_ns() // 1000
    document = await asyncio.to_thread(services.order_pages.hold, unquote(hold_id), now_us)
    return Response(document, media_type=MediaType.JSON)


@delete("/v1/holds/{hold_id:str}", guards=[guard("orders")], status_code=200)
@described(answer=HoldDocument, idempotent=True)
async def release_hold(request: Request[Any, Any, Any], hold_id: FromPath[str]) -> Response[bytes]:
    """Free what a hold holds. Releasing a released one changes nothing."""
    return await answer_command(request, RELEASE_HOLD, hold_id)


@post("/v1/holds/{hold_id:str}/extend", guards=[guard("orders")], status_code=200)
@described(body=ExtendHold, answer=HoldDocument, idempotent=True)
async def extend_hold(request: Request[Any, Any, Any], hold_id: FromPath[str]) -> Response[bytes]:
    """Let a hold end so many seconds from now."""
    return await answer_command(request, EXTEND_HOLD, hold_id)
