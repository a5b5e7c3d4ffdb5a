"""From Kafka to visible: the whole flow against a bare consumer loop over the same messages.

The bare loop calls ``consume(1000)`` and touches key and value of every message. Both read the same
topic of the same broker, in turn, in this process; the broker shares the machine, and its cores.
Neither side does anything with what it read but what it exists for.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from benchmarks.figures import state
from onhand.ingest.opening import open_engine
from onhand.ingest.run import GC_THRESHOLD, run_flow
from onhand.log import open_log
from onhand.log.base import NewRecord, now_us
from onhand.settings import Settings

if TYPE_CHECKING:
    from onhand.ingest.shard import Shard
    from tests.brokers import Broker

TOPIC = "stock.sales"
SKU_COUNT = 100_000
LOCATION_COUNT = 100
PARTITION_COUNT = 4
INDEX_COUNT = 64
APPEND_RECORD_COUNT = 20_000
SMALL_BELOW = 10_000
ROUNDS = 5


@pytest.fixture
def settings(tmp_path):
    """Give settings as anyone starts with, on memory of their own."""
    table_dir = Path(tempfile.mkdtemp(prefix="onhand-bench-", dir="/dev/shm"))
    yield Settings(data=tmp_path / "data", table_dir=table_dir)
    shutil.rmtree(table_dir, ignore_errors=True)


def events(message_count: int, lines_per_message: int) -> list[NewRecord]:
    """Make sales of one or many lines, spread over SKUs and locations."""
    occurred = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    records = []
    for number in range(message_count):
        head = {
            "type": "sale",
            "id": f"b-{number}",
            "source": f"till-{number % 50}",
            "occurred_at": occurred,
            "location": f"store-{number * 7919 % LOCATION_COUNT}",
        }
        if lines_per_message == 1:
            body = {"sku": f"sku-{number * 104_729 % SKU_COUNT}", "quantity": 1}
        else:
            first = number * 104_729
            body = {
                "lines": [
                    {"sku": f"sku-{(first + k * 31) % SKU_COUNT}", "quantity": 1}
                    for k in range(lines_per_message)
                ]
            }
        value = msgspec.json.encode(head | body)
        records.append(NewRecord(topic=TOPIC, value=value, key=head["location"].encode()))
    return records


def fill(
    broker: Broker, settings: Settings, message_count: int, lines_per_message: int
) -> Settings:
    """Put the messages into fresh topics; return settings that read them.

    The history holds the whole run: with less, checkpoints decide how fast it goes.
    """
    movement_count = message_count * lines_per_message
    settings = msgspec.structs.replace(
        settings,
        history_max=max(settings.history_max, 1 << (movement_count - 1).bit_length()),
        kafka=broker.address,
        topic_prefix=broker.options().topic_prefix,
        kafka_partition_count=PARTITION_COUNT,
    )
    settings.data.mkdir(parents=True)
    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(settings.kafka_partition_count)
        records = events(message_count, lines_per_message)
        for start in range(0, len(records), APPEND_RECORD_COUNT):
            log.append(records[start : start + APPEND_RECORD_COUNT])
    return settings


def bare_loop_s(settings: Settings, message_count: int) -> float:
    """Read every message with ``consume(1000)`` and touch its key and value."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": "bare",
            "enable.auto.commit": False,
            "queued.min.messages": 1_000_000,
            "queued.max.messages.kbytes": 262_144,
        }
    )
    topic = settings.topic_prefix + TOPIC
    started = time.perf_counter()
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITION_COUNT)])
    seen = touched = 0
    while seen < message_count:
        for message in consumer.consume(1000, 1.0):
            touched += len(message.key()) + len(message.value())
            seen += 1
    elapsed = time.perf_counter() - started
    consumer.close()
    assert touched
    return elapsed


def flow_s(settings: Settings, message_count: int) -> float:
    """Run the flow until every message is applied and the table is published."""
    finished: list[float] = []
    with open_engine(settings) as engine:
        shard = engine.shards[0]

        def stop_when_applied() -> None:
            while not shard.is_published or applied(shard) < message_count:
                time.sleep(0.002)
            finished.append(time.perf_counter())
            engine.stop()

        watcher = threading.Thread(target=stop_when_applied)
        watcher.start()
        thresholds = gc.get_threshold()
        gc.set_threshold(GC_THRESHOLD)  # as `onhand ingest` does
        started = time.perf_counter()
        run_flow(engine)
        gc.set_threshold(*thresholds)
        watcher.join()
    return finished[0] - started


def applied(shard: Shard) -> int:
    """Count the records that a shard has applied, all partitions together."""
    return sum(shard.supply.applied_offset(index) for index in range(INDEX_COUNT))


@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("message_count", "lines_per_message"),
    [
        pytest.param(2_000, 1, id="one-line-small"),
        pytest.param(1_000_000, 1, id="one-line", marks=pytest.mark.slow),
        pytest.param(100, 100, id="100-lines-small"),
        pytest.param(60_000, 100, id="100-lines", marks=pytest.mark.slow),
    ],
)
def bench_kafka_to_visible(benchmark, broker, settings, message_count, lines_per_message):
    """Read the topic bare, then through the flow, in turn; the ratio is of the medians."""
    settings = fill(broker, settings, message_count, lines_per_message)
    bare_s, through_s = [], []

    def in_turn() -> None:
        bare_s.append(bare_loop_s(settings, message_count))
        fresh = msgspec.structs.replace(settings, data=settings.data / str(now_us()))
        through_s.append(flow_s(fresh, message_count))

    benchmark.pedantic(in_turn, rounds=1 if message_count < SMALL_BELOW else ROUNDS)
    line_count = message_count * lines_per_message
    state(
        benchmark,
        "ingest_kafka" if lines_per_message == 1 else "ingest_kafka_100_lines",
        line_count / statistics.median(through_s),
        limit=line_count / statistics.median(bare_s),
        limit_name="a bare consume(1000) loop touching key and value",
    )
