"""Load for measurements over processes: publishers that follow a clock, a probe that watches.

Times are ``time.monotonic_ns()``, which all processes of a machine share. A publisher's times are
those at which an event was due, not those at which it got round to it: a publisher that is held up
counts the wait as ours.
"""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Self

import msgspec

from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onhand.log.base import Position

TICK_S = 0.001
BATCH_S = 0.01
"""A publisher over HTTP sends what is due this often."""

LEAD_S = 0.5
"""From a publisher's being ready to its first event."""

GIVE_UP_S = 30.0
SKU_COUNT, LOCATION_COUNT = 50_000, 100
MARK_SKU, MARK_LOCATION = "mark", "store-mark"
_ON_HAND = re.compile(rb'"on_hand":(-?\d+)')


class Told(msgspec.Struct):
    """When each marked event was due, and when the log had it on disk, in nanoseconds."""

    due_ns: list[int]
    durable_ns: list[int]


def make_values(count: int, mark_every: int) -> list[bytes]:
    """Make sales over many cells; each ``mark_every``-th event is a receipt of one marked unit."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    values = []
    for number in range(count):
        head = {"id": f"load-{number}", "source": f"till-{number % 50}", "occurred_at": at}
        if (number + 1) % mark_every == 0:
            own = {"type": "receipt", "sku": MARK_SKU, "location": MARK_LOCATION, "quantity": 1}
        else:
            sku = f"sku-{number * 104_729 % SKU_COUNT:06d}"
            location = f"store-{number * 7_919 % LOCATION_COUNT}"
            own = {"type": "sale", "sku": sku, "location": location, "quantity": 1}
        values.append(msgspec.json.encode(head | own))
    return values


def publish_to_log(settings: Settings, rate: int, count: int, mark_every: int) -> Told:
    """Append ``rate`` events a second, each on its own, whatever becomes of those before."""
    values = make_values(count, mark_every)
    records = [NewRecord("stock.sales", value, b"%d" % (n % 97)) for n, value in enumerate(values)]
    for number in range(mark_every - 1, count, mark_every):
        # One key, one partition: marks become visible in the order they were published.
        records[number] = msgspec.structs.replace(records[number], key=b"mark")
    log = open_log(settings)
    first = msgspec.json.decode(values[0]) | {"id": "first"}
    log.append([NewRecord("stock.sales", msgspec.json.encode(first))])  # a producer's id takes time
    # The load stays to the end: going through it again and again would hold its publisher up.
    gc.freeze()
    started_ns = time.monotonic_ns() + int(LEAD_S * 1e9)
    told = Told([], [0] * (count // mark_every))
    waiting: deque[Future[list[Position]]] = deque()
    sent = 0
    while sent < count:
        due = min(count, (time.monotonic_ns() - started_ns) * rate // 1_000_000_000 + 1)
        for number in range(sent, max(sent, due)):
            future = log.append_nowait([records[number]])
            waiting.append(future)
            if (number + 1) % mark_every == 0:
                told.due_ns.append(started_ns + number * 1_000_000_000 // rate)
                place = len(told.due_ns) - 1
                future.add_done_callback(
                    lambda _, place=place: told.durable_ns.__setitem__(place, time.monotonic_ns())
                )
        sent = max(sent, due)
        while waiting and waiting[0].done():
            waiting.popleft().result()
        time.sleep(TICK_S)
    for future in waiting:
        future.result(GIVE_UP_S)
    log.close()
    return told


def publish_by_http(port: int, rate: int, count: int) -> Told:
    """Post a batch of what came due every 10 ms; the last event of each is the marked one."""
    size = int(rate * BATCH_S)
    values = make_values(count, size)
    told = Told([], [])
    started_ns = time.monotonic_ns() + int(LEAD_S * 1e9)
    with Connection(port) as connection:
        for batch, start in enumerate(range(0, count, size)):
            body = b"[" + b",".join(values[start : start + size]) + b"]"
            due_ns = started_ns + batch * int(BATCH_S * 1e9)
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            answer = connection.ask(b"POST", b"/v1/events", body)
            told.due_ns.append(due_ns)
            told.durable_ns.append(time.monotonic_ns())
            assert b'"rejected":[]' in answer, answer
    return told


def watch(port: int, mark_count: int, pause_s: float) -> list[int]:
    """Ask for the marked cell until it has every unit; return when each was first seen."""
    seen_ns: list[int] = []
    path = f"/v1/availability/{MARK_SKU}?location={MARK_LOCATION}".encode()
    progress_s = time.monotonic()
    with Connection(port) as connection:
        while len(seen_ns) < mark_count:
            answer = connection.ask(b"GET", path)
            now_ns = time.monotonic_ns()
            found = _ON_HAND.search(answer)
            units = int(found[1]) if found else 0
            if units > len(seen_ns):
                progress_s = now_ns / 1e9
            seen_ns += [now_ns] * (units - len(seen_ns))
            assert time.monotonic() - progress_s < GIVE_UP_S, f"{len(seen_ns)} marks were seen"
            time.sleep(pause_s)
    return seen_ns


class Connection:
    """The least an HTTP client can be: one connection kept alive, answers with a length."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=GIVE_UP_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, method: bytes, path: bytes, body: bytes = b"") -> bytes:
        """Send a request and return the body of the answer."""
        head = b"%s %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n" % (
            method,
            path,
        )
        self._socket.sendall(head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, content = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        assert length is not None, head
        while len(content) < int(length[1]):
            content += self._receive()
        return content

    def _receive(self) -> bytes:
        received = self._socket.recv(65_536)
        assert received, "the server closed the connection"
        return received


@contextlib.contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Run functions in processes of their own, started and imported before anything is timed."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        for ready in [pool.submit(time.sleep, 0.2) for _ in range(count)]:
            ready.result()
        yield pool
