"""What is promised, rebuilt from the ledger, is what the table says, and differences are named."""

import threading
import time

import sqlalchemy as sa

from onhand.ledger import OrderStore
from onhand.ledger.schema import hold as hold_table
from onhand.model.commands import Fulfilment, HoldLine, OrderLine, PlaceHold, PlaceOrder
from onhand.writer.verify import DemandDifference, verify_demand
from tests.deployments import wait_until
from tests.writers import hold_of


def verify(shop):
    return verify_demand(shop.settings, lambda _count: None)


def place_hold(shop, quantity, location="north"):
    line = HoldLine(sku="apple", quantity=quantity, location=location)
    return shop.ask("place_hold", PlaceHold(lines=(line,), ttl_s=600))


def place_order(shop, quantity):
    fulfilment = Fulfilment(method="pickup", location="south")
    lines = (OrderLine(sku="apple", quantity=quantity),)
    return shop.ask("place_order", PlaceOrder(lines=lines, fulfilment=fulfilment))


def test_holds_and_orders_are_found_in_the_table(shop):
    """Cells and documents are counted, and nothing differs."""
    assert not place_hold(shop, 3).refused
    assert not place_order(shop, 4).refused
    found = verify(shop)
    assert (found.is_live, found.cell_count, found.document_count) == (True, 2, 2)
    assert found.differences == []


def test_what_the_ledger_lost_is_named(shop):
    """A cell whose hold is gone from the ledger is listed with both numbers."""
    lost = shop.hold(quantity=3)["id"]
    place_hold(shop, 2, "south")
    with shop.ledger.write() as connection:
        connection.execute(sa.delete(hold_table).where(hold_table.c.id == lost))
    found = verify(shop)
    assert found.differences == [DemandDifference("apple", "north", "reserved", 3, 0)]


def test_a_table_that_moves_agrees(shop):
    """While holds come without a pause nothing is found to differ."""
    stop = threading.Event()
    placed = []

    def place():
        while not stop.is_set():
            placed.append(place_hold(shop, 1).refused)

    thread = threading.Thread(target=place)
    thread.start()
    try:
        wait_until(lambda: len(placed) > 10)
        for _ in range(3):
            assert verify(shop).differences == []
    finally:
        stop.set()
        thread.join()


def test_a_table_that_moves_by_slow_commits_agrees(shop, monkeypatch):
    """The table has what is on its way to the ledger, and something always is."""

    def slow(store, commit):
        time.sleep(0.5)
        real(store, commit)

    real = OrderStore.commit
    monkeypatch.setattr(OrderStore, "commit", slow)
    asked = shop.asked("place_hold", hold_of())
    stop = threading.Event()

    def place():
        while not stop.is_set():
            shop.writer.submit(asked).result(20)

    thread = threading.Thread(target=place)
    thread.start()
    try:
        wait_until(lambda: shop.reserved() > 1)
        assert verify(shop).differences == []
    finally:
        stop.set()
        thread.join()


def test_without_an_order_writer_there_is_nothing_to_compare(deploy):
    """No table, no difference, and it says so."""
    assert not verify(deploy()).is_live
