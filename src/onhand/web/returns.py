"""Returns over HTTP: announced, taken in, inspected, given up, read; and their policy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar import MediaType, Request, Response, get, post, put
from litestar.params import FromPath

from onhand.model.return_commands import (
    AuthoriseReturn,
    CancelReturn,
    InspectReturn,
    ReceiveReturn,
)
from onhand.model.return_policy import ReturnPolicy
from onhand.model.validate import build
from onhand.web import slip
from onhand.web.auth import guard
from onhand.web.commands import (
    AUTHORISE_RETURN,
    CANCEL_RETURN,
    INSPECT_RETURN,
    RECEIVE_RETURN,
    answer_command,
    commands_of,
)
from onhand.web.openapi import described
from onhand.web.parameters import ReturnListParameters, parse_parameters
from onhand.web.problem import decode_json
from onhand.web.return_documents import ExplainedReturn, ReturnDocument, ReturnList

if TYPE_CHECKING:
    from onhand.web.services import Services


@post("/v1/returns", guards=[guard("associate", "orders")])
@described(body=AuthoriseReturn, statuses={201: ReturnDocument}, idempotent=True)
async def authorise_return(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Announce that units come back, by order, by a till's receipt, or without either.

    Of an order no more than was handed over and is neither back nor awaited. The return policy
    decides; who may, sets it aside with `override`. An `exchange` is ordered at once, before the
    goods are back, all or nothing: for collection at `location` in a store, else as the order was
    fulfilled, or by `exchange_fulfilment`. The return's id is its authorisation.
    """
    return await answer_command(request, AUTHORISE_RETURN)


@get("/v1/returns", guards=[guard("associate", "orders")])
@described(parameters=ReturnListParameters, answer=ReturnList)
async def list_returns(request: Request[Any, Any, Any]) -> Response[bytes]:
    """List returns, the newest first."""
    services = _admitted(request)
    asked = parse_parameters(ReturnListParameters, request.scope["query_string"].decode())
    page = await asyncio.to_thread(services.return_pages.returns, asked)
    return Response(page, media_type=MediaType.JSON)


@get("/v1/returns/{return_id:str}", guards=[guard("associate", "orders")])
@described(answer=ReturnDocument)
async def read_return(request: Request[Any, Any, Any], return_id: FromPath[str]) -> Response[bytes]:
    """Read a return."""
    services = _admitted(request)
    document = await asyncio.to_thread(services.return_pages.return_, unquote(return_id))
    return Response(document, media_type=MediaType.JSON)


@get("/v1/returns/{return_id:str}/slip", guards=[guard("associate", "orders")])
@described(media_type="text/html")
async def print_slip(request: Request[Any, Any, Any], return_id: FromPath[str]) -> Response[str]:
    """Print the slip that goes into the parcel, or is shown in a store."""
    services = _admitted(request)
    page = await asyncio.to_thread(
        services.return_pages.slip, unquote(return_id), services.side.setup
    )
    return Response(page, media_type=slip.MEDIA_TYPE)


@get("/v1/returns/{return_id:str}/explain", guards=[guard("associate", "orders")])
@described(answer=ExplainedReturn)
async def explain_return(
    request: Request[Any, Any, Any], return_id: FromPath[str]
) -> Response[bytes]:
    """Explain a return: the policies that decided about its lines, and what it has moved."""
    services = _admitted(request)
    document = await asyncio.to_thread(services.return_pages.explanation, unquote(return_id))
    return Response(document, media_type=MediaType.JSON)


@post("/v1/returns/{return_id:str}/receive", guards=[guard("associate")], status_code=200)
@described(body=ReceiveReturn, answer=ReturnDocument, idempotent=True)
async def receive_return(
    request: Request[Any, Any, Any], return_id: FromPath[str]
) -> Response[bytes]:
    """Take units in at any location, whichever sold them.

    Units that a till has told of there come once. A line names units that were announced, a `sku`
    whatever is in the parcel: what no order or receipt accounts for is taken in without a refund
    and answered as `unmatched`. `onward` suggests transfers of what the place should not keep.
    """
    return await answer_command(request, RECEIVE_RETURN, return_id)


@post("/v1/returns/{return_id:str}/inspect", guards=[guard("associate")], status_code=200)
@described(body=InspectReturn, answer=ReturnDocument, idempotent=True)
async def inspect_return(
    request: Request[Any, Any, Any], return_id: FromPath[str]
) -> Response[bytes]:
    """Say what units held for inspection turned out to be."""
    return await answer_command(request, INSPECT_RETURN, return_id)


@post("/v1/returns/{return_id:str}/cancel", guards=[guard("associate", "orders")], status_code=200)
@described(body=CancelReturn, body_required=False, answer=ReturnDocument, idempotent=True)
async def cancel_return(
    request: Request[Any, Any, Any], return_id: FromPath[str]
) -> Response[bytes]:
    """Wait no longer for what has not come.

    When nothing has, what has not left of an exchange is cancelled too.
    """
    return await answer_command(request, CANCEL_RETURN, return_id)


@put("/v1/return-policy", guards=[guard("admin")])
@described(body=ReturnPolicy, answer=ReturnPolicy)
async def put_return_policy(request: Request[Any, Any, Any]) -> ReturnPolicy:
    """Replace the return policy; it gets the next `version`, whatever the body says.

    Returns that were announced keep the decisions of the policies before.
    """
    services: Services = request.app.state.services
    body = decode_json(await request.body())
    # What GET answers, its version too, can be changed and put back.
    policy = build(ReturnPolicy, body, what="not a valid return policy")
    kept = await asyncio.to_thread(services.setup_store.put_return_policy, policy)
    await services.reload()
    return kept


@get("/v1/return-policy", guards=[guard("admin")])
@described(answer=ReturnPolicy)
async def read_return_policy(request: Request[Any, Any, Any]) -> ReturnPolicy:
    """Read the return policy in force."""
    services: Services = request.app.state.services
    return services.side.setup.return_policy


def _admitted(request: Request[Any, Any, Any]) -> Services:
    authorization = request.headers.get("authorization")
    commands_of(request).admit(authorization, "associate", "orders")
    services: Services = request.app.state.services
    return services
