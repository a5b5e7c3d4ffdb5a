"""Promising, and the places that it chooses from: who may serve, how far, how full, by when."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from onhand.geo import Point, distance_km
from onhand.model.commands import AskPromise, Destination, Fulfilment, OrderLine, OrderPolicy
from onhand.model.hours import OpeningHours
from onhand.model.times import parse_time
from onhand.orders.desk import Rules
from onhand.orders.refusal import Refusal
from onhand.orders.sites import sites_of
from onhand.orders.workload import QUARTERS_MAX, Workload
from tests.orders_shop import DAY_US, HERE, START_US, Shop, place_at

SHIP = Fulfilment(method="ship", destination=HERE)
HOUR_US = 3_600_000_000
NEVER_OPEN = OpeningHours()


@pytest.fixture
def shop():
    """Put 5 of a in the two nearest stores, and 3 of b in the nearest."""
    return Shop({("a", "near"): 5, ("a", "mid"): 5, ("b", "near"): 3})


def ask(shop, *lines, fulfilment=SHIP, limit=3, **policy):
    """Ask for options for (sku, quantity) lines."""
    body = AskPromise(
        lines=tuple(OrderLine(sku=sku, quantity=units) for sku, units in lines),
        fulfilment=fulfilment,
        policy=OrderPolicy(**policy),
        limit=limit,
    )
    return shop.do("promise", body=body)


def places(option):
    return [(line["sku"], line["location"], line["quantity"]) for line in option["lines"]]


def test_options_are_ranked_and_hold_nothing(shop):
    """The nearest place first, each with its packages, distance, cost, time, score and why."""
    options = ask(shop, ("a", 2))["options"]
    assert [places(each) for each in options] == [[("a", "near", 2)], [("a", "mid", 2)]]
    first, second = options
    assert first["score"] > second["score"]
    assert first["packages"] == 1
    assert first["distance_km"] == 0
    away = distance_km(Point(52, 5), Point(52, 6))
    assert second["distance_km"] == pytest.approx(away, abs=0.001)
    assert first["why"]
    ready_us = START_US + Rules().preparation_s * 1_000_000
    assert parse_time(first["deliver_by"]) == ready_us + DAY_US
    assert shop.stock.numbers() == ({}, {})
    assert not shop.book.orders
    assert not shop.told()


def test_the_first_option_is_what_an_order_gets(shop):
    """The same places, the same time."""
    (option, *_) = ask(shop, ("a", 4), ("b", 2))["options"]
    order_id = shop.order(("a", 4), ("b", 2))
    allocations = shop.of(order_id).allocations
    assert sorted(places(option)) == sorted(
        (each.sku, each.location, each.quantity) for each in allocations
    )
    assert {each.deliver_by_us for each in allocations} == {parse_time(option["deliver_by"])}


def test_no_option_says_what_there_is(shop):
    """Of each line that lacks units; lines of one SKU are summed."""
    answer = ask(shop, ("a", 8), ("b", 1), ("a", 8))
    assert answer == {
        "options": [],
        "lines": [{"line": 2, "sku": "a", "wanted": 8, "available": 2}],
    }


def test_an_option_in_part_says_what_it_leaves_out(shop):
    """Asked for, it is as much as there is."""
    (option,) = ask(shop, ("b", 5), allow_partial=True)["options"]
    assert places(option) == [("b", "near", 3)]
    assert option["short"] == [{"sku": "b", "quantity": 2}]


def test_an_option_that_waits_says_for_what(shop):
    """As the order would: what is there now, and the rest on its day."""
    today = START_US // DAY_US
    shop.stock.expect("b", "far", today + 4, 9)
    (option,) = ask(shop, ("b", 5), allow_backorder=True)["options"]
    due = (datetime.fromtimestamp(START_US / 1e6, UTC) + timedelta(days=4)).date()
    assert option["lines"][1] == {
        "sku": "b",
        "quantity": 2,
        "location": "far",
        "due": due.isoformat(),
    }
    order_id = shop.order(("b", 5), allow_backorder=True)
    latest = max(each.deliver_by_us for each in shop.of(order_id).allocations)
    assert parse_time(option["deliver_by"]) == latest // 1000 * 1000


def test_a_pickup_has_one_option(shop):
    """Its store, when that has everything."""
    there = Fulfilment(method="pickup", location="near")
    (option,) = ask(shop, ("a", 5), ("b", 3), fulfilment=there)["options"]
    assert parse_time(option["ready_by"]) == START_US + Rules().preparation_s * 1_000_000
    assert "deliver_by" not in option
    assert ask(shop, ("b", 4), fulfilment=there)["options"] == []


def test_a_question_about_what_nobody_knows_is_refused(shop):
    """As an order would be."""
    with pytest.raises(Refusal) as caught:
        ask(shop, ("a", 1), ("zzz", 1))
    assert [error.pointer for error in caught.value.errors] == ["/lines/1/sku"]


# ---- places ----


def first_choice(*locations, rules=None, **stock):
    """Name the place that one unit ships from, None when nobody does."""
    cells = {("a", location.id): stock.get(location.id, 5) for location in locations}
    shop = Shop(cells, locations=list(locations), rules=rules)
    options = ask(shop, ("a", 1))["options"]
    return options[0]["lines"][0]["location"] if options else None


def test_a_place_that_is_disabled_or_does_not_ship_is_not_asked():
    """However near it is."""
    far = place_at("far", 2)
    assert first_choice(place_at("near", 0, enabled=False), far) == "far"
    assert first_choice(place_at("near", 0, ship=False), far) == "far"
    assert first_choice(place_at("near", 0), far) == "near"


def test_a_place_that_never_opens_promises_nothing():
    """There is no time that it could name."""
    shut = place_at("near", 0, opening_hours=NEVER_OPEN)
    assert first_choice(shut, place_at("far", 2)) == "far"
    assert first_choice(shut) is None


def test_a_place_that_only_events_have_named_ships():
    """Its distance is unknown, so whoever's is known goes first."""
    shop = Shop({("a", "unheard"): 5, ("a", "far"): 1})
    assert [places(each)[0][1] for each in ask(shop, ("a", 1))["options"]] == ["far", "unheard"]


def test_a_change_of_the_set_up_is_followed(shop):
    """The next question is asked of the places as they are."""
    assert places(ask(shop, ("a", 1))["options"][0])[0][1] == "near"
    shop.stock.setup = shop.desk.setup = Shop({}, locations=[place_at("mid", 1)]).desk.setup
    assert places(ask(shop, ("a", 1))["options"][0])[0][1] == "mid"


def test_a_postal_code_is_where_a_place_with_it_is():
    """Coordinates, when given, decide over it."""
    shop = Shop(
        {("a", "near"): 5, ("a", "mid"): 5},
        locations=[place_at("near", 0), place_at("mid", 1, postal_code="1012", country="NL")],
    )
    code = Destination(postal_code="1012", country="NL")
    by_code = ask(shop, ("a", 1), fulfilment=Fulfilment(method="ship", destination=code))
    assert places(by_code["options"][0])[0][1] == "mid"
    both = Destination(postal_code="1012", country="NL", latitude=52, longitude=5)
    by_point = ask(shop, ("a", 1), fulfilment=Fulfilment(method="ship", destination=both))
    assert places(by_point["options"][0])[0][1] == "near"


def test_transit_is_whole_days_by_distance():
    """800 km a day unless it is set otherwise; a place without coordinates takes a week."""
    locations = [place_at(f"p{n}", n * 9.7) for n in range(18)]
    shop = Shop({("a", "p0"): 1, ("a", "nowhere"): 1}, locations=locations)
    members, _ = shop.stock.group_cells(["a"], "all")
    reach = sites_of(shop.desk).shippers(members).reach(HERE)
    assert np.isnan(reach.distance_km).sum() == 1
    assert (reach.transit_us // DAY_US).tolist() == [
        7 if np.isnan(each) else max(1, math.ceil(each / 800)) for each in reach.distance_km
    ]


# ---- a day's capacity ----


def test_a_full_place_ships_no_more_that_day():
    """Orders go to the next one, and come back when its own day is over."""
    limited = place_at("near", 0, daily_capacity=2, timezone="Europe/Amsterdam")
    shop = Shop({("a", "near"): 9, ("a", "mid"): 9}, locations=[limited, place_at("mid", 1)])
    orders = [shop.order(("a", 1)) for _ in range(3)]
    assert [shop.allocations(each)[0][0] for each in orders] == ["near", "near", "mid"]
    midnight_us = (START_US // DAY_US + 1) * DAY_US - 2 * HOUR_US
    shop.now_us = midnight_us - 1
    assert shop.allocations(shop.order(("a", 1)))[0][0] == "mid"
    shop.now_us = midnight_us
    assert shop.allocations(shop.order(("a", 1)))[0][0] == "near"


def test_what_was_refused_or_undone_takes_no_capacity():
    """The count is that of the orders that stand, cancelled ones included."""
    shop = Shop({("a", "near"): 9}, locations=[place_at("near", 0, daily_capacity=2)])
    mark = shop.book.mark()
    shop.order(("a", 1))
    shop.order(("a", 1))
    assert ask(shop, ("a", 1))["options"] == []
    shop.book.rollback(mark)
    shop.cancel(shop.order(("a", 1)))
    shop.commit()
    assert len(ask(shop, ("a", 1))["options"]) == 1
    shop.order(("a", 1))
    assert ask(shop, ("a", 1))["options"] == []


def test_capacity_is_counted_again_after_a_restart():
    """From the open orders, and what the writer adds of closed ones."""
    near = place_at("near", 0, daily_capacity=2)
    shop = Shop({("a", "near"): 9}, locations=[near])
    order_id = shop.order(("a", 1))
    again = Shop({("a", "near"): 9}, locations=[near])
    again.book.load([], [shop.of(order_id)], [])
    assert len(ask(again, ("a", 1))["options"]) == 1
    again.book.workload.add("near", START_US)
    assert ask(again, ("a", 1))["options"] == []


def test_a_pickup_at_a_full_place_is_ready_the_next_day():
    """The customer has chosen the place, so the day gives way."""
    near = place_at("near", 0, daily_capacity=1)
    shop = Shop({("a", "near"): 9}, locations=[near])
    first, second = (shop.order(("a", 1), pickup="near") for _ in range(2))
    (today,), (tomorrow,) = shop.of(first).allocations, shop.of(second).allocations
    next_day_us = (START_US // DAY_US + 1) * DAY_US
    assert today.ready_by_us < next_day_us
    assert tomorrow.ready_by_us == next_day_us + Rules().preparation_s * 1_000_000


def test_the_count_of_tasks_does_not_grow_for_ever():
    """What is older than two days cannot matter to any zone's day."""
    workload = Workload()
    for quarter in range(QUARTERS_MAX * 10):
        workload.add("near", START_US + quarter * 900_000_000)
    end_us = START_US + QUARTERS_MAX * 10 * 900_000_000
    assert workload.count("near", end_us - DAY_US, end_us) == 96
    assert workload.count("near", 0, end_us) <= QUARTERS_MAX


# ---- times ----


def test_a_package_leaves_when_its_place_has_been_open_long_enough():
    """Counted in opening time from the next full minute, in the place's own zone."""
    hours = OpeningHours(
        **dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), (("09:00", "17:00"),))
    )
    place = place_at("near", 0, opening_hours=hours, timezone="Europe/Amsterdam")
    shop = Shop({("a", "near"): 5}, locations=[place])
    shop.now_us = parse_time("2026-06-05T16:29:30+02:00")
    (option,) = ask(shop, ("a", 1), fulfilment=Fulfilment(method="pickup", location="near"))[
        "options"
    ]
    assert parse_time(option["ready_by"]) == parse_time("2026-06-08T10:30:00+02:00")


def test_the_nearest_place_gives_way_to_one_that_is_in_time():
    """A closed day ahead of it, the nearest place would miss the time asked for."""
    closed = OpeningHours(sun=(("09:00", "17:00"),))
    shop = Shop(
        {("a", "near"): 5, ("a", "mid"): 5},
        locations=[place_at("near", 0, opening_hours=closed), place_at("mid", 1)],
    )
    now = datetime.fromtimestamp(START_US / 1e6, UTC)
    soon = Fulfilment(method="ship", destination=HERE, deliver_by=now + timedelta(days=2))
    assert [places(each)[0][1] for each in ask(shop, ("a", 1), fulfilment=soon)["options"]] == [
        "mid"
    ]
    assert ask(shop, ("a", 9), fulfilment=soon)["lines"][0]["available"] == 5
