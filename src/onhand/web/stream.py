"""Server-sent events: a snapshot of chosen SKUs, then every change of their numbers.

One task a process follows the tables' changes and tells each client which of its SKUs changed; the
client's own task then renders the answers, so a slow client holds up nobody and is sent the newest
numbers, not a queue of old ones.

An event's id says where in the changes it stands. A client that comes back with ``Last-Event-ID``
is sent what changed since, or a new snapshot when that is no longer known.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get
from litestar.response import Stream
from msgspec import Struct

from onhand.model.availability import Answer, QueryAnswer
from onhand.table.reader import Cursor
from onhand.web.auth import guard
from onhand.web.openapi import described
from onhand.web.parameters import StreamParameters, parse_parameters, split_skus
from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from onhand.metrics import Page
    from onhand.table.reader import TableReader
    from onhand.web.readside import ReadSide
    from onhand.web.services import Services

CLIENTS_MAX: Final = 1_000
POLL_S: Final = 0.02
KEEP_ALIVE_S: Final = 15.0
RENDER_COUNT_MAX: Final = 50
"""Answers rendered before other requests get a turn, about half a millisecond's worth."""


class Client:
    """One client of the stream: what it follows, and what of it has changed.

    Parameters
    ----------
    skus
        What it follows.
    scope
        Where.
    """

    def __init__(self, skus: Iterable[str], scope: str) -> None:
        self.skus = frozenset(skus)
        self.scope = scope
        self.changed: set[str] = set()
        self.needs_snapshot = False
        self.wake = asyncio.Event()


class Streams:
    """All clients of this process's stream.

    Parameters
    ----------
    side
        Where changes and answers come from.
    page
        Where it counts.
    """

    def __init__(self, side: ReadSide, page: Page) -> None:
        self._side = side
        self._clients: set[Client] = set()
        self._cursor: Cursor | None = None
        self._setup_version = -1
        self._ending = False
        self._task: asyncio.Task[None] | None = None
        self._client_count = page.gauge("onhand_stream_clients")
        self._sent = page.counter("onhand_stream_events_total")

    def start(self) -> None:
        """Begin to follow changes."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End every stream and stop following."""
        self.end_all()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def end_all(self) -> None:
        """Let every stream end; clients come back to another server by themselves."""
        self._ending = True
        for client in self._clients:
            client.wake.set()

    def open(self, skus: list[str], group: str, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Begin a stream, and say at once what is wrong with it.

        Raises
        ------
        ProblemError
            The group is not known, there is no table, or there are too many streams.
        """
        if self._ending or len(self._clients) >= CLIENTS_MAX:
            raise ProblemError(
                ProblemCode.TOO_MANY_STREAMS, f"{len(self._clients)} clients follow already."
            )
        client = Client(skus, f"group:{group}")
        self._side.render_query([], [client.scope])  # Refuses a group that is not known.
        since = parse_cursor(last_event_id) if last_event_id is not None else None
        return self._send(client, since)

    async def _send(self, client: Client, since: Cursor | None) -> AsyncIterator[bytes]:
        self._clients.add(client)
        self._client_count.set(len(self._clients))
        try:
            yield b"retry: 1000\n\n"
            self._resume(client, since)
            while not self._ending:
                async for event in self._due(client):
                    self._sent.add()
                    yield event
                try:
                    await asyncio.wait_for(client.wake.wait(), KEEP_ALIVE_S)
                except TimeoutError:
                    # Keeps proxies from closing it, and finds out who has gone.
                    yield b": still here\n\n"
                client.wake.clear()
        except ProblemError as error:
            # The answer has begun, so what ends it comes as an event.
            yield _event(None, b"problem", error.reply().body)
        finally:
            self._clients.discard(client)
            self._client_count.set(len(self._clients))

    def _resume(self, client: Client, since: Cursor | None) -> None:
        # The client is among the others by now: from here on the shared task tells it of changes.
        self._hand_out()
        if since is None:
            client.needs_snapshot = True
            return
        changes = self._tables().changes(since)
        client.needs_snapshot = not changes.complete
        client.changed.update(sku for sku, _ in changes.cells if sku in client.skus)

    async def _due(self, client: Client) -> AsyncIterator[bytes]:
        """Render what the client is to be sent now."""
        # What has been handed out, and no newer place: changes after it may not be known here yet.
        event_id = write_cursor(self._cursor or self._tables().cursor())
        if client.needs_snapshot:
            client.needs_snapshot = False
            client.changed.clear()
            body = self._side.render_query(sorted(client.skus), [client.scope])
            yield _event(event_id, b"snapshot", body)
        changed = sorted(client.changed)
        client.changed.clear()
        for count, sku in enumerate(changed, 1):
            body = self._side.render(sku, client.scope, detail=False) or b"null"
            # An id promises everything before it, so only the last of these events has one.
            yield _event(event_id if count == len(changed) else None, b"change", body)
            if count % RENDER_COUNT_MAX == 0:
                await asyncio.sleep(0)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                self._hand_out()
            except ProblemError:
                # No table yet; whoever asks for a stream is told so.
                self._cursor = None

    def _hand_out(self) -> None:
        tables = self._tables()
        known, self._setup_version = self._setup_version, self._side.setup.version
        if not self._clients or self._cursor is None:
            self._cursor = tables.cursor()
            return
        changes = tables.changes(self._cursor)
        self._cursor = changes.cursor
        changed = {sku for sku, _ in changes.cells}
        # Safety stock and groups are part of every answer, and no table tells of them.
        anew = not changes.complete or known != self._setup_version
        for client in self._clients:
            if anew:
                client.needs_snapshot = True
                client.wake.set()
            elif mine := changed & client.skus:
                client.changed |= mine
                client.wake.set()

    def _tables(self) -> TableReader:
        return self._side.tables(time.time_ns() // 1000)


class StreamEvents(Struct, frozen=True):
    """What the events of the stream hold: ``snapshot`` first, then ``change`` for each change."""

    snapshot: QueryAnswer
    change: Answer


@get("/v1/availability/stream", guards=[guard("storefront")])
@described(parameters=StreamParameters, answer=StreamEvents, media_type="text/event-stream")
async def follow_availability(request: Request[Any, Any, Any]) -> Stream:
    """Follow SKUs in a group: server-sent events, a snapshot and then each change.

    `event: snapshot` holds what a query answers, `event: change` what a single read does. Several
    changes of a SKU within a moment are sent as one. `Last-Event-ID` resumes: only what changed
    since is sent, or a new snapshot when too much has.
    """
    services: Services = request.app.state.services
    query_string = request.scope["query_string"].decode()
    asked = parse_parameters(StreamParameters, query_string)
    events = services.streams.open(
        split_skus(query_string), asked.group, request.headers.get("last-event-id")
    )
    return Stream(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})


def write_cursor(cursor: Cursor) -> str:
    """Write a place in the changes as an event id: ``generation-sequence`` of each table."""
    generations = (*cursor.generations, cursor.demand_generation)
    pairs = zip(generations, (*cursor.sequences, cursor.demand_sequence), strict=True)
    return ".".join(f"{generation}-{sequence}" for generation, sequence in pairs)


def parse_cursor(text: str) -> Cursor | None:
    """Read an event id; None when it is not one of ours."""
    pairs = [part.partition("-") for part in text.split(".")]
    if not all(first.isdecimal() and last.isdecimal() for first, _, last in pairs):
        return None
    *generations, demand_generation = (int(first) for first, _, _ in pairs)
    *sequences, demand_sequence = (int(last) for _, _, last in pairs)
    return Cursor(tuple(generations), tuple(sequences), demand_generation, demand_sequence)


def _event(event_id: str | None, kind: bytes, data: bytes) -> bytes:
    identified = b"id: " + event_id.encode() + b"\n" if event_id is not None else b""
    return identified + b"event: " + kind + b"\ndata: " + data + b"\n\n"
