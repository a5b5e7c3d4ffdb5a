"""An HTTP client for load: kept connections, requests due by a clock, every answer accounted for.

A request is counted from when it was due, so that one that waits for a free connection, or for a
load that is held up itself, counts the wait. It is sent again under its key until it is answered
for good, as any client of onhand should.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from benchmarks.soak.world import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.soak.latencies import Latencies

TICK_S = 0.002
ANSWER_S_MAX = 60.0
RETRY_S = 0.1
RUNNING_MAX = 20_000
OWN_LATENESS = "the load's own clock"
SAMPLE_COUNT_MAX = 20
PASSING = frozenset({0, 429, 500, 502, 503, 504})
"""After these a client sends again; 0 is no answer at all."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Reply(NamedTuple):
    """An answer; status 0 stands for none."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_answer(self) -> bool:
        """Whether it says for good what became of the request."""
        return self.status not in PASSING

    def document(self) -> Any:
        """Decode the body."""
        return msgspec.json.decode(self.body)

    def code(self) -> str:
        """Name the problem, if it is one."""
        with contextlib.suppress(msgspec.DecodeError, AttributeError):
            return str(self.document().get("code", ""))
        return ""


class Said(msgspec.Struct):
    """How requests were answered: by kind, status and code, and examples of what nobody expects."""

    answers: Counter[str] = msgspec.field(default_factory=Counter)
    unexpected: Counter[str] = msgspec.field(default_factory=Counter)
    samples: list[str] = []
    left_out: int = 0

    def add(self, other: Said) -> None:
        """Take in what another process was told."""
        self.answers.update(other.answers)
        self.unexpected.update(other.unexpected)
        self.left_out += other.left_out
        self.samples = (self.samples + other.samples)[:SAMPLE_COUNT_MAX]

    def note_unexpected(self, what: str, sample: str) -> None:
        """Count what should not have happened, and keep the first examples."""
        self.unexpected[what] += 1
        if len(self.samples) < SAMPLE_COUNT_MAX:
            self.samples.append(f"{what}: {sample}")


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Reply:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._received = b""
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._answer, ANSWER_S_MAX)
        except TimeoutError:
            self.close()
            return Reply(0, b"no answer in time")

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        length = _LENGTH.search(head)
        if len(body) >= (int(length[1]) if length else 0):
            self._answer.set_result(Reply(int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(0, f"connection lost: {exc}".encode()))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Client:
    """Requests over at most so many connections.

    Parameters
    ----------
    port
        Of the server on this machine.
    connections
        Requests beyond these wait, and their wait counts.
    latencies
        Where they are counted.
    """

    def __init__(self, port: int, connections: int, latencies: Latencies) -> None:
        self.said = Said()
        self.latencies = latencies
        self._port = port
        self._free: asyncio.LifoQueue[_Connection | None] = asyncio.LifoQueue()
        for _ in range(connections):
            self._free.put_nowait(None)

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        due_s: float | None = None,
        expected: frozenset[str] = frozenset(),
        content_type: str = "application/json",
    ) -> Reply:
        """Send a request until it is answered for good.

        Parameters
        ----------
        kind
            What it is counted as.
        due_s
            When it was due, by the monotonic clock; None: now.
        expected
            Codes of problems that such a request may well meet. Any other is noted.
        """
        due_s = time.monotonic() if due_s is None else due_s
        key = "" if method == "GET" else f"idempotency-key: {uuid.uuid4().hex}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nhost: soak\r\n{key}content-type: {content_type}\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        give_up_s = due_s + ANSWER_S_MAX
        while True:
            reply = await self._send(request)
            now_s = time.monotonic()
            self._note(kind, reply, expected, f"{method} {path} {body[:300]!r}")
            if reply.is_answer or now_s > give_up_s:
                self.latencies.observe(kind, due_s, now_s - due_s)
                return reply
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Close every connection that is free."""
        while not self._free.empty():
            connection = self._free.get_nowait()
            if connection is not None:
                connection.close()

    async def _send(self, request: bytes) -> Reply:
        connection = await self._free.get()
        try:
            if connection is None or not connection.is_open:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
            return await connection.ask(request)
        except OSError as error:
            return Reply(0, str(error).encode())
        finally:
            self._free.put_nowait(connection)

    def _note(self, kind: str, reply: Reply, expected: frozenset[str], request: str) -> None:
        code = "" if reply.is_success else reply.code()
        self.said.answers[f"{kind} {reply.status} {code}".rstrip()] += 1
        if not reply.is_success and code not in expected:
            what = f"{kind} {reply.status} {code}".rstrip()
            self.said.note_unexpected(what, f"{request} -> {reply.body[:600]!r}")


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of the load has to do: so much a second, from when, for how long."""

    port: int
    begun_s: float
    seconds: float
    rate: float
    world: World


async def by_the_clock(
    shift: Shift,
    rate: float,
    start: Callable[[float], Awaitable[None]],
    client: Client,
) -> None:
    """Start something at a rate, whatever becomes of what was started before; wait for all of it.

    ``start`` is given the time at which it was due. How late it was started is counted as well:
    a load that does not keep its own clock measures itself. Beyond :data:`RUNNING_MAX` nothing is
    started and what was due is left out, which is told, so that the load's memory has a bound.
    """
    running: set[asyncio.Task[None]] = set()
    total = int(shift.seconds * rate)
    started = 0
    while started < total:
        now_s = time.monotonic()
        due = min(total, int((now_s - shift.begun_s) * rate) + 1)
        room = RUNNING_MAX - len(running)
        if due - started > room:
            client.said.left_out += due - started - room
        for number in range(started, min(due, started + room)):
            due_s = shift.begun_s + number / rate
            client.latencies.observe(OWN_LATENESS, due_s, now_s - due_s)
            running.add(task := asyncio.ensure_future(start(due_s)))
            task.add_done_callback(running.discard)
        started = max(started, due)
        await asyncio.sleep(TICK_S)
    # A failed start is an error of the load itself, and must be heard.
    await asyncio.gather(*running)
