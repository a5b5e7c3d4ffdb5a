"""Point reads and columnar apply while a table grows, and group reads of ever longer rows.

One table is made, and grows to each size in turn, ten cells a SKU; what is timed at a size is the
same as for the figures ``point_read_hot``, ``point_read_random`` and ``apply_columns``. A size that
the shared memory has no room for is left out, and the note says so. Of reads the best part of 4,000
counts, of applying the best round, as for those figures.

Bias: nobody writes while it is read; names are ASCII of 9 to 11 characters and made just before
they are read, so names are warm and the table is not. SKUs and places are drawn evenly, which no
shop sees and no cache likes. Cells exist already. A million movements touch a fiftieth of the
largest table, and rounds repeat them, so at that size applying finds more in the caches than fresh
movements would. The table's pages are small. The plain C loops are those of the figures: one hash
lookup and one load, each waiting for the one before it, or one lookup and one store.

Rows of groups: 10 million cells in all or a million SKUs, whichever is less, so that a random row
lies in memory only; for a row of one or ten places that is mostly the row's head. The group is all
2,003 places, and reading it is native, by number: no name is looked up.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.bench_read import Filled
from benchmarks.curves import PLAIN_LOOP, Point, state_curve
from benchmarks.kit.plain import PlainTable
from benchmarks.kit.stock import make_columns
from onhand._native.storekit import plain_lookups
from onhand.model.setup import Setup
from onhand.table.directory import TableDirectory
from onhand.table.reader import TableReader
from onhand.table.supply import Supply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SHARED = Path("/dev/shm")
CELLS_A_SKU = 10
UNITS = 1_000_000
SKUS_AT_ONCE = 100_000
CELL_BYTES_MAX = 100
"""A cell with its part of everything, generously; the figure ``cell_bytes`` measures it."""

SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 50_000_000)
SMALL = pytest.param((2_000, 20_000), id="small")
LARGE = pytest.param(SIZES, id="large", marks=pytest.mark.slow)
PART, PART_COUNT, TURNS = 4_000, 50, 3
MOVEMENT_COUNT, ROUNDS = 1_000_000, 5
ROWS = ((1, 10, 100, 500, 1_000, 2_000), 10_000_000, 1_000_000, 2_003)
SMALL_ROWS = ((1, 50), 50_000, 1_000, 97)


class Growing:
    """A published supply table that grows, and a reader of it."""

    def __init__(self, root: Path, cell_count_max: int) -> None:
        cluster_id = uuid.uuid4().hex
        self.directory = TableDirectory(root, cluster_id)
        self.directory.prepare()
        self.supply = Supply.create(
            self.directory.table_path(0, 1),
            cluster_id=bytes.fromhex(cluster_id),
            shard=0,
            shard_count=1,
            generation=1,
            capacity_bytes=max(1 << 30, 2 * CELL_BYTES_MAX * cell_count_max),
            ids_max=1_000,
            history_max=1_024,
        )
        self.places = self.supply.resolve_locations([place(at) for at in range(CELLS_A_SKU)])
        self.directory.publish(0, 1, shard_count=1, partitions=(("stock.sales", 0),))
        self.reader = TableReader(root, cluster_id)
        self.reader.set_scopes(Setup(), time.time())
        self.reader.refresh()
        self.sku_count = 0

    def grow(self, cell_count: int) -> None:
        """Add SKUs, each with stock at every place, until there are so many cells."""
        wanted = cell_count // CELLS_A_SKU
        for start in range(self.sku_count, wanted, SKUS_AT_ONCE):
            names = [sku(number) for number in range(start, min(wanted, start + SKUS_AT_ONCE))]
            numbers = np.asarray(self.supply.resolve_skus(names), np.uint32)
            self.supply.apply_columns(
                np.repeat(numbers, CELLS_A_SKU),
                np.tile(np.asarray(self.places, np.uint32), len(names)),
                np.full(len(names) * CELLS_A_SKU, UNITS, np.int32),
            )
        self.sku_count = wanted
        assert self.supply.statistics().cell_count == cell_count


def sku(number: int) -> str:
    return f"SKU{number:08d}"


def place(number: int) -> str:
    return f"store-{number:03d}"


def fitting(sizes: Sequence[int]) -> list[int]:
    """List the sizes that shared memory has room for, and a copy that the plain loop has."""
    free = os.statvfs(SHARED)
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available_bytes = int(memory["MemAvailable"].split()[0]) * 1024
    room_bytes = min(free.f_bavail * free.f_frsize, available_bytes)
    return [size for size in sizes if size * CELL_BYTES_MAX < room_bytes]


@pytest.fixture
def growing() -> Iterator[Callable[[int], Growing]]:
    """Make a table in shared memory, where tables are."""
    made: list[Growing] = []
    with tempfile.TemporaryDirectory(prefix="onhand-bench-", dir=SHARED) as root:

        def make(cell_count_max: int) -> Growing:
            made.append(Growing(Path(root), cell_count_max))
            return made[0]

        yield make
        for each in made:
            each.supply.close()
            each.directory.remove()


def best_us(read: Callable[..., object], parts: Sequence[object]) -> float:
    """Time reads of parts in turn; return microseconds a read, in the best of all."""
    taken_s = []
    for _ in range(TURNS):
        for part in parts:
            begin = time.perf_counter()
            read(part)
            taken_s.append(time.perf_counter() - begin)
    return min(taken_s) / PART * 1e6


def parts_of(count: int, part_count: int) -> list[np.ndarray]:
    """Draw numbers below ``count`` at random, in parts."""
    picks = np.random.default_rng(7).integers(0, count, part_count * PART, np.uint32)
    return np.split(picks, part_count)


def grown(benchmark, growing, key: str, sizes: Sequence[int], measure) -> None:
    """Grow a table to each size that fits, measure a point there, and state the curve."""
    fit = fitting(sizes)
    table = growing(max(fit))

    def points() -> list[Point]:
        found = []
        for cell_count in fit:
            table.grow(cell_count)
            found.append(Point(x=cell_count, values=measure(table)))
        return found

    left_out = [f"{size:,}" for size in sizes if size not in fit]
    note = f"No room for {', '.join(left_out)} cells" if left_out else ""
    state_curve(benchmark, key, benchmark.pedantic(points, rounds=1), note=note)


@pytest.mark.parametrize("sizes", [SMALL, LARGE])
def bench_curve_point_read(benchmark, growing, sizes):
    """One cell by name, from Python."""

    def measure(table: Growing) -> dict[str, float]:
        available = table.reader.available

        def read(names: Sequence[str]) -> list[int]:
            return [available(name, "store-004") for name in names]

        parts = parts_of(table.sku_count, PART_COUNT)
        names = [[sku(number) for number in part.tolist()] for part in parts]
        assert read(names[0]) == [UNITS] * PART
        picks = np.concatenate(parts)
        plain_s = min(plain_lookups(table.sku_count, picks, False)[0] for _ in range(TURNS))
        return {
            "hot": best_us(read, [[sku(5)] * PART] * 5),
            "random": best_us(read, names),
            PLAIN_LOOP: plain_s / len(picks) * 1e6,
        }

    grown(benchmark, growing, "curve_point_read", sizes, measure)


@pytest.mark.parametrize("sizes", [SMALL, LARGE])
def bench_curve_apply(benchmark, growing, sizes):
    """Numbers resolved, no ids."""
    count = min(MOVEMENT_COUNT, 10 * max(sizes))
    rng = np.random.default_rng(1)

    def rate(apply: Callable[..., object], columns: tuple[np.ndarray, ...]) -> float:
        taken_s = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            apply(*columns)
            taken_s.append(time.perf_counter() - begin)
        return count / min(taken_s)

    def measure(table: Growing) -> dict[str, float]:
        skus, places, deltas = make_columns(rng, table.sku_count, CELLS_A_SKU, count)
        cell = int(skus[0]), int(places[0])
        units = int(deltas[(skus == cell[0]) & (places == cell[1])].sum())
        before = table.reader.available(sku(cell[0]), place(cell[1]))
        ours = rate(table.supply.apply_columns, (skus, places, deltas))
        after = table.reader.available(sku(cell[0]), place(cell[1]))
        assert after - before == ROUNDS * units
        keys = rng.integers(1, 2**64, table.sku_count, np.uint64, endpoint=False)
        plain = rate(PlainTable(keys, CELLS_A_SKU).apply, (keys[skus], places, deltas))
        return {"onhand": ours, PLAIN_LOOP: plain}

    grown(benchmark, growing, "curve_apply", sizes, measure)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(SMALL_ROWS, id="small"),
        pytest.param(ROWS, id="large", marks=pytest.mark.slow),
    ],
)
def bench_curve_group_read(benchmark, rows):
    """Add up the row of a SKU that so many places stock."""
    widths, cell_count, sku_count_max, location_count = rows

    def measure(width: int) -> Point:
        sku_count = min(sku_count_max, cell_count // width)
        table = Filled(SHARED, sku_count, width, location_count)
        try:
            view = table.reader.view()

            def read(skus: np.ndarray) -> object:
                return view.group_available_numbers(0, skus, 0)

            values = {
                "hot": best_us(read, [np.full(PART, 5, np.uint32)] * 5),
                "random": best_us(read, parts_of(sku_count, max(1, sku_count // PART))),
            }
        finally:
            table.directory.remove()
        return Point(x=width, values=values, note=f"of {sku_count:,} SKUs")

    points = benchmark.pedantic(lambda: [measure(width) for width in widths], rounds=1)
    state_curve(benchmark, "curve_group_read", points)
