"""Kill -9 at any moment: nothing is lost, nothing counts twice, readers never see the past."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import threading
import time

import msgspec
import pytest

from onhand.errors import TableUnavailable
from onhand.identity import open_identity
from onhand.ingest.verify import verify_tables
from onhand.log import open_log
from onhand.table.reader import TableReader
from tests.dataflows.ingest_process import (
    IngestProcess,
    cells_of,
    running,
    wait_caught_up,
)
from tests.dataflows.shop import Shop
from tests.twin.naive import Naive

RECORDS_PER_APPEND = 40


def publish_until(stop: threading.Event, settings, shop: Shop) -> None:
    with contextlib.closing(open_log(settings)) as log:
        while not stop.is_set():
            log.append(shop.records(RECORDS_PER_APPEND))
            time.sleep(0.01)


def watch(table_dir, cluster_id, stop, failures) -> None:
    """Read as a storefront does; report offsets or freshness that go back."""
    reader = TableReader(table_dir, cluster_id)
    before = None
    while not stop.is_set():
        try:
            reader.refresh()
            progress = reader.progress()
            for sku in ("sku-1", "sku-7"):
                reader.read(sku, "group:all", time.time_ns() // 1000)
        except TableUnavailable:
            continue
        if before is not None:
            for partition, offset in before.offsets.items():
                if progress.offsets.get(partition, 0) < offset:
                    failures.put(f"{partition} went from {offset} to {progress.offsets}")
        before = progress
        time.sleep(0.001)


@contextlib.contextmanager
def watched(settings, cluster_id):
    """Keep a reader of its own process looking; yield a queue of what it found wrong."""
    context = multiprocessing.get_context("spawn")
    stop, failures = context.Event(), context.Queue()
    arguments = (settings.table_dir, cluster_id, stop, failures)
    watcher = context.Process(target=watch, args=arguments, daemon=True)
    watcher.start()
    try:
        yield failures
    finally:
        stop.set()
        watcher.join(10)
        watcher.kill()


@contextlib.contextmanager
def published(settings, shop):
    """Keep publishing what a shop does."""
    stop = threading.Event()
    publisher = threading.Thread(target=publish_until, args=(stop, settings, shop))
    publisher.start()
    try:
        yield
    finally:
        stop.set()
        publisher.join()


def kill_at_random(settings, seed: int, kill_count: int) -> None:
    # Room for every movement of the run: the twin knows no horizons.
    settings = msgspec.structs.replace(settings, history_max=1 << 20)
    chance = random.Random(seed)
    shop = Shop(seed)
    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(settings.kafka_partition_count)
        cluster_id = open_identity(settings.data, log=log.identity()).id
    with watched(settings, cluster_id) as failures:
        with published(settings, shop):
            process = IngestProcess(settings)
            for _ in range(kill_count):
                process.start()
                time.sleep(chance.uniform(0.2, 1.6))
                process.kill()
        compare(settings, shop, seed)
        assert failures.empty(), failures.get()


def compare(settings, shop: Shop, seed: int) -> None:
    """Let ingest catch up, and hold its table against the twin and the log."""
    twin = Naive()
    for event in shop.accepted:
        twin.add(event)
    with running(settings) as process:
        reader = wait_caught_up(settings, process)
        assert cells_of(reader) == twin.cells(), f"seed {seed}"
        verified = verify_tables(settings, lambda _done, _total: None)
        assert verified.differences == []
        assert verified.conserved.differences == []
        assert process.stop()[0] == 0


def test_a_killed_ingest_loses_nothing_and_counts_nothing_twice(settings):
    """After kills at random moments the table equals the naive twin of all that was published."""
    kill_at_random(settings, seed=random.randrange(1 << 30), kill_count=5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_kills_change_nothing(settings):
    """One hundred kills at random moments, readers throughout: the table equals the twin."""
    kill_at_random(settings, seed=random.randrange(1 << 30), kill_count=100)
