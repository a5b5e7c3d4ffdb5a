"""Latency over HTTP against offered load, and reads against storefront workers.

Everything is as in production: ``onhand serve`` in a process of its own with its order writer,
tokens asked for and checked, every answer to a hold or an order on disk before it is given, a
ledger in SQLite. The peer of holds is one conditional UPDATE in PostgreSQL behind the bare HTTP
server, see :mod:`benchmarks.peers.update_holds`; it keeps less, and asks for no token.

First a server is asked closed loop, each connection its next request when it has the answer; then
open loop at shares of the rate that it reached itself. So the loads of two servers lie at the same
shares and at different rates. A request falls due by the clock, whether or not one of the 32
connections is free, and its latency counts from then. Each load runs until as many requests were
sent as a p99.9 needs, or as long as patience lasts: a point of fewer says so, and its p99.9 is
little more than its slowest. A point also says so when less was answered than was offered; its
latencies are then those of a queue that grows, and depend on how long the run was. What waits for
its answer when a run ends is in no latency.

Bias: servers, writer, database and load share all cores as the system sees fit, and the load takes
more of them the more it offers; a server on cores of its own would bend later. The load is a C
program, one thread, connections kept alive, requests made beforehand, SKUs at random, stock that
does not run out. Requests fall due at even distances, and real ones in bunches, so tails lean to
the good. What is promised stays open: the book grows from point to point. Loads come in ascending
order, in two servers by turns, each once; whatever else the machine did at one point is in it.

The storefront's workers share the cores with the load as well: with a worker for each core the load
takes its part of one, and past that its one thread may be what is measured. The bare server has as
many workers, asks for no token and answers a constant; there are 32 connections for each worker,
which the kernel hands out as it likes.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks.bench_http import fill, reads
from benchmarks.bench_http import sku as read_sku
from benchmarks.bench_http_orders import CONNECTIONS, hold, order
from benchmarks.curves import PERCENTILES, Point, state_curve
from benchmarks.kit.http_load import bare_server, run_load
from benchmarks.peers import update_holds
from benchmarks.peers.bench_peer_holds import database
from benchmarks.peers.shop import HOLDS, Shop
from onhand.configuration import load_settings
from onhand.ledger import TokenStore, open_ledger
from tests.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.kit.http_load import Load

__all__ = ["database"]

SMALL_SHARES, SHARES = (0.2, 0.6), (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
SMALL = pytest.param((500, 0.1), id="small")
LARGE = pytest.param((50_000, 3.0), id="large", marks=pytest.mark.slow)
SAMPLE_COUNT = 10_000
"""Requests that a p99.9 needs: ten of them are slower."""

PATIENCE = 4
"""A load runs at most so many times as long as is asked for."""

ANSWERED_MIN = 0.99
HOT_UNITS = 1_000_000
WARM_UP = 0.25
"""Of the time that is measured: code is compiled where it is, and connections are opened."""


@pytest.fixture(params=[SMALL, LARGE])
def shop(request, tmp_path) -> Iterator[Shop]:
    """Give ``onhand serve`` of so many SKUs, loads of so many seconds."""
    sku_count, seconds = request.param
    shop = Shop(tmp_path, sku_count, seconds, rounds=1, units=HOT_UNITS)
    try:
        yield shop.open()
    finally:
        shop.server.close()


def closed_loop(port: int, requests: Sequence[bytes], seconds: float) -> float:
    """Return the rate reached when each connection waits for its answer."""
    for each_s in (WARM_UP * seconds, seconds):
        run = run_load(port, requests, connections=CONNECTIONS, core=None, seconds=each_s)
    return run.rate


def seconds_at(rate: float, seconds: float) -> float:
    """Return how long a load runs: until there are enough samples, within bounds."""
    return min(max(seconds, SAMPLE_COUNT / rate), PATIENCE * seconds)


def point_of(run: Load, rate: float, of: str, seconds: float) -> Point:
    """Make a point of one load."""
    answered = run.rate / rate
    notes = []
    if answered < ANSWERED_MIN:
        notes.append(f"{answered:.0%} were answered by the end")
    if rate * seconds < SAMPLE_COUNT * ANSWERED_MIN:
        notes.append(f"only {rate * seconds:,.0f} requests")
    values = {name: run.percentiles[name] for name in PERCENTILES}
    return Point(x=rate, of=of, values=values, note=", ".join(notes))


def curve(
    benchmark, key: str, ports: dict[str, int], requests: Sequence[bytes], seconds: float
) -> None:
    """Offer every load to every server in turn, and state the curve."""
    shares = SMALL_SHARES if seconds < 1 else SHARES
    reached: dict[str, float] = {}

    def measure() -> list[Point]:
        reached.update((of, closed_loop(port, requests, seconds)) for of, port in ports.items())
        found: dict[str, list[Point]] = {of: [] for of in ports}
        for share in shares:
            for of, port in ports.items():
                rate = share * reached[of]
                long = seconds_at(rate, seconds)
                run = run_load(
                    port, requests, connections=CONNECTIONS, core=None, seconds=long, rate=rate
                )
                found[of].append(point_of(run, rate, of, long))
        return [point for points in found.values() for point in points]

    points = benchmark.pedantic(measure, rounds=1)
    assert all(point.values["p50"] <= point.values["p99.9"] for point in points)
    rates = [f"{of or 'onhand'} {rate:,.0f} requests/s" for of, rate in reached.items()]
    state_curve(benchmark, key, points, note=f"Closed loop: {', '.join(rates)}")


def bench_curve_http_read(benchmark, shop):
    """Read one SKU in the group of all."""
    curve(
        benchmark,
        "curve_http_read",
        {"": shop.server.port},
        reads(shop.sku_count, shop.header),
        shop.seconds,
    )


def bench_curve_http_hold(benchmark, shop, database, tmp_path):
    """Hold one unit of one SKU, here and where one UPDATE decides."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(update_holds.CREATE)
    cells = range(shop.sku_count)
    before = sum(update_holds.left(database, cells))
    requests = shop.hold_requests()
    answer = shop.ask(HOLDS, hold(1))
    with bare_server(
        answer, tmp_path, application="peers.update_holds:application", database=database, core=None
    ) as port:
        ports = {"onhand": shop.server.port, "one UPDATE in PostgreSQL": port}
        curve(benchmark, "curve_http_hold", ports, requests, shop.seconds)
    assert sum(update_holds.left(database, cells)) < before


def bench_curve_http_order(benchmark, shop):
    """Order two lines, to be shipped from one of ten places."""
    requests = shop.requests("/v1/orders", map(order, shop.skus()))
    curve(benchmark, "curve_http_order", {"": shop.server.port}, requests, shop.seconds)


# -- workers ---------------------------------------------------------------------------------------


def worker_counts() -> list[int]:
    """List 1, 2, 4 and so on up to the number of cores, and that."""
    core_count = len(os.sched_getaffinity(0))
    return sorted({1 << at for at in range(core_count.bit_length())} | {core_count})


class Storefront:
    """Tables of so many SKUs, a token, and ``onhand storefront`` on them with so many workers."""

    def __init__(self, scratch: Path, sku_count: int) -> None:
        self.scratch = scratch
        self.filled = Server(scratch, auth=True)
        fill(self.filled, sku_count)
        self.filled.publish()
        ledger = open_ledger(load_settings({"data": str(self.filled.data)}))
        self.token = TokenStore(ledger).create("storefront")
        ledger.close()
        self.requests = reads(sku_count, f"authorization: Bearer {self.token}\r\n")

    def rate(self, port: int, workers: int, seconds: float) -> float:
        """Return the rate on 32 connections a worker, after a warm-up."""
        connections = workers * CONNECTIONS
        for each_s in (WARM_UP * seconds, seconds):
            run = run_load(port, self.requests, connections=connections, core=None, seconds=each_s)
        return run.rate

    def measure(self, workers: int, seconds: float) -> Point:
        """Load the storefront, and then a bare server that answers the same."""
        flags = ("--workers", str(workers))
        server = Server(self.scratch, *flags, command="storefront", auth=True)
        with contextlib.closing(server.start()):
            ours = self.rate(server.port, workers, seconds)
            path, header = f"/v1/availability/{read_sku(1)}", f"Bearer {self.token}"
            answer = server.get(path, headers={"authorization": header})
            assert answer.is_success, answer.text
        with bare_server(answer.content, self.scratch, workers=workers, core=None) as port:
            bare = self.rate(port, workers, seconds)
        return Point(x=workers, values={"onhand": ours, "the bare server": bare})

    def close(self) -> None:
        self.filled.close()


@pytest.mark.parametrize("load", [SMALL, LARGE])
def bench_curve_http_workers(benchmark, load, tmp_path):
    """Read one SKU in the group of all, from 1 worker and from as many as there are cores."""
    sku_count, seconds = load
    counts = worker_counts() if seconds >= 1 else worker_counts()[-1:]
    with contextlib.closing(Storefront(tmp_path, sku_count)) as storefront:

        def points() -> list[Point]:
            return [storefront.measure(workers, seconds) for workers in counts]

        state_curve(benchmark, "curve_http_workers", benchmark.pedantic(points, rounds=1))
