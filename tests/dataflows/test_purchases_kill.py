"""The feed of purchases is killed at any moment: no purchase is lost, none is there twice."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from onhand.customers.store import CustomerStore, open_customers
from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.log.topics import EVENT_TOPICS
from onhand.supervise import environment_of
from tests.deployments import wait_until

if TYPE_CHECKING:
    from onhand.settings import Settings

CUSTOMERS = [f"c-{number}" for number in range(7)]


def sale(number: int) -> dict[str, object]:
    return {
        "type": "sale",
        "id": f"s-{number}",
        "source": "till-1",
        "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "location": "north",
        "sku": "apple",
        "quantity": 1,
        "customer_id": CUSTOMERS[number % len(CUSTOMERS)],
    }


def publish_until(stop: threading.Event, settings: Settings, told: list[int]) -> None:
    """Tell of sales, each on some topic, every third of them twice."""
    chance = random.Random(1)
    numbers = itertools.count()
    with contextlib.closing(open_log(settings)) as log:
        while not stop.is_set():
            some = list(itertools.islice(numbers, 50))
            events = [sale(number) for number in [*some, *some[::3]]]
            log.append(
                [
                    NewRecord(chance.choice(EVENT_TOPICS), json.dumps(each).encode())
                    for each in events
                ]
            )
            told += some
            time.sleep(0.02)


@contextlib.contextmanager
def feed(settings: Settings):
    """Run ``onhand purchases``; it is killed at the end."""
    argv = [sys.executable, "-m", "onhand.cli", "purchases"]
    process = subprocess.Popen(argv, env=environment_of(settings))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def bought(store: CustomerStore) -> list[str]:
    return [
        row.event_id
        for customer in CUSTOMERS
        for row in store.of_customer(customer, None, 1_000_000)
    ]


def kill_at_random(settings: Settings, kill_count: int) -> None:
    chance = random.Random(kill_count)
    settings.data.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(settings.kafka_partition_count)
    stop, told = threading.Event(), []
    publisher = threading.Thread(target=publish_until, args=(stop, settings, told))
    database = open_customers(settings)
    store = CustomerStore(database)
    publisher.start()
    try:
        for _ in range(kill_count):
            before = store.offsets()
            with feed(settings):
                # Killed once it has stored something of its own, so every kill finds it at work.
                wait_until(lambda: store.offsets() != before)  # noqa: B023
                time.sleep(chance.uniform(0, 0.3))
        before = store.offsets()
        with feed(settings) as last:
            # Asked to stop once it has stored something: before that it may not know how to.
            wait_until(lambda: store.offsets() != before)
            stop.set()
            publisher.join()
            wait_until(lambda: len(bought(store)) >= len(told))
            last.terminate()
            assert last.wait(60) == 0
        found = bought(store)
        assert len(found) == len(set(found))
        assert set(found) == {f"s-{number}" for number in told}
    finally:
        stop.set()
        publisher.join()
        database.close()


@pytest.mark.slow
def test_a_feed_that_is_killed_keeps_each_purchase_once(settings):
    """Three times, at work, on each kind of log."""
    kill_at_random(settings, 3)


@pytest.mark.postgres
def test_a_feed_that_is_killed_on_postgres(settings, postgres_url):
    """The same with the other database."""
    kill_at_random(msgspec.structs.replace(settings, database=postgres_url), 3)


@pytest.mark.slow
def test_a_feed_that_is_killed_many_times(settings):
    """Twenty times."""
    kill_at_random(settings, 20)
