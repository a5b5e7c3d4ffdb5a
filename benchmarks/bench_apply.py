"""Applying movements to the supply table, random over all its cells, on one core.

Bias: SKUs are drawn evenly, which no shop sees and no cache likes; cells exist already; the columns
lie in memory. The limit is a plain C loop, compiled by the same compiler and timed in the same run,
that does one hash lookup and one store for each movement and keeps nothing else.
"""

import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.figures import state
from benchmarks.kit.plain import PlainTable, name_hashes
from benchmarks.kit.stock import Sales, make_columns, make_supply, sku_names

SMALL = {"sku_count": 2_000, "location_count": 10, "count": 20_000}
LARGE = {"sku_count": 1_000_000, "location_count": 10, "count": 1_000_000}
SIZES = [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="large", marks=pytest.mark.slow)]
ROUNDS = 5
ID_ROUNDS = 8
BATCH_SIZE = 10_000
LIMIT_NAME = "a plain C loop of one lookup and one store"


def plain_rate(size, columns):
    """Time the plain loop over the same number of movements."""
    hashes = name_hashes(sku_names(size["sku_count"]))
    plain = PlainTable(hashes, size["location_count"])
    sku, location, delta = columns
    key, taken_s = hashes[sku], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        plain.apply(key, location, delta)
        taken_s.append(time.perf_counter() - begin)
    return size["count"] / min(taken_s)


def tell(benchmark, key, size, columns):
    """State the rate of the best round beside the plain loop's."""
    if benchmark.stats is not None:
        rate = size["count"] / benchmark.stats.stats.min
        limit = plain_rate(size, columns)
        state(benchmark, key, rate, limit=limit, limit_name=LIMIT_NAME)


@pytest.fixture
def shared_directory():
    """Return a directory in shared memory, where tables are."""
    with tempfile.TemporaryDirectory(prefix="onhand-bench-", dir="/dev/shm") as directory:
        yield Path(directory)


def apply_resolved(benchmark, directory, size):
    """Time the apply of columns of numbers, with no ids; return the columns."""
    supply = make_supply(
        directory / "columns.table",
        size["sku_count"],
        size["location_count"],
        ids_max=1_000,
        history_max=1_024,
    )
    columns = make_columns(np.random.default_rng(1), **size)
    benchmark.pedantic(supply.apply_columns, columns, rounds=ROUNDS, warmup_rounds=1)
    supply.close()
    return columns


@pytest.mark.parametrize("size", SIZES)
def bench_apply_columns(benchmark, shared_directory, size):
    """Numbers resolved, no ids: 20 million/s and 0.4 of the plain loop."""
    columns = apply_resolved(benchmark, shared_directory, size)
    print("\nresult", hashlib.sha256(columns[2].tobytes()).hexdigest()[:16])
    tell(benchmark, "apply_columns", size, columns)


@pytest.mark.parametrize("size", SIZES)
def bench_apply_complete(benchmark, shared_directory, size):
    """Strings resolved, ids, history and change ring: 8 million events/s."""
    rng = np.random.default_rng(2)
    supply = make_supply(
        shared_directory / "complete.table",
        size["sku_count"],
        size["location_count"],
        ids_max=8 * size["count"],
        history_max=4 * size["count"],
    )
    sales = Sales(rng, batch_size=BATCH_SIZE, **size)
    applied = []

    def renew():
        # Room for the next round, as checkpoints make it; not part of applying.
        for _ in range(2):
            supply.freeze().release()
            supply.forget()
        sales.renew(rng, supply)

    def apply_all():
        applied.append(sum(supply.apply(batch).events for batch in sales.batches))

    # Until the memory of ids has been filled once, its pages are the kernel's to make.
    for _ in range(ID_ROUNDS):
        renew()
        apply_all()
    benchmark.pedantic(apply_all, setup=renew, rounds=ROUNDS, warmup_rounds=1)
    assert set(applied) == {size["count"]}
    print("\nresult", supply.statistics().change_seq)
    tell(benchmark, "apply_complete", size, make_columns(rng, **size))
    supply.close()
