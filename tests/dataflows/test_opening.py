"""What ingest says when it cannot start, and what it leaves when it ends."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import threading
import time

import msgspec
import pytest

from onhand.errors import (
    AlreadyRunning,
    CheckpointInvalid,
    OffsetOutOfRange,
    TableFull,
    TableUnavailable,
    WrongDataDirectory,
)
from onhand.identity import open_identity
from onhand.ingest.changes import ChangePublisher
from onhand.ingest.opening import open_engine
from onhand.ledger import SetupStore, open_ledger
from onhand.log import open_log
from onhand.metrics import Page
from onhand.model.setup import parse_location
from onhand.table.demand import Demand
from onhand.table.directory import TableDirectory
from tests.dataflows.draining import a_log, drain, publish, records_of, sale
from tests.dataflows.ingest_process import running, wait_caught_up
from tests.needs import small_disk

SHARD = "checkpoints/shard-000"


def checkpoints(settings):
    return sorted((settings.data / SHARD).glob("*.ohck"))


def embedded_only(settings):
    """Leave Kafka out: these rules are about the data directory."""
    if settings.kafka is not None:
        settings = msgspec.structs.replace(settings, kafka=None, topic_prefix="")
    return settings


@pytest.fixture
def embedded(settings):
    """Give a deployment on the embedded log."""
    return embedded_only(settings)


def test_a_second_writer_is_told_who_writes(settings):
    """Two ingest processes on one data directory: the second says the first one's process id."""
    with (
        open_engine(settings),
        pytest.raises(AlreadyRunning, match=r"Process \d+ already writes"),
        open_engine(settings),
    ):
        pass


def test_a_torn_checkpoint_is_passed_over(settings):
    """The newest checkpoint cut short: the one before it and the log give the same table."""
    publish(settings, [sale(1), sale(2)])
    drain(settings)
    publish(settings, [sale(3)])
    expected = drain(settings)
    newest = checkpoints(settings)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert drain(settings) == expected == {("A", "S"): (-3, 0, 0, 0)}


def test_only_torn_checkpoints_stop_the_start(settings):
    """When no checkpoint is whole, ingest says so and what to do; it does not guess."""
    publish(settings, [sale(1)])
    drain(settings)
    for path in checkpoints(settings):
        path.write_bytes(b"rubbish")
    with pytest.raises(CheckpointInvalid, match="remove them all"), open_engine(settings):
        pass


def test_checkpoints_removed_are_rebuilt_from_the_log(settings):
    """Without any checkpoint the whole log gives the same table."""
    publish(settings, [sale(1), sale(2)])
    expected = drain(settings)
    for path in checkpoints(settings):
        path.unlink()
    assert drain(settings) == expected


def test_another_log_is_refused(settings):
    """A data directory that belongs to one log is not fed from another."""
    publish(settings, [sale(1)])
    drain(settings)
    if settings.kafka is None:
        for path in settings.data.glob("log.*"):
            path.unlink()
    else:
        settings = msgspec.structs.replace(settings, kafka=None, topic_prefix="")
    with pytest.raises(WrongDataDirectory, match="belongs to the log"), open_engine(settings):
        pass


def test_another_count_of_shards_is_refused(settings):
    """A checkpoint of one shard is not taken for one of two."""
    publish(settings, [sale(1)])
    drain(settings)
    two = msgspec.structs.replace(settings, shard_count=2)
    with pytest.raises(CheckpointInvalid, match="shard_count"), open_engine(two):
        pass


def test_records_dropped_before_they_were_applied_stop_the_start(embedded):
    """Retention took records that no checkpoint covers: a clear stop, never a silent skip."""
    publish(embedded, [sale(1)])
    drain(embedded)
    publish(embedded, [sale(2), sale(3)])
    with a_log(embedded) as log:
        log.prune(time.time_ns() // 1000 + 1, {("stock.sales", 0): 2})
    with pytest.raises(OffsetOutOfRange, match="1 records were dropped"), open_engine(embedded):
        pass


def test_a_log_shorter_than_the_checkpoint_stops_the_start(embedded):
    """The log was cut behind our back: its end lies before the checkpoint."""
    publish(embedded, [sale(1), sale(2)])
    file = embedded.data / "log.sqlite3"
    with contextlib.closing(sqlite3.connect(file)) as log:
        log.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.read_bytes()
    publish(embedded, [sale(3)])
    drain(embedded)
    for path in embedded.data.glob("log.*"):
        path.unlink()
    file.write_bytes(before)
    with pytest.raises(OffsetOutOfRange, match="ends at 2"), open_engine(embedded):
        pass


def test_a_table_too_small_stops_and_says_which_setting(settings):
    """table_bytes_max reached: ingest ends with a message, nothing half applied is kept."""
    small = msgspec.structs.replace(settings, table_bytes_max=8 << 20, history_max=1 << 12)
    events = [sale(n, sku=f"sku-{n}", location=f"L{n % 50}") for n in range(1_500)]
    publish(
        small,
        [
            event | {"id": f"{event['id']}-{start}", "sku": f"{event['sku']}-{start}"}
            for start in range(0, 60_000, 1_500)
            for event in events
        ],
    )
    with running(small) as process:
        code, said = process.wait()
    assert code == 1
    assert "table-bytes-max" in said
    assert "Traceback" not in said


def test_a_full_mount_is_an_error_and_not_a_crash(settings, tmp_path):
    """A shared-memory mount too small for the table: a message that names --table-dir."""
    with small_disk(tmp_path / "small", "4m") as mount:
        small = msgspec.structs.replace(settings, table_dir=mount)
        full = pytest.raises((TableUnavailable, TableFull), match="--table-dir")
        with full, open_engine(small):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_cleanly_with_a_checkpoint_and_frees_memory(settings, number):
    """SIGTERM or SIGINT: exit code 0, the last event in a checkpoint, no table left."""
    two = msgspec.structs.replace(settings, worker_count=2, checkpoint_interval_s=3_600)
    publish(two, [sale(1)])
    with running(two) as process:
        wait_caught_up(two, process)
        code, said = process.stop(number)
    assert code == 0, said
    assert len(checkpoints(two)) == 1
    assert list(two.table_dir.glob("onhand-*/shard-*")) == []


class Telling:
    """A change publisher beside a running ingest."""

    def __init__(self, settings):
        cluster_id = open_identity(settings.data).id
        self.ledger = open_ledger(settings, cluster_id=cluster_id)
        self.store = SetupStore(self.ledger)
        self.log = open_log(settings)
        directory = TableDirectory(settings.table_dir, cluster_id)
        self.page = Page(directory.path / "metrics", "test")
        self.publisher = ChangePublisher(settings, directory, self.log, self.store, self.page)

    def close(self):
        self.log.close()
        self.ledger.close()
        self.page.close()


def told(settings):
    """Return the newest value under each key of stock.availability, as a compacted topic has it."""
    return {
        record.key.decode(): msgspec.json.decode(record.value)["available"]
        for record in records_of(settings, "stock.availability")
    }


def test_promises_are_told_as_changes_of_available(settings):
    """So are promises that a new demand table does not have any more."""
    publish(settings, [sale(1, 9) | {"type": "receipt"}], "stock.receipts")
    with running(settings) as process:
        wait_caught_up(settings, process)
        wait_until(lambda: told(settings) == {"A|S": 9, "A|group:all": 9})
        cluster_id = open_identity(settings.data).id
        directory = TableDirectory(settings.table_dir, cluster_id)
        for promised in (4, 0):
            generation = directory.next_demand_generation()
            demand = Demand.create(
                directory.demand_path(generation),
                cluster_id=bytes.fromhex(cluster_id),
                generation=generation,
                capacity_bytes=1 << 26,
            )
            demand.add("A", "S", promised)
            directory.publish_demand(generation)
            left = 9 - promised
            wait_until(lambda left=left: told(settings) == {"A|S": left, "A|group:all": left})
        demand.add("A", "S", 1)
        wait_until(lambda: told(settings) == {"A|S": 8, "A|group:all": 8})


def test_every_change_of_available_is_told(settings):
    """Cells and their groups, after events, a restart and a change of safety stock."""
    publish(settings, [sale(1, 9) | {"type": "receipt"}], "stock.receipts")
    with running(settings) as process:
        wait_caught_up(settings, process)
        wait_until(lambda: told(settings) == {"A|S": 9, "A|group:all": 9})
        publish(settings, [sale(2, 4)])
        wait_until(lambda: told(settings) == {"A|S": 5, "A|group:all": 5})
        with contextlib.closing(Telling(settings)) as telling:
            telling.store.put_location(
                parse_location("S", {"name": "Store", "type": "store", "groups": ["west"]})
            )
            telling.store.replace_safety_stock([{"location": "S", "quantity": 2}])
        wait_until(lambda: told(settings).get("A|S") == 3)
        process.kill()
    publish(settings, [sale(3, 1)])
    with running(settings) as process:
        wait_caught_up(settings, process)
        expected = {"A|S": 2, "A|group:all": 2, "A|group:west": 2}
        wait_until(lambda: told(settings) == expected)


def test_a_change_of_groups_is_told(settings):
    """What a group gains and loses with a location, closed ones and groups that end included."""
    place = {"name": "Store", "type": "store"}
    publish(settings, [sale(1, 9) | {"type": "receipt"}], "stock.receipts")
    with running(settings) as process:
        wait_caught_up(settings, process)
        expected = {"A|S": 9, "A|group:all": 9}
        wait_until(lambda: told(settings) == expected)
        with contextlib.closing(Telling(settings)) as telling:
            for change, groups in (
                ({"groups": ["west"]}, {"A|group:west": 9}),
                ({"groups": ["west"], "enabled": False}, {"A|group:west": 0, "A|group:all": 0}),
                ({"groups": ["east"]}, {"A|group:east": 9, "A|group:all": 9}),
                ({"groups": ["north"]}, {"A|group:east": 0, "A|group:north": 9}),
            ):
                telling.store.put_location(parse_location("S", place | change))
                expected.update(groups)
                wait_until(lambda: told(settings) == expected)


def test_a_change_of_set_up_while_nobody_tells_is_told_at_the_next_start(settings):
    """Of every cell and group then, of those too that a location has left meanwhile."""
    west = {"name": "Store", "type": "store", "groups": ["west"]}
    with closing_setup(settings) as store:
        store.put_location(parse_location("S", west))
    publish(settings, [sale(1, 9) | {"type": "receipt"}], "stock.receipts")
    with running(settings) as process:
        wait_caught_up(settings, process)
        expected = {"A|S": 9, "A|group:all": 9, "A|group:west": 9}
        wait_until(lambda: told(settings) == expected)
        process.stop()
    with closing_setup(settings) as store:
        store.put_location(parse_location("S", west | {"groups": ["east"]}))
        store.replace_safety_stock([{"location": "S", "quantity": 2}])
    with running(settings) as process:
        wait_caught_up(settings, process)
        expected = {"A|S": 7, "A|group:all": 7, "A|group:west": 0, "A|group:east": 7}
        wait_until(lambda: told(settings) == expected)


@contextlib.contextmanager
def closing_setup(settings):
    """Set places up beside whatever runs, or nothing."""
    settings.data.mkdir(parents=True, exist_ok=True)
    cluster_id = open_identity(settings.data).id
    with contextlib.closing(open_ledger(settings, cluster_id=cluster_id)) as ledger:
        yield SetupStore(ledger)


def wait_until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
