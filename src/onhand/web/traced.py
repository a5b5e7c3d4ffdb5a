"""The front of a server that traces: a request that is sampled is answered within its span."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from onhand.tracing import current_trace
from onhand.web.bridge import UNMATCHED
from onhand.web.hot import READ_ROUTE, Front
from onhand.web.services import known_method

if TYPE_CHECKING:
    from litestar import Litestar

    from onhand.tracing import Tracing
    from onhand.web.reply import Reply
    from onhand.web.rsgi import HTTPProtocol, Scope
    from onhand.web.services import Services

API_PREFIX: Final = "/v1/"
"""What is asked under it may be traced by chance; probes and scrapers would drown it."""

OK: Final = 200


class TracedFront(Front):
    """A :class:`Front` of its own kind, so that one that does not trace pays nothing.

    Parameters
    ----------
    tracing
        Open; closed with the services.
    """

    def __init__(self, services: Services, app: Litestar, tracing: Tracing) -> None:
        super().__init__(services, app)
        self._tracing = tracing

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request, and tell of it if it is sampled."""
        method, headers = known_method(scope.method), scope.headers
        trace = self._tracing.request(
            method,
            headers.get("traceparent"),
            headers.get("tracestate"),
            may_draw=scope.path.startswith(API_PREFIX),
        )
        if trace is None:
            await super().__rsgi__(scope, protocol)
            return
        # The server runs all requests in one context, and this one's trace is no other's.
        answering = asyncio.get_running_loop().create_task(
            super().__rsgi__(scope, protocol), context=trace.context()
        )
        try:
            await answering
        finally:
            trace.end(method)

    def _read(self, sku: str, scope: Scope, protocol: HTTPProtocol) -> None:
        _note(READ_ROUTE, OK)
        super()._read(sku, scope, protocol)

    async def _framework(self, scope: Scope, protocol: HTTPProtocol, path: str) -> tuple[int, str]:
        status, route = await super()._framework(scope, protocol, path)
        _note(route, status)
        return status, route

    def _reply(self, protocol: HTTPProtocol, method: str, route: str, reply: Reply) -> None:
        _note(route, reply.status)
        super()._reply(protocol, method, route, reply)


def _note(route: str, status: int) -> None:
    trace = current_trace()
    if trace is not None:
        trace.route = "" if route == UNMATCHED else route
        trace.status = status
