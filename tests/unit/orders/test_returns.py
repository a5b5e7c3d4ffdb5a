"""Returns by order: announced, received anywhere, inspected, ended, and what is refused."""

import pytest

from onhand.model.return_policy import ReturnRule
from onhand.model.setup import Sku
from onhand.orders import upkeep
from onhand.orders.refusal import Refusal
from tests.orders_shop import DAY_US
from tests.returns_shop import ASSOCIATE, CLERK, ReturnsShop


@pytest.fixture
def shop():
    """Put 9 of a and of b in the nearest store and 5 in another; the last has nothing."""
    cells = {(sku, at): units for sku in "ab" for at, units in (("near", 9), ("mid", 5))}
    return ReturnsShop(cells | {("c", "near"): 0, ("z", "far"): 1})


@pytest.fixture
def sold(shop):
    """Sell 3 of a at 10.10 and 2 of b at 5; return the order's id."""
    return shop.sold(("a", 3, 10.1), ("b", 2, 5.0))


def refused(code, act, pointer=None):
    """Check that something is refused, changing nothing."""
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.refusal_code == code, caught.value
    if pointer is not None:
        assert [each.pointer for each in caught.value.errors] == [pointer]
    return caught.value


# ---- announced and received ----


def test_units_come_back_in_parts_at_more_than_one_place(shop, sold):
    """Each place restocks what it gets, whether or not it ever carried the SKU."""
    return_id = shop.announce(sold, ("1", 3))["id"]
    assert shop.back(sold) == (0, 3)
    assert shop.receive(return_id, ("1", 1), at="far")["status"] == "partially_received"
    assert shop.back(sold) == (1, 2)
    assert shop.receive(return_id, ("1", 2), at="mid")["status"] == "received"
    assert shop.restocked() == {("a", "far", "sellable"): 1, ("a", "mid", "sellable"): 2}
    shop.land()
    assert (shop.stock.on_hand["a", "far"], shop.stock.on_hand["a", "mid"]) == (1, 7)
    shop.check()


def test_what_is_announced_is_told_and_stands_on_the_order(shop, sold):
    """The order lists its returns; events are keyed by the order."""
    shop.commit()
    answer = shop.announce(sold, ("1", 1), ("b", 2), channel="mail")
    assert (answer["status"], answer["order_id"]) == ("authorised", sold)
    assert [(each["order_line"], each["quantity"]) for each in answer["lines"]] == [
        ("1", 1),
        ("2", 2),
    ]
    assert shop.book.orders[sold].returns == [answer["id"]]
    assert shop.told() == ["return.authorised"]


@pytest.mark.parametrize(
    ("disposition", "sellable"), [("sellable", 1), ("inspect", 0), ("damaged", 0)]
)
def test_only_sellable_units_can_be_promised(shop, sold, disposition, sellable):
    """Held and damaged ones are there, and not on the shelf."""
    return_id = shop.announce(sold, ("1", 1))["id"]
    before = shop.available("a", "near")
    shop.receive(return_id, ("1", 1, disposition))
    assert shop.restocked() == {("a", "near", disposition): 1}
    shop.land()
    assert shop.available("a", "near") == before + sellable


def test_held_units_are_inspected_later(shop, sold):
    """They go on the shelf, or are counted as damaged; with the last one the return is closed."""
    return_id = shop.announce(sold, ("1", 3))["id"]
    answer = shop.receive(return_id, ("1", 3, "inspect"))
    assert (answer["status"], answer["lines"][0]["quantities"]) == ("received", {"held": 3})
    shop.land()
    answer = shop.inspect(return_id, ("1", 2, "sellable"))
    assert answer["lines"][0]["quantities"] == {"sellable": 2, "held": 1}
    (event,) = shop.ledger()
    assert (event["type"], event["disposition"], event["lines"]) == (
        "inspected",
        "sellable",
        [{"sku": "a", "quantity": 2}],
    )
    shop.land()
    assert shop.stock.on_hand["a", "near"] == 8
    refused("quantity_exceeded", lambda: shop.inspect(return_id, ("1", 2, "damaged")))
    refused("quantity_exceeded", lambda: shop.inspect(return_id, ("1", 1, "damaged"), at="mid"))
    refused("unknown_line", lambda: shop.inspect(return_id, ("7", 1, "damaged")))
    assert shop.inspect(return_id, ("1", 1, "damaged"))["status"] == "closed"
    assert shop.told()[-2:] == ["return.inspected", "return.closed"]
    shop.check()


def test_a_suggestion_says_where_units_should_go_on_to(shop, sold):
    """A place that does not carry the SKU is told the nearest that does; one that does, nothing."""
    return_id = shop.announce(sold, ("1", 2))["id"]
    (onward,) = shop.receive(return_id, ("1", 1), at="far")["onward"]
    assert (onward["sku"], onward["quantity"], onward["from"], onward["to"]) == (
        "a",
        1,
        "far",
        "mid",
    )
    assert "onward" not in shop.receive(return_id, ("1", 1), at="near")
    shop.policy(rules=(ReturnRule(sku="b", send_to="far"),))
    return_id = shop.announce(sold, ("2", 1))["id"]
    assert shop.receive(return_id, ("1", 1))["onward"][0]["to"] == "far"


def test_associates_receive_at_their_own_place_alone(shop, sold):
    """Whoever is bound to a place takes in there; announcing without a place is open to all."""
    return_id = shop.announce(sold, ("1", 2), actor=CLERK, channel="mail")["id"]
    refused("wrong_location", lambda: shop.receive(return_id, ("1", 1), at="mid", actor=ASSOCIATE))
    shop.receive(return_id, ("1", 2, "inspect"), actor=ASSOCIATE)
    refused(
        "wrong_location",
        lambda: shop.inspect(return_id, ("1", 1, "damaged"), at="mid", actor=ASSOCIATE),
    )
    refused(
        "wrong_location",
        lambda: shop.announce(sold, ("1", 1), actor=ASSOCIATE, location="mid"),
    )


def test_associates_give_up_what_was_to_come_to_their_own_place(shop, sold):
    """What another store waits for is that store's; a parcel is nobody's yet."""
    elsewhere = shop.announce(sold, ("1", 1), location="mid")["id"]
    refused("wrong_location", lambda: shop.give_up(elsewhere, actor=ASSOCIATE))
    here = shop.announce(sold, ("1", 1), location="near")["id"]
    parcel = shop.announce(sold, ("1", 1), channel="mail")["id"]
    for return_id in (here, parcel):
        assert shop.give_up(return_id, actor=ASSOCIATE)["status"] == "cancelled"
    assert shop.give_up(elsewhere, actor=CLERK)["status"] == "cancelled"


# ---- what is refused ----


def test_no_more_is_announced_than_may_come_back(shop, sold):
    """What is back and what is awaited both count; the refusal says how many there are."""
    shop.announce(sold, ("1", 2))
    error = refused("quantity_exceeded", lambda: shop.announce(sold, ("1", 2)), "/lines/0/quantity")
    assert "3 were handed over, 0 are back and 2 are awaited" in error.what
    return_id = shop.announce(sold, ("1", 1))["id"]
    shop.receive(return_id, ("1", 1))
    refused("quantity_exceeded", lambda: shop.announce(sold, ("1", 1)))
    refused("quantity_exceeded", lambda: shop.announce(sold, ("a", 1), ("2", 3)))
    shop.check()


def test_the_same_line_twice_is_summed(shop, sold):
    """Two lines of a request that together ask for too many are refused."""
    refused(
        "quantity_exceeded",
        lambda: shop.announce(sold, ("1", 2), ("1", 2)),
        "/lines/1/quantity",
    )


def test_receiving_twice_is_refused(shop, sold):
    """What has come has come; nothing moves a second time."""
    return_id = shop.announce(sold, ("1", 2))["id"]
    shop.receive(return_id, ("1", 2))
    refused("quantity_exceeded", lambda: shop.receive(return_id, ("1", 1)), "/lines/0/quantity")
    refused("quantity_exceeded", lambda: shop.receive(return_id, ("1", 2), at="mid"))
    assert shop.restocked() == {("a", "near", "sellable"): 2}


def test_nothing_comes_back_before_it_has_left(shop):
    """Units on the shelf, and cancelled ones, are no return."""
    order_id = shop.order(("a", 2), pickup="near")
    refused("quantity_exceeded", lambda: shop.announce(order_id, ("1", 1)))


@pytest.mark.parametrize(
    ("lines", "fields", "code", "pointer"),
    [
        ([("9", 1)], {}, "unknown_line", "/lines/0/sku"),
        ([("z", 1)], {}, "unknown_line", "/lines/0/sku"),
        ([("1", 1)], {"customer_id": "eve"}, "wrong_customer", "/customer_id"),
        ([("1", 1)], {"location": "nowhere"}, "unknown_location", "/location"),
    ],
)
def test_what_is_not_of_the_order_is_refused(shop, lines, fields, code, pointer):
    """A line or SKU that it has not got, another customer, a place that nobody knows."""
    order_id = shop.sold(("a", 1, None), customer="kim")
    refused(code, lambda: shop.announce(order_id, *lines, **fields), pointer)
    assert shop.back(order_id) == (0, 0)


def test_unknown_orders_returns_lines_and_places_are_named(shop, sold):
    """Each by its own code."""
    refused("unknown_order", lambda: shop.announce("nobody", ("a", 1)), "/order_id")
    refused("unknown_return", lambda: shop.receive("nobody", ("1", 1)))
    return_id = shop.announce(sold, ("1", 1))["id"]
    refused("unknown_line", lambda: shop.receive(return_id, ("2", 1)), "/lines/0/line")
    refused("unknown_location", lambda: shop.receive(return_id, ("1", 1), at="moon"), "/location")
    refused("unknown_sku", lambda: shop.receive(return_id, ("sku:moon", 1)), "/lines/0/sku")


# ---- a parcel with other contents ----


def test_a_parcel_may_hold_more_of_the_same_order(shop, sold):
    """Units of other lines that may still come back are added to the return."""
    return_id = shop.announce(sold, ("1", 1), channel="mail")["id"]
    answer = shop.receive(return_id, ("sku:a", 2), ("sku:b", 1))
    assert [
        (each["sku"], each["received"], each.get("announced", True)) for each in answer["lines"]
    ] == [
        ("a", 1, True),
        ("a", 1, False),
        ("b", 1, False),
    ]
    assert answer["status"] == "received"
    assert shop.back(sold) == (3, 0)
    shop.check()


def test_strays_in_a_parcel_are_restocked_without_a_refund(shop, sold):
    """They are there, whoever they belong to; an event says that nobody knows."""
    return_id = shop.announce(sold, ("1", 1), channel="mail")["id"]
    shop.commit()
    answer = shop.receive(return_id, ("1", 1), ("sku:z", 2, "inspect"), ("sku:b", 3))
    assert answer["unmatched"] == [
        {"sku": "z", "quantity": 2, "disposition": "inspect"},
        {"sku": "b", "quantity": 1, "disposition": "sellable"},
    ]
    assert shop.restocked() == {
        ("a", "near", "sellable"): 1,
        ("b", "near", "sellable"): 3,
        ("z", "near", "inspect"): 2,
    }
    assert shop.told().count("arrival.unmatched") == 2
    (refund,) = shop.refunds()
    assert [(each["sku"], each["quantity"]) for each in refund["lines"]] == [("a", 1), ("b", 2)]
    shop.check()


# ---- ends ----


def test_a_cancelled_return_frees_its_units_for_another(shop, sold):
    """Once cancelled it takes nothing in; cancelling it again changes nothing."""
    return_id = shop.announce(sold, ("1", 3))["id"]
    assert shop.give_up(return_id)["status"] == "cancelled"
    assert shop.give_up(return_id)["status"] == "cancelled"
    refused("wrong_state", lambda: shop.receive(return_id, ("1", 1)))
    assert shop.announce(sold, ("1", 3))["status"] == "authorised"
    shop.check()


def test_cancelling_gives_up_what_has_not_come(shop, sold):
    """What has come stays; a return of which all has come cannot be cancelled."""
    return_id = shop.announce(sold, ("1", 3))["id"]
    shop.receive(return_id, ("1", 1))
    answer = shop.give_up(return_id)
    assert (answer["status"], answer["lines"][0]["quantities"]) == (
        "closed",
        {"sellable": 1, "given_up": 2},
    )
    assert shop.back(sold) == (1, 0)
    refused("wrong_state", lambda: shop.give_up(return_id))
    refused("quantity_exceeded", lambda: shop.receive(return_id, ("1", 1)))


def test_a_return_that_never_comes_expires(shop, sold):
    """After the policy's days it is waited for no longer, even when its order is long closed."""
    shop.policy(authorisation_days=2)
    return_id = shop.announce(sold, ("1", 3))["id"]
    shop.commit()
    assert upkeep.due(shop.desk, shop.now_us + 2 * DAY_US - 1).returns == 0
    shop.now_us += 2 * DAY_US
    assert upkeep.due(shop.desk, shop.now_us).returns == 1
    assert shop.book.returns[return_id].status == "cancelled"
    assert shop.book.returns[return_id].history[-1].what == "expired"
    assert shop.told() == ["return.cancelled"]
    assert shop.back(sold) == (0, 0)
    assert upkeep.due(shop.desk, shop.now_us).returns == 0
    shop.check()


def test_what_is_waited_for_stays_in_memory_and_nothing_else(shop, sold):
    """An order is kept for its awaited returns; both leave the book when they are over."""
    return_id = shop.announce(sold, ("1", 1))["id"]
    shop.book.settle()
    assert (sold in shop.book.orders, return_id in shop.book.returns) == (True, True)
    shop.receive(return_id, ("1", 1))
    shop.book.settle()
    assert (sold in shop.book.orders, return_id in shop.book.returns) == (False, False)


def test_what_is_rolled_back_never_was(shop, sold):
    """Announcing, receiving, inspecting and cancelling are undone whole."""
    kept = shop.announce(sold, ("1", 1))["id"]
    shop.commit()
    orders, returns = dict(shop.book.orders), dict(shop.book.returns)
    shop.receive(kept, ("1", 1, "inspect"))
    shop.inspect(kept, ("1", 1, "sellable"))
    other = shop.announce(sold, ("1", 2))["id"]
    shop.till(("a", 1), order_id=sold)
    shop.give_up(other)
    shop.book.rollback()
    assert (shop.book.orders, shop.book.returns) == (orders, returns)
    assert shop.ledger() == []
    shop.check()


# ---- refunds ----


def test_a_refund_is_instructed_for_what_has_come(shop, sold):
    """What, how much and why: the price paid, for each unit once, less the policy's fee."""
    shop.policy(rules=(ReturnRule(sku="b", fee_percent=10),))
    return_id = shop.announce(sold, ("1", 3), ("2", 1))["id"]
    shop.commit()
    shop.receive(return_id, ("1", 3), ("2", 1, "damaged"))
    (refund,) = shop.refunds()
    assert (refund["return_id"], refund["why"], refund["told_by"]) == (return_id, "returned", "app")
    assert [(each["amount"], each["disposition"], each["reason"]) for each in refund["lines"]] == [
        (30.3, "sellable", "too small"),
        (4.5, "damaged", "too small"),
    ]
    assert refund["amount"] == 34.8


def test_an_unknown_price_leaves_the_amount_open(shop):
    """Payment has to find out; nothing is made up."""
    sold = shop.sold(("a", 1, None))
    return_id = shop.announce(sold, ("1", 1))["id"]
    shop.commit()
    shop.receive(return_id, ("1", 1))
    assert [each["amount"] for each in shop.refunds()] == [None]


# ---- the policy ----


def test_the_window_ends_and_may_be_set_aside(shop, sold):
    """Who may says why, and the return notes it; the day is counted from the hand-over."""
    shop.policy(window_days=10, override_roles=("orders",))
    shop.now_us += 10 * DAY_US
    assert "overridden" not in shop.announce(sold, ("1", 1))["lines"][0]["decision"]
    shop.now_us += 1_000_000
    refused("return_window_over", lambda: shop.announce(sold, ("1", 1)), "/lines/0")
    refused(
        "override_forbidden",
        lambda: shop.announce(sold, ("1", 1), actor=ASSOCIATE, override="please"),
    )
    decision = shop.announce(sold, ("1", 1), actor=CLERK, override="was ill")["lines"][0][
        "decision"
    ]
    assert (decision["policy_version"], decision["rule"]) == (1, "default")
    assert (decision["overridden"], decision["override_reason"]) == (
        ["return_window_over"],
        "was ill",
    )
    assert decision["by"] == "clerk-1"


def test_rules_decide_by_sku_before_category(shop, sold):
    """What a rule keeps off the shelf is not believed to be sellable."""
    shop.desk.setup.skus.update({each: Sku(sku=each, category="food") for each in "ab"})
    shop.policy(
        reasons=("too small", "broken"),
        rules=(
            ReturnRule(category="food", returnable=False),
            ReturnRule(sku="a", restock="inspect"),
        ),
    )
    error = refused("return_not_allowed", lambda: shop.announce(sold, ("2", 1)), "/lines/0")
    assert "category food" in error.what
    return_id = shop.announce(sold, ("1", 2))["id"]
    answer = shop.receive(return_id, ("1", 1, "sellable"), ("1", 1, "damaged"))
    assert answer["lines"][0]["quantities"] == {"held": 1, "damaged": 1}
    assert answer["lines"][0]["decision"]["rule"] == "sku a"
    shop.policy(reasons=("broken",))
    refused("return_not_allowed", lambda: shop.announce(sold, ("1", 1)), "/lines/0/reason")
    shop.check()
