"""From Kafka to a table: the whole flow of onhand beside Quix Streams keeping the same numbers.

Both read the same topic of the same broker, one sale a message, in turn, each in one process from
nothing. onhand judges every event, knows it again by its id, keeps a history and takes checkpoints;
Quix Streams takes the units off a value, and writes each change to a topic of changes as it does by
default. Either can go on where it was. Neither promises anything, so nothing can be oversold; what
both have in the end is summed.

Bias: towards Quix Streams. Its time counts from its first message, when partitions are assigned and
the state is open, to its last, and leaves out its last commit; onhand's counts from the start of
the flow until all is visible to readers in other processes, which Quix Streams has none of. The
broker shares the cores.
"""

from __future__ import annotations

import statistics

import msgspec
import pytest

from benchmarks.bench_ingest import LOCATION_COUNT, SKU_COUNT, TOPIC, fill, flow_s, settings
from benchmarks.figures import state
from benchmarks.peers import quix
from onhand.log.base import now_us

__all__ = ["settings"]

SMALL_BELOW = 100_000
ROUNDS = 3
ADVICE = (
    "Quix Streams asks the broker how topics are set, and the small broker does not say: "
    "name a real Kafka, ONHAND_TEST_KAFKA=$(ci/kafka/broker start)"
)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "message_count",
    [pytest.param(20_000, id="small"), pytest.param(1_000_000, id="large")],
)
def bench_kafka_to_table(benchmark, broker, settings, tmp_path, message_count):
    """Read a topic into a table: ten times Quix Streams."""
    if broker.is_ours:
        pytest.skip(ADVICE)
    settings = fill(broker, settings, message_count, 1)
    topic = settings.topic_prefix + TOPIC
    ours_s, theirs_s = [], []

    def in_turn() -> None:
        run = str(now_us())
        fresh = msgspec.structs.replace(settings, data=settings.data / run)
        ours_s.append(flow_s(fresh, message_count))
        kept = quix.keep_table(settings.kafka, topic, message_count, tmp_path / f"quix-{run}")
        theirs_s.append(kept.seconds)
        cells = {(n * 7919 % LOCATION_COUNT, n * 104_729 % SKU_COUNT) for n in range(message_count)}
        assert (kept.cells, kept.units) == (len(cells), -message_count)

    benchmark.pedantic(in_turn, rounds=1 if message_count < SMALL_BELOW else ROUNDS)
    state(
        benchmark,
        "ingest_quix",
        message_count / statistics.median(ours_s),
        limit=message_count / statistics.median(theirs_s),
        limit_name=f"Quix Streams {quix.version()}",
    )
