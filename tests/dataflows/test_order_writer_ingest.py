"""The order writer and real ingest: hand-overs go round, and an ingest that dies stops promises."""

from __future__ import annotations

import contextlib
import json
import time

import msgspec
import pytest

from onhand.identity import open_identity
from onhand.ledger import SetupStore, open_ledger
from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.metrics import Page, metrics_directory
from onhand.model.commands import (
    AskPromise,
    CollectTask,
    Fulfilment,
    OrderLine,
    PickTask,
    PlaceOrder,
    ReadyTask,
)
from onhand.orders.engine import Asked
from onhand.writer.writer import OrderWriter
from tests.dataflows.ingest_process import open_reader, running, wait_caught_up
from tests.deployments import wait_until
from tests.writers import code, document, hold_of

TIMEOUT_S = 60


class Counter:
    """A shop's till, dock and order desk on one deployment."""

    def __init__(self, settings, log):
        self.settings = settings
        self.log = log
        self.number = 0
        self.ledger = open_ledger(settings)
        cluster_id = open_identity(settings.data, log=log.identity()).id
        self.page = Page(metrics_directory(settings.table_dir, cluster_id), "test")
        self.writer = OrderWriter(
            settings,
            ledger=self.ledger,
            setup_store=SetupStore(self.ledger),
            event_log=log,
            cluster_id=cluster_id,
            page=self.page,
        )

    def close(self):
        self.writer.stop()
        self.page.close()
        self.ledger.close()

    def tell(self, kind, quantity, **fields):
        """Publish a stock event of this moment about apples at north."""
        self.number += 1
        event = {
            "type": kind,
            "id": f"e-{self.number}",
            "source": "till",
            "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "location": "north",
            "sku": "apple",
            "quantity": quantity,
            **fields,
        }
        topic = "stock.receipts" if kind == "receipt" else "stock.sales"
        self.log.append([NewRecord(topic, json.dumps(event).encode())])

    def ask(self, what, body=None, target=""):
        asked = Asked(what=what, body=body, target=target)
        return self.writer.submit(asked).result(TIMEOUT_S)

    def start(self):
        """Start the writer, and wait until it knows the stock to be current."""
        self.writer.start()
        wait_until(lambda: not self.writer.missing())
        wait_until(lambda: not self.ask("promise", self.wish()).refused)

    def wish(self):
        return AskPromise(
            lines=(OrderLine(sku="apple", quantity=1),),
            fulfilment=Fulfilment(method="pickup", location="north"),
        )

    def order(self, quantity):
        body = PlaceOrder(
            lines=(OrderLine(sku="apple", quantity=quantity),),
            fulfilment=Fulfilment(method="pickup", location="north"),
        )
        answer = self.ask("place_order", body)
        assert not answer.refused, answer.document
        return document(answer)

    def numbers(self):
        """Read on_hand, reserved and available of apples at north."""
        reader = open_reader(self.settings)
        reader.refresh()
        answer = reader.read("apple", "location:north", time.time_ns() // 1000)
        return answer.on_hand, answer.reserved, answer.available


@pytest.fixture
def counter(settings):
    # Longer than a slow machine holds ingest up, and short enough to wait for.
    settings = msgspec.structs.replace(settings, max_supply_age_ms=5_000)
    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(settings.kafka_partition_count)
        with contextlib.closing(Counter(settings, log)) as made:
            yield made


def hand_over(counter, order):
    for step, body in (
        ("pick", PickTask()),
        ("ready", ReadyTask()),
        ("collect", CollectTask(pickup_code=order["pickup_code"])),
    ):
        answer = counter.ask(f"{step}_task", body, order["tasks"][0])
        assert not answer.refused, answer.document


def test_what_is_handed_over_leaves_both_tables_together(counter):
    """Told by app, by till, or by both, goods leave once; the sum of what is free never rises."""
    counter.tell("receipt", 100)
    with running(counter.settings) as ingest:
        wait_caught_up(counter.settings, ingest)
        counter.start()
        told_by_app, told_by_till, told_by_both = (counter.order(n) for n in (3, 5, 7))
        assert counter.numbers() == (100, 15, 85)
        for order in (told_by_app, told_by_both):
            hand_over(counter, order)
        for order, units in ((told_by_till, 5), (told_by_both, 7)):
            allocation = order["lines"][0]["allocations"][0]["id"]
            counter.tell("sale", units, allocation_id=allocation)
        wait_until(lambda: counter.numbers() == (85, 0, 85))
        counter.tell("sale", 5, allocation_id="nobody.a1")
        wait_until(lambda: counter.numbers() == (80, 0, 80))


def test_promises_stop_while_ingest_is_dead(counter):
    """They go on by themselves once it is back, and movements on their way are not lost."""
    counter.tell("receipt", 100)
    with running(counter.settings) as ingest:
        wait_caught_up(counter.settings, ingest)
        counter.start()
        order = counter.order(4)
        assert not counter.ask("place_hold", hold_of()).refused
        ingest.kill()
        # Asked, not held: holds until then could leave nothing to be held afterwards.
        wait_until(lambda: counter.ask("promise", counter.wish()).refused)
        assert code(counter.ask("place_hold", hold_of())) == "supply_stale"
        hand_over(counter, order)
        on_hand, reserved, _ = counter.numbers()
        assert (on_hand, reserved) == (100, 4 + held(counter))
    with running(counter.settings):
        wait_until(lambda: not counter.ask("place_hold", hold_of()).refused)
        wait_until(lambda: counter.numbers()[:2] == (96, held(counter)))


def held(counter):
    """Count the units of all holds."""
    book = counter.writer.book()
    return sum(line.quantity for hold in list(book.holds.values()) for line in hold.lines)
