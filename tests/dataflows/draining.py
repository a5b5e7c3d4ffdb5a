"""Run the flow in this process until all that is in the log is applied."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from onhand.ingest.opening import open_engine
from onhand.ingest.run import run_flow
from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.model.times import show_time
from onhand.table.reader import TableReader
from tests.dataflows.ingest_process import cells_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onhand.ingest.engine import Engine
    from onhand.log.base import EventLog
    from onhand.settings import Settings

DRAINED_S_MAX = 60.0


@contextlib.contextmanager
def a_log(settings: Settings) -> Iterator[EventLog]:
    """Open the deployment's log with its topics made."""
    settings.data.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(settings.kafka_partition_count)
        yield log


def publish(settings: Settings, events: Iterable[object], topic: str = "stock.sales", headers=()):
    """Append events (objects, or bytes as they are) to a topic."""
    records = [
        NewRecord(
            topic=topic,
            value=event if isinstance(event, bytes) else msgspec.json.encode(event),
            headers=tuple(headers),
        )
        for event in events
    ]
    with a_log(settings) as log:
        return log.append(records)


def drain(settings: Settings):
    """Run ingest until everything is applied, then stop it; return the cells there were."""
    found = {}
    with open_engine(settings) as engine:

        def finish() -> None:
            try:
                wait_until_applied(settings, engine)
                reader = TableReader(settings.table_dir, engine.cluster_id)
                reader.refresh()
                found["cells"] = cells_of(reader)
            finally:
                engine.stop()

        watcher = threading.Thread(target=finish)
        watcher.start()
        run_flow(engine)
        watcher.join()
    return found["cells"]


def wait_until_applied(settings: Settings, engine: Engine) -> None:
    """Wait until every shard has applied what is in the log."""
    with contextlib.closing(open_log(settings)) as log:
        ends = log.end_offsets(engine.partitions)
        deadline = time.monotonic() + DRAINED_S_MAX
        while not all(
            shard.is_published and shard.supply.applied_offset(index) >= ends[partition]
            for shard in engine.shards
            for index, partition in enumerate(engine.partitions)
        ):
            assert time.monotonic() < deadline, "the flow did not drain the log"
            assert not engine.stopping.is_set(), "the flow stopped"
            time.sleep(0.005)


def records_of(settings: Settings, topic: str):
    """Read a whole topic."""
    with a_log(settings) as log:
        partitions = log.partitions([topic])
        begins, ends = log.begin_offsets(partitions), log.end_offsets(partitions)
        found = []
        for partition in partitions:
            offset = begins[partition]
            while offset < ends[partition]:
                records = log.read(partition, offset, 1_000)
                if not records:
                    break
                found += records
                offset = records[-1].offset + 1
        return found


def at(seconds_ago: float) -> str:
    """Write the time that was so many seconds ago."""
    return show_time(time.time_ns() // 1000 - int(seconds_ago * 1e6))


def sale(number: int, quantity: int = 1, **fields: object) -> dict[str, object]:
    """Make a sale of sku A in store S."""
    return {
        "type": "sale",
        "id": f"s-{number}",
        "source": "till",
        "occurred_at": at(5),
        "location": "S",
        "sku": "A",
        "quantity": quantity,
        **fields,
    }
