"""The recommendations flow: a real log, real processes, killed and started again."""

import contextlib
import re
import signal
import threading
import time
from datetime import UTC, datetime

import msgspec
import pytest
import structlog

from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.log.topics import LEDGER
from onhand.recommendations import checkpoint
from onhand.recommendations.engine import open_engine
from onhand.recommendations.gathering import gather_sales
from onhand.recommendations.run import run_flow
from onhand.recommendations.snapshot import SnapshotFollower
from onhand.settings import Settings
from tests.baskets import counted, counts_of
from tests.deployments import Deployment, wait_until

BASKETS = [["tea", "milk", "honey"], ["tea", "milk"], ["bread"], ["tea", "lemon"]]


def records(baskets, begin=0, **fields):
    return [
        NewRecord(
            topic="stock.sales",
            value=msgspec.json.encode(
                {
                    "type": "sale",
                    "id": f"sale-{begin + at}",
                    "source": "till",
                    "occurred_at": datetime.now(UTC).isoformat(),
                    "location": "north",
                    "lines": [{"sku": sku, "quantity": 1} for sku in skus],
                    **fields,
                }
            ),
        )
        for at, skus in enumerate(baskets)
    ]


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "tables").mkdir()
    return Settings(
        data=tmp_path / "data", table_dir=tmp_path / "tables", recommendation_half_life=None
    )


def append(settings, made):
    settings.data.mkdir(exist_ok=True)
    log = open_log(settings)
    log.ensure_topics(1)
    log.append(made)
    log.close()


def run_until(settings, condition):
    """Run the flow in this thread until a condition of its engine is true; answer the counts."""
    with open_engine(settings) as engine:

        def watch():
            wait_until(lambda: condition(engine))
            engine.stop()

        watcher = threading.Thread(target=watch)
        watcher.start()
        run_flow(engine)
        watcher.join()
        return counts_of(engine.learner.pairs)


def learnt(count):
    return lambda engine: engine.learner.pairs.basket_count >= count


def test_the_flow_learns_publishes_and_goes_on(settings):
    """What is in the log is learnt once, over two lives of the process, and readers have it."""
    append(settings, records(BASKETS))
    seen = []

    def published(engine):
        snapshot = SnapshotFollower(engine.snapshot_path).current()
        seen.append(engine.snapshot_path)
        return snapshot is not None and snapshot.meta.basket_count == len(BASKETS)

    assert run_until(settings, published) == counted(BASKETS)
    assert not seen[0].exists()
    more = [["tea", "milk"], ["honey", "bread"]]
    append(settings, [*records(BASKETS[:1]), *records(more, begin=10)])
    assert run_until(settings, learnt(len(BASKETS) + 2)) == counted([*BASKETS, *more])


def test_what_a_successor_has_published_stays(settings):
    """A process that ends late, after its successor has begun, frees nothing but its own."""

    def learn_once(engine):
        engine.learn(engine.gather(engine.read()))

    append(settings, records(BASKETS))
    with contextlib.ExitStack() as stack:
        with open_engine(settings) as engine:
            learn_once(engine)
            successor = stack.enter_context(open_engine(settings))
            learn_once(successor)
            engine.finish()
        assert SnapshotFollower(successor.snapshot_path).current() is not None
        successor.finish()
    assert not successor.snapshot_path.exists()


def test_drafts_of_processes_that_were_killed_are_removed(settings):
    """Each was of its own name, so nobody else would write over them."""
    append(settings, records(BASKETS))
    with open_engine(settings) as engine:
        engine.publish()
        engine.finish()
        paths = [engine.snapshot_path, settings.data / checkpoint.NAME]
        drafts = [path.with_name(f"{path.name}{more}.new") for path in paths for more in ("", ".1")]
        for draft in drafts:
            draft.touch()
        with open_engine(settings) as successor:
            assert not any(draft.exists() for draft in drafts)
            assert all(path.exists() for path in paths)
            successor.finish()


def test_what_the_order_layer_hands_over_is_learnt_too(settings):
    """Packages of one order, from two places, are one basket."""
    plain = [msgspec.json.decode(each.value) for each in records([["tea"], ["honey"]])]
    ledger = [
        NewRecord(
            topic=LEDGER,
            value=msgspec.json.encode(
                each | {"sequence": at + 1, "order_id": "o-1", "location": f"place-{at}"}
            ),
        )
        for at, each in enumerate(plain)
    ]
    append(settings, [*records(BASKETS), *ledger])
    # Counted last: before that the names that are looked through may still grow.
    bought, together = run_until(
        settings, lambda engine: learnt(len(BASKETS) + 1)(engine) and _has_both(engine)
    )
    assert together["tea", "honey"] == 2
    assert bought["tea"] == 4


def test_records_that_retention_dropped_are_skipped_and_said(settings):
    """A process that was away for longer than the log keeps goes on with what there is."""
    append(settings, records(BASKETS))
    run_until(settings, learnt(len(BASKETS)))
    append(settings, records([["gone", "lost"]] * 3, begin=50))
    log = open_log(settings)
    log.prune(time.time_ns() // 1000 + 1, {("stock.sales", 0): len(BASKETS) + 3})
    begin = log.begin_offsets([("stock.sales", 0)])["stock.sales", 0]
    log.close()
    append(settings, records([["tea", "scone"]], begin=90))
    with structlog.testing.capture_logs() as logs:
        bought, _ = run_until(settings, lambda engine: "scone" in engine.learner.pairs.numbers)
    assert begin > len(BASKETS)
    assert "gone" not in bought
    assert "recommendations_skipped_records" in [line["event"] for line in logs]


def test_up_recommends_what_was_published_over_http(tmp_path):
    """From POST /v1/events to a recommendation, across a kill of everything."""
    up = Deployment(tmp_path)
    try:
        up.start().wait_ready()
        stock = [
            {
                "type": "receipt",
                "id": f"r-{sku}",
                "source": "dock",
                "occurred_at": datetime.now(UTC).isoformat(),
                "location": "north",
                "sku": sku,
                "quantity": 9,
            }
            for sku in ("tea", "milk", "honey")
        ]
        sold = [msgspec.json.decode(each.value) for each in records(BASKETS)]
        assert up.publish(*stock, *sold)[1]["accepted"] == 7
        wait_until(lambda: recommended(up) == ["milk", "honey"])
        learnt_of = re.compile(r"^onhand_recommendation_baskets_total [1-9]", re.MULTILINE)
        wait_until(lambda: learnt_of.search(up.get("/metrics")[1]))
        up.stop(signal.SIGKILL)
        up.start().wait_ready()
        wait_until(lambda: recommended(up) == ["milk", "honey"])
        # What is recommended may be what was published before; only the process itself counts.
        wait_until(lambda: "onhand_recommendation_items 5.0" in str(up.get("/metrics")[1]))
    finally:
        up.close()


def recommended(up):
    status, answer = up.get("/v1/availability/tea/together?location=north")
    return [each["sku"] for each in answer["items"]] if status == 200 else None


def _has_both(engine):
    _, together = counts_of(engine.learner.pairs)
    return together.get(("tea", "honey"), 0) >= 2


def test_gathering_takes_nothing_from_an_empty_poll(settings):
    """Time passes without records, too."""
    append(settings, [])
    with open_engine(settings) as engine:
        poll = engine.read()
        assert gather_sales(poll.raw, engine._window) == []
        engine.learn(engine.gather(poll))
        engine.finish()
