"""Holds, orders and promises over HTTP, beside the bare server in the same run.

Everything is as in production: ``onhand serve`` in a process of its own with its order writer,
tokens asked for and checked, every answer on disk before it is given, a ledger in SQLite and one in
PostgreSQL. The bare server is the same server program with its fastest interface and one function,
which reads the same body and answers a constant of the size of a real answer.

Bias: server, writer, database and load share all cores as the system sees fit, for a server that
waits for its disk in one thread works in another meanwhile; runs of the two servers alternate and
the median counts. The load is a C program, one thread, connections kept alive, requests made
beforehand, SKUs at random, one line a hold, stock that does not run out. The rate of a latency run
is half of what the server reached, by the clock, and latency counts from when a request was due.
So does that of the disk alone, right after: one that stands still for a tenth of a second now and
then, with nothing else to do, has a p99 of its own.
Nobody applies what is handed over; nothing is.
"""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from benchmarks.bench_ledger import DATABASES, SUFFIXES, durable_server
from benchmarks.figures import state
from benchmarks.kit.disk import sync_ms
from benchmarks.kit.http_load import bare_server, request, run_load
from onhand.configuration import load_settings
from onhand.ledger import SetupStore, TokenStore, open_ledger
from onhand.model.setup import Location
from tests.deployments import wait_until
from tests.postgres import new_database
from tests.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["durable_server"]

SMALL = pytest.param((500, 0.3, 1), id="small")
LARGE = pytest.param((50_000, 5.0, 3), id="large", marks=pytest.mark.slow)
LOCATION_COUNT, CELLS_A_SKU = 100, 10
UNITS = 1_000_000
CONNECTIONS = 32
REQUEST_COUNT = 10_000
FOREVER = ("--max-supply-age-ms", "3600000")
"""Nobody stamps the tables of a benchmark."""


def sku(number: int) -> str:
    return f"{4_000_000_000_000 + number}"


def place(number: int) -> str:
    return f"store-{number:03d}"


def places_of(number: int) -> list[int]:
    """List the places that have a SKU."""
    return [(number * 7 + at * 10) % LOCATION_COUNT for at in range(CELLS_A_SKU)]


class Load:
    """A server with stock, a token, and how long to measure how often.

    ``database`` is the URL of its ledger, None for SQLite.
    """

    def __init__(
        self,
        scratch,
        sku_count: int,
        seconds: float,
        rounds: int,
        *,
        database: str | None = None,
    ) -> None:
        self.sku_count, self.seconds, self.rounds = sku_count, seconds, rounds
        where = {} if database is None else {"database": database}
        flags = () if database is None else ("--database", database)
        self.server = Server(scratch, *FOREVER, *flags, auth=True)
        self._fill()
        self.server.publish()
        ledger = open_ledger(load_settings({"data": str(self.server.data), **where}))
        token = TokenStore(ledger).create("orders")
        SetupStore(ledger).put_locations([_location(number) for number in range(LOCATION_COUNT)])
        ledger.close()
        self.header = f"authorization: Bearer {token}\r\n"
        self.rng = np.random.default_rng(5)

    def open(self) -> Load:
        self.server.start()
        wait_until(lambda: self.server.get("/readyz").json()["ready"])
        return self

    def requests(self, path: str, bodies: Iterator[dict]) -> list[bytes]:
        """Prepare requests; their SKUs come at random."""
        encode = msgspec.json.encode
        return [request("POST", path, encode(body), self.header) for body in bodies]

    def skus(self) -> Iterator[int]:
        return iter(self.rng.integers(0, self.sku_count, REQUEST_COUNT).tolist())

    def ask(self, path: str, body: dict) -> bytes:
        """Ask once, for the size of a real answer."""
        name, _, value = self.header.strip().partition(": ")
        answer = self.server.post(path, body, headers={name: value})
        assert answer.is_success, answer.text
        return answer.content

    def _fill(self) -> None:
        kit = self.server.kit
        skus = kit.skus([sku(number) for number in range(self.sku_count)])
        for at in range(LOCATION_COUNT):
            kit.location(place(at))
        held = np.array([places_of(number) for number in range(self.sku_count)], np.uint32)
        units = np.full(self.sku_count, UNITS, np.int32)
        for column in range(CELLS_A_SKU):
            kit.add_numbers(skus, np.ascontiguousarray(held[:, column]), units)


def _location(number: int) -> Location:
    return Location(
        id=place(number),
        name=place(number),
        type="store",
        latitude=47 + number % 10 * 0.7,
        longitude=7 + number // 10 * 0.7,
    )


@pytest.fixture(params=DATABASES)
def kind(request) -> str:
    """Name the database that has the ledger."""
    return request.param


@pytest.fixture(params=[SMALL, LARGE])
def load(request, tmp_path, kind) -> Iterator[Load]:
    with contextlib.ExitStack() as stack:
        database = None
        if kind == "postgres":
            server = request.getfixturevalue("durable_server")
            database = stack.enter_context(new_database(server))
        load = Load(tmp_path, *request.param, database=database)
        stack.callback(load.server.close)
        yield load.open()


def hold(number: int) -> dict:
    line = {"sku": sku(number), "quantity": 1, "location": place(places_of(number)[0])}
    return {"lines": [line], "ttl_s": 14_400}


def order(number: int) -> dict:
    """Order two SKUs that the same places have, to be shipped."""
    other = number + LOCATION_COUNT if number < LOCATION_COUNT else number - LOCATION_COUNT
    lines = [{"sku": sku(each), "quantity": 1} for each in (number, other)]
    destination = {"latitude": 47 + number % 60 / 10, "longitude": 7 + number % 70 / 10}
    return {"lines": lines, "fulfilment": {"method": "ship", "destination": destination}}


def measured(benchmark, load: Load, ports: list[int], requests: list[bytes]) -> list[float]:
    """Load servers in turn; return the median rate of each."""
    rates: dict[int, list[float]] = {port: [] for port in ports}

    def measure() -> None:
        for port, reached in rates.items():
            run = run_load(port, requests, connections=CONNECTIONS, core=None, seconds=load.seconds)
            reached.append(run.rate)

    benchmark.pedantic(measure, rounds=load.rounds)
    return [statistics.median(reached) for reached in rates.values()]


def disk_note(folder, seconds: float) -> str:
    p99 = np.percentile(sync_ms(folder, seconds), 99)
    return f"the disk alone, 64 KiB synced 500 times a second: {p99:.1f} ms"


def bench_http_hold(benchmark, load, kind, tmp_path):
    """Hold one unit of one SKU: 0.4 of the bare server, p99 of 10 ms at half that rate."""
    requests = load.requests("/v1/holds", map(hold, load.skus()))
    answer = load.ask("/v1/holds", hold(1))
    with bare_server(
        answer, tmp_path, application="kit.bare_answer:answer_body", core=None
    ) as bare_port:
        bare, ours = measured(benchmark, load, [bare_port, load.server.port], requests)
        bare_tail, tail = (
            run_load(
                port,
                requests,
                connections=CONNECTIONS,
                core=None,
                seconds=2 * load.seconds,
                rate=ours / 2,
            )
            for port in (bare_port, load.server.port)
        )
    suffix = SUFFIXES[kind]
    state(benchmark, f"http_hold{suffix}", ours, limit=bare, limit_name="the bare server")
    state(
        benchmark,
        f"http_hold_p99{suffix}",
        tail.percentiles["p99"],
        limit=bare_tail.percentiles["p99"],
        limit_name="the bare server at that rate",
        percentiles=tail.percentiles,
        note=f"at {ours / 2:,.0f} holds/s; {disk_note(tmp_path, 2 * load.seconds)}",
    )


def bench_http_order(benchmark, load, kind, tmp_path):
    """Order two lines, to be shipped from one of ten places."""
    requests = load.requests("/v1/orders", map(order, load.skus()))
    (ours,) = measured(benchmark, load, [load.server.port], requests)
    tail = run_load(
        load.server.port,
        requests,
        connections=CONNECTIONS,
        core=None,
        seconds=2 * load.seconds,
        rate=ours / 2,
    )
    suffix = SUFFIXES[kind]
    state(benchmark, f"http_order{suffix}", ours)
    state(
        benchmark,
        f"http_order_p99{suffix}",
        tail.percentiles["p99"],
        limit=float(np.percentile(sync_ms(tmp_path, 2 * load.seconds), 99)),
        limit_name="the disk alone, 64 KiB synced 500 times a second",
        percentiles=tail.percentiles,
        note=f"at {ours / 2:,.0f} orders/s",
    )


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.usefixtures("kind")
def bench_http_promise(benchmark, load):
    """Ask how two lines could be shipped; the ledger is not asked."""
    requests = load.requests("/v1/promises", map(order, load.skus()))
    (ours,) = measured(benchmark, load, [load.server.port], requests)
    state(benchmark, "http_promise", ours)
