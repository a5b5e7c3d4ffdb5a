"""Holds over HTTP beside what would be built instead: PostgreSQL, Redis, Medusa.

Everything of onhand is as in production: ``onhand serve`` in a process of its own, tokens asked for
and checked, holds with an expiry, events of them, a ledger in SQLite. PostgreSQL and Redis decide
behind the same bare HTTP server that the limits use, on 32 connections; Medusa's modules decide in
a server of Node's own. Each has whatever it accepted on disk before it answers: a commit with
``fsync``, a write with ``appendfsync always``.

Bias: towards the peers, which keep less. The two behind the bare server keep a number, and no hold;
none of the peers asks for tokens. Medusa's modules have no shop around them, and more connections
than they would come with; they run in one process of Node, as Medusa does by default. Against all
alike: servers, databases and load share all cores as the system sees fit, so a peer of several
processes pays for each. The servers run in turn and the median counts. The load is a C program on
32 connections, requests made beforehand, SKUs at random, one line a hold, stock that does not run
out. Then 64 buyers fight over the last units of four SKUs, at onhand and at the peer, and what each
sold beyond its stock is counted, see :mod:`.scramble`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks.bench_http_orders import CONNECTIONS, hold, measured
from benchmarks.figures import state
from benchmarks.kit.http_load import bare_server, run_load
from benchmarks.kit.postgres import age
from benchmarks.peers import medusa, redis_holds, update_holds
from benchmarks.peers.scramble import HOT
from benchmarks.peers.shop import HOLDS, Shop
from tests.postgres import ADVICE, find_binaries, new_database, throwaway_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SMALL = pytest.param((500, 0.3, 1, 25), id="small")
LARGE = pytest.param((50_000, 5.0, 3, 250), id="large", marks=pytest.mark.slow)
WARM_UP_S_MAX = 1
"""Before anything is timed: connections are opened, and code is compiled where it is."""


@pytest.fixture
def shop(request, tmp_path) -> Iterator[Shop]:
    shop = Shop(tmp_path, *request.param)
    try:
        yield shop.open()
    finally:
        shop.server.close()


@pytest.fixture
def database() -> Iterator[str]:
    """Give a PostgreSQL with the guarantees it gives by default."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip(f"no PostgreSQL was found: {ADVICE}")
    with throwaway_server(binaries, fsync=True) as server:
        age(server)
        with new_database(server) as url:
            yield url


def compare(
    benchmark,
    shop: Shop,
    port: int,
    read_left: Callable[[Sequence[int]], list[int]],
    *,
    key: str,
    peer: str,
) -> None:
    """Load onhand and the peer at ``port`` in turn, then have the last units fought over."""
    requests = shop.hold_requests()
    warm_up_s = min(WARM_UP_S_MAX, shop.seconds)
    for each in (port, shop.server.port):
        run_load(each, requests, connections=CONNECTIONS, core=None, seconds=warm_up_s)
    theirs, ours = measured(benchmark, shop, [port, shop.server.port], requests)
    sold = shop.scramble(shop.server.port, shop.left)
    sold_by_peer = shop.scramble(port, read_left)
    print(f"\nonhand: {sold.words()}\n{peer}: {sold_by_peer.words()}")
    assert sold.oversold == 0
    assert sold.is_exact
    state(
        benchmark,
        key,
        ours,
        limit=theirs,
        limit_name=peer,
        oversold=sold.oversold,
        oversold_by_limit=sold_by_peer.oversold,
        note=f"onhand: {sold.words()}; the other: {sold_by_peer.words()}",
    )


@pytest.mark.parametrize("shop", [SMALL, LARGE], indirect=True)
def bench_http_hold_update(benchmark, shop, database, tmp_path):
    """Hold one unit of one SKU: three times a server whose database decides."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(update_holds.CREATE)
    update_holds.stock(database, HOT, shop.units)
    answer = shop.ask(HOLDS, hold(1))
    with bare_server(
        answer, tmp_path, application="peers.update_holds:application", database=database, core=None
    ) as port:
        compare(
            benchmark,
            shop,
            port,
            lambda cells: update_holds.left(database, cells),
            key="http_hold_update",
            peer="one UPDATE in PostgreSQL",
        )


@pytest.mark.parametrize("shop", [SMALL, LARGE], indirect=True)
def bench_http_hold_redis(benchmark, shop, tmp_path):
    """Hold one unit of one SKU: 1.5 times a server whose Redis decides in a script."""
    answer = shop.ask(HOLDS, hold(1))
    with (
        redis_holds.server(tmp_path, shop.sku_count) as redis,
        bare_server(
            answer, tmp_path, application="peers.redis_holds:application", database=redis, core=None
        ) as port,
    ):
        redis_holds.stock(redis, HOT, shop.units)
        compare(
            benchmark,
            shop,
            port,
            lambda cells: redis_holds.left(redis, cells),
            key="http_hold_redis",
            peer=f"a script in Redis {redis_holds.version(redis)}, appendfsync always",
        )


@pytest.mark.slow
@pytest.mark.parametrize("shop", [SMALL, LARGE], indirect=True)
def bench_http_hold_medusa(benchmark, shop, database, tmp_path):
    """Hold one unit of one SKU: fifty times Medusa's inventory module."""
    with medusa.server(database, tmp_path) as port:
        medusa.stock(port, range(shop.sku_count))
        medusa.stock(port, HOT, shop.units)
        compare(
            benchmark,
            shop,
            port,
            lambda numbers: medusa.left(port, numbers),
            key="http_hold_medusa",
            peer=f"Medusa {medusa.version()}, a lock of PostgreSQL for each item",
        )
