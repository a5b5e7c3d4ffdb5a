"""What operators ask a server: is it alive, is it ready, what does it count, what does it offer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, get
from msgspec import Struct

from onhand.web.docs_page import docs_page
from onhand.web.exposition import MEDIA_TYPE as METRICS_MEDIA_TYPE
from onhand.web.exposition import exposition
from onhand.web.openapi import described, openapi_document
from onhand.web.readiness import Readiness

if TYPE_CHECKING:
    from onhand.web.services import Services

OK = 200
SERVICE_UNAVAILABLE = 503


class Alive(Struct, frozen=True):
    """What a living process answers."""

    status: str = "alive"


@get("/healthz")
@described(answer=Alive)
async def healthz() -> Alive:
    """Say that the process is alive, whatever else is or is not."""
    return Alive()


@get("/readyz")
@described(answer=Readiness, statuses={503: Readiness})
async def readyz(request: Request[Any, Any, Any]) -> Response[Readiness]:
    """Say whether tables are loaded and all that was in the log at this process's start is applied.

    503 while something is missing, which the body names. Warnings make nobody wait.
    """
    services: Services = request.app.state.services
    readiness = services.readiness.check()
    return Response(readiness, status_code=OK if readiness.ready else SERVICE_UNAVAILABLE)


@get("/metrics")
@described(media_type="text/plain")
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer the metrics of all processes of this deployment on this machine, for Prometheus."""
    services: Services = request.app.state.services
    gauges = services.side.gauges()
    # In a thread: the text takes milliseconds, which no read should wait for.
    text = await asyncio.to_thread(exposition, services.page.directory, gauges)
    return Response(text, headers={"content-type": METRICS_MEDIA_TYPE})


@get("/openapi.json")
@described()
async def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer this description, OpenAPI 3.1."""
    document = await asyncio.to_thread(openapi_document, request.app)
    body = msgspec.json.encode(document)
    return Response(body, headers={"content-type": "application/json"})


@get("/docs")
@described(media_type="text/html")
async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show this description to people."""
    page = await asyncio.to_thread(lambda: docs_page(openapi_document(request.app)))
    return Response(page, headers={"content-type": "text/html; charset=utf-8"})
