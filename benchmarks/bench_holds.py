"""The order writer in process: durable holds, with a million open, and starting with a million.

Bias: no HTTP, no tokens and no keys; one unit of one SKU at one place a hold, 1,000 SKUs; clients
are tasks of one event loop in the writer's own process, each of which waits for its answer before
it asks again. Events go to the embedded log meanwhile. PostgreSQL and pgbench run on the same
cores.
"""

import asyncio
import contextlib
import gc
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import uvloop

from benchmarks.bench_ledger import (
    DATABASES,
    SUFFIXES,
    bare_inserts,
    durable_server,
    pgbench_rate,
    timed_ms,
)
from benchmarks.figures import state
from onhand.ledger.rows import AnswerRow
from onhand.orders.engine import Asked
from onhand.web.services import GC_THRESHOLD, SWITCH_INTERVAL_S
from onhand.writer.asking import Asking
from onhand.writer.deciding import Deciding
from onhand.writer.recovery import Recovery
from onhand.writer.waiting import FutureFront, Waiting
from tests.postgres import new_database
from tests.writers import Deployment, hold_of

__all__ = ["durable_server"]

CLIENT_COUNT = 256
SKU_COUNT = 1_000
FEW = 100
FILL_BATCH = 1_024
ROUNDS = 5
LOADS = [pytest.param(0.3, id="small"), pytest.param(5, id="large", marks=pytest.mark.slow)]
OPEN = [
    pytest.param(2_048, id="small"),
    pytest.param(1_000_000, id="large", marks=pytest.mark.slow),
]


class Shop(Deployment):
    """A deployment with stock of everything, and an order writer that is driven by hand."""

    def __init__(self, folder, database=None):
        super().__init__(folder, database)
        self.set_up("north")
        for number in range(SKU_COUNT):
            self.kit.add(f"sku-{number}", "north", on_hand=2_000_000_000)
        self.publish()
        self.opened = None

    def recover(self):
        """Do what a start does; return how many seconds it took."""
        if self.opened is not None:
            self.opened.store.close()
            self.opened.stock.demand.close()
        recovery = Recovery(
            self.settings,
            self.ledger,
            self.setup_store,
            self.tables.directory,
            clock=self.clock,
            wait=lambda _reason, _seconds: False,
        )
        begin = time.perf_counter()
        self.opened = recovery.open()
        taken_s = time.perf_counter() - begin
        self.deciding = Deciding(self.opened.desk, self.opened.store)
        return taken_s

    def hold_many(self, count, sku="sku-0"):
        """Place holds on one SKU, decided, committed and settled together."""
        asked = Asked(what="place_hold", body=hold_of(sku, ttl_s=14_400))
        return self.run([asked] * count)

    def run(self, commands):
        """Decide, commit and settle commands together; return them with their answers."""
        waiting = [Waiting(asked, FutureFront(), None) for asked in commands]
        commit = self.deciding.decide(waiting, self.clock(), None)
        commit.events_published = self.opened.store.statistics().position.event_number
        self.opened.store.commit(commit)
        self.deciding.settle()
        return waiting

    def fill(self, count):
        """Have so many holds open on one SKU."""
        for _ in range(count // FILL_BATCH):
            self.hold_many(FILL_BATCH)
        self.hold_many(count % FILL_BATCH)

    def close(self):
        if self.opened is not None:
            self.opened.store.close()
            self.opened.stock.demand.close()
        super().close()


@contextlib.contextmanager
def opened_shop(database=None):
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Shop(Path(folder), database)) as shop,
    ):
        yield shop


@contextlib.contextmanager
def shops_on(request, kind, count):
    """Open so many shops, each with a ledger of its own in that kind of database."""
    with contextlib.ExitStack() as stack:
        databases = [None] * count
        if kind == "postgres":
            server = request.getfixturevalue("durable_server")
            databases = [stack.enter_context(new_database(server)) for _ in databases]
        yield [stack.enter_context(opened_shop(each)) for each in databases]


@pytest.fixture
def served():
    """Set the process up as a server does."""
    before = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(GC_THRESHOLD)
    yield
    sys.setswitchinterval(before[0])
    gc.set_threshold(*before[1])


async def hold_for(writer, seconds):
    """Let clients place holds for so long; return the rate, and how long answers took in ms."""
    asking = Asking(asyncio.get_running_loop(), writer)
    bodies = [hold_of(f"sku-{number}") for number in range(SKU_COUNT)]
    taken_ms = []
    begin = time.perf_counter()

    async def client(number):
        while (asked_s := time.perf_counter()) - begin < seconds:
            number = (number * 7 + 1) % SKU_COUNT
            answer = await asking.ask(Asked(what="place_hold", body=bodies[number]))
            assert not answer.refused, answer.document
            taken_ms.append((time.perf_counter() - asked_s) * 1e3)

    await asyncio.gather(*(client(number) for number in range(CLIENT_COUNT)))
    return len(taken_ms) / (time.perf_counter() - begin), np.array(taken_ms)


def bare_rate(folder, count=20):
    """Measure bare INSERTs of as many bytes as a batch of 256 holds has."""
    with opened_shop() as shop:
        shop.recover()
        commits = []
        for _ in range(count):
            asked = Asked(what="place_hold", body=hold_of("sku-0"))
            waiting = [Waiting(asked, FutureFront(), None) for _ in range(CLIENT_COUNT)]
            commit = shop.deciding.decide(waiting, shop.clock(), None)
            # A bare row stands for a hold, its event, and as little as an answer can be.
            commit.answers = [AnswerRow(b"", b"", False, b"", 0)] * CLIENT_COUNT
            commits.append(commit)
            shop.deciding.rollback()
    return CLIENT_COUNT / (np.median(timed_ms(*bare_inserts(folder, commits))) / 1e3)


@pytest.mark.parametrize("seconds", LOADS)
@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.usefixtures("served")
def bench_durable_holds(benchmark, request, tmp_path, kind, seconds):
    """256 clients hold one unit each, again and again; every answer is on disk."""
    with shops_on(request, kind, 1) as (shop,):
        shop.open()
        measured = benchmark.pedantic(
            lambda: uvloop.run(hold_for(shop.writer, seconds)), rounds=1, warmup_rounds=1
        )
        rate, taken_ms = measured
        assert shop.reserved("sku-1") > 0
        limit, limit_name = (
            (bare_rate(tmp_path), "one bare INSERT of the same bytes a batch of 256")
            if kind == "sqlite"
            else (
                pgbench_rate(shop.settings.database, max(1, seconds), tmp_path),
                "pgbench, updates/s",
            )
        )
    p50, p99 = np.percentile(taken_ms, [50, 99])
    note = f"256 in flight, answered after {p50:.1f} ms (p50), {p99:.1f} ms (p99)"
    key = f"holds_{kind}"
    state(benchmark, key, rate, limit=limit, limit_name=limit_name, note=note)


@pytest.mark.parametrize("open_count", OPEN)
@pytest.mark.parametrize("kind", DATABASES)
def bench_hold_beside_many(benchmark, request, kind, open_count):
    """Place the next holds on a SKU that has many open, and on one that has a hundred."""
    with shops_on(request, kind, 2) as (few, many):
        for shop, count in ((few, FEW), (many, open_count)):
            shop.recover()
            shop.fill(count)
        gc.freeze()
        taken = {few: [], many: []}

        def both():
            for shop, times in taken.items():
                begin = time.perf_counter()
                shop.hold_many(CLIENT_COUNT)
                times.append(time.perf_counter() - begin)

        benchmark.pedantic(both, rounds=ROUNDS * 8, warmup_rounds=2)
        ratio = np.median(taken[many]) / np.median(taken[few])
        gc.unfreeze()
    note = f"{np.median(taken[many]) / CLIENT_COUNT * 1e6:.1f} us a hold"
    state(benchmark, f"hold_beside_many{SUFFIXES[kind]}", ratio, note=note)


@pytest.mark.parametrize("open_count", OPEN)
@pytest.mark.parametrize("kind", DATABASES)
def bench_start_with_open(benchmark, request, kind, open_count):
    """Start an order writer on a ledger that has many open holds."""
    with shops_on(request, kind, 1) as (shop,):
        shop.recover()
        shop.fill(open_count)
        taken_s = []
        benchmark.pedantic(lambda: taken_s.append(shop.recover()), rounds=2)
        assert len(shop.opened.desk.book.holds) == open_count
        assert shop.reserved("sku-0") == open_count
    state(benchmark, f"orders_start{SUFFIXES[kind]}", min(taken_s))
