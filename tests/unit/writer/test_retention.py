"""What is kept long enough leaves the ledger while the order writer works."""

import threading

import pytest

from onhand.errors import CommitUnknown
from onhand.ledger import OrderReads, OrderStore, schema
from onhand.model.commands import CancelOrder, Fulfilment, OrderLine, PlaceOrder
from onhand.model.return_commands import InspectedLine, InspectReturn, ReceivedLine, ReceiveReturn
from onhand.writer import retention
from tests.deployments import wait_until
from tests.unit.writer.test_returns import Receipts, announce, receive, sold
from tests.writers import code, document

DAY_US = 86_400_000_000


@pytest.fixture(autouse=True)
def looks(monkeypatch):
    """Look every moment, at what a clock that the test sets says is old; give how often."""
    monkeypatch.setattr(retention, "LOOK_S", 0.02)
    find_long = retention.Retention._find_long
    looks = [0]

    def counted(*arguments):
        looks[0] += 1
        return find_long(*arguments)

    monkeypatch.setattr(retention.Retention, "_find_long", counted)
    return looks


@pytest.fixture
def shop(deploy):
    """Give a deployment that keeps orders for 30 days, and decides."""
    return deploy(orders_keep_days=30, purchases_keep_days=30).open()


@pytest.fixture
def set_day(shop, looks):
    """Set the clock to some days from now, and wait until what is old by then is dropped."""

    def set_day(day):
        shop.clock.offset_us = day * DAY_US
        shop.kit.stamp(shop.clock(), heartbeat_us=shop.clock())
        background = shop.writer._turns._background
        wait_until(lambda: background.passed_us() > shop.clock() - DAY_US)
        seen = looks[0]
        wait_until(lambda: looks[0] >= seen + 3)

    return set_day


def dropped(shop, table):
    return shop.counted("onhand_ledger_rows_dropped_total", table)


def placed(shop, order_id):
    """Order an apple."""
    body = PlaceOrder(
        id=order_id,
        lines=(OrderLine(sku="apple", quantity=1),),
        fulfilment=Fulfilment(method="pickup", location="north"),
    )
    return document(shop.ask("place_order", body))


def cancel(shop, order_id):
    """Cancel all of an order."""
    answer = shop.ask("cancel_order", CancelOrder(), order_id)
    assert not answer.refused, answer.document


def test_a_closed_order_is_kept_for_as_long_as_the_setting_says(shop, set_day):
    """It is gone a day later, its tasks with it; an open one stays whatever its age."""
    reads = OrderReads(shop.ledger)
    for each in ("closed", "open"):
        placed(shop, each)
    cancel(shop, "closed")
    set_day(29)
    assert reads.order("closed") is not None
    set_day(31)
    assert reads.order("closed") is None
    assert [row.order_id for row in reads.tasks("north").tasks] == ["open"]
    assert (dropped(shop, "orders"), dropped(shop, "task")) == (1, 1)
    assert code(shop.ask("cancel_order", None, "closed")) == "unknown_order"
    # What counts is its last change, not when it was placed.
    cancel(shop, "open")
    set_day(60)
    assert reads.order("open") is not None
    set_day(62)
    assert reads.order("open") is None


def test_a_return_goes_with_its_order_and_keeps_it_while_units_wait(shop, set_day):
    """Held units can be inspected however long they wait; a month after that both are gone."""
    reads = OrderReads(shop.ledger)
    order_id = sold(shop)
    return_id = document(announce(shop, order_id=order_id))["id"]
    line = ReceivedLine(line="1", quantity=1, disposition="inspect")
    body = ReceiveReturn(location="south", lines=(line,))
    assert not shop.ask("receive_return", body, return_id).refused
    set_day(40)
    assert reads.return_(return_id) is not None
    looked_at = InspectedLine(line="1", quantity=1, disposition="sellable")
    inspection = InspectReturn(location="south", lines=(looked_at,))
    assert document(shop.ask("inspect_return", inspection, return_id))["status"] == "closed"
    set_day(69)
    assert reads.order(order_id) is not None
    set_day(71)
    assert (reads.order(order_id), reads.return_(return_id)) == (None, None)


def test_a_return_of_no_order_is_kept_from_its_last_change_on(shop, set_day):
    """Announced long ago and received just now, it is not forgotten before a till tells of it."""
    reads = OrderReads(shop.ledger)
    shop.restart(Receipts())
    return_id = document(announce(shop, receipt="basket-1"))["id"]
    set_day(13)
    assert not receive(shop, return_id).refused
    set_day(42)
    assert reads.return_(return_id) is not None
    set_day(44)
    assert reads.return_(return_id) is None


def test_rows_leave_however_many_ask(shop):
    """Under commands that never pause, what is old is dropped all the same."""
    for _ in range(3):
        shop.hold(ttl_s=60)
    shop.clock.offset_us = 20 * DAY_US
    ended = threading.Event()

    def ask_on():
        while not ended.is_set():
            assert code(shop.ask("release_hold", None, "nobody_s")) == "unknown_hold"

    askers = [threading.Thread(target=ask_on) for _ in range(4)]
    for each in askers:
        each.start()
    try:
        wait_until(lambda: dropped(shop, "hold") == 3)
    finally:
        ended.set()
        for each in askers:
            each.join()
    assert shop.counted("onhand_ledger_bytes") > 0


def test_more_than_one_step_takes_is_dropped_step_by_step(shop, monkeypatch):
    """The next step comes at once, and passes over what stays."""
    monkeypatch.setattr(retention, "ORDER_COUNT", 2)
    monkeypatch.setattr(retention, "ROW_COUNT", 2)
    monkeypatch.setattr(retention, "LOOK_S", 3.0)
    held = [sold(shop, 1) for _ in range(3)]
    line = ReceivedLine(line="1", quantity=1, disposition="inspect")
    for each in held:
        return_id = document(announce(shop, order_id=each))["id"]
        body = ReceiveReturn(location="south", lines=(line,))
        assert not shop.ask("receive_return", body, return_id).refused
    for each in range(5):
        placed(shop, f"o-{each}")
        cancel(shop, f"o-{each}")
        shop.hold(ttl_s=60)
    shop.clock.offset_us = 40 * DAY_US
    shop.kit.stamp(shop.clock(), heartbeat_us=shop.clock())
    wait_until(lambda: (dropped(shop, "orders"), dropped(shop, "hold")) == (5, 5))
    assert all(OrderReads(shop.ledger).order(each) is not None for each in held)


def test_a_document_that_cannot_be_read_stays_and_holds_nothing_up(shop, set_day):
    """The others go, and the log says which one it is."""
    reads = OrderReads(shop.ledger)
    for each in ("damaged", "whole"):
        placed(shop, each)
        cancel(shop, each)
    with shop.ledger.write() as connection:
        damaged = schema.orders.update().where(schema.orders.c.id == "damaged")
        connection.execute(damaged.values(document=b"{"))
    set_day(31)
    assert reads.order("whole") is None
    assert reads.order("damaged") is not None


def test_of_a_drop_nobody_knows_about_the_writer_asks_the_ledger(shop, set_day, monkeypatch):
    """Nothing is decided until the ledger has said, and then all goes on."""
    drop = OrderStore.drop
    lost = []

    def lose_once(store, keys):
        drop(store, keys)
        if any(keys.values()) and not lost:
            lost.append(True)
            store._unknown = store._position
            raise CommitUnknown("the answer was lost", "Settle it")

    monkeypatch.setattr(OrderStore, "drop", lose_once)
    placed(shop, "closed")
    cancel(shop, "closed")
    set_day(31)
    assert lost
    assert OrderReads(shop.ledger).order("closed") is None
    assert code(shop.ask("cancel_order", None, "closed")) == "unknown_order"
