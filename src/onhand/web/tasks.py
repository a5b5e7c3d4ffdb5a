"""Tasks over HTTP: what the people of a location do for orders."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from onhand.model.commands import (
    CollectTask,
    PackTask,
    PickTask,
    ReadyTask,
    RejectTask,
    ShipTask,
)
from onhand.web.auth import guard
from onhand.web.commands import (
    COLLECT_TASK,
    PACK_TASK,
    PICK_TASK,
    READY_TASK,
    REJECT_TASK,
    SHIP_TASK,
    actor_of,
    answer_command,
    commands_of,
)
from onhand.web.documents import TaskDocument, TaskList
from onhand.web.openapi import described
from onhand.web.parameters import TaskListParameters, parse_parameters

if TYPE_CHECKING:
    from onhand.web.services import Services


@get("/v1/locations/{location_id:str}/tasks", guards=[guard("associate")])
@described(parameters=TaskListParameters, answer=TaskList)
async def list_tasks(
    request: Request[Any, Any, Any], location_id: FromPath[str]
) -> Response[bytes]:
    """List a location's tasks, the oldest promise first, with what is to be picked."""
    services: Services = request.app.state.services
    grant = commands_of(request).admit(request.headers.get("authorization"), "associate")
    location = unquote(location_id)
    actor_of(grant).must_work_at(location)
    asked = parse_parameters(TaskListParameters, request.scope["query_string"].decode())
    services.side.must_know_location(location)
    page = await asyncio.to_thread(services.order_pages.tasks, location, asked)
    return Response(page, media_type=MediaType.JSON)


@post("/v1/tasks/{task_id:str}/pick", guards=[guard("associate")], status_code=200)
@described(body=PickTask, body_required=False, answer=TaskDocument, idempotent=True)
async def pick_task(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[bytes]:
    """Say what was picked and what was not there; all was picked when nothing is said.

    Units that are short are taken off the location's stock and sourced elsewhere at once.
    """
    return await answer_command(request, PICK_TASK, task_id)


@post("/v1/tasks/{task_id:str}/pack", guards=[guard("associate")], status_code=200)
@described(body=PackTask, body_required=False, answer=TaskDocument, idempotent=True)
async def pack_task(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[bytes]:
    """Say that what was picked is packed."""
    return await answer_command(request, PACK_TASK, task_id)


@post("/v1/tasks/{task_id:str}/ship", guards=[guard("associate")], status_code=200)
@described(body=ShipTask, answer=TaskDocument, idempotent=True)
async def ship_task(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[bytes]:
    """Hand packed units to a carrier, all of them when no lines are named."""
    return await answer_command(request, SHIP_TASK, task_id)


@post("/v1/tasks/{task_id:str}/ready", guards=[guard("associate")], status_code=200)
@described(body=ReadyTask, body_required=False, answer=TaskDocument, idempotent=True)
async def ready_task(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[bytes]:
    """Say that what was picked waits for its customer."""
    return await answer_command(request, READY_TASK, task_id)


@post("/v1/tasks/{task_id:str}/collect", guards=[guard("associate")], status_code=200)
@described(body=CollectTask, answer=TaskDocument, idempotent=True)
async def collect_task(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[bytes]:
    """Hand ready units to the customer who knows the code, all of them when no lines are named."""
    return await answer_command(request, COLLECT_TASK, task_id)


@post("/v1/tasks/{task_id:str}/reject", guards=[guard("associate")], status_code=200)
@described(body=RejectTask, answer=TaskDocument, idempotent=True)
async def reject_task(request: Request[Any, Any, Any], task_id: FromPath[str]) -> Response[bytes]:
    """Refuse what nobody has picked yet: its units are sourced elsewhere, and stay in stock here.

    This location is not asked again for the order.
    """
    return await answer_command(request, REJECT_TASK, task_id)
