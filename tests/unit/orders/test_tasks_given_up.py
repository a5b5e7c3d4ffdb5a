"""Units that a place does not give: short ones, refused ones, and those nobody collected."""

import pytest

from onhand.orders import upkeep
from onhand.orders.desk import Rules
from onhand.orders.refusal import Refusal
from onhand.orders.views import order_view
from tests.orders_shop import DAY_US, Shop, place_at, short_of, units_of


def cells(**units):
    """Put units of a in stores."""
    return {("a", store): count for store, count in units.items()}


def lines_of(shop, order_id):
    """Return what becomes of the units of each line."""
    return [each["quantities"] for each in order_view(shop.book.orders[order_id])["lines"]]


def what_of(shop, order_id):
    """Return what happened to an order, and where."""
    return [(each.what, each.location) for each in shop.book.orders[order_id].history]


# ---- short ----


def test_short_units_leave_the_cell_and_come_from_elsewhere():
    """The cell is adjusted, the rest of the order is picked, and nobody gets less."""
    shop = Shop(cells(near=5, mid=5))
    order_id = shop.order(("a", 3))
    task_id = shop.task(order_id)
    shop.commit()
    task = shop.step("pick", task_id, picked=units_of(("1", 1)), short=short_of(("1", 2)))
    assert task["status"] == "picked"
    assert task["lines"] == [
        {"line": "1", "sku": "a", "quantity": 3, "picked": 1, "short": 2, "handed_over": 0}
    ]
    assert shop.allocations(order_id) == [("mid", 2), ("near", 1)]
    assert lines_of(shop, order_id) == [{"allocated": 2, "picked": 1}]
    (event,) = shop.ledger()
    assert (event["type"], event["location"], event["reason"]) == (
        "adjustment",
        "near",
        "not there",
    )
    assert event["lines"] == [{"sku": "a", "delta": -2}]
    assert shop.told() == ["allocation.short", "allocation.sourced_again", "task.picked"]
    shop.check()


def test_short_units_are_never_available_again():
    """They stay reserved until supply has taken them off, so nobody is promised them between."""
    shop = Shop(cells(near=5, mid=5))
    task_id = shop.task(shop.order(("a", 3)))
    shop.commit()
    shop.stock.watch()
    shop.step("pick", task_id, short=short_of(("1", 2)))
    assert (shop.available("a", "near"), shop.stock.lowest["a", "near"]) == (2, 3)
    shop.land()
    assert (shop.available("a", "near"), shop.stock.on_hand["a", "near"]) == (2, 3)
    shop.check()


def test_a_task_that_is_short_of_everything_is_cancelled():
    """There is nothing left to pack."""
    shop = Shop(cells(near=3, mid=5))
    order_id = shop.order(("a", 3))
    task = shop.step("pick", shop.task(order_id), short=short_of(("1", 3)))
    assert task["status"] == "cancelled"
    assert [each.status for each in shop.of(order_id).tasks] == ["cancelled", "open"]


def test_each_reason_has_an_adjustment_of_its_own():
    """The reason of an adjustment is about all of its lines."""
    shop = Shop(cells(near=5))
    short = (*short_of(("1", 1), reason="broken"), *short_of(("1", 1), reason="lost"))
    shop.step("pick", shop.task(shop.order(("a", 3))), short=short)
    assert [each["reason"] for each in shop.ledger()] == ["broken", "lost"]
    shop.check()


def test_a_place_that_was_short_is_not_asked_again_for_the_line():
    """Though its records say that it has more, the next place is asked."""
    shop = Shop(cells(near=9, far=9))
    order_id = shop.order(("a", 3))
    shop.step("pick", shop.task(order_id), short=short_of(("1", 3)))
    assert shop.allocations(order_id) == [("far", 3)]
    shop.step("pick", shop.task(order_id, "far"), short=short_of(("1", 3)))
    assert shop.allocations(order_id) == []
    assert shop.of(order_id).status == "cancelled"
    assert what_of(shop, order_id)[-2:] == [("short", "far"), ("cancelled", "far")]


def test_units_are_sourced_again_only_so_often():
    """After that they are reported, with stock elsewhere or not."""
    stores = [place_at(f"s{number}", number) for number in range(5)]
    units = {("a", store.id): 1 for store in stores}
    shop = Shop(units, locations=stores, rules=Rules(resource_max=2))
    order_id = shop.order(("a", 1))
    for number in range(3):
        assert shop.allocations(order_id) == [(f"s{number}", 1)]
        shop.step("pick", shop.task(order_id), short=short_of(("1", 1)))
    assert shop.allocations(order_id) == []
    assert lines_of(shop, order_id) == [{"cancelled": 1}]
    assert shop.told()[-4:] == [
        "allocation.short",
        "allocation.cancelled",
        "order.cancelled",
        "task.picked",
    ]


def test_as_many_as_can_be_are_sourced_again():
    """An order that had to be whole when it was new is not given up for its last unit."""
    shop = Shop(cells(near=3, mid=2))
    order_id = shop.order(("a", 3))
    shop.step("pick", shop.task(order_id), short=short_of(("1", 3)))
    assert shop.allocations(order_id) == [("mid", 2)]
    assert lines_of(shop, order_id) == [{"allocated": 2, "cancelled": 1}]


def test_what_is_nowhere_waits_when_the_order_may_wait():
    """It is backordered without a day when nothing is on its way, and served when stock comes."""
    shop = Shop(cells(near=3))
    order_id = shop.order(("a", 3), allow_backorder=True)
    shop.step("pick", shop.task(order_id), short=short_of(("1", 2)))
    waiting = shop.of(order_id).allocations[-1]
    assert (waiting.stage, waiting.location, waiting.due_day) == ("backordered", None, None)
    assert lines_of(shop, order_id) == [{"backordered": 2, "allocated": 1}]
    assert shop.told()[-2:] == ["allocation.backordered", "task.picked"]
    shop.check()


def test_what_is_on_its_way_is_promised():
    """A backorder knows the day and the place that it comes to."""
    shop = Shop(cells(near=3))
    today = shop.now_us // DAY_US
    shop.stock.expect("a", "mid", today + 2, 5)
    order_id = shop.order(("a", 3), allow_backorder=True)
    shop.step("pick", shop.task(order_id), short=short_of(("1", 2)))
    waiting = shop.of(order_id).allocations[-1]
    assert (waiting.location, waiting.due_day) == ("mid", today + 2)
    assert shop.stock.numbers()[1] == {("a", "mid", today + 2): 2}
    shop.check()


def test_a_pickup_is_never_looked_for_elsewhere():
    """Its customer comes to this store: short units are cancelled, and told."""
    shop = Shop(cells(near=3, mid=9))
    order_id = shop.order(("a", 3), pickup="near")
    task = shop.step(
        "pick", shop.task(order_id), picked=units_of(("1", 1)), short=short_of(("1", 2))
    )
    assert task["status"] == "picked"
    assert lines_of(shop, order_id) == [{"picked": 1, "cancelled": 2}]
    assert "allocation.cancelled" in shop.told()


def test_a_pickup_that_may_wait_waits_at_its_store():
    """What comes to the store later may still serve it."""
    shop = Shop(cells(near=3, mid=9))
    order_id = shop.order(("a", 3), pickup="near", allow_backorder=True)
    shop.step("pick", shop.task(order_id), short=short_of(("1", 2)))
    waiting = shop.of(order_id).allocations[-1]
    assert (waiting.stage, waiting.location, waiting.quantity) == ("backordered", "near", 2)


@pytest.mark.parametrize("given", ["picked", "short"])
def test_picked_and_short_may_not_exceed_what_is_left(given):
    """Picked units count first, so the entry at fault is the one that is too many."""
    shop = Shop(cells(near=5))
    task_id = shop.task(shop.order(("a", 3)))
    fields = {"picked": units_of(("1", 2)), "short": short_of(("1", 2))}
    if given == "picked":
        fields["picked"] = units_of(("1", 4))
    with pytest.raises(Refusal) as caught:
        shop.step("pick", task_id, **fields)
    assert caught.value.refusal_code == "quantity_exceeded"
    assert [each.pointer for each in caught.value.errors] == [f"/{given}/0/quantity"]
    assert shop.ledger() == []


# ---- refused ----


def test_a_refused_task_goes_elsewhere_and_its_stock_stays():
    """The place is not asked again for this order, and may sell the units to others at once."""
    shop = Shop(cells(near=3, mid=5))
    order_id = shop.order(("a", 3))
    task = shop.step("reject", shop.task(order_id), reason="no staff")
    assert (task["status"], task["reason"]) == ("rejected", "no staff")
    assert shop.allocations(order_id) == [("mid", 3)]
    assert (shop.ledger(), shop.available("a", "near")) == ([], 3)
    assert ("*", "near") in shop.of(order_id).refused
    shop.step("reject", shop.task(order_id))
    assert shop.of(order_id).status == "cancelled"
    shop.check()


def test_what_was_picked_before_a_refusal_goes_on():
    """Only what is still on the shelf is refused."""
    shop = Shop(cells(near=3, mid=5))
    order_id = shop.order(("a", 3))
    task_id = shop.task(order_id)
    shop.step("pick", task_id, picked=units_of(("1", 1)))
    assert shop.step("reject", task_id)["status"] == "picked"
    assert shop.allocations(order_id) == [("mid", 2), ("near", 1)]
    assert shop.walk(task_id, "pack", "ship")["status"] == "done"
    shop.check()


def test_a_refused_pickup_is_cancelled():
    """The one place that could serve it will not, whatever it may be sent."""
    shop = Shop(cells(near=3, mid=5))
    order_id = shop.order(("a", 3), pickup="near", allow_backorder=True)
    assert shop.step("reject", shop.task(order_id))["status"] == "rejected"
    assert shop.of(order_id).status == "cancelled"
    assert shop.stock.numbers() == ({}, {})


def test_an_order_that_may_not_be_split_is_sourced_again_from_one_place():
    """All refused units come from the place that has them all, though a nearer one has some."""
    shop = Shop(cells(near=3, mid=2, far=3))
    order_id = shop.order(("a", 3), allow_split=False)
    shop.step("reject", shop.task(order_id))
    assert shop.allocations(order_id) == [("far", 3)]


# ---- not collected ----


def test_an_uncollected_pickup_is_free_again():
    """At the last day's end its stock is available, and the customer is told."""
    shop = Shop(cells(near=3))
    order_id = shop.order(("a", 2), pickup="near")
    task_id = shop.task(order_id)
    shop.walk(task_id, "pick", "ready")
    shop.commit()
    shop.now_us += 3 * DAY_US - 1
    assert upkeep.due(shop.desk, shop.now_us).pickups == 0
    shop.now_us += 1
    assert upkeep.due(shop.desk, shop.now_us).pickups == 1
    assert (shop.of(order_id).status, shop.available("a", "near")) == ("cancelled", 3)
    assert lines_of(shop, order_id) == [{"expired": 2}]
    assert shop.of(order_id).task(task_id).status == "cancelled"
    assert shop.told() == ["order.cancelled", "task.expired"]
    assert upkeep.due(shop.desk, shop.now_us).pickups == 0
    shop.check()


def test_what_was_collected_in_time_stays_collected():
    """Only the rest expires, and the task is done."""
    shop = Shop(cells(near=3))
    order_id = shop.order(("a", 3), pickup="near")
    task_id = shop.task(order_id)
    shop.walk(task_id, "pick", "ready")
    shop.step("collect", task_id, lines=units_of(("1", 2)))
    shop.now_us += 3 * DAY_US
    assert upkeep.due(shop.desk, shop.now_us).pickups == 1
    assert lines_of(shop, order_id) == [{"collected": 2, "expired": 1}]
    assert shop.of(order_id).task(task_id).status == "done"
    assert shop.of(order_id).status == "fulfilled"
    shop.land()
    assert shop.available("a", "near") == 1
    shop.check()


def test_all_that_is_due_expires_in_time_a_part_at_once():
    """A call gives up as many as it may, oldest first, and the next goes on."""
    shop = Shop(cells(near=10))
    for _ in range(3):
        shop.walk(shop.task(shop.order(("a", 1), pickup="near")), "pick", "ready")
        shop.hold("a", 1, location="near", ttl_s=60)
        shop.now_us += 1
    shop.now_us += 3 * DAY_US
    counts = [upkeep.due(shop.desk, shop.now_us, 2) for _ in range(3)]
    assert [(each.holds, each.pickups) for each in counts] == [(2, 2), (1, 1), (0, 0)]
    assert shop.stock.numbers() == ({}, {})


def test_what_expired_is_due_again_when_it_is_undone():
    """A commit that failed leaves the pickup as it was, and the next call expires it."""
    shop = Shop(cells(near=3))
    shop.walk(shop.task(shop.order(("a", 2), pickup="near")), "pick", "ready")
    shop.hold("a", 1, location="near")
    shop.commit()
    shop.now_us += 3 * DAY_US
    upkeep.due(shop.desk, shop.now_us)
    shop.book.rollback()
    shop.check()
    expired = upkeep.due(shop.desk, shop.now_us)
    assert (expired.holds, expired.pickups) == (1, 1)
    shop.check()
