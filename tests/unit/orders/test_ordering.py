"""Orders: placed whole or as far as allowed, from a hold or not, and cancelled."""

import gc
import json
from datetime import UTC, datetime, timedelta

import pytest

from onhand.model.commands import (
    CancelledLine,
    CancelOrder,
    Destination,
    Fulfilment,
    HoldLine,
    OrderLine,
    OrderPolicy,
    PlaceHold,
    PlaceOrder,
)
from onhand.orders.refusal import Refusal
from tests.orders_shop import HERE, START_US, Shop, place_at, units_of

SHIP = Fulfilment(method="ship", destination=HERE)


@pytest.fixture
def shop():
    """Put 5 of a in the two nearest stores, and 3 of b in the nearest."""
    return Shop({("a", "near"): 5, ("a", "mid"): 5, ("b", "near"): 3})


def placed(shop, *lines, fulfilment=SHIP, hold=None, order_id=None, **policy):
    """Place an order of (sku, quantity) lines and return its view."""
    body = PlaceOrder(
        id=order_id,
        lines=tuple(OrderLine(sku=sku, quantity=units) for sku, units in lines),
        fulfilment=fulfilment,
        hold_id=hold,
        policy=OrderPolicy(**policy),
    )
    return shop.do("place_order", body=body)


def refused(act, *args, **fields):
    """Return the code and the pointers with which a command is refused."""
    with pytest.raises(Refusal) as caught:
        act(*args, **fields)
    return caught.value.refusal_code, [error.pointer for error in caught.value.errors]


def held(shop, *lines):
    """Hold (sku, units, location or group) lines; a name that is no store's is a group's."""
    lines = tuple(
        HoldLine(
            sku=sku, quantity=units, **{"location" if at in ("near", "mid", "far") else "group": at}
        )
        for sku, units, at in lines
    )
    return shop.do("place_hold", body=PlaceHold(lines=lines, ttl_s=600))["id"]


def collected_at(location):
    return Fulfilment(method="pickup", location=location)


# ---- placing ----


def test_an_order_is_answered_with_its_allocations_and_tasks(shop):
    """One place has everything, so there is one task, due when the package is ready."""
    order = placed(shop, ("a", 2), ("b", 1))
    assert [line["id"] for line in order["lines"]] == ["1", "2"]
    allocations = [each for line in order["lines"] for each in line["allocations"]]
    assert [(each["location"], each["quantity"]) for each in allocations] == [
        ("near", 2),
        ("near", 1),
    ]
    assert {each["task"] for each in allocations} == set(order["tasks"])
    assert len(order["tasks"]) == 1
    task = shop.of(order["id"]).tasks[0]
    assert task.due_us == START_US + shop.desk.rules.preparation_s * 1_000_000
    assert shop.told() == ["order.placed"]
    shop.check()


def test_two_lines_of_one_sku_share_what_there_is(shop):
    """Together they want more than any place has: no unit is promised to both."""
    order = placed(shop, ("a", 4), ("a", 4))
    units = {}
    for line in order["lines"]:
        assert sum(each["quantity"] for each in line["allocations"]) == 4
        for each in line["allocations"]:
            units[each["location"]] = units.get(each["location"], 0) + each["quantity"]
    assert sum(units.values()) == 8
    assert max(units.values()) <= 5
    shop.check()


def test_two_lines_of_one_sku_that_want_too_much_are_refused_whole(shop):
    """Each alone would find enough; the refusal says what is left for the second."""
    with pytest.raises(Refusal) as caught:
        placed(shop, ("a", 6), ("b", 1), ("a", 6))
    assert caught.value.more["lines"] == [{"line": 2, "sku": "a", "wanted": 6, "available": 4}]
    assert shop.stock.numbers() == ({}, {})
    assert not shop.book.orders


def test_an_order_in_part_cancels_what_is_short(shop):
    """What is there is allocated; the rest is cancelled units, and said so in the history."""
    order = placed(shop, ("a", 12), ("b", 1), allow_partial=True)
    assert order["lines"][0]["quantities"] == {"allocated": 10, "cancelled": 2}
    entry = next(each for each in order["history"] if each["what"] == "cancelled")
    assert (entry["line"], entry["quantity"], entry["reason"]) == ("1", 2, "insufficient_stock")
    shop.check()


def test_an_order_in_part_of_nothing_is_refused(shop):
    """There has to be something to deliver."""
    shop.stock.put("c", "near", 0)
    act = lambda: placed(shop, ("c", 1), allow_partial=True)  # noqa: E731
    assert refused(act) == ("insufficient_stock", ["/lines/0"])


def test_an_order_that_may_not_be_split_comes_from_one_place(shop):
    """More than any place has alone is refused, though together they have it."""
    assert refused(placed, shop, ("a", 6), allow_split=False)[0] == "insufficient_stock"
    order = placed(shop, ("a", 5), allow_split=False)
    assert [each["location"] for each in order["lines"][0]["allocations"]] == ["near"]


def test_a_pickup_is_from_the_place_it_is_collected_at(shop):
    """What others have does not count; the customer gets a code and a time."""
    assert refused(placed, shop, ("a", 6), fulfilment=collected_at("mid"))[0] == (
        "insufficient_stock"
    )
    order = placed(shop, ("a", 5), fulfilment=collected_at("mid"))
    (allocation,) = order["lines"][0]["allocations"]
    assert (allocation["location"], allocation["quantity"]) == ("mid", 5)
    assert "ready_by" in allocation
    assert "deliver_by" not in allocation
    assert len(order["pickup_code"]) == 6


def test_line_ids_are_the_callers_or_the_next_number():
    """A number that a caller took is not given again."""
    shop = Shop({("a", "near"): 5})
    lines = tuple(OrderLine(sku="a", quantity=1, id=each) for each in (None, "1", "x", None))
    order = shop.do("place_order", body=PlaceOrder(lines=lines, fulfilment=SHIP))
    assert [line["id"] for line in order["lines"]] == ["2", "1", "x", "3"]


@pytest.mark.parametrize(
    ("lines", "fulfilment", "code", "pointer"),
    [
        ([("z", 1)], SHIP, "unknown_sku", "/lines/0/sku"),
        ([("a", 1), ("z", 1)], SHIP, "unknown_sku", "/lines/1/sku"),
        ([("a", 1)], collected_at("mars"), "unknown_location", "/fulfilment/location"),
        ([("a", 1)], collected_at("shut"), "location_disabled", "/fulfilment/location"),
        ([("a", 1)], collected_at("depot"), "pickup_unavailable", "/fulfilment/location"),
        (
            [("a", 1)],
            Fulfilment(method="ship", destination=Destination(postal_code="?", country="NL")),
            "unknown_postal_code",
            "/fulfilment/destination/postal_code",
        ),
    ],
)
def test_what_could_never_be_served_is_refused_by_its_field(lines, fulfilment, code, pointer):
    """However much stock there were."""
    locations = [
        place_at("near", 0),
        place_at("shut", 1, enabled=False),
        place_at("depot", 2, pickup=False),
    ]
    shop = Shop({("a", "near"): 5}, locations=locations)
    assert refused(placed, shop, *lines, fulfilment=fulfilment) == (code, [pointer])


def test_no_place_that_ships_is_said():
    """It is not the stock that is wanting."""
    shop = Shop({("a", "near"): 5}, locations=[place_at("near", 0, ship=False)])
    assert refused(placed, shop, ("a", 1)) == ("shipping_unavailable", ["/fulfilment/method"])


def test_an_id_serves_once(shop):
    """Cancelled or not."""
    placed(shop, ("a", 1), order_id="o-1")
    shop.cancel("o-1")
    assert refused(placed, shop, ("a", 1), order_id="o-1") == ("order_exists", ["/id"])


def test_a_time_that_no_place_can_keep_is_refused_by_name(shop):
    """A promise that cannot be kept is not given; the field says why."""
    start = datetime.fromtimestamp(START_US / 1e6, UTC)
    soon = Fulfilment(method="ship", destination=HERE, deliver_by=start + timedelta(hours=12))
    code, pointers = refused(placed, shop, ("a", 1), fulfilment=soon)
    assert (code, pointers) == ("insufficient_stock", ["/lines/0", "/fulfilment/deliver_by"])
    later = Fulfilment(method="ship", destination=HERE, deliver_by=start + timedelta(hours=48))
    order = placed(shop, ("a", 1), fulfilment=later)
    assert order["lines"][0]["allocations"][0]["deliver_by"] < order["fulfilment"]["deliver_by"]


# ---- from a hold ----


def test_a_hold_that_becomes_an_order_never_frees_its_stock(shop):
    """The last units of a place go from hold to order, and not one is free in between."""
    hold = held(shop, ("a", 5, "near"), ("b", 3, "near"))
    shop.stock.watch()
    order = placed(shop, ("a", 5), ("b", 3), hold=hold)
    assert shop.stock.lowest == {("a", "near"): 5, ("b", "near"): 3}
    assert shop.book.holds[hold].status == "ordered"
    assert shop.book.holds[hold].order_id == order["id"]
    shop.check()


def test_an_order_takes_a_part_of_its_hold_and_frees_the_rest(shop):
    """In the same commit, and not before."""
    hold = held(shop, ("a", 5, "near"), ("b", 3, "near"))
    shop.stock.watch()
    placed(shop, ("a", 2), hold=hold)
    assert shop.stock.lowest == {("a", "near"): 2, ("b", "near"): 0}
    assert shop.available("a", "near") == 3
    assert shop.available("b", "near") == 3
    shop.check()


def test_what_is_held_at_a_place_of_choice_ships_from_there(shop):
    """Though another place is nearer."""
    hold = held(shop, ("a", 2, "mid"))
    order = placed(shop, ("a", 2), hold=hold)
    assert [each["location"] for each in order["lines"][0]["allocations"]] == ["mid"]
    shop.check()


def test_a_line_is_one_allocation_in_a_package(shop):
    """Though some of its units are held there and some are found there."""
    hold = held(shop, ("a", 2, "near"), ("a", 2, "mid"))
    shop.stock.put("a", "mid", -5)
    lines = placed(shop, ("a", 4), hold=hold)["lines"]
    assert [(each["location"], each["quantity"]) for each in lines[0]["allocations"]] == [
        ("near", 2),
        ("mid", 2),
    ]
    mixed = held(shop, ("a", 1, "near"), ("a", 2, "west"))
    lines = placed(shop, ("a", 3), hold=mixed)["lines"]
    assert [(each["location"], each["quantity"]) for each in lines[0]["allocations"]] == [
        ("near", 3)
    ]
    shop.check()


def test_what_is_held_on_a_group_is_sourced_anew():
    """The hold took the fullest place; the order goes by distance, its own units counted in."""
    shop = Shop({("a", "near"): 2, ("a", "far"): 9})
    hold = held(shop, ("a", 2, "west"))
    assert shop.book.holds[hold].lines[0].location == "far"
    order = placed(shop, ("a", 2), hold=hold)
    assert [each["location"] for each in order["lines"][0]["allocations"]] == ["near"]
    shop.check()


def test_a_hold_on_all_that_there_is_serves_an_order_of_all(shop):
    """Nothing else is available, and the hold's units are to it."""
    hold = held(shop, ("a", 10, "all"))
    order = placed(shop, ("a", 10), hold=hold)
    assert sum(each["quantity"] for each in order["lines"][0]["allocations"]) == 10
    shop.check()


def test_a_pickup_takes_what_is_held_there_and_elsewhere_moves_there(shop):
    """Units on a group move to the store if it has as many; bound ones are held elsewhere."""
    fixed = held(shop, ("a", 2, "near"))
    assert refused(placed, shop, ("a", 2), hold=fixed, fulfilment=collected_at("mid")) == (
        "hold_mismatch",
        ["/fulfilment/location"],
    )
    moving = held(shop, ("a", 2, "west"))
    placed(shop, ("a", 2), hold=moving, fulfilment=collected_at("mid"))
    assert shop.available("a", "mid") == 3
    shop.check()


def test_an_order_for_more_than_its_hold_is_refused(shop):
    """The hold stays as it was."""
    hold = held(shop, ("a", 2, "near"))
    before = shop.stock.numbers()
    assert refused(placed, shop, ("a", 1), ("a", 2), hold=hold) == (
        "hold_mismatch",
        ["/lines/1/quantity"],
    )
    assert refused(placed, shop, ("b", 1), hold=hold)[0] == "hold_mismatch"
    assert shop.book.holds[hold].status == "active"
    assert shop.stock.numbers() == before


def test_a_hold_serves_one_order_and_none_after_its_time(shop):
    """Closed and expired are told apart."""
    first, second = held(shop, ("a", 2, "near")), held(shop, ("a", 2, "near"))
    placed(shop, ("a", 1), hold=first)
    assert refused(placed, shop, ("a", 1), hold=first) == ("hold_closed", ["/hold_id"])
    shop.now_us += 601 * 1_000_000
    assert refused(placed, shop, ("a", 1), hold=second) == ("hold_expired", ["/hold_id"])
    assert refused(placed, shop, ("a", 1), hold="nope") == ("unknown_hold", ["/hold_id"])


# ---- cancelling ----


def cancel(shop, order_id, *lines):
    body = CancelOrder(lines=tuple(CancelledLine(id=line, quantity=n) for line, n in lines))
    return shop.do("cancel_order", order_id, body)


def test_a_cancelled_order_frees_everything_at_once(shop):
    """Again is the same answer, and nothing is told twice."""
    order = placed(shop, ("a", 7), ("b", 1))
    assert shop.cancel(order["id"])["status"] == "cancelled"
    assert shop.stock.numbers() == ({}, {})
    assert {task.status for task in shop.of(order["id"]).tasks} == {"cancelled"}
    told = shop.told()
    assert told[-1] == "order.cancelled"
    assert shop.cancel(order["id"])["status"] == "cancelled"
    assert shop.told() == told


def test_units_of_a_line_are_cancelled_and_the_rest_stays(shop):
    """The line says what became of each unit."""
    order = placed(shop, ("a", 5), ("b", 1))
    line = cancel(shop, order["id"], ("1", 2))["lines"][0]
    assert line["quantities"] == {"allocated": 3, "cancelled": 2}
    assert shop.available("a", "near") == 2
    assert shop.told()[-1] == "order.partially_cancelled"
    shop.check()


def test_what_is_on_the_shelf_is_cancelled_before_what_is_picked(shop):
    """A picked unit goes back to the shelf: it is available, and supply hears nothing."""
    order = placed(shop, ("a", 5))
    task_id = shop.task(order["id"])
    shop.step("pick", task_id, picked=units_of(("1", 5)))
    view = cancel(shop, order["id"], ("1", 2))
    assert view["lines"][0]["quantities"] == {"picked": 3, "cancelled": 2}
    assert shop.available("a", "near") == 2
    assert not shop.ledger()
    shop.check()


def test_what_has_left_is_not_cancelled_but_returned(shop):
    """Named, it is refused; all of an order is what has not left of it."""
    order = placed(shop, ("a", 2), ("b", 1))
    shop.walk(shop.task(order["id"]), "pick", "pack", "ship")
    assert refused(cancel, shop, order["id"], ("1", 1)) == (
        "quantity_exceeded",
        ["/lines/0/quantity"],
    )
    assert refused(shop.cancel, order["id"]) == ("wrong_state", [])


def test_a_cancellation_is_for_lines_and_units_that_there_are(shop):
    """A line named twice is summed before it is judged."""
    order = placed(shop, ("a", 3))
    assert refused(cancel, shop, order["id"], ("7", 1)) == ("unknown_line", ["/lines/0/id"])
    assert refused(cancel, shop, order["id"], ("1", 2), ("1", 2)) == (
        "quantity_exceeded",
        ["/lines/1/quantity"],
    )
    assert refused(shop.cancel, "nope") == ("unknown_order", [])
    shop.check()


def test_what_is_told_of_an_order_is_what_is_answered(shop):
    """The event of each step carries the very document that its command is answered."""
    steps = [placed(shop, ("a", 3))]
    steps.append(shop.do("cancel_order", steps[0]["id"], CancelOrder()))
    assert [json.loads(each.value)["data"] for each in shop.book.changed().told] == steps
    assert [each["status"] for each in steps] == ["open", "cancelled"]


def test_collections_of_garbage_pass_orders_over(shop):
    """Nothing of an order in the book is looked at: a million of them cost a collection nothing."""
    order_id = placed(shop, ("a", 7), ("b", 2))["id"]
    order = shop.book.orders[order_id]
    parts = [order.allocations, order.tasks, order.history, order.refused, order.returns]
    everything = [order, *parts, *(each for part in parts for each in part)]
    assert len(order.allocations) > 1
    assert not any(map(gc.is_tracked, everything))
