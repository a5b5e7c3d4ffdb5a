"""Backorders: promised from what is on its way, filled first come first served when it is there."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from onhand.model.commands import Fulfilment, OrderLine, OrderPolicy, PlaceOrder
from onhand.orders import backorders
from onhand.orders.refusal import Refusal
from onhand.orders.views import order_view
from tests.orders_shop import DAY_US, HERE, START_US, Shop

TODAY = START_US // DAY_US


@pytest.fixture
def shop():
    """Put 2 of a in the nearest store; 4 come to mid on day 3, and 4 to far on day 2."""
    shop = Shop({("a", "near"): 2})
    shop.stock.expect("a", "mid", TODAY + 3, 4)
    shop.stock.expect("a", "far", TODAY + 2, 4)
    return shop


def waiting(shop, order_id):
    """List (location, day from today, units) that an order waits for."""
    return [
        (each.location, each.due_day - TODAY, each.open)
        for each in shop.book.orders[order_id].allocations
        if each.stage == "backordered" and each.open
    ]


def placed(shop, order_id):
    """List (location, units) that an order has been given."""
    return sorted(
        (each.location, each.open)
        for each in shop.book.orders[order_id].allocations
        if each.stage != "backordered" and each.open
    )


def insufficient(shop, *lines, **fields):
    with pytest.raises(Refusal) as caught:
        shop.order(*lines, allow_backorder=True, **fields)
    assert caught.value.refusal_code == "insufficient_stock"
    return [(each["line"], each["available"]) for each in caught.value.more["lines"]]


def test_what_is_not_there_waits_where_it_comes_first(shop):
    """What is there is allocated at once; the rest has a place, a day and a delivery time."""
    order_id = shop.order(("a", 5), allow_backorder=True)
    assert placed(shop, order_id) == [("near", 2)]
    assert waiting(shop, order_id) == [("far", 2, 3)]
    (backorder,) = [each for each in shop.of(order_id).allocations if each.stage == "backordered"]
    assert backorder.deliver_by_us >= (TODAY + 3) * DAY_US
    assert backorder.task is None
    assert backorder.reserved == 0
    assert shop.stock.numbers() == ({("a", "near"): 2}, {("a", "far", TODAY + 2): 3})
    shop.check()


def test_without_leave_to_wait_it_is_refused(shop):
    """What is on its way does not count then."""
    with pytest.raises(Refusal) as caught:
        shop.order(("a", 5))
    assert caught.value.more["lines"][0]["available"] == 2


def test_units_on_their_way_are_promised_once(shop):
    """A second order gets what the first has left, the next one nothing."""
    shop.order(("a", 5), allow_backorder=True)
    second = shop.order(("a", 4), allow_backorder=True)
    assert waiting(shop, second) == [("mid", 3, 4)]
    third = shop.order(("a", 1), allow_backorder=True)
    assert waiting(shop, third) == [("far", 2, 1)]
    assert insufficient(shop, ("a", 1)) == [(0, 0)]
    shop.check()


def test_several_places_cover_together_what_none_covers_alone(shop):
    """The earliest first."""
    order_id = shop.order(("a", 9), allow_backorder=True)
    assert waiting(shop, order_id) == [("far", 2, 4), ("mid", 3, 3)]
    assert insufficient(shop, ("a", 2)) == [(0, 1)]


def test_two_lines_of_one_sku_do_not_wait_for_the_same_units(shop):
    """Within one order, too."""
    order_id = shop.order(("a", 5), ("a", 5), allow_backorder=True)
    assert sum(units for *_, units in waiting(shop, order_id)) == 8
    _, backordered = shop.stock.numbers()
    assert backordered == {("a", "far", TODAY + 2): 4, ("a", "mid", TODAY + 3): 4}


def test_a_pickup_waits_for_its_own_place(shop):
    """What comes elsewhere does not help its customer."""
    order_id = shop.order(("a", 3), pickup="mid", allow_backorder=True)
    assert waiting(shop, order_id) == [("mid", 3, 3)]
    (backorder,) = shop.of(order_id).allocations
    assert backorder.ready_by_us >= (TODAY + 4) * DAY_US
    assert insufficient(shop, ("a", 3), pickup="near") == [(0, 2)]


def test_an_order_that_may_not_be_split_waits_in_one_place(shop):
    """The place that has all of it first: its shelf counts, others' do not."""
    shop.stock.expect("a", "near", TODAY + 5, 4)
    order_id = shop.order(("a", 5), allow_backorder=True, allow_split=False)
    assert placed(shop, order_id) == [("near", 2)]
    assert waiting(shop, order_id) == [("near", 5, 3)]
    other = shop.order(("a", 4), allow_backorder=True, allow_split=False)
    assert waiting(shop, other) == [("far", 2, 4)]
    assert placed(shop, other) == []
    shop.check()


def test_a_shelf_that_is_short_takes_from_what_comes_first(shop):
    """Three units are promised that are gone: of four that come, one is left to promise."""
    near = shop.hold("a", 2, location="near")
    shop.stock.put("a", "near", -5)
    shop.stock.expect("a", "near", TODAY + 1, 6)
    assert shop.available("a", "near") == -5
    with pytest.raises(Refusal):
        shop.order(("a", 2), pickup="near", allow_backorder=True)
    order_id = shop.order(("a", 1), pickup="near", allow_backorder=True)
    assert waiting(shop, order_id) == [("near", 1, 1)]
    assert shop.book.holds[near].status == "active"


def test_in_part_what_cannot_even_wait_is_cancelled(shop):
    """Both leaves together: now, later, never."""
    order_id = shop.order(("a", 12), allow_backorder=True, allow_partial=True)
    (line,) = order_view(shop.of(order_id))["lines"]
    assert line["quantities"] == {"allocated": 2, "backordered": 8, "cancelled": 2}
    assert line["status"] == "backordered"


def test_a_backorder_must_keep_the_time_asked_for(shop):
    """What comes too late is not promised, neither now nor later."""
    act = partial(deliver_by, shop, 5)
    with pytest.raises(Refusal) as caught:
        act(days=3)
    assert [error.pointer for error in caught.value.errors] == ["/lines/0"]
    assert waiting(shop, act(days=7)) == [("far", 2, 3)]


def deliver_by(shop, units, *, days):
    """Place an order to be delivered so many days from now at the latest, and return its id."""
    latest = datetime.fromtimestamp(START_US / 1e6, UTC) + timedelta(days=days)
    body = PlaceOrder(
        lines=(OrderLine(sku="a", quantity=units),),
        fulfilment=Fulfilment(method="ship", destination=HERE, deliver_by=latest),
        policy=OrderPolicy(allow_backorder=True),
    )
    return shop.do("place_order", body=body)["id"]


def test_what_has_come_is_given_to_whoever_came_first(shop):
    """The first is filled whole, the second in part: its backorder is split."""
    first = shop.order(("a", 5), allow_backorder=True)
    shop.now_us += 1
    second = shop.order(("a", 4), allow_backorder=True)
    waits = next(each.id for each in shop.of(second).allocations if each.stage == "backordered")
    shop.stock.put("a", "mid", 5)
    filled = backorders.fill(shop.desk, "a", shop.now_us)
    assert [(each.order_id, each.quantity) for each in filled] == [(first, 3), (second, 2)]
    assert placed(shop, first) == [("mid", 3), ("near", 2)]
    assert placed(shop, second) == [("mid", 2)]
    assert [units for *_, units in waiting(shop, second)] == [2]
    assert [each.id for each in shop.of(second).allocations if each.stage == "backordered"] == [
        waits
    ]
    assert shop.told()[-2:] == ["order.backorder_filled"] * 2
    assert shop.book.backordered == {"a": {second: None}}
    assert backorders.fill(shop.desk, "a", shop.now_us) == []
    shop.check()


def test_who_was_served_in_part_is_first_again_when_more_comes(shop):
    """However often: nobody loses his place by being looked at."""
    first = shop.order(("a", 5), allow_backorder=True)
    shop.now_us += 1
    second = shop.order(("a", 4), allow_backorder=True)
    served = []
    for _ in range(7):
        shop.stock.put("a", "mid", 1)
        served += [each.order_id for each in backorders.fill(shop.desk, "a", shop.now_us)]
    assert served == [first] * 3 + [second] * 4
    assert not shop.book.waiting.places("a")


def test_a_backorder_that_is_filled_keeps_its_id(shop):
    """Whoever was told of it finds it again, with a task now."""
    order_id = shop.order(("a", 3), pickup="mid", allow_backorder=True)
    (before,) = shop.of(order_id).allocations
    shop.stock.arrive("a", "mid", TODAY + 3)
    backorders.fill(shop.desk, "a", shop.now_us)
    (after,) = shop.of(order_id).allocations
    assert (after.id, after.stage, after.quantity) == (before.id, "allocated", 3)
    assert after.task == shop.task(order_id)
    assert shop.stock.numbers() == ({("a", "mid"): 3}, {})
    shop.check()


def test_a_pickup_is_not_filled_from_elsewhere_nor_passed_over(shop):
    """Units at another place go to those who may have them, however late they came."""
    pickup = shop.order(("a", 3), pickup="mid", allow_backorder=True)
    shop.now_us += 1
    shipped = shop.order(("a", 4), allow_backorder=True)
    shop.stock.put("a", "near", 2)
    backorders.fill(shop.desk, "a", shop.now_us)
    assert placed(shop, pickup) == []
    assert placed(shop, shipped) == [("near", 2), ("near", 2)]
    shop.stock.put("a", "mid", 3)
    backorders.fill(shop.desk, "a", shop.now_us)
    assert placed(shop, pickup) == [("mid", 3)]


@pytest.mark.parametrize("ask", ["order", "hold"])
def test_who_waits_is_served_before_anything_else_is_promised(shop, ask):
    """Stock that has come and was not given yet is not there for a new order or hold."""
    first = shop.order(("a", 5), allow_backorder=True)
    shop.stock.put("a", "mid", 3)
    asking = {
        "order": partial(shop.order, ("a", 1), pickup="mid"),
        "hold": partial(shop.hold, "a", 1, location="mid"),
    }
    with pytest.raises(Refusal):
        asking[ask]()
    # The refused command is undone, what it settled included: the next one settles again.
    assert placed(shop, first) == [("near", 2)]
    shop.stock.put("a", "mid", 1)
    asking[ask]()
    assert placed(shop, first) == [("mid", 3), ("near", 2)]
    shop.check()


def test_a_cancelled_backorder_waits_no_more(shop):
    """What it was promised from is free to be promised again."""
    order_id = shop.order(("a", 5), allow_backorder=True)
    shop.cancel(order_id)
    assert shop.stock.numbers() == ({}, {})
    assert not shop.book.backordered
    shop.stock.put("a", "mid", 9)
    assert backorders.fill(shop.desk, "a", shop.now_us) == []


def test_who_waits_is_found_again_after_a_restart(shop):
    """In the order in which they came, whatever order the ledger lists them in."""
    first = shop.order(("a", 5), allow_backorder=True)
    shop.now_us += 1
    second = shop.order(("a", 4), allow_backorder=True)
    again = Shop({("a", "near"): 2})
    again.book.load([], [shop.of(second), shop.of(first)], [])
    again.stock.put("a", "mid", 3)
    filled = backorders.fill(again.desk, "a", shop.now_us)
    assert [each.order_id for each in filled] == [first]
    again.check()


def test_an_order_that_was_undone_and_comes_again_has_its_later_turn():
    """Its commit failed, somebody else came, and then it was sent again under its id."""
    shop = Shop({})
    shop.stock.expect("a", "mid", TODAY + 1, 10)
    first = shop.order(("a", 1), pickup="mid", allow_backorder=True)
    shop.commit()
    shop.now_us += 1
    shop.order(("a", 1), pickup="mid", order_id="again", allow_backorder=True)
    shop.book.rollback()
    shop.now_us += 1
    second = shop.order(("a", 1), pickup="mid", allow_backorder=True)
    shop.now_us += 1
    third = shop.order(("a", 1), pickup="mid", order_id="again", allow_backorder=True)
    shop.stock.put("a", "mid", 10)
    filled = backorders.fill(shop.desk, "a", shop.now_us)
    assert [each.order_id for each in filled] == [first, second, third]


def test_many_who_cannot_be_served_do_not_hold_up_the_rest():
    """The store that all of them wait at is empty; whoever waits elsewhere is served."""
    shop = Shop({})
    shop.stock.expect("a", "mid", TODAY + 1, 1_000)
    shop.stock.expect("a", "far", TODAY + 1, 1)
    for _ in range(200):
        shop.order(("a", 1), pickup="mid", allow_backorder=True)
        shop.now_us += 1
    last = shop.order(("a", 1), pickup="far", allow_backorder=True)
    shop.stock.put("a", "far", 1)
    filled = backorders.fill(shop.desk, "a", shop.now_us)
    assert [each.order_id for each in filled] == [last]
