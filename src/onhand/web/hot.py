"""The front of the server: hot routes answered at once, all others handed to the framework.

A single read is over in a few microseconds, which is less than a framework needs to find the
handler for it. So reads, queries, posted events, new holds and orders, and questions about promises
are dispatched here by hand. The framework knows the same routes, for the published schema; their
answers come from the same functions.
"""

from __future__ import annotations

import os
import signal
from time import perf_counter
from typing import TYPE_CHECKING, Final

from onhand.web.body import read_body
from onhand.web.bridge import UNMATCHED, call_asgi
from onhand.web.commands import ASK_PROMISE, PLACE_HOLD, PLACE_ORDER
from onhand.web.paths import one_step_an_id
from onhand.web.problem import problem_of
from onhand.web.reply import JSON_HEADERS

if TYPE_CHECKING:
    import asyncio

    from litestar import Litestar

    from onhand.web.commands import CommandRoute, Commands
    from onhand.web.reply import Reply
    from onhand.web.rsgi import HTTPProtocol, Scope
    from onhand.web.services import Services

READ_PREFIX: Final = "/v1/availability/"
READ_ROUTE: Final = "/v1/availability/{sku}"
QUERY_ROUTE: Final = "/v1/availability/query"
EVENTS_ROUTE: Final = "/v1/events"

END_S_MAX: Final = 20
"""What is left of a worker then is ended by the kernel; its parent does not wait so long."""

HOT_COMMANDS: Final = {each.route: each for each in (PLACE_HOLD, PLACE_ORDER, ASK_PROMISE)}
"""All of them are posted."""

NOT_A_SKU: Final = frozenset({"query", "stream"})
"""What stands where a SKU would; a SKU of that name is read by a query."""

ABOUT_A_SKU: Final = ("/nearby", "/explain", "/together")
_PREFIX_LENGTH: Final = len(READ_PREFIX)


class Front:
    """The application as the server calls it, one a process.

    Parameters
    ----------
    services
        What this process works with; started and stopped here.
    app
        The framework's application on them.
    """

    def __init__(self, services: Services, app: Litestar) -> None:
        self._services = services
        self._app = app
        self._reads = services.reads
        self._is_ending = False
        self._read_ok = services.requests.counter("GET", READ_ROUTE, 200)
        self._read_seconds = services.page.histogram("onhand_read_seconds", READ_ROUTE)
        self._query_seconds = services.page.histogram("onhand_read_seconds", QUERY_ROUTE)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start what runs beside requests, before the first of them."""
        loop.run_until_complete(self._services.start())
        loop.add_signal_handler(signal.SIGTERM, self._terminate)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop it, after the last request."""
        loop.run_until_complete(self._services.stop())

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        path = scope.path
        if path.startswith(READ_PREFIX):
            rest = path[_PREFIX_LENGTH:]
            if scope.method == "GET":
                if rest not in NOT_A_SKU and not ("/" in rest and rest.endswith(ABOUT_A_SKU)):
                    self._read(rest, scope, protocol)
                    return
            elif rest == "query" and scope.method == "POST":
                await self._query(scope, protocol)
                return
        elif path == EVENTS_ROUTE and scope.method == "POST" and self._services.publishing:
            await self._events(scope, protocol)
            return
        elif path in HOT_COMMANDS and scope.method == "POST":
            commands = self._services.commands
            if commands is not None:
                await self._command(HOT_COMMANDS[path], commands, scope, protocol)
                return
        await self._framework(scope, protocol, path)

    def _read(self, sku: str, scope: Scope, protocol: HTTPProtocol) -> None:
        begun_s = perf_counter()
        try:
            body = self._reads.read(sku, scope.query_string, scope.headers.get("authorization"))
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            self._reply(protocol, "GET", READ_ROUTE, problem_of(error).reply())
            return
        protocol.response_bytes(200, JSON_HEADERS, body)
        self._read_ok.add()
        self._read_seconds.observe(perf_counter() - begun_s)

    async def _query(self, scope: Scope, protocol: HTTPProtocol) -> None:
        try:
            sent = await read_body(scope, protocol, self._services.body_bytes_max)
            begun_s = perf_counter()
            reply = self._reads.query(sent, scope.headers.get("authorization"))
            self._query_seconds.observe(perf_counter() - begun_s)
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            reply = problem_of(error).reply()
        self._reply(protocol, "POST", QUERY_ROUTE, reply)

    async def _events(self, scope: Scope, protocol: HTTPProtocol) -> None:
        headers = scope.headers
        try:
            self._services.publisher.authorize(headers.get("authorization"))
            sent = await read_body(scope, protocol, self._services.body_bytes_max)
            reply = await self._services.publisher.publish(
                sent, headers.get("content-type"), scope.query_string
            )
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            reply = problem_of(error).reply()
        self._reply(protocol, "POST", EVENTS_ROUTE, reply)

    async def _command(
        self, route: CommandRoute, commands: Commands, scope: Scope, protocol: HTTPProtocol
    ) -> None:
        headers = scope.headers
        try:
            grant = commands.admit(headers.get("authorization"), route.role, *route.also)
            sent = await read_body(scope, protocol, self._services.body_bytes_max)
            reply = await commands.carry_out(
                route, sent, grant, idempotency_key=headers.get("idempotency-key")
            )
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            reply = problem_of(error).reply()
        self._reply(protocol, "POST", route.route, reply)

    async def _framework(self, scope: Scope, protocol: HTTPProtocol, path: str) -> tuple[int, str]:
        method = scope.method
        try:
            body = await read_body(scope, protocol, self._services.body_bytes_max)
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            reply = problem_of(error).reply()
            self._reply(protocol, method, UNMATCHED, reply)
            return reply.status, UNMATCHED
        # Its own failures are answers too: the application turns every exception into a problem.
        status, route = await call_asgi(
            self._app, scope, protocol, path=one_step_an_id(method, path), body=body
        )
        self._services.requests.count(method, route, status)
        return status, route

    def _reply(self, protocol: HTTPProtocol, method: str, route: str, reply: Reply) -> None:
        protocol.response_bytes(reply.status, reply.headers, reply.body)
        self._services.requests.count(method, route, reply.status)

    def _terminate(self) -> None:
        """End the server, whoever tells and however often: its parent and the kernel may both.

        Its own handler has only the other signal, which nobody else may send: told a third time, it
        waits for ever with the interpreter lock (granian's ``WorkerSignal.set``).
        """
        if self._is_ending:
            return
        self._is_ending = True
        signal.alarm(END_S_MAX)
        # Streams have no end of their own, and the server waits for every answer to end.
        self._services.end_streams()
        # One that waits already and this one are one.
        os.kill(os.getpid(), signal.SIGINT)
        for how in (signal.SIG_UNBLOCK, signal.SIG_BLOCK):
            signal.pthread_sigmask(how, {signal.SIGINT})
