"""Applying movements beside numpy's own scatter-add, ``add.at`` on a plain array of the same cells.

Bias: towards numpy, whose array knows nothing of names, readers or changes: a cell is found by one
multiplication, and both hold 64 bits. SKUs are drawn evenly over all cells, which no cache likes;
the places in the array are reckoned beforehand, the columns lie in memory. Nothing is promised.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.bench_apply import ROUNDS, SIZES, apply_resolved, shared_directory
from benchmarks.figures import state

__all__ = ["shared_directory"]


def scatter_rate(size, columns) -> float:
    """Time ``add.at`` over the same movements."""
    sku, location, delta = columns
    cells = np.full(size["sku_count"] * size["location_count"], 100, np.int64)
    places = sku.astype(np.int64) * size["location_count"] + location
    deltas = delta.astype(np.int64)
    taken_s = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        np.add.at(cells, places, deltas)
        taken_s.append(time.perf_counter() - begin)
    assert cells.sum() == 100 * len(cells) + ROUNDS * deltas.sum()
    return size["count"] / min(taken_s)


@pytest.mark.parametrize("size", SIZES)
def bench_apply_beside_scatter(benchmark, shared_directory, size):
    """Numbers resolved, no ids, as ``add.at`` takes them."""
    columns = apply_resolved(benchmark, shared_directory, size)
    limit = scatter_rate(size, columns)
    if benchmark.stats is not None:
        rate = size["count"] / benchmark.stats.stats.min
        name = f"numpy {np.__version__}, add.at"
        state(benchmark, "apply_scatter", rate, limit=limit, limit_name=name)
