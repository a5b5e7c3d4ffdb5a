"""Changes of holds, orders and tasks come as CloudEvents of the published types."""

import msgspec
import pytest

from onhand.log.embedded import EmbeddedLog
from onhand.log.open import LOG_FILE
from onhand.log.topics import ORDER_EVENTS
from onhand.order_events import CHANGES, OrderEvent, event_types
from tests.deployments import wait_until
from tests.shops import SHIP, Shop


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.open().set_up()
    yield shop
    shop.close()


def told(log):
    """Read every event, decoded by the published types, which refuse unknown fields."""
    events = []
    for partition in log.partitions([ORDER_EVENTS]):
        for record in log.read(partition, 0, 1_000):
            event = msgspec.json.decode(record.value, type=OrderEvent)
            assert record.key.decode() == event.subject
            thing = event.type.split(".")[1]
            assert event.type in event_types(thing)
            kind, _ = CHANGES[thing]
            events.append((event.type, event.subject, msgspec.convert(event.data, kind)))
    return events


def test_a_day_of_orders_is_told(shop):
    """Every step of a hold, a pickup, a shipment that is short, and a cancellation, in order."""
    sku = shop.stock(3)
    extended = shop.hold(sku)
    shop.post(f"/v1/holds/{extended['id']}/extend", {"ttl_s": 90})
    shop.client.delete(f"/v1/holds/{extended['id']}")
    shop.hold(sku, ttl_s=1)
    hold = shop.hold(sku, 2)
    pickup = shop.order((sku, 1), hold_id=hold["id"])
    collect = {"pickup_code": pickup["pickup_code"]}
    shop.steps(pickup["tasks"][0], "pick", "ready", "collect", collect=collect)
    shipped = shop.order((sku, 1), fulfilment=SHIP)
    short = {"short": [{"line": "1", "quantity": 1, "reason": "gone"}]}
    shop.step(shipped["tasks"][0], "pick", short)
    again = shop.get(f"/v1/orders/{shipped['id']}").json()["tasks"][-1]
    carrier = {"carrier": "Post", "tracking_number": "1"}
    shop.steps(again, "pick", "pack", "ship", ship=carrier)
    rejected = shop.order((sku, 1), fulfilment=SHIP)
    shop.step(rejected["tasks"][0], "reject", {"reason": "no staff"})
    cancelled = shop.order((sku, 2), fulfilment=SHIP)
    path = f"/v1/orders/{cancelled['id']}/cancel"
    shop.post(path, {"lines": [{"id": "1", "quantity": 1}]})
    shop.post(path)

    log = EmbeddedLog(shop.data / LOG_FILE)
    wait_until(lambda: any(kind == "onhand.hold.expired" for kind, _, _ in told(log)))
    wait_until(lambda: ("onhand.order.cancelled", cancelled["id"]) in [e[:2] for e in told(log)])
    events = told(log)
    log.close()

    def of(subject):
        return [kind.removeprefix("onhand.") for kind, about, _ in events if about == subject]

    assert of(extended["id"]) == ["hold.placed", "hold.extended", "hold.released"]
    assert of(hold["id"]) == ["hold.placed", "hold.ordered"]
    assert of(pickup["id"]) == [
        "order.placed",
        "task.picked",
        "task.ready",
        "order.fulfilled",
        "task.collected",
    ]
    assert {"allocation.short", "allocation.sourced_again", "task.shipped"} <= set(
        of(shipped["id"])
    )
    assert {"allocation.rejected", "task.rejected"} <= set(of(rejected["id"]))
    assert of(cancelled["id"])[-2:] == ["order.partially_cancelled", "order.cancelled"]
