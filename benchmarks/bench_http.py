"""Reads over HTTP from one worker, beside the bare server on the same core in the same run.

Everything is as in production: ``onhand serve`` in a process of its own, tokens asked for and
checked, metrics counted, a table of 50,000 SKUs at 100 places with 10 cells a SKU. The bare server
is the same server program with its fastest interface and one function that answers a constant of
the size of a real answer.

Bias: server and load have one core each, and share what else the machine does; runs of the two
servers alternate and the median counts. The load is a C program, one thread, connections kept
alive, requests made beforehand, SKUs at random. The rate of the latency run is half of what the
server reached, and latency counts from when a request was due by the clock.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from benchmarks.figures import state
from benchmarks.kit.http_load import SERVER_CORE, bare_server, pinned, request, run_load
from onhand.configuration import load_settings
from onhand.ledger import TokenStore, open_ledger
from tests.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = pytest.param((500, 0.2, 1), id="small")
LARGE = pytest.param((50_000, 3.0, 3), id="large", marks=pytest.mark.slow)
LOCATION_COUNT, CELLS_A_SKU = 100, 10
CONNECTIONS = 32
QUERY_SKUS = 1_000
QUERY = "/v1/availability/query"


def sku(number: int) -> str:
    return f"{4_000_000_000_000 + number}"


def fill(server: Server, sku_count: int) -> None:
    """Stock every SKU at ten places."""
    rng = np.random.default_rng(5)
    skus = server.kit.skus([sku(number) for number in range(sku_count)])
    for at in range(LOCATION_COUNT):
        server.kit.location(f"store-{at:03d}")
    for _ in range(CELLS_A_SKU):
        places = rng.integers(0, LOCATION_COUNT, sku_count, np.uint32)
        units = rng.integers(0, 40, sku_count, np.int32)
        server.kit.add_numbers(skus, places, units)


@pytest.fixture
def load(request, tmp_path) -> Iterator[tuple[Server, str, int, float, int]]:
    """Return a server of so many SKUs, the header of a token, and how long to measure how often."""
    sku_count, seconds, rounds = request.param
    server = Server(tmp_path, auth=True)
    fill(server, sku_count)
    server.publish()
    ledger = open_ledger(load_settings({"data": str(server.data)}))
    token = TokenStore(ledger).create("storefront")
    ledger.close()
    server.argv = pinned(SERVER_CORE, server.argv)
    try:
        server.start()
        yield server, f"authorization: Bearer {token}\r\n", sku_count, seconds, rounds
    finally:
        server.close()


def reads(sku_count: int, header: str) -> list[bytes]:
    """Prepare single reads of random SKUs."""
    rng = np.random.default_rng(11)
    numbers = rng.integers(0, sku_count, 10_000)
    return [request("GET", f"/v1/availability/{sku(n)}", headers=header) for n in numbers]


@pytest.mark.parametrize("load", [SMALL, LARGE], indirect=True)
def bench_http_read(benchmark, load, tmp_path):
    """Read one SKU in the group of all: 0.7 of the bare server, p99 of 3 ms at half that rate."""
    server, header, sku_count, seconds, rounds = load
    requests = reads(sku_count, header)
    name, _, value = header.strip().partition(": ")
    answer = server.get(f"/v1/availability/{sku(1)}", headers={name: value}).content
    with bare_server(answer, tmp_path) as bare_port:
        rates: dict[int, list[float]] = {bare_port: [], server.port: []}

        def measure() -> None:
            for port, measured in rates.items():
                run = run_load(port, requests, connections=CONNECTIONS, seconds=seconds)
                measured.append(run.rate)

        benchmark.pedantic(measure, rounds=rounds)
        bare, ours = (statistics.median(measured) for measured in rates.values())
        bare_tail, tail = (
            run_load(port, requests, connections=CONNECTIONS, seconds=2 * seconds, rate=ours / 2)
            for port in (bare_port, server.port)
        )
    state(benchmark, "http_read", ours, limit=bare, limit_name="the bare server")
    state(
        benchmark,
        "http_read_p99",
        tail.percentiles["p99"],
        limit=bare_tail.percentiles["p99"],
        limit_name="the bare server at that rate",
        percentiles=tail.percentiles,
        note=f"at {ours / 2:,.0f} requests/s",
    )


@pytest.mark.parametrize("load", [SMALL, LARGE], indirect=True)
def bench_http_query(benchmark, load):
    """Query 1,000 SKUs at once: 500,000 answers a second."""
    server, header, sku_count, seconds, rounds = load
    rng = np.random.default_rng(12)
    asked = min(QUERY_SKUS, sku_count)
    requests = [
        request(
            "POST",
            QUERY,
            msgspec.json.encode({"skus": [sku(n) for n in rng.choice(sku_count, asked, False)]}),
            header,
        )
        for _ in range(50)
    ]
    runs = []
    benchmark.pedantic(
        lambda: runs.append(run_load(server.port, requests, connections=4, seconds=seconds)),
        rounds=rounds,
    )
    median = sorted(runs)[len(runs) // 2]
    tail = ", ".join(f"{name} {each:.3g} ms" for name, each in median.percentiles.items())
    state(benchmark, "http_query", median.rate * asked, note=f"a query of four at a time: {tail}")
