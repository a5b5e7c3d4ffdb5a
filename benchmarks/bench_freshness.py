"""Published to visible: from an event's being due at its publisher to a storefront's reading it.

Everything is as in production, in processes of its own: ``onhand up`` on a fresh directory, an
open-loop publisher, a probe that polls ``GET /v1/availability`` over a connection kept alive. One
in so many events is marked, and its latency runs from when it was due by the clock until an answer
that counts it has arrived: the publisher's delay, the log, the flow, the table and HTTP are in it.

Bias: five to seven processes share the machine's cores, the broker too, and the publisher and the
probe are Python. The probe rests half a millisecond after each answer, which adds up to that.
Events have one line and touch 50,000 SKUs at 100 places. The limit beside each figure is when the
log itself had the same events on disk: nothing can be seen before.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.figures import state
from benchmarks.kit.load import processes, publish_by_http, publish_to_log, watch
from onhand.settings import Settings
from tests.deployments import Deployment, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = pytest.param((500, 0.6), id="small")
LARGE = pytest.param((5_000, 30), id="large", marks=pytest.mark.slow)
MARK_EVERY = 10
PROBE_PAUSE_S = 0.0005
APPLIED = re.compile(r"^onhand_events_applied_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
LIMIT_NAME = "the log alone, until durable"


@contextlib.contextmanager
def deployed(scratch: Path, *flags: str) -> Iterator[Deployment]:
    """Run everything that ``onhand up`` runs."""
    deployment = Deployment(scratch, *flags)
    try:
        yield deployment.start().wait_ready()
    finally:
        deployment.close()


def applied_count(deployment: Deployment) -> int:
    """Read how many events were applied, from the metrics."""
    return round(sum(map(float, APPLIED.findall(deployment.get("/metrics")[1]))))


def measure(deployment: Deployment, publish, *arguments, mark_count: int, event_count: int):
    """Publish in one process, watch in another; return when marks were due, durable and seen."""
    with processes(2) as pool:
        watching = pool.submit(watch, deployment.port, mark_count, PROBE_PAUSE_S)
        told = pool.submit(publish, *arguments).result()
        seen_ns = watching.result()
    wait_until(lambda: applied_count(deployment) == event_count)
    due_ns = np.array(told.due_ns)
    return (np.array(seen_ns) - due_ns) / 1e6, (np.array(told.durable_ns) - due_ns) / 1e6


def tell(benchmark, key: str, latencies_ms, durable_ms) -> None:
    """State the tail of the latencies beside that of the log."""
    wanted = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}
    percentiles = {name: np.percentile(latencies_ms, at) for name, at in wanted.items()}
    assert latencies_ms.min() > 0
    state(
        benchmark,
        key,
        percentiles["p99"],
        limit=np.percentile(durable_ms, 99),
        limit_name=LIMIT_NAME,
        percentiles=percentiles,
        note=f"{len(latencies_ms):,} marked events; the slowest took {latencies_ms.max():.1f} ms",
    )


def publish_and_watch(
    benchmark, key: str, load, deployment: Deployment, settings: Settings
) -> None:
    rate, seconds = load
    count = int(rate * seconds)
    measured = benchmark.pedantic(
        measure,
        (deployment, publish_to_log, settings, rate, count, MARK_EVERY),
        {"mark_count": count // MARK_EVERY, "event_count": count + 1},
        rounds=1,
    )
    tell(benchmark, key, *measured)


@pytest.mark.parametrize("load", [SMALL, LARGE])
def bench_freshness_embedded(benchmark, tmp_path, load):
    """Append to the embedded log from another process: p99 of 20 ms."""
    with deployed(tmp_path) as deployment:
        settings = Settings(data=deployment.data)
        publish_and_watch(benchmark, "freshness_embedded", load, deployment, settings)


@pytest.mark.parametrize("load", [SMALL, LARGE])
def bench_freshness_embedded_post(benchmark, tmp_path, load):
    """Post a batch of events every 10 ms, embedded log: p99 of 20 ms."""
    rate, seconds = load
    count = int(rate * seconds)
    with deployed(tmp_path) as deployment:
        measured = benchmark.pedantic(
            measure,
            (deployment, publish_by_http, deployment.port, rate, count),
            {"mark_count": int(seconds * 100), "event_count": count},
            rounds=1,
        )
        tell(benchmark, "freshness_embedded_post", *measured)


@pytest.mark.kafka
@pytest.mark.parametrize("load", [SMALL, LARGE])
def bench_freshness_kafka(benchmark, tmp_path, broker, load):
    """Produce to Kafka from another process: p99 of 20 ms."""
    options = broker.options()
    flags = ("--kafka", options.brokers, "--topic-prefix", options.topic_prefix)
    with deployed(tmp_path, *flags) as deployment:
        settings = Settings(kafka=options.brokers, topic_prefix=options.topic_prefix)
        publish_and_watch(benchmark, "freshness_kafka", load, deployment, settings)
