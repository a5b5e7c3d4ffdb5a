"""Reading: points, batches, groups and rendered answers, from one process.

Bias: nobody writes meanwhile, names are ASCII of 9 to 11 characters, and random reads pick every
SKU with the same chance, which is harder on the caches than real shopping is. The limit beside the
figures is a plain C loop in the same run: one hash lookup and one load over as many keys, each
waiting for the one before it, or with memory asked for 16 lookups ahead where what is measured is a
batch.

Every read is measured without a demand table and beside one in which every other SKU is reserved at
three of its places.
"""

import hashlib
import itertools
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from benchmarks.figures import FIGURES, state
from onhand._native.storekit import StoreKit, plain_lookups
from onhand.model.setup import SafetyRule, Setup
from onhand.table.demand import Demand
from onhand.table.directory import TableDirectory
from onhand.table.reader import TableReader

LIMIT_NAME = "a plain C loop of one lookup and one load"
PART = 4_000
NOW_US = 1_760_000_000_000_000
RANDOM = np.random.default_rng(7)
LARGE = pytest.param(1_000_000, marks=pytest.mark.slow)
SETUP = Setup(safety_rules=(SafetyRule(group="all", quantity=1),))


class Filled:
    """A published table of so many SKUs at so many locations each, and a reader of it."""

    def __init__(self, root, sku_count, cells_per_sku, location_count):
        cluster_id = uuid.uuid4().hex
        self.directory = TableDirectory(root, cluster_id)
        self.directory.prepare()
        self.kit = StoreKit(
            self.directory.table_path(0, 1),
            capacity_bytes=4 << 30,
            cluster_id=bytes.fromhex(cluster_id),
        )
        self.names = [f"SKU{n:08d}" for n in range(sku_count)]
        self.places = [f"store-{n:03d}" for n in range(location_count)]
        for place in self.places:
            self.kit.location(place)
        self.numbers = self.kit.skus(self.names)
        self.empty = sku_count
        self.fill(sku_count, cells_per_sku, location_count)
        self.kit.stamp(NOW_US - 5_000)
        self.directory.publish(0, 1, shard_count=1, partitions=(("stock.sales", 0),))
        self.reader = TableReader(root, cluster_id)
        self.reader.set_scopes(SETUP, NOW_US / 1e6)
        self.reader.refresh()

    def promise(self):
        """Reserve a unit of every other SKU at three places, and let readers see it."""
        names = [name for name in self.names[1::2] for _ in range(3)]
        picks = RANDOM.integers(0, len(self.places), len(names))
        self.demand = make_demand(self.directory)
        self.demand.add_many(names, [self.places[n] for n in picks], np.ones(len(names), np.int64))
        self.directory.publish_demand(self.demand.statistics().generation)
        self.reader.refresh()

    def fill(self, sku_count, cells_per_sku, location_count):
        """Give every SKU its cells in an order of its own, as arrivals do."""
        for start in range(0, sku_count, 100_000):
            numbers = self.numbers[start : start + 100_000]
            first = RANDOM.integers(0, location_count, len(numbers), dtype=np.uint32)
            step = RANDOM.choice([1, 7, 11, 13], len(numbers)).astype(np.uint32)
            at = first[:, None] + step[:, None] * np.arange(cells_per_sku, dtype=np.uint32)
            units = RANDOM.integers(-2, 20, at.size, dtype=np.int32)
            self.kit.add_numbers(
                np.repeat(numbers, cells_per_sku),
                (at % location_count).astype(np.uint32).reshape(-1),
                units,
                counted=True,
            )


def make_demand(directory):
    """Make an empty demand table of the next generation."""
    generation = directory.next_demand_generation()
    return Demand.create(
        directory.demand_path(generation),
        cluster_id=bytes.fromhex(directory.cluster_id),
        generation=generation,
        capacity_bytes=1 << 30,
    )


_filled = {}
PROMISED = pytest.mark.parametrize("promised", [False, True], ids=["unpromised", "promised"])


@pytest.fixture
def filled(tmp_path_factory):
    """Make a table of a shape once a session."""

    def fill(sku_count, cells_per_sku=10, location_count=97, *, promised=False):
        shape = (sku_count, cells_per_sku, location_count, promised)
        if shape not in _filled:
            for other in _filled.values():
                other.directory.remove()
            _filled.clear()
            shared = Path("/dev/shm")
            root = tmp_path_factory.mktemp("tables") if not shared.is_dir() else shared
            _filled[shape] = Filled(root, *shape[:3])
            if promised:
                _filled[shape].promise()
        return _filled[shape]

    yield fill
    for one in _filled.values():
        one.directory.remove()
    _filled.clear()


def report(benchmark, key, count, result, limit_s=None):
    """State the time of one or how many a second, beside the limit, and print a hash."""
    print(f"\nresult {hashlib.sha256(np.asarray(result).tobytes()).hexdigest()[:16]}")
    in_unit = (lambda each_s: 1 / each_s) if FIGURES[key].is_rate else (lambda each_s: each_s * 1e6)
    if benchmark.stats is None:
        return
    limit = None if limit_s is None else in_unit(limit_s)
    value = in_unit(benchmark.stats.stats.min / count)
    state(benchmark, key, value, limit=limit, limit_name=LIMIT_NAME)


def plain_s(sku_count, picks, *, ahead):
    """Time the limit: seconds a lookup, the best of three."""
    return min(plain_lookups(sku_count, picks, ahead)[0] for _ in range(3)) / len(picks)


def picks_of(sku_count, count):
    """Draw SKU numbers at random."""
    return RANDOM.integers(0, sku_count, count, dtype=np.uint32)


def in_turn(benchmark, read, *columns):
    """Time a read of one part of the columns after the other, and return that of all.

    A part takes less than a turn of the scheduler, so that other work on the machine does not enter
    the best of them; its memory has left the caches when its turn comes again.
    """
    parts = [
        [column[start : start + PART] for column in columns]
        for start in range(0, len(columns[0]), PART)
    ]
    turns = itertools.cycle(parts)
    benchmark.pedantic(read, setup=lambda: (next(turns), {}), rounds=5 * len(parts))
    return read(*columns)


@PROMISED
@pytest.mark.parametrize("sku_count", [10_000, LARGE])
@pytest.mark.parametrize("hot", [True, False], ids=["hot", "random"])
def bench_point_read(benchmark, filled, sku_count, hot, promised):
    """One cell by name, from Python: 0.5 us hot, 2.5 us at random over 1M SKUs."""
    table = filled(sku_count, promised=promised)
    picks = picks_of(sku_count, 200_000) if not hot else np.full(20_000, 5, np.uint32)
    available = table.reader.available

    def read(names):
        return [available(name, "store-042") for name in names]

    result = in_turn(benchmark, read, [table.names[n] for n in picks])
    limit = plain_s(sku_count, picks, ahead=False)
    key = "point_read_hot" if hot else "point_read_random"
    key += "_promised" if promised else ""
    report(benchmark, key, PART, result, limit)


@PROMISED
@pytest.mark.parametrize("sku_count", [10_000, LARGE])
def bench_batch_read(benchmark, filled, sku_count, promised):
    """Many cells by name: 5 million a second."""
    table = filled(sku_count, promised=promised)
    picks = picks_of(sku_count, 200_000)
    names = [table.names[n] for n in picks]
    places = [table.places[n] for n in picks % len(table.places)]
    result = in_turn(benchmark, table.reader.available_many, names, places)
    limit = plain_s(sku_count, picks, ahead=True)
    report(benchmark, "batch_read_promised" if promised else "batch_read", PART, result, limit)


@PROMISED
@pytest.mark.parametrize("sku_count", [10_000, LARGE])
def bench_batch_read_by_number(benchmark, filled, sku_count, promised):
    """Many cells by number, as native callers hold them."""
    table = filled(sku_count, promised=promised)
    picks = picks_of(sku_count, 200_000)
    places = (picks % len(table.places)).astype(np.uint32)
    view = table.reader.view()

    def read(skus, ordinals):
        return view.available_numbers(0, skus, ordinals)

    result = in_turn(benchmark, read, picks, places)
    limit = plain_s(sku_count, picks, ahead=True)
    key = "batch_read_numbers_promised" if promised else "batch_read_numbers"
    report(benchmark, key, PART, result, limit)


@PROMISED
@pytest.mark.parametrize("sku_count", [500, pytest.param(30_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("hot", [True, False], ids=["hot", "cold"])
def bench_group_read(benchmark, filled, sku_count, hot, promised):
    """Add up a row of 500 cells, native: 0.3 us hot, 4 us when it lies in memory only."""
    table = filled(sku_count, cells_per_sku=500, location_count=600, promised=promised)
    count = max(PART, sku_count // PART * PART)
    picks = picks_of(sku_count, count) if not hot else np.full(PART, 5, np.uint32)
    view = table.reader.view()

    def read(skus):
        return view.group_available_numbers(0, skus, 0)

    result = in_turn(benchmark, read, picks)
    key = "group_read_hot" if hot else "group_read_cold"
    report(benchmark, key + "_promised" if promised else key, PART, result)


@PROMISED
@pytest.mark.parametrize("sku_count", [10_000, LARGE])
def bench_query(benchmark, filled, sku_count, promised):
    """1,000 SKUs in a group, names in and JSON out: 500,000 answers a second."""
    table = filled(sku_count, promised=promised)
    names = [table.names[n] for n in picks_of(sku_count, 1_000)]
    result = benchmark(table.reader.render_query, names, ["group:all"], NOW_US)
    report(
        benchmark,
        "render_query_promised" if promised else "render_query",
        len(names),
        bytearray(result),
    )


@pytest.mark.parametrize("detail", [False, True], ids=["sum", "by-location"])
def bench_render_one(benchmark, filled, detail):
    """One SKU in a group, as JSON."""
    table = filled(10_000)
    render = table.reader.render_one

    def read():
        return [render("SKU00000042", "group:all", NOW_US, detail) for _ in range(1_000)]

    result = benchmark(read)[0]
    key = "render_one_by_location" if detail else "render_one"
    report(benchmark, key, 1_000, bytearray(result))


def bench_refresh(benchmark, filled):
    """Look for a new generation, as servers do before each read: 2 us."""
    reader = filled(10_000, promised=True).reader

    def refresh():
        return [reader.refresh() for _ in range(1_000)]

    report(benchmark, "refresh", 1_000, benchmark(refresh))


def bench_promisable(benchmark, filled):
    """Ask what may be promised of one cell: 0.5 us hot."""
    promisable = filled(10_000, promised=True).reader.promisable

    def read():
        return [promisable("SKU00000005", "store-042") for _ in range(1_000)]

    report(benchmark, "promisable", 1_000, benchmark(read))


@pytest.mark.parametrize("sku_count", [500, pytest.param(30_000, marks=pytest.mark.slow)])
def bench_group_cells(benchmark, filled, sku_count):
    """Read what an order of 10 lines could be taken from, before its places are chosen."""
    table = filled(sku_count, cells_per_sku=500, location_count=600, promised=True)
    picks = picks_of(sku_count, 10_000).reshape(-1, 10)
    orders = itertools.cycle([[table.names[n] for n in each] for each in picks])

    def read():
        return [table.reader.group_cells(next(orders), "all")[1].sum() for _ in range(100)]

    report(benchmark, "group_cells", 100, benchmark(read))


def bench_demand_add(benchmark, filled):
    """Promise and release one unit of a cell: 0.5 us each."""
    add = filled(10_000, promised=True).demand.add

    def promise():
        return [add("SKU00000005", "store-042", delta) for delta in (1, -1) * 500]

    report(benchmark, "demand_add", 1_000, benchmark(promise))


@pytest.mark.parametrize("count", [10_000, LARGE])
def bench_demand_load(benchmark, filled, count):
    """Fill a demand table as at a start: 1 million promises in a second."""
    table = filled(10_000)
    names = [f"SKU{n:08d}" for n in RANDOM.permutation(count)]
    places = [table.places[n] for n in picks_of(len(table.places), count)]
    ones = np.ones(count, np.int64)

    def load(demand):
        demand.add_many(names, places, ones)
        return demand.statistics().cell_count

    def fresh():
        table.directory.clean_demand()
        return (make_demand(table.directory),), {}

    cells = benchmark.pedantic(load, setup=fresh, rounds=3)
    report(benchmark, "demand_load", count, cells)


@pytest.mark.parametrize("sku_count", [10_000, LARGE])
def bench_memory(benchmark, filled, sku_count):
    """Bytes a stocked cell, directory, index, slack and all: 64 at 10M cells."""
    table = filled(sku_count)
    begin = time.perf_counter()
    statistics = benchmark.pedantic(table.reader.statistics, rounds=1)[0]
    each = statistics["used_bytes"] / statistics["cells"]
    rows = statistics["row_bytes"] / statistics["cells"]
    print(f"\n{statistics['cells']:,} cells: {each:.1f} bytes each, of which rows {rows:.1f}")
    if sku_count < 1_000_000:
        return  # The first SKUs pay for the room of 65,536.
    state(benchmark, "cell_bytes", each, note=f"of which rows {rows:.1f} bytes")
    assert each <= 64
    assert time.perf_counter() > begin
