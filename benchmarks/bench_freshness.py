"""Published to visible: from an event's being due at its publisher to a storefront's reading it.

Everything is as in production, in processes of its own: ``onhand up`` on a fresh directory, an
open-loop publisher, a probe that polls ``GET /v1/availability`` over a connection kept alive. One
in so many events is marked, and its latency runs from when it was due by the clock until an answer
that counts it has arrived: the publisher's delay, the log, the flow, the table and HTTP are in it.

Bias: five to seven processes share the machine's cores, the broker too, and the publisher and the
probe are Python. The probe rests 2 ms after each answer and the publisher 1 ms after what was due,
which adds up to that; shorter rests would take more of the cores from what is measured.
Events have one line and touch 50,000 SKUs at 100 places. The limit beside each figure is when the
log itself had the same events on disk: nothing can be seen before.

Kafka is Apache Kafka, fetched with Maven, where there is Java; it has run under the same load
before, since brokers in earnest are not started for every measurement. The small broker of other
benchmarks keeps every batch in memory and takes longer over a fetch with each: at this rate it
falls behind by itself within seconds.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.figures import state
from benchmarks.kit.load import processes, publish_by_http, publish_to_log, watch
from onhand.settings import Settings
from tests.brokers import Broker
from tests.deployments import Deployment, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = pytest.param((500, 0.6), id="small")
LARGE = pytest.param((5_000, 30), id="large", marks=pytest.mark.slow)
MARK_EVERY = 10
PROBE_PAUSE_S = 0.002
WARM_S = 10
APACHE_KAFKA = Path(__file__).parents[1] / "ci" / "kafka" / "broker"
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


def tell(benchmark, key: str, latencies_ms, durable_ms, log_name: str = "") -> None:
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
        note=f"{len(latencies_ms):,} marked events; the slowest took {latencies_ms.max():.1f} ms"
        f"{log_name and '; ' + log_name}",
    )


def publish_and_watch(deployment: Deployment, settings: Settings, rate: int, seconds: float):
    """Measure a deployment whose publisher appends to the log itself."""
    count = int(rate * seconds)
    return measure(
        deployment,
        publish_to_log,
        settings,
        rate,
        count,
        MARK_EVERY,
        mark_count=count // MARK_EVERY,
        event_count=count + 1,
    )


@contextlib.contextmanager
def kafka(broker: Broker, seconds: float) -> Iterator[tuple[Broker, str]]:
    """Give a broker and its name: a real one for long loads, unless the run names its own."""
    if not broker.is_ours:
        yield broker, "a Kafka given to the run"
    elif seconds < WARM_S or not (shutil.which("java") and shutil.which("mvn")):
        yield broker, "the small broker"
    else:
        started = subprocess.run(
            [APACHE_KAFKA, "start"], check=True, capture_output=True, text=True
        )
        try:
            yield Broker(started.stdout.strip()), "Apache Kafka"
        finally:
            subprocess.run([APACHE_KAFKA, "stop"], check=True)


@contextlib.contextmanager
def deployed_on(broker: Broker, scratch: Path) -> Iterator[tuple[Deployment, Settings]]:
    """Run everything on topics of its own."""
    scratch.mkdir()
    options = broker.options()
    flags = ("--kafka", options.brokers, "--topic-prefix", options.topic_prefix)
    with deployed(scratch, *flags) as deployment:
        yield deployment, Settings(kafka=options.brokers, topic_prefix=options.topic_prefix)


@pytest.mark.parametrize("load", [SMALL, LARGE])
def bench_freshness_embedded(benchmark, tmp_path, load):
    """Append to the embedded log from another process: p99 of 20 ms."""
    with deployed(tmp_path) as deployment:
        settings = Settings(data=deployment.data)
        measured = benchmark.pedantic(publish_and_watch, (deployment, settings, *load), rounds=1)
        tell(benchmark, "freshness_embedded", *measured)


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
    rate, seconds = load
    with kafka(broker, seconds) as (running, name):
        if seconds >= WARM_S:
            with deployed_on(running, tmp_path / "warm") as (deployment, settings):
                publish_and_watch(deployment, settings, rate, WARM_S)
        with deployed_on(running, tmp_path / "measured") as (deployment, settings):
            measured = benchmark.pedantic(
                publish_and_watch, (deployment, settings, *load), rounds=1
            )
        tell(benchmark, "freshness_kafka", *measured, name)
