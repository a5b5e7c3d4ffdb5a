"""Holds in process, with ever more of them open.

The shop of ``hold_beside_many`` fills up, all on one SKU at one place. At each size 256 holds more
are decided, committed and settled together, timed, and released again, untimed; so the count stays
what it is. What is told is that time by 256, over the rounds.

Bias: no HTTP, no tokens and no keys; one SKU, which holds the most against one and whose cell is
always warm. Holds that expire do so hours later, so nothing is looked through for what is due. One
commit of 256 is larger than what a server commits under most loads, and shares the cost of a sync
among more. Releasing goes through the same indexes just before, which warms them. The ledger is
SQLite.
"""

import gc
import time

import msgspec
import numpy as np
import pytest

from benchmarks.bench_holds import CLIENT_COUNT, Shop, opened_shop
from benchmarks.curves import Point, state_curve
from onhand.orders.engine import Asked

SKU = "sku-0"
SMALL = pytest.param(((100, 1_000), 4), id="small")
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
LARGE = pytest.param((SIZES, 40), id="large", marks=pytest.mark.slow)
WARM_UP_ROUNDS = 2


def hold_and_release(shop: Shop) -> float:
    """Return microseconds a hold took; releasing is not among them."""
    begin = time.perf_counter()
    placed = shop.hold_many(CLIENT_COUNT, SKU)
    taken_s = time.perf_counter() - begin
    names = [msgspec.json.decode(each.answer.document)["id"] for each in placed]
    shop.run([Asked(what="release_hold", body=None, target=name) for name in names])
    return taken_s / CLIENT_COUNT * 1e6


def point(shop: Shop, open_count: int, rounds: int) -> Point:
    """Measure with so many open."""
    shop.fill(open_count - shop.reserved(SKU))
    gc.collect()
    gc.freeze()
    try:
        taken_us = [hold_and_release(shop) for _ in range(WARM_UP_ROUNDS + rounds)]
    finally:
        gc.unfreeze()
    assert shop.reserved(SKU) == len(shop.opened.desk.book.holds) == open_count
    p50, p90 = np.percentile(taken_us[WARM_UP_ROUNDS:], [50, 90])
    return Point(x=open_count, values={"p50": p50, "p90": p90})


@pytest.mark.parametrize("size", [SMALL, LARGE])
def bench_curve_holds_open(benchmark, size):
    """Place the next holds on a SKU that has so many open."""
    open_counts, rounds = size
    with opened_shop() as shop:
        shop.recover()

        def points() -> list[Point]:
            return [point(shop, open_count, rounds) for open_count in open_counts]

        state_curve(benchmark, "curve_holds_open", benchmark.pedantic(points, rounds=1))
