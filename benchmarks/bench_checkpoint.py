"""A checkpoint of a large table: the pause, the time until it is on disk, and loading it again.

Bias: the cells are 10 to a SKU; the disk is that of the temporary directory; loading reads what the
page cache still holds, as a restart does that follows soon. Pause and load have limits measured in
the same run: copying as many bytes in memory, and reading the file.
"""

import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.figures import state
from benchmarks.kit.stock import START_US, Sales, make_supply
from onhand.table.checkpoint import Checkpoints
from onhand.table.supply import Supply

SMALL = {"sku_count": 2_000, "id_count": 20_000, "movement_count": 10_000}
LARGE = {"sku_count": 1_000_000, "id_count": 5_000_000, "movement_count": 2_000_000}
SIZES = [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="large", marks=pytest.mark.slow)]
LOCATION_COUNT = 10
PARTITIONS = (("stock.sales", 0),)
CLUSTER_ID = "00" * 16
ROUNDS = 5


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


@pytest.fixture
def shared_directory():
    """Return a directory in shared memory, where tables are."""
    with tempfile.TemporaryDirectory(prefix="onhand-bench-", dir="/dev/shm") as directory:
        yield Path(directory)


def checkpoints_of(tmp_path):
    return Checkpoints(
        tmp_path, cluster_id=CLUSTER_ID, log_identity="bench", shard=0, shard_count=1
    )


def filled(path, size):
    """Make a table with so many cells, ids and movements."""
    rng = np.random.default_rng(3)
    supply = make_supply(
        path,
        size["sku_count"],
        LOCATION_COUNT,
        ids_max=8_000_000,
        history_max=1 << (size["movement_count"] - 1).bit_length(),
    )
    share = size["movement_count"] // 4
    while (missing := size["id_count"] - supply.statistics().id_count) > 0:
        sales = Sales(rng, size["sku_count"], LOCATION_COUNT, min(share, missing), 10_000)
        sales.offset = supply.applied_offset(0)
        sales.renew(rng, supply)
        for batch in sales.batches:
            supply.apply(batch)
        for _ in range(2 if supply.needs_checkpoint() else 0):
            supply.freeze().release()
            supply.forget()
    return supply, sales


def copy_s(size_bytes):
    """Time copying as many bytes from one place in memory to another."""
    source, target = np.ones(size_bytes, np.uint8), np.zeros(size_bytes, np.uint8)
    taken_s = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        np.copyto(target, source)
        taken_s.append(time.perf_counter() - begin)
    return min(taken_s)


def bench_freeze(benchmark, shared_directory, size):
    """Apply stands still for the copy alone: 100 ms for 10 million cells."""
    supply, sales = filled(shared_directory / "t.table", size)
    images = []

    def change():
        while images:
            images.pop().release()
            supply.forget()
        sales.renew(np.random.default_rng(4), supply)
        for batch in sales.batches[:10]:
            supply.apply(batch)

    def freeze():
        images.append(supply.freeze())

    benchmark.pedantic(freeze, setup=change, rounds=ROUNDS, warmup_rounds=1)
    image = images.pop()
    print("\nresult", image.size_bytes, supply.statistics().cell_count)
    if benchmark.stats is not None:
        store_bytes = sum(piece.nbytes for piece in image.sections["store"])
        state(
            benchmark,
            "checkpoint_pause",
            benchmark.stats.stats.max * 1e3,
            limit=copy_s(store_bytes) * 1e3,
            limit_name="copying as many bytes in memory",
            note="the longest of the rounds",
        )
    image.release()
    supply.close()


def bench_write(benchmark, shared_directory, tmp_path, size):
    """Checksummed, written, synced and renamed: 5 s for 10 million cells."""
    supply, _ = filled(shared_directory / "t.table", size)
    checkpoints = checkpoints_of(tmp_path)

    def write(image):
        checkpoints.write(image, partitions=PARTITIONS, created_us=START_US)

    benchmark.pedantic(write, setup=lambda: ((supply.freeze(),), {}), rounds=3)
    written = max(tmp_path.glob("*.ohck")).stat().st_size
    print("\nresult", written)
    if benchmark.stats is not None:
        state(
            benchmark,
            "checkpoint_durable",
            benchmark.stats.stats.max,
            note=f"{written / 1e6:.0f} MB, the longest of the rounds",
        )
    supply.close()


def bench_load(benchmark, shared_directory, tmp_path, size):
    """Found, verified and read into a table that applies: about 2 s for 10 million cells."""
    supply, _ = filled(shared_directory / "t.table", size)
    checkpoints = checkpoints_of(tmp_path)
    checkpoints.write(supply.freeze(), partitions=PARTITIONS, created_us=START_US)
    statistics = supply.statistics()
    supply.close()
    loaded = []

    def drop():
        while loaded:
            loaded.pop().close()
            (shared_directory / "loaded.table").unlink()

    def load():
        loaded.append(
            Supply.load(
                shared_directory / "loaded.table",
                checkpoints.latest(),
                cluster_id=bytes(16),
                shard=0,
                shard_count=1,
                generation=2,
                capacity_bytes=8 << 30,
                ids_max=8_000_000,
                history_max=1024,
            )
        )

    benchmark.pedantic(load, setup=drop, rounds=3)
    assert loaded[0].statistics().cell_count == statistics.cell_count
    print("\nresult", hashlib.sha256(repr(loaded[0].statistics()).encode()).hexdigest()[:16])
    if benchmark.stats is not None:
        print(f"\nload: {benchmark.stats.stats.max:.2f} s, verified and read twice")
    drop()
