"""The event log: appending, polling, and how long a record takes from one to the other.

Bias: records of 170 bytes with a key of 8, all on one topic; reads come from the page cache. Kafka
is a broker in memory on the same machine (Tansu, or the one that ONHAND_TEST_KAFKA names), whose
work counts against the client; Tansu 0.6 slows down with every batch that it holds. Embedded
appends are one caller's, who waits for each; callers that wait together share a commit. The clocks
of a record's two ends are the machine's.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from benchmarks.figures import state
from onhand.log.base import NewRecord

PUBLISHER = Path(__file__).parent / "kit/publisher.py"
TOPIC = "stock.sales"
VALUE = b"v" * 170
KEY = b"4006381-"
ROUNDS = 5
RATE = 5_000
SMALL, LARGE = 5_000, 400_000
COUNTS = [
    pytest.param(SMALL, id="small"),
    pytest.param(LARGE, id="large", marks=pytest.mark.slow),
]


def records(count):
    return [NewRecord(TOPIC, VALUE, KEY)] * count


def place_of(log):
    """Return how another process opens the same log: its place and its topic prefix."""
    if hasattr(log, "_path"):
        return str(log._path), ""
    return log._options.brokers, log._options.topic_prefix


@pytest.mark.parametrize("size", [1, 100, 1_000])
def bench_append_embedded(benchmark, embedded_log, size):
    """One caller appends and waits until it is on disk, again and again."""
    batch = records(size)
    repeats = max(1, 200 // size)

    def append():
        for _ in range(repeats):
            embedded_log.append(batch)

    benchmark.pedantic(append, rounds=ROUNDS, warmup_rounds=1)
    if benchmark.stats is not None:
        rate = size * repeats / benchmark.stats.stats.min
        state(benchmark, f"log_append_embedded_{size}", rate)


def drain(log, count):
    """Poll everything from the beginning on; return how many seconds it took."""
    reader = log.reader(log.begin_offsets(log.partitions([TOPIC])))
    begin = time.perf_counter()
    seen = 0
    while seen < count:
        seen += len(reader.poll(10_000, 0.1))
    taken_s = time.perf_counter() - begin
    reader.close()
    return taken_s


@pytest.mark.parametrize("count", COUNTS)
def bench_poll_embedded(benchmark, embedded_log, count):
    """Catching up from the embedded log: 1 million records/s."""
    embedded_log.append(records(count))
    taken_s = []
    benchmark.pedantic(
        lambda: taken_s.append(drain(embedded_log, count)), rounds=ROUNDS, warmup_rounds=1
    )
    state(benchmark, "log_poll_embedded", count / min(taken_s))


def bare_loop(log, count):
    """Consume everything a thousand at a time, touching keys and values."""
    options = log._options
    consumer = Consumer(options.consumer())
    consumer.assign(
        [TopicPartition(options.topic_prefix + t, n, 0) for t, n in log.partitions([TOPIC])]
    )
    begin = time.perf_counter()
    seen = touched = 0
    while seen < count:
        for message in consumer.consume(1_000, 0.1):
            if message.error() is None:
                touched += len(message.key()) + len(message.value())
                seen += 1
    taken_s = time.perf_counter() - begin
    consumer.close()
    assert touched == count * len(KEY + VALUE)
    return taken_s


@pytest.mark.kafka
@pytest.mark.parametrize("count", COUNTS)
def bench_poll_kafka(benchmark, kafka_log, count):
    """Catching up from Kafka, beside a bare consumer of the same records."""
    kafka_log.append([NewRecord(TOPIC, VALUE, b"%08d" % (n % 97)) for n in range(count)])
    ours, bare = [], []

    def both():
        bare.append(bare_loop(kafka_log, count))
        ours.append(drain(kafka_log, count))

    benchmark.pedantic(both, rounds=ROUNDS)
    state(
        benchmark,
        "log_poll_kafka",
        count / min(ours),
        limit=count / min(bare),
        limit_name="a bare consume(1000) loop",
    )


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(0.2, id="small"), pytest.param(5, id="large", marks=pytest.mark.slow)],
)
def bench_publish_to_poll(benchmark, event_log, seconds):
    """From handing a record over in one process to having it in another, at 5,000 a second."""
    count = int(RATE * seconds)
    place, prefix = place_of(event_log)
    latencies = benchmark.pedantic(measure_latencies, (event_log, count, place, prefix), rounds=1)
    p50, p99 = np.percentile(latencies, [50, 99])
    key = "log_latency_kafka" if prefix else "log_latency_embedded"
    state(benchmark, key, p99, percentiles={"p50": p50, "p99": p99, "max": max(latencies)})


def measure_latencies(log, count, place, prefix):
    reader = log.reader(log.begin_offsets(log.partitions([TOPIC])))
    publisher = subprocess.Popen([sys.executable, PUBLISHER, place, prefix, str(RATE), str(count)])
    latencies = []
    while len(latencies) < count + 1:
        batch = reader.poll(1_000, 0.1)
        now_ns = time.time_ns()
        latencies += [(now_ns - int(value)) / 1e6 for value in batch.values]
        assert len(batch) or not publisher.poll(), "the publisher failed"
    reader.close()
    assert publisher.wait() == 0
    # The first record says only that the publisher is there.
    return latencies[1:]
