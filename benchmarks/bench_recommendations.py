"""Recommendations: whether they find what was left out of a basket, and what that costs.

The data are Complete Journey's: households of one grocer, a year of baskets. Models learn from all
but the last four weeks. Of each basket of those weeks with at least two SKUs sold before, one SKU
is left out, drawn from a fixed seed; a model is given the others and recommends ten, none of them
given. The hit rate is the share of baskets whose SKU is among the ten. What is in stock plays no
part in it.

Bias: the formula's constants were chosen on the four weeks before those measured, and not on them.
The peer is given every advantage: three models of ``implicit`` at two widths each, learnt from
baskets and from households, and of all of them the one that does best on the weeks measured. So is
popularity: of the whole year or of its last four weeks, whichever does better. SKUs are groceries,
bought again and again; where they are not, counts need longer to say something.
"""

import hashlib
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from benchmarks.figures import state
from onhand.log.base import RawBatch, Record
from onhand.model.setup import Setup
from onhand.recommendations.checkpoint import new_learnt
from onhand.recommendations.gathering import gather_sales, window_of
from onhand.recommendations.learner import Learner
from onhand.recommendations.ranking import Ranked
from onhand.recommendations.recommender import Recommender
from onhand.recommendations.sellable import Sellable
from onhand.recommendations.snapshot import SnapshotFollower, write_snapshot
from onhand.replay.disorder import Disturbance
from onhand.replay.events import SALES_TOPIC
from onhand.replay.sales import DAY_US, load_sales
from onhand.replay.year import Year
from onhand.settings import Settings
from tests.tables import Tables

NOW_US = 1_760_000_000_000_000
HELD_OUT_US = 28 * DAY_US
FOUND_AMONG = 10
FEW_LINES, ALL_LINES = 40_000, 10_000_000
"""A number for the whole year, too: by it the report knows which of two measurements is larger."""

POLL = 1_000
PLACES = 450
PLACES_OF_SKU = 12
SETTINGS = Settings(late_window=None)


class Weeks:
    """The baskets of the data set as a matrix, and which of them are learnt from."""

    def __init__(self, limit, case_count):
        self.sales = load_sales(NOW_US, limit=limit)
        products, item = np.unique(self.sales.product, return_inverse=True)
        baskets, basket = np.unique(self.sales.basket, return_inverse=True)
        self.names = products.astype(str).tolist()
        self.occurred_us = np.zeros(len(baskets), np.int64)
        self.occurred_us[basket] = self.sales.occurred_us
        self.household = np.zeros(len(baskets), np.int64)
        self.household[basket] = self.sales.household
        shape = (len(baskets), len(products))
        self.matrix = sparse.csr_matrix((np.ones(len(item)), (basket, item)), shape=shape)
        self.matrix.data[:] = 1
        # A share of a short data set: the small size has no four weeks.
        span_us = self.occurred_us.max() - self.occurred_us.min()
        self.held_out_us = min(HELD_OUT_US, span_us // 8)
        self.until_us = self.occurred_us.max() - self.held_out_us
        self.is_learnt = self.occurred_us <= self.until_us
        self.learnt = self.matrix[self.is_learnt]
        self.cases = self._cases(case_count)

    def _cases(self, count):
        """List (items given, item left out) of baskets that were not learnt from."""
        random = np.random.default_rng(7)
        known = np.asarray(self.learnt.sum(axis=0)).ravel() > 0
        found = []
        for row in random.permutation(np.flatnonzero(~self.is_learnt)):
            items = self.matrix.indices[self.matrix.indptr[row] : self.matrix.indptr[row + 1]]
            items = np.sort(items[known[items]])
            if len(items) >= 2 and len(found) < count:
                at = random.integers(len(items))
                found.append((np.delete(items, at), int(items[at])))
        return found

    def records(self):
        """Encode the baskets that are learnt from as the log holds them."""
        year = Year(self.sales, seed=0, disturbance=Disturbance())
        sold = (each for each in year.records() if each.topic == SALES_TOPIC)
        count = int(np.count_nonzero(self.is_learnt))
        return [
            Record(SALES_TOPIC, 0, at, NOW_US, each.key, each.value, ())
            for at, each in zip(range(count), sold, strict=False)
        ]

    def hit_rate(self, recommend):
        """Return the share in percent; ``recommend`` takes items and returns ten."""
        hits = sum(left_out in recommend(given) for given, left_out in self.cases)
        return 100 * hits / len(self.cases)


def learn(weeks):
    """Learn through the same steps as the flow; return what was learnt and the seconds it took."""
    polls = [
        RawBatch.of(records, {(SALES_TOPIC, 0): 0}) for records in _parts(weeks.records(), POLL)
    ]
    window = window_of(SETTINGS)
    learner = Learner(new_learnt(SETTINGS))
    begun_s = time.perf_counter()
    for poll in polls:
        learner.learn(gather_sales(poll, window))
    return learner, time.perf_counter() - begun_s


def popularity(weeks):
    """Return the better hit rate of what is bought most: in all of the time, or lately."""
    lately = weeks.is_learnt & (weeks.occurred_us > weeks.until_us - weeks.held_out_us)
    rates = []
    for rows in (weeks.is_learnt, lately):
        bought = np.asarray(weeks.matrix[rows].sum(axis=0)).ravel()
        ranked = np.argsort(-bought, kind="stable")

        def most(given, ranked=ranked):
            first = ranked[: FOUND_AMONG + len(given)]
            return first[~np.isin(first, given)][:FOUND_AMONG]

        rates.append(weeks.hit_rate(most))
    return max(rates)


def peer(weeks, widths):
    """Return the best hit rate of implicit's item-item models, and which one it was."""
    from implicit import nearest_neighbours  # noqa: PLC0415 - half a second, for this alone

    ends = np.cumsum([len(given) for given, _ in weeks.cases])
    items = np.concatenate([given for given, _ in weeks.cases])
    shape = (len(weeks.cases), weeks.matrix.shape[1])
    given = sparse.csr_matrix((np.ones(len(items)), items, np.append(0, ends)), shape=shape)
    of_household = np.unique(weeks.household[weeks.is_learnt], return_inverse=True)[1]
    ones = (np.ones(len(of_household)), (of_household, np.arange(len(of_household))))
    sources = {"baskets": weeks.learnt, "households": sparse.csr_matrix(ones) @ weeks.learnt}
    found = []
    for kind in ("BM25Recommender", "CosineRecommender", "TFIDFRecommender"):
        for width in widths:
            for name, source in sources.items():
                model = getattr(nearest_neighbours, kind)(K=width, num_threads=1)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model.fit(source.tocsr(), show_progress=False)
                numbers = np.arange(len(weeks.cases))
                ids, _ = model.recommend(numbers, given, N=FOUND_AMONG)
                hits = [left in row for (_, left), row in zip(weeks.cases, ids, strict=True)]
                found.append((100 * float(np.mean(hits)), f"{kind}(K={width}) on {name}"))
    return max(found)


def call_times_us(weeks, recommender, pairs, turns):
    """Time whole calls, stock looked up, on a table of as many places as the data set has.

    Returns what each took by the clock and of this thread's core, both sorted.
    """
    random = np.random.default_rng(3)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        tables = Tables(Path(folder))
        for name in pairs.names:
            for place in random.choice(PLACES, PLACES_OF_SKU, replace=False).tolist():
                tables.kit.add(name, f"store-{place}", on_hand=3)
        tables.publish()
        sellable = Sellable(tables.reader(), Setup())
        baskets = [[weeks.names[item] for item in given] for given, _ in weeks.cases]
        taken, used = [], []
        for turn in range(turns):
            for basket in baskets:
                begun_ns, idle_ns = time.perf_counter_ns(), time.thread_time_ns()
                found = recommender.recommend(basket, sellable, location=f"store-{turn}")
                used.append((time.thread_time_ns() - idle_ns) / 1_000)
                taken.append((time.perf_counter_ns() - begun_ns) / 1_000)
                assert len(found) == FOUND_AMONG
                assert all(each.available or each.shippable for each in found)
    return np.sort(taken), np.sort(used)


def _parts(rows, size):
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]


@pytest.mark.parametrize(
    ("limit", "case_count"),
    [(FEW_LINES, 200), pytest.param(ALL_LINES, 8_000, marks=pytest.mark.slow)],
    ids=["small", "year"],
)
def bench_recommend(benchmark, tmp_path, limit, case_count):
    """Find what was left out of baskets; weigh memory, learning and calls."""
    weeks = Weeks(limit, case_count)
    learner, seconds = learn(weeks)
    pairs = learner.pairs
    ranked = Ranked(pairs)
    ranked.update()
    path = tmp_path / "snapshot"
    snapshot_bytes = write_snapshot(path, pairs, ranked, created_us=NOW_US)
    recommender = Recommender(SnapshotFollower(path))
    numbers = {name: item for item, name in enumerate(weeks.names)}

    def recommend(given):
        names = [weeks.names[item] for item in given.tolist()]
        return [numbers[sku] for sku, _ in recommender.rank(names, limit=FOUND_AMONG)]

    rate = benchmark.pedantic(weeks.hit_rate, args=(recommend,), rounds=1)
    most = popularity(weeks)
    best, model = peer(weeks, [20] if limit == FEW_LINES else [20, 500])
    print("\nresult", hashlib.sha256(f"{rate:.4f}".encode()).hexdigest()[:16], len(weeks.cases))
    assert pairs.basket_count == int(np.count_nonzero(weeks.is_learnt))
    assert rate > most
    taken, used = call_times_us(weeks, recommender, pairs, turns=1)
    note = f"{len(weeks.cases):,} baskets of {weeks.held_out_us / DAY_US:.0f} days"
    state(
        benchmark, "recommendation_hit_rate", rate, limit=most, limit_name="what is bought most",
        note=note,
    )  # fmt: skip
    state(benchmark, "recommendation_hit_rate_peer", rate, limit=best, limit_name=model, note=note)
    p50, p99 = (float(np.quantile(taken, share)) for share in (0.5, 0.99))
    used_p99 = float(np.quantile(used, 0.99))
    state(
        benchmark,
        "recommendation_call",
        p99,
        percentiles={"p50": p50, "p99": p99},
        note=f"{len(pairs.names):,} SKUs, {PLACES} places; of a core p99 {used_p99:.0f} us",
    )
    total = pairs.bytes_used() + snapshot_bytes
    state(
        benchmark,
        "recommendation_bytes",
        total / len(pairs.names),
        note=f"{total / 1e6:.0f} MB in all",
    )
    state(benchmark, "recommendation_learn", pairs.basket_count / seconds)
