"""Sourcing: which of 500 locations serve 10 lines, ranked by the policy by default.

Bias: the matrix of what is available lies in memory and mostly in cache, as it does right after the
table was read; what a location has is drawn on its own for each item, which makes splits harder
than real assortments do; distances all differ, so that ties never stop the search from cutting
branches. The limit beside each figure is one pass of numpy over the same matrix, which finds the
locations that have everything and neither ranks nor shares out.
"""

import gc
import hashlib
import time

import numpy as np
import pytest

from benchmarks.figures import state
from onhand.sourcing import NearestFewest, Request

REQUESTS = 200
LIMIT_NAME = "one numpy pass over the matrix"
KINDS = {
    # Of each line: the chance that a location has it, and the most units that are wanted.
    "whole": ("sourcing_whole", 0.85, 3),
    "split": ("sourcing_split", 0.4, 3),
    "thin": ("sourcing_thin", 0.1, 3),
}


def make_request(random, places, chance, most):
    """Draw an order of 10 lines and what each location has of them."""
    has = random.random((10, places)) < chance
    return Request(
        quantities=random.integers(1, most + 1, 10),
        available=np.where(has, random.integers(1, 3 * most, (10, places)), 0),
        distance_km=random.random(places) * 4_000,
        cost=np.zeros(places),
        priority=random.integers(1, 4, places),
        load=random.random(places),
        options_max=3,
    )


def numpy_pass(request):
    """Find the locations that have everything: the least that any policy does."""
    return np.flatnonzero((request.available >= request.quantities[:, None]).all(axis=0))


def times_us(call, requests, turns):
    """Time each call on its own, sorted; the collector stands still, as it does in a request."""
    taken = []
    gc.disable()
    for _ in range(turns):
        for request in requests:
            begin = time.perf_counter_ns()
            call(request)
            taken.append((time.perf_counter_ns() - begin) / 1_000)
    gc.enable()
    return np.sort(taken)


def check(options, request):
    """Look at what was ranked: all is there, nothing is short."""
    assert 1 <= len(options) <= request.options_max
    for option in options:
        given = np.zeros_like(request.available)
        for item, place, quantity in option.parts:
            given[item, place] = quantity
        assert (given <= request.available).all()
        assert (given.sum(axis=1) == request.quantities).all()


@pytest.mark.parametrize("places", [50, 500])
@pytest.mark.parametrize("kind", KINDS)
def bench_rank(benchmark, kind, places):
    """Three options for an order: some have everything, two packages, three or four packages."""
    key, chance, most = KINDS[kind]
    random = np.random.default_rng(7)
    requests = [make_request(random, places, chance, most) for _ in range(REQUESTS)]
    requests = [each for each in requests if (each.available.sum(axis=1) >= each.quantities).all()]
    rank = NearestFewest().rank
    answers = benchmark(lambda: [rank(request) for request in requests])
    for options, request in zip(answers, requests, strict=True):
        check(options, request)
    packages = [options[0].packages for options in answers]
    print("\nresult", hashlib.sha256(repr(answers).encode()).hexdigest()[:16])
    if benchmark.stats is None:
        return
    taken = times_us(rank, requests, turns=10)
    limit = times_us(numpy_pass, requests, turns=10)
    p50, p99 = (float(np.quantile(taken, share)) for share in (0.5, 0.99))
    state(
        benchmark,
        key,
        p99,
        limit=float(np.quantile(limit, 0.99)),
        limit_name=LIMIT_NAME,
        percentiles={"p50": p50, "p99": p99},
        note=f"{min(packages)} to {max(packages)} packages",
    )
