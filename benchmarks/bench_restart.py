"""Restart: from the start of a process until a reader has the right number from a full table.

The table has 1M SKUs at 10 locations each, 5 million ids and 2 million movements. Ingest wrote it
to a checkpoint. What is timed starts with the process itself: the interpreter, imports, the log,
the checkpoint and its checksums, the table.

Bias: the checkpoint lies in the page cache, as after the restart of a process; after that of a
machine its disk is to be added. The log holds nothing that the checkpoint does not cover.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.figures import state
from benchmarks.kit.stock import Sales, location_names, sku_names
from onhand.errors import TableUnavailable
from onhand.identity import read_identity
from onhand.ingest.opening import open_engine
from onhand.settings import Settings
from onhand.table.directory import TableDirectory
from onhand.table.reader import TableReader
from tests.deployments import Deployment, environment, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCATION_COUNT = 10
UNITS = 1_000_000
SMALL = pytest.param((1_000, 5_000), id="small")
LARGE = pytest.param((1_000_000, 5_000_000), id="large", marks=pytest.mark.slow)
BATCH_SIZE = 10_000
SALES_AT_ONCE = 500_000
FLAGS = ("--late-window", "off")
ROUNDS = 3
POLL_S = 0.005
START_S_MAX = 60.0


def fill(settings: Settings, sku_count: int, sale_count: int) -> tuple[str, str, int]:
    """Leave a checkpoint in the data directory; return one cell of it and what is on hand there."""
    skus = sku_names(sku_count).astype(str).tolist()
    locations = location_names(LOCATION_COUNT).astype(str).tolist()
    rng = np.random.default_rng(3)
    with open_engine(settings) as engine:
        (shard,) = engine.shards
        numbers = shard.supply.resolve_skus(skus)
        for location in shard.supply.resolve_locations(locations):
            column = np.full(sku_count, location, np.uint32)
            shard.supply.apply_columns(numbers, column, np.full(sku_count, UNITS, np.int32))
        at_once = min(sale_count, SALES_AT_ONCE)
        sales = Sales(rng, sku_count, LOCATION_COUNT, at_once, BATCH_SIZE)
        for _ in range(sale_count // at_once):
            # What one checkpoint announces the next one forgets.
            for _ in range(2 if shard.supply.needs_checkpoint() else 0):
                shard.supply.freeze().release()
                shard.supply.forget()
            sales.renew(rng, shard.supply)
            for batch in sales.batches:
                batch.next_offsets = {}  # They never were in the log.
                shard.supply.apply(batch)
        # A cell of its own, so that its number is known whatever was drawn above.
        probe = shard.supply.resolve_skus(["probe"])
        place = shard.supply.resolve_locations(locations[:1])
        shard.supply.apply_columns(probe, place, np.array([42], np.int32))
        assert shard.supply.statistics().cell_count == sku_count * LOCATION_COUNT + 1
        assert shard.supply.statistics().id_count == sale_count
        shard.finish()
    return "probe", locations[0], 42


@contextlib.contextmanager
def ingesting(settings: Settings, log_path: Path) -> Iterator[None]:
    """Run ``onhand ingest``, and leave no table of it that could be read instead of the next."""
    command = [sys.executable, "-m", "onhand.cli", "ingest", "--data", str(settings.data), *FLAGS]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        yield
    finally:
        process.terminate()
        process.wait(25)
        TableDirectory(settings.table_dir, read_identity(settings.data).id).remove()


def first_read_s(settings: Settings, cell: tuple[str, str, int], log_path: Path) -> float:
    """Start ingest and look at the table until it is there."""
    reader = TableReader(settings.table_dir, read_identity(settings.data).id)
    sku, location, units = cell

    def answer():
        try:
            reader.refresh()
            return reader.available(sku, location)
        except (TableUnavailable, KeyError):
            return None

    assert answer() is None
    started_s = time.perf_counter()
    with ingesting(settings, log_path):
        while (found := answer()) is None:
            assert time.perf_counter() - started_s < START_S_MAX, log_path.read_text()
            time.sleep(POLL_S)
        taken_s = time.perf_counter() - started_s
    assert found == units
    return taken_s


def first_answer_s(scratch: Path, cell: tuple[str, str, int]) -> float:
    """Start everything and ask over HTTP until there is an answer."""
    sku, location, units = cell
    deployment = Deployment(scratch, *FLAGS)
    started_s = time.perf_counter()
    try:
        deployment.start()
        found = wait_until(lambda: deployment.on_hand(sku, location), START_S_MAX)
        taken_s = time.perf_counter() - started_s
        assert found == units
    finally:
        deployment.close()
    return taken_s


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def bench_restart(benchmark, tmp_path, shape):
    """Ingest alone, and everything over HTTP: each within 5 s with 10M cells."""
    settings = Settings(data=tmp_path / "data", late_window=None)
    cell = fill(settings, *shape)
    rounds = 1 if benchmark.disabled else ROUNDS

    def restart():
        reads = [first_read_s(settings, cell, tmp_path / "ingest.log") for _ in range(rounds)]
        return reads, [first_answer_s(tmp_path, cell) for _ in range(rounds)]

    reads_s, answers_s = benchmark.pedantic(restart, rounds=1)
    checkpoint = max((settings.data / "checkpoints").rglob("*.ohck"))
    note = f"the slowest of {rounds}; a checkpoint of {checkpoint.stat().st_size / 1e9:.2f} GB"
    state(benchmark, "restart", max(reads_s), note=note)
    state(benchmark, "restart_http", max(answers_s), note=note)
