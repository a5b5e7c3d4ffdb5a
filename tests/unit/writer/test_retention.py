"""What is kept long enough leaves the ledger while the order writer works."""

import threading

import pytest

from onhand.ledger import OrderReads
from onhand.model.commands import CancelOrder, Fulfilment, OrderLine, PlaceOrder
from onhand.writer import retention
from tests.deployments import wait_until
from tests.writers import code, document

DAY_US = 86_400_000_000


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Look every moment: what is looked for is old by a clock that the test sets."""
    monkeypatch.setattr(retention, "LOOK_S", 0.02)


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
    assert not shop.ask("cancel_order", CancelOrder(), order_id).refused


def test_an_order_is_kept_for_as_long_as_the_setting_says(deploy):
    """A closed one is gone a day later, its tasks with it; an open one stays whatever its age."""
    shop = deploy(orders_keep_days=30, purchases_keep_days=30).open()
    reads = OrderReads(shop.ledger)
    shop.hold(ttl_s=60)
    for each in ("closed", "open"):
        placed(shop, each)
    cancel(shop, "closed")
    shop.clock.offset_us = 29 * DAY_US
    wait_until(lambda: shop.counted("onhand_ledger_rows_dropped_total", "hold") == 1)
    assert reads.order("closed") is not None
    shop.clock.offset_us = 31 * DAY_US
    wait_until(lambda: reads.order("closed") is None)
    assert shop.counted("onhand_ledger_rows_dropped_total", "orders") == 1
    assert [row.order_id for row in reads.tasks("north").tasks] == ["open"]
    assert code(shop.ask("cancel_order", None, "closed")) == "unknown_order"
    assert document(shop.ask("cancel_order", None, "open"))["status"] == "cancelled"


def test_rows_leave_however_many_ask(deploy):
    """Under commands that never pause, what is old is dropped all the same."""
    shop = deploy().open()
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
        wait_until(lambda: shop.counted("onhand_ledger_rows_dropped_total", "hold") >= 3)
    finally:
        ended.set()
        for each in askers:
            each.join()
    assert shop.counted("onhand_ledger_bytes") > 0
