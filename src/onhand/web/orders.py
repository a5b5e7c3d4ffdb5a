"""Orders over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from onhand.model.commands import CancelOrder, PlaceOrder
from onhand.web.auth import guard
from onhand.web.commands import CANCEL_ORDER, PLACE_ORDER, answer_command, commands_of
from onhand.web.documents import ExplainedOrder, OrderDocument, OrderList
from onhand.web.openapi import described
from onhand.web.parameters import OrderListParameters, parse_parameters

if TYPE_CHECKING:
    from onhand.web.services import Services


@post("/v1/orders", guards=[guard("orders", "associate")])
@described(body=PlaceOrder, statuses={201: OrderDocument}, idempotent=True)
async def place_order(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Buy, all or nothing unless the policy says otherwise.

    The answer carries allocations and tasks. Sourcing prefers the fewest packages, then cost and
    distance, then the locations' priority. An order with `hold_id` takes a part of the hold, and
    the rest of it is free again. An order's id may be the caller's own; one that is taken is
    refused. An associate's order is one of channel `store`, for a shopper whom the store's own
    shelf could not serve; it may come from anywhere.
    """
    return await answer_command(request, PLACE_ORDER)


@get("/v1/orders", guards=[guard("orders")])
@described(parameters=OrderListParameters, answer=OrderList)
async def list_orders(request: Request[Any, Any, Any]) -> Response[bytes]:
    """List orders, the newest first."""
    services: Services = request.app.state.services
    commands_of(request).admit(request.headers.get("authorization"), "orders")
    asked = parse_parameters(OrderListParameters, request.scope["query_string"].decode())
    page = await asyncio.to_thread(services.order_pages.orders, asked)
    return Response(page, media_type=MediaType.JSON)


@get("/v1/orders/{order_id:str}", guards=[guard("orders")])
@described(answer=OrderDocument)
async def read_order(request: Request[Any, Any, Any], order_id: FromPath[str]) -> Response[bytes]:
    """Read an order. One whose id ends in `/explain` is found in the list."""
    services: Services = request.app.state.services
    commands_of(request).admit(request.headers.get("authorization"), "orders")
    document = await asyncio.to_thread(services.order_pages.order, unquote(order_id))
    return Response(document, media_type=MediaType.JSON)


@post("/v1/orders/{order_id:str}/cancel", guards=[guard("orders")], status_code=200)
@described(body=CancelOrder, body_required=False, answer=OrderDocument, idempotent=True)
async def cancel_order(request: Request[Any, Any, Any], order_id: FromPath[str]) -> Response[bytes]:
    """Cancel units of lines, or all that has not left when none are named."""
    return await answer_command(request, CANCEL_ORDER, order_id)


@get("/v1/orders/{order_id:str}/explain", guards=[guard("orders")])
@described(answer=ExplainedOrder)
async def explain_order(
    request: Request[Any, Any, Any], order_id: FromPath[str]
) -> Response[bytes]:
    """Explain an order: why each location was chosen, by which rules, and what it has caused."""
    services: Services = request.app.state.services
    commands_of(request).admit(request.headers.get("authorization"), "orders")
    document = await asyncio.to_thread(services.order_pages.explanation, unquote(order_id))
    return Response(document, media_type=MediaType.JSON)
