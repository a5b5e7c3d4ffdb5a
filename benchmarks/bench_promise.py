"""Promising and ordering in one process: the decision alone, no HTTP and no commit.

Bias: the tables are warm and nobody else writes to them; every place ships and is open from nine to
eight in its own zone; of ten SKUs a place lacks about one in three, so that nine baskets in ten
find one place in 500 that has everything, and about half of them too few to list three: those are
searched for pairs as well. Baskets all differ. Destinations are drawn from 200 towns, as postal
codes come again; a first destination costs its distances and their order as well. Nothing beside
the figures bounds them from below: the least that could do the job is the policy itself, whose time
alone is the limit.
"""

import hashlib
import itertools
import time
import uuid
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.figures import state
from onhand._native.storekit import StoreKit
from onhand.model.commands import AskPromise, Destination, Fulfilment, OrderLine, PlaceOrder
from onhand.model.hours import OpeningHours
from onhand.model.setup import Location, Setup
from onhand.orders import ordering, promising
from onhand.orders.book import Book
from onhand.orders.desk import SYSTEM, Desk, Ids, Rules
from onhand.sourcing import NearestFewest
from onhand.table.demand import Demand
from onhand.table.directory import TableDirectory
from onhand.table.reader import TableReader
from onhand.writer.stock import TableStock

NOW_US = 1_760_000_000_000_000
SKU_COUNT = 2_000
LINE_COUNT = 10
TOWN_COUNT = 200
DAILY = ("09:00", "20:00")
OPEN = OpeningHours(**dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), (DAILY,)))
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")


class TimedPolicy:
    """The policy by default, and how long each of its answers took."""

    def __init__(self):
        self.policy = NearestFewest()
        self.took_s = []

    def rank(self, request):
        begun = time.perf_counter()
        options = self.policy.rank(request)
        self.took_s.append(time.perf_counter() - begun)
        return options


class Shop:
    """A desk over real tables: so many places, each with most SKUs."""

    def __init__(self, root, place_count):
        self.random = Random(11)
        draw = np.random.default_rng(11)
        cluster_id = uuid.uuid4().hex
        self.directory = TableDirectory(root, cluster_id)
        self.directory.prepare()
        kit = StoreKit(
            self.directory.table_path(0, 1),
            capacity_bytes=1 << 30,
            cluster_id=bytes.fromhex(cluster_id),
        )
        names = [f"store-{n:03d}" for n in range(place_count)]
        for name in names:
            kit.location(name)
        self.skus = [f"SKU{n:06d}" for n in range(SKU_COUNT)]
        numbers = kit.skus(self.skus)
        for place in range(place_count):
            units = draw.integers(-5, 12, SKU_COUNT).clip(0).astype(np.int32)
            column = np.full(SKU_COUNT, place, dtype=np.uint32)
            kit.add_numbers(numbers, column, units, counted=True)
        kit.stamp(NOW_US)
        self.directory.publish(0, 1, shard_count=1, partitions=(("stock.sales", 0),))
        generation = self.directory.next_demand_generation()
        self.demand = Demand.create(
            self.directory.demand_path(generation),
            cluster_id=bytes.fromhex(cluster_id),
            generation=generation,
            capacity_bytes=256 << 20,
        )
        self.directory.publish_demand(generation)
        reader = TableReader(root, cluster_id)
        setup = Setup(locations={name: self.location(n, name) for n, name in enumerate(names)})
        reader.set_scopes(setup, NOW_US / 1e6)
        reader.refresh()
        self.policy = TimedPolicy()
        self.book = Book(TableStock(reader, self.demand))
        self.desk = Desk(self.book, Rules(), self.policy, Ids(1, Random(5)), setup)
        self.towns = [self.somewhere() for _ in range(TOWN_COUNT)]

    def location(self, number, name):
        latitude, longitude = self.somewhere()
        return Location(
            id=name,
            name=name,
            type="store",
            latitude=latitude,
            longitude=longitude,
            timezone=ZONES[number % len(ZONES)],
            opening_hours=OPEN,
            cutoff="18:00",
            handling_cost=number % 3,
            priority=number % 2,
            daily_capacity=50_000 if number % 2 else None,
        )

    def somewhere(self):
        return self.random.uniform(25, 49), self.random.uniform(-124, -67)

    def lines(self):
        return tuple(
            OrderLine(sku=sku, quantity=self.random.randint(1, 3))
            for sku in self.random.sample(self.skus, LINE_COUNT)
        )

    def fulfilment(self):
        latitude, longitude = self.random.choice(self.towns)
        destination = Destination(latitude=latitude, longitude=longitude)
        return Fulfilment(method="ship", destination=destination)

    def close(self):
        self.demand.close()
        self.directory.remove()


@pytest.fixture(params=[50, pytest.param(500, marks=pytest.mark.slow)])
def shop(request, tmp_path):
    shared = Path("/dev/shm")
    shop = Shop(shared if shared.is_dir() else tmp_path, request.param)
    yield shop
    shop.close()


def spread(benchmark, shop, key, decide, bodies):
    """Time one decision at a time, a tenth of a millisecond between two clock times in order."""
    took, digest = [], hashlib.sha256()
    clock = itertools.count(NOW_US, 100)

    def one_after_the_other():
        took.clear()
        shop.policy.took_s.clear()
        for body in bodies:
            now_us = next(clock)
            begun = time.perf_counter()
            result = decide(body, now_us)
            took.append(time.perf_counter() - begun)
            digest.update(repr(result).encode())

    benchmark.pedantic(one_after_the_other, rounds=1)
    print(f"\nresult {digest.hexdigest()[:16]}")
    p50, p99 = (float(np.percentile(took, share)) * 1e6 for share in (50, 99))
    limit = float(np.percentile(shop.policy.took_s, 99)) * 1e6
    percentiles = {"p50": p50, "p99": p99, "worst": max(took) * 1e6}
    state(
        benchmark,
        key,
        p99,
        limit=limit,
        limit_name="the policy alone",
        percentiles=percentiles,
    )


def bench_promise(benchmark, shop):
    """Three options for a basket of 10 lines, from set-up to why: p99 100 us over 500 places."""
    fulfilments = [shop.fulfilment() for _ in range(TOWN_COUNT * 10)]
    bodies = [AskPromise(lines=shop.lines(), fulfilment=each) for each in fulfilments]
    for each in bodies:
        promising.answer(shop.desk, each, NOW_US)

    def decide(body, now_us):
        options = promising.rank(shop.desk, body, now_us)
        assert options
        return options[0]["lines"]

    spread(benchmark, shop, "promise", decide, bodies)
    assert not shop.book.orders


def bench_place_order(benchmark, shop):
    """Place orders of 10 lines into the book and the demand table, events included."""
    bodies = [
        PlaceOrder(lines=shop.lines(), fulfilment=shop.fulfilment()) for _ in range(TOWN_COUNT * 5)
    ]

    def decide(body, now_us):
        order = ordering.place(shop.desk, body, SYSTEM, now_us)
        shop.book.settle()
        return order.allocations

    spread(benchmark, shop, "place_order", decide, bodies)
    wanted = sum(line.quantity for body in bodies for line in body.lines)
    assert sum(shop.book.reserved().values()) == wanted
