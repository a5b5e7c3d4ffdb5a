"""Placing units into a working copy of an order: what may be joined, counted in, or given late."""

import pytest

from onhand.model.commands import OrderPolicy
from onhand.orders.placing import Missing, Wanted, place
from tests.orders_shop import DAY_US, Shop, place_at, units_of

PARTIAL = OrderPolicy(allow_partial=True)


@pytest.fixture
def shop():
    """Put 5 of a in the two nearest stores, and 3 of b in the nearest."""
    return Shop({("a", "near"): 5, ("a", "mid"): 5, ("b", "near"): 3})


def more(shop, order_id, *wanted, **fields):
    """Place units of (line, sku, quantity) into a copy; return the copy and what is missing."""
    copy = shop.of(order_id).copy()
    lines = [Wanted(*each) for each in wanted]
    return copy, place(shop.desk, copy, lines, shop.now_us, **fields)


def new(shop, copy):
    """List (line, location, units, task) of what a copy was given."""
    known = {each.id for each in shop.of(copy.id).allocations}
    return [
        (each.line, each.location, each.quantity, each.task)
        for each in copy.allocations
        if each.id not in known
    ]


def test_units_join_the_package_that_nobody_has_begun(shop):
    """One task a place, until something of it is picked."""
    order_id = shop.order(("b", 1))
    task_id = shop.task(order_id)
    copy, missing = more(shop, order_id, ("1", "a", 2))
    assert missing == []
    assert new(shop, copy) == [("1", "near", 2, task_id)]
    shop.step("pick", task_id)
    copy, _ = more(shop, order_id, ("1", "a", 2))
    ((_, location, _, task),) = new(shop, copy)
    assert location == "near"
    assert task != task_id
    assert [each.id for each in copy.tasks] == [task_id, task]


def test_a_copy_is_not_given_the_same_units_twice(shop):
    """What it was given and does not reserve yet is taken."""
    order_id = shop.order(("b", 1))
    copy, missing = more(shop, order_id, ("1", "a", 7))
    assert missing == []
    again = place(shop.desk, copy, [Wanted("1", "a", 7)], shop.now_us)
    assert again == [Missing("1", "a", 7, 3)]
    assert again[0].quantity == 4
    assert sum(each.quantity for each in copy.allocations if each.sku == "a") == 7
    place(shop.desk, copy, [Wanted("1", "a", 7)], shop.now_us, policy=PARTIAL)
    shop.book.put_order(copy)
    assert shop.available("a", "near") == shop.available("a", "mid") == 0


def test_what_a_copy_has_given_up_is_not_there_before_it_is_put(shop):
    """Units found missing must not be promised to the same order again."""
    order_id = shop.order(("b", 3))
    copy = shop.of(order_id).copy()
    copy.allocations[0].cancelled = 3
    missing = place(shop.desk, copy, [Wanted("1", "b", 3)], shop.now_us)
    assert missing == [Missing("1", "b", 3, 0)]


def test_all_or_nothing_leaves_the_copy_as_it_was(shop):
    """And names every line that lacks units, the last of a SKU first to lack them."""
    order_id = shop.order(("b", 1))
    before = shop.of(order_id)
    copy, missing = more(shop, order_id, ("1", "a", 6), ("2", "b", 5), ("3", "a", 6))
    assert missing == [Missing("2", "b", 5, 2), Missing("3", "a", 6, 4)]
    assert copy == before


def test_a_place_that_refused_is_not_asked_again(shop):
    """For the line that it refused; ``*`` stands for all."""
    order_id = shop.order(("b", 1), ("a", 1))
    copy = shop.of(order_id).copy()
    copy.refused.append(("2", "near"))
    place(shop.desk, copy, [Wanted("2", "a", 1), Wanted("1", "b", 1)], shop.now_us)
    assert sorted(each[:2] for each in new(shop, copy)) == [("1", "near"), ("2", "mid")]
    copy = shop.of(order_id).copy()
    copy.refused.append(("*", "near"))
    missing = place(shop.desk, copy, [Wanted("1", "b", 1)], shop.now_us)
    assert missing == [Missing("1", "b", 1, 0)]


def test_units_held_for_the_order_count_as_there(shop):
    """All of b is held; the order that the hold is for may have it."""
    shop.hold("b", 3, location="near")
    order_id = shop.order(("a", 1))
    copy, missing = more(shop, order_id, ("1", "b", 3))
    assert missing == [Missing("1", "b", 3, 0)]
    copy, missing = more(shop, order_id, ("1", "b", 3), freed={("b", "near"): 3})
    assert missing == []
    assert new(shop, copy)[0][:3] == ("1", "near", 3)


def test_only_one_place_is_asked_when_it_is_named(shop):
    """However near others are."""
    order_id = shop.order(("b", 1))
    copy, missing = more(shop, order_id, ("1", "a", 6), only="mid", policy=PARTIAL)
    assert missing == [Missing("1", "a", 6, 5)]
    assert [each[:3] for each in new(shop, copy)] == [("1", "mid", 5)]


def test_late_is_better_than_never_for_an_order_that_was_accepted(shop):
    """What can come in time does; only the rest comes late."""
    order_id = shop.order(("b", 1))
    shop.desk.setup.locations["mid"] = place_at("mid", 14)
    copy = shop.of(order_id).copy()
    copy.deliver_by_us = shop.now_us + DAY_US * 3 // 2
    wanted = [Wanted("1", "a", 6)]
    assert place(shop.desk, copy, wanted, shop.now_us, policy=PARTIAL, only=None) == [
        Missing("1", "a", 6, 5)
    ]
    copy = shop.of(order_id).copy()
    copy.deliver_by_us = shop.now_us + DAY_US * 3 // 2
    assert place(shop.desk, copy, wanted, shop.now_us, policy=PARTIAL, late=True) == []
    times = {each.location: each.deliver_by_us for each in copy.allocations if each.sku == "a"}
    assert times["near"] <= copy.deliver_by_us < times["mid"]


def test_the_same_stock_is_placed_alike(shop):
    """Nothing is drawn at random, and no order of a dictionary decides."""
    order_id = shop.order(("b", 1))
    wanted = [("1", "a", 3), ("2", "b", 1), ("3", "a", 4)]
    first, _ = more(shop, order_id, *wanted)
    second, _ = more(shop, order_id, *wanted)
    assert first == second


def test_a_task_begun_is_told_by_what_is_picked(shop):
    """A unit found missing begins it too."""
    order_id = shop.order(("b", 2), allow_partial=True)
    task_id = shop.task(order_id)
    shop.step("pick", task_id, picked=units_of(("1", 1)))
    copy, _ = more(shop, order_id, ("1", "a", 1))
    assert new(shop, copy)[0][3] != task_id
