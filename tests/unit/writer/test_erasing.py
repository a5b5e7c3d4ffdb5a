"""A customer who is erased leaves what the order writer keeps, also what it has not sent yet."""

import asyncio
import json

import msgspec
import pytest

from onhand.customers.erasing import Eraser, Refused
from onhand.customers.store import CustomerStore, open_customers
from onhand.log.topics import LEDGER, ORDER_EVENTS
from onhand.model.commands import (
    CollectTask,
    Customer,
    Fulfilment,
    OrderLine,
    PickTask,
    PlaceOrder,
    ReadyTask,
)
from tests.deployments import wait_until
from tests.unit.writer.test_outbox import LogDown
from tests.writers import document

KIM = Customer(id='kim "k"', name="Kim Name", email="kim@example.com")


@pytest.fixture
def customers(deploy):
    """Open a database of customers beside the ledger's."""
    shop = deploy()
    database = open_customers(shop.settings)
    yield shop, CustomerStore(database)
    database.close()


def order_of(customer, order_id):
    return PlaceOrder(
        id=order_id,
        customer=customer,
        lines=(OrderLine(sku="apple", quantity=1),),
        fulfilment=Fulfilment(method="pickup", location="north"),
    )


def eraser(shop, store):
    def ask(asked):
        return asyncio.wrap_future(shop.writer.submit(asked))

    return Eraser(store, shop.ledger, ask, shop.writer.read_again)


def erase(shop, store, customer=KIM.id):
    return asyncio.run(eraser(shop, store).erase(customer))


def test_what_is_not_sent_yet_is_sent_without_the_customer(customers):
    """Events and movements that waited for the log: all are sent, in order, and name the token."""
    shop, store = customers
    down = shop.log = LogDown(shop.log)
    shop.open()
    for number in range(5):
        shop.ask("place_order", order_of(KIM, f"o-{number}"))
        shop.ask("place_order", order_of(Customer(id="bo", name="Bo"), f"b-{number}"))
    order = document(shop.ask("place_order", order_of(KIM, "collected")))
    for step, body in (("pick", PickTask()), ("ready", ReadyTask())):
        assert not shop.ask(f"{step}_task", body, target=order["tasks"][0]).refused
    code = CollectTask(pickup_code=order["pickup_code"])
    assert not shop.ask("collect_task", code, target=order["tasks"][0]).refused
    wait_until(lambda: down.refused > 1)

    erased = erase(shop, store)
    assert (erased.orders, erased.open_orders) == (6, 5)
    down.is_down = False
    wait_until(shop.has_sent_all)
    values = [record.value for topic in (ORDER_EVENTS, LEDGER) for record in shop.records(topic)]
    assert not [value for value in values if b"Kim" in value or b"kim" in value]
    placed = [json.loads(value) for value in values if b"order.placed" in value]
    assert [event["subject"] for event in placed][:2] == ["o-0", "b-0"]
    assert [event["data"]["customer"]["id"] for event in placed] == [erased.id, "bo"] * 5 + [
        erased.id
    ]
    sold = [json.loads(record.value) for record in shop.records(LEDGER)]
    assert [event["customer_id"] for event in sold] == [erased.id]


def test_kept_answers_name_the_token(customers):
    """Those in memory and those on disk, after a restart too; other customers' stay as they are."""
    shop, store = customers
    shop.open()
    keys = {name: name.encode() * 16 for name in ("a", "b")}
    first = shop.ask("place_order", order_of(KIM, "o-1"), key=keys["a"])
    other = shop.ask("place_order", order_of(Customer(id="bo"), "b-1"), key=keys["b"])
    token = erase(shop, store).id
    for _ in range(2):
        again = shop.ask("place_order", order_of(KIM, "o-1"), key=keys["a"])
        assert document(again) == document(first) | {"customer": {"id": token}}
        same = shop.ask("place_order", order_of(Customer(id="bo"), "b-1"), key=keys["b"])
        assert same.document == other.document
        shop.restart()
    assert shop.writer.book().orders["o-1"].customer == Customer(id=token)


def test_an_erasure_that_was_cut_short_goes_on(customers):
    """Whatever part of it was done; the token stays the same."""
    shop, store = customers
    shop.open()
    for number in range(3):
        shop.ask("place_order", order_of(KIM, f"o-{number}"), key=b"%d" % number * 16)
    shop.writer.stop()
    with pytest.raises(Refused) as refused:
        erase(shop, store)
    assert refused.value.answer.failure
    shop.open()
    token = store.begin_erasure(KIM.id, "another", 1).token
    erased = erase(shop, store)
    assert erased.id == token != "another"
    assert erased.orders == 3
    # Everything but the answers was done: they are found by the token's orders.
    before = {number: shop.ask("place_order", order_of(KIM, f"o-{number}"),
                               key=b"%d" % number * 16) for number in range(3)}  # fmt: skip
    assert all(document(each)["customer"] == {"id": token} for each in before.values())


def test_stock_stays_as_it_is(customers):
    """What is reserved by an erased customer's orders stays reserved."""
    shop, store = customers
    shop.open()
    for number in range(60):
        shop.ask("place_order", order_of(KIM, f"o-{number}"))
    before = shop.reserved()
    assert before == 60
    assert erase(shop, store).orders == 60
    assert shop.reserved() == before
    rows = shop.restart().writer.book().orders
    assert len(rows) == 60
    assert b"kim" not in msgspec.json.encode(list(rows.values()))
