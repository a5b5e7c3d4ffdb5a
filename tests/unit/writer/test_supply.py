"""Supply as the order writer follows it: how old it is, what it has applied, what has changed."""

import json
import time

import pytest

from onhand.ledger import OrderReads
from onhand.log.base import NewRecord
from onhand.log.topics import CLAIMS
from onhand.model.commands import (
    CancelOrder,
    CollectTask,
    Fulfilment,
    OrderLine,
    OrderPolicy,
    PickTask,
    PlaceOrder,
    ReadyTask,
)
from onhand.orders.book import decode_order
from tests.deployments import wait_until
from tests.writers import Deployment, code, document, extension, hold_of


def place_order(shop, quantity, location="north", **policy):
    """Order apples for collection; return the order."""
    body = PlaceOrder(
        lines=(OrderLine(sku="apple", quantity=quantity),),
        fulfilment=Fulfilment(method="pickup", location=location),
        policy=OrderPolicy(**policy),
    )
    answer = shop.ask("place_order", body)
    assert not answer.refused, answer.document
    return document(answer)


def backordered(shop, order_id):
    """Count the units of an order that wait for stock."""
    order = decode_order(OrderReads(shop.ledger).order(order_id).document)
    return sum(each.open for each in order.allocations if each.stage == "backordered")


def collect(shop, order):
    """Let a customer take everything."""
    task = order["tasks"][0]
    for step, body in (
        ("pick", PickTask()),
        ("ready", ReadyTask()),
        ("collect", CollectTask(pickup_code=order["pickup_code"])),
    ):
        answer = shop.ask(f"{step}_task", body, task)
        assert not answer.refused, answer.document


def test_nothing_is_promised_by_old_numbers(deploy):
    """Promises stop with `supply_stale`; releases, extensions and hand-overs go on."""
    shop = deploy(max_supply_age_ms=60_000).open()
    hold = shop.hold()["id"]
    order = place_order(shop, 2)
    shop.stamp(age_s=61)
    assert code(shop.ask("place_hold", hold_of(), key=b"k" * 16)) == "supply_stale"
    collect(shop, order)
    assert not shop.ask("extend_hold", extension(60), hold).refused
    assert document(shop.ask("release_hold", target=hold))["status"] == "released"
    shop.stamp()
    assert not shop.ask("place_hold", hold_of(), key=b"k" * 16).refused


def test_ingest_that_died_is_noticed_though_the_clock_is_set_back(deploy):
    """A heartbeat that has stopped is old, whatever the wall clock says."""
    shop = deploy(max_supply_age_ms=500).open()
    shop.clock.offset_us = -3_600_000_000
    shop.stamp()
    wait_until(lambda: shop.ask("place_hold", hold_of()).refused)
    assert code(shop.ask("place_hold", hold_of())) == "supply_stale"
    # Again and again: half a second may pass before a command has its turn.
    wait_until(lambda: not shop.stamp() and not shop.ask("place_hold", hold_of()).refused)


def test_without_a_stock_table_nothing_is_decided(tmp_path, database):
    """The writer waits for ingest, says so, and begins by itself."""
    shop = Deployment(tmp_path, database)
    shop.kit.add("apple", "north", on_hand=10)
    shop.begin()
    try:
        wait_until(lambda: "publish" in shop.writer.missing()[0])
        assert code(shop.ask("place_hold", hold_of())) == "writer_unavailable"
        shop.publish()
        wait_until(lambda: not shop.writer.missing())
        assert shop.hold()
    finally:
        shop.close()


def test_what_is_handed_over_stays_reserved_until_supply_has_applied_it(shop):
    """Available never rises at a hand-over: reserved falls when the movement is in."""
    order = place_order(shop, 3)
    assert shop.reader().available("apple", "north") == 997
    collect(shop, order)
    assert shop.reserved() == 3
    shop.restart()
    assert shop.reserved() == 3
    shop.kit.add("apple", "north", on_hand=-3)
    assert shop.reader().available("apple", "north") == 994
    shop.kit.set_ledger_sequence(1)
    wait_until(lambda: shop.reserved() == 0)
    assert shop.reader().available("apple", "north") == 997
    shop.restart()
    assert shop.reserved() == 0


def test_sequences_go_on_in_a_new_generation_of_supply(shop):
    """A supply table that is made anew is followed; what it had applied stays applied."""
    collect(shop, place_order(shop, 3))
    shop.kit.add("apple", "north", on_hand=-3)
    replacement = shop.tables.make(0, 2, shop.kit.image())
    shop.tables.kits[0] = replacement
    shop.tables.publish(2)
    shop.stamp()
    replacement.set_ledger_sequence(1)
    wait_until(lambda: shop.reserved() == 0)
    collect(shop, place_order(shop, 5))
    assert shop.reserved() == 5
    replacement.add("apple", "north", on_hand=-5)
    replacement.set_ledger_sequence(2)
    wait_until(lambda: shop.reserved() == 0)


def test_goods_that_come_go_to_who_waits_first(shop):
    """A backorder is filled before anything else is promised of its row."""
    shop.kit.add("apple", "north", on_hand=-1_000)
    shop.kit.add_incoming("apple", "north", int(time.time() // 86_400) + 3, 50)
    order = place_order(shop, 5, allow_backorder=True)
    assert order["lines"][0]["status"] == "backordered"
    shop.kit.add("apple", "north", on_hand=6)
    wait_until(lambda: shop.reserved() == 5)
    assert code(shop.ask("place_hold", hold_of(quantity=2))) == "insufficient_stock"
    assert shop.hold(quantity=1)


def test_what_others_give_up_goes_to_who_waits(shop):
    """Units of a released or expired hold and of a cancelled order fill backorders at once."""
    shop.kit.add_incoming("apple", "north", int(time.time() // 86_400) + 3, 50)
    shop.hold(quantity=997, ttl_s=14_400)
    hold, order = shop.hold(), place_order(shop, 1)
    shop.hold(ttl_s=60)
    waits = place_order(shop, 3, allow_backorder=True)
    assert waits["lines"][0]["status"] == "backordered"
    assert shop.reserved() == 1_000
    shop.ask("release_hold", target=hold["id"])
    shop.ask("cancel_order", CancelOrder(), order["id"])
    shop.clock.offset_us = 60_000_000
    wait_until(lambda: backordered(shop, waits["id"]) == 0)
    assert shop.reserved() == 1_000


def test_a_promise_the_shelf_cannot_keep_moves(shop):
    """A hold on a group is put elsewhere once every partition has passed the cause."""
    hold = shop.hold(quantity=900, group="online")
    place = hold["lines"][0]["location"]
    other = "south" if place == "north" else "north"
    shop.kit.add("apple", place, on_hand=-500)
    wait_until(lambda: not shop.stamp() and shop.reserved(location=other) == 400)
    # What is freed is shown a moment later, once the move is on disk.
    wait_until(lambda: shop.reserved(location=place) == 500)
    assert shop.reader().available("apple", place) == 0


def test_a_shortfall_that_cannot_move_is_reported(shop):
    """The hold stays where it is, and the metrics say what it lacks."""
    shop.hold(quantity=900)
    shop.kit.add("apple", "north", on_hand=-500)
    wait_until(lambda: not shop.stamp() and shop.counted("onhand_shortfall_units") == 400)
    assert shop.counted("onhand_shortfall_reported_units_total") == 400
    shop.kit.add("apple", "north", on_hand=500)
    wait_until(lambda: not shop.stamp() and shop.counted("onhand_shortfall_units") == 0)


def test_a_claim_and_the_app_tell_of_one_hand_over(shop):
    """The till's sale that names the allocation counts once, whoever was first."""
    order = place_order(shop, 3)
    allocation = order["lines"][0]["allocations"][0]["id"]
    collect(shop, order)
    sale = {
        "type": "sale",
        "id": "s-1",
        "source": "till",
        "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "location": "north",
        "sku": "apple",
        "quantity": 3,
        "allocation_id": allocation,
    }
    shop.log.append([NewRecord(CLAIMS, json.dumps(sale).encode())])
    wait_until(lambda: shop.counted("onhand_claims_total", "told_before") == 1)
    wait_until(shop.has_sent_all)
    assert len(shop.records("stock.ledger")) == 1


def test_holds_are_free_again_when_they_expire(shop):
    """Within a second, and whatever expired while no writer ran."""
    hold = shop.hold(quantity=5, ttl_s=60)
    shop.hold(quantity=7, ttl_s=600)
    assert shop.reserved() == 12
    shop.clock.offset_us = 60_000_000
    wait_until(lambda: shop.reserved() == 7)
    assert code(shop.ask("extend_hold", extension(60), hold["id"])) == "hold_expired"
    shop.writer.stop()
    shop.clock.offset_us = 600_000_000
    shop.open()
    wait_until(lambda: shop.reserved() == 0)
    wait_until(lambda: shop.counted("onhand_reservations_expired_total", "hold") == 2)


def test_many_holds_expire_in_bounded_batches(shop):
    """Commands are decided in between, and every unit is free in the end."""
    futures = [
        shop.writer.submit(shop.asked("place_hold", hold_of(ttl_s=1_000))) for _ in range(900)
    ]
    assert not any(future.result(30).refused for future in futures)
    shop.clock.offset_us = 2_000_000_000
    hold = shop.hold(location="south")
    wait_until(lambda: shop.reserved() == 0)
    assert shop.reserved(location="south") == 1
    assert document(shop.ask("release_hold", target=hold["id"]))["status"] == "released"


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_jumps_breaks_nothing(shop, jump_s):
    """Set back and forth, the writer decides on; what a time says is by the clock of then."""
    first = shop.hold(ttl_s=600)
    shop.clock.offset_us = jump_s * 1_000_000
    shop.stamp(age_s=-jump_s)
    second = shop.hold(ttl_s=600)
    shop.clock.offset_us = 0
    shop.stamp()
    third = shop.hold(ttl_s=600)
    statuses = {
        each["id"]: shop.ask("extend_hold", extension(900), each["id"]).refused
        for each in (first, second, third)
    }
    is_forward = jump_s > 0
    assert statuses == {first["id"]: is_forward, second["id"]: not is_forward, third["id"]: False}
