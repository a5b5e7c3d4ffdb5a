"""What is committed reaches the log, in order and at least once, also one that was down."""

import json
import threading
import time

import pytest

from onhand.errors import LogUnavailable, WriterFenced
from onhand.ledger.order_store import OrderStore
from onhand.ledger.rows import Commit, EventRow
from onhand.log.base import NewRecord, failed
from onhand.log.topics import CLAIMS, LEDGER, ORDER_EVENTS
from onhand.metrics import Page, collect
from onhand.orders.engine import Asked
from onhand.writer.outbox import Outbox
from tests.deployments import wait_until
from tests.writers import hold_of


def told(shop):
    """Read the events of holds: (type, id)."""
    events = [json.loads(record.value) for record in shop.records(ORDER_EVENTS)]
    return [(event["type"], event["data"]["id"]) for event in events]


def ledger_sequences(shop):
    return [json.loads(record.value)["sequence"] for record in shop.records(LEDGER)]


def till_sale(number, **fields):
    """Write a claim of a till about an order that nobody knows: a plain sale."""
    event = {
        "type": "sale",
        "id": f"sale-{number}",
        "source": "till-1",
        "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "location": "north",
        "sku": "apple",
        "quantity": 1,
        "allocation_id": "order-x.a1",
    }
    return NewRecord(CLAIMS, json.dumps(event | fields).encode())


class LogDown:
    """A log that takes nothing until told to."""

    def __init__(self, log):
        self.is_down = True
        self.refused = 0
        self._log = log

    def __getattr__(self, name):
        return getattr(self._log, name)

    def append_nowait(self, records):
        if self.is_down:
            self.refused += 1
            return failed(LogUnavailable("no disk", "Find one"))
        return self._log.append_nowait(records)


def test_every_hold_is_told_once_and_in_order(shop):
    """A hold's events follow each other as they happened, as CloudEvents."""
    holds = [shop.hold()["id"] for _ in range(20)]
    for hold in holds:
        shop.ask("release_hold", target=hold)
    wait_until(lambda: len(told(shop)) == 40)
    assert told(shop) == [
        *(("onhand.hold.placed", hold) for hold in holds),
        *(("onhand.hold.released", hold) for hold in holds),
    ]
    record = shop.records(ORDER_EVENTS)[0]
    assert record.key.decode() == holds[0]
    assert ("content-type", b"application/cloudevents+json; charset=utf-8") in record.headers


def test_nothing_is_sent_twice_by_a_writer_that_ended_well(shop):
    """What was sent is noted, so the next one goes on where the last has stopped."""
    for _ in range(3):
        for _ in range(5):
            shop.hold()
        wait_until(shop.has_sent_all)
        shop.restart()
    ids = [json.loads(record.value)["id"] for record in shop.records(ORDER_EVENTS)]
    assert len(ids) == len(set(ids)) == 15


def test_a_log_that_is_down_holds_nobody_up(deploy):
    """Holds go on, a warning says so, and everything is sent once it is back; also by the next."""
    shop = deploy()
    down = shop.log = LogDown(shop.log)
    shop.open()
    shop.hold()
    wait_until(lambda: down.refused > 2)
    wait_until(lambda: any("no disk" in warning for warning in shop.writer.warnings()))
    assert not shop.writer.missing()
    shop.hold()
    shop.restart()
    shop.hold()
    assert not told(shop)
    down.is_down = False
    wait_until(lambda: len(told(shop)) == 3)
    wait_until(lambda: not shop.writer.warnings())
    ids = [json.loads(record.value)["id"] for record in shop.records(ORDER_EVENTS)]
    assert len(ids) == len(set(ids))


def test_what_waits_is_not_told_before_it_is_counted(deploy, monkeypatch):
    """After a start nobody reads that nothing waits, when it is only not known yet."""
    shop = deploy()
    down = shop.log = LogDown(shop.log)
    shop.open()
    for _ in range(3):
        shop.hold()
    shop.writer.stop()
    looks = threading.Event()
    read = OrderStore.pending_events

    def read_late(store, count_max):
        looks.wait()
        return read(store, count_max)

    monkeypatch.setattr(OrderStore, "pending_events", read_late)
    shop.page.close()
    shop.page = Page(shop.page.directory, "test")
    shop.open()
    try:
        wait_until(lambda: shop.writer.outbox_pending() == {LEDGER: 0})
        wait_until(lambda: ("onhand_outbox_pending", (LEDGER,)) in collect(shop.page.directory))
        assert ("onhand_outbox_pending", (ORDER_EVENTS,)) not in collect(shop.page.directory)
    finally:
        looks.set()
    wait_until(lambda: shop.counted("onhand_outbox_pending", ORDER_EVENTS) == 3)
    down.is_down = False
    wait_until(shop.has_sent_all)


@pytest.mark.slow
def test_more_than_is_kept_in_memory_is_read_back(deploy, monkeypatch):
    """A backlog larger than the memory for it is sent whole and in order."""
    monkeypatch.setattr("onhand.writer.outbox.KEPT_COUNT_MAX", 50)
    monkeypatch.setattr("onhand.writer.outbox.CHUNK_COUNT_MAX", 20)
    shop = deploy()
    down = shop.log = LogDown(shop.log)
    shop.open()
    asked = Asked(what="place_hold", body=hold_of())
    futures = [shop.writer.submit(asked) for _ in range(300)]
    ids = [json.loads(future.result(20).document)["id"] for future in futures]
    down.is_down = False
    wait_until(lambda: len(told(shop)) == 300)
    assert told(shop) == [("onhand.hold.placed", each) for each in ids]


def test_what_a_newer_writer_has_committed_is_not_sent_by_the_one_before_it(deploy):
    """A writer that was overtaken notes nothing beyond its own, and is told that it is fenced."""
    shop = deploy()
    old, new = OrderStore(shop.ledger), OrderStore(shop.ledger)
    for store in (old, new):
        store.take_over("test", 1)
    outbox = Outbox(old, shop.log, old.statistics().position, one_by_one=False)
    new.commit(Commit(events=[EventRow("h-1", b"{}")]))
    outbox.send_now(ORDER_EVENTS)
    assert not shop.records(ORDER_EVENTS)
    marks = Commit(events=[EventRow("h-2", b"{}")])
    outbox.add_marks(marks)
    with pytest.raises(WriterFenced):
        old.commit(marks)
    for store in (old, new):
        store.close()


def test_claims_are_decided_once_and_move_stock_without_a_gap(shop):
    """A till's claim about an unknown allocation is a plain sale, told to supply once."""
    shop.log.append([till_sale(number) for number in range(30)])
    wait_until(lambda: len(ledger_sequences(shop)) == 30)
    shop.log.append([till_sale(number) for number in range(20, 40)])
    wait_until(lambda: len(ledger_sequences(shop)) == 40)
    shop.restart()
    shop.log.append([till_sale(number) for number in range(50)])
    wait_until(lambda: len(ledger_sequences(shop)) == 50)
    assert ledger_sequences(shop) == list(range(1, 51))
    sold = [json.loads(record.value) for record in shop.records(LEDGER)]
    assert {event["attributes"]["claim_id"] for event in sold} == {f"sale-{n}" for n in range(50)}


def test_what_is_no_claim_goes_to_the_dead_letters(shop):
    """It holds up none of the claims behind it."""
    shop.log.append([NewRecord(CLAIMS, b"{"), till_sale(1)])
    wait_until(lambda: ledger_sequences(shop) == [1])
    (letter,) = shop.records("stock.dead-letters")
    assert letter.value == b"{"


@pytest.mark.parametrize("chunk", [1, 7])
def test_movements_of_a_cautious_log_are_sent_one_by_one(shop, chunk):
    """However many are sent at once, they arrive in their sequence."""
    lane = shop.writer._outbox._ledger
    lane._chunk_count = chunk
    shop.log.append([till_sale(number) for number in range(100)])
    wait_until(lambda: len(ledger_sequences(shop)) == 100)
    assert ledger_sequences(shop) == list(range(1, 101))
