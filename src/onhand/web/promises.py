"""Promises over HTTP: how an order could be fulfilled, without holding anything."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post

from onhand.model.commands import AskPromise
from onhand.web.auth import guard
from onhand.web.commands import ASK_PROMISE, answer_command
from onhand.web.documents import PromiseList
from onhand.web.openapi import described


@post("/v1/promises", guards=[guard("orders")], status_code=200)
@described(body=AskPromise, answer=PromiseList)
async def ask_promise(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Ask from where an order could be fulfilled and by when, the best way first; holds nothing."""
    return await answer_command(request, ASK_PROMISE)
