"""Returns by a till's receipt, and of units that nobody knows the purchase of."""

import pytest

from onhand.model.return_commands import AnnouncedLine, AuthoriseReturn, ExchangeLine
from onhand.orders.desk import Actor
from onhand.orders.refusal import Refusal
from tests.orders_shop import DAY_US
from tests.returns_shop import CLERK, ReturnsShop


@pytest.fixture
def shop():
    """Let a till have sold 3 of a at 7 and 1 of b on one receipt."""
    shop = ReturnsShop({("a", "near"): 9, ("b", "near"): 9, ("z", "near"): 1, ("a", "mid"): 0})
    shop.receipt("basket-7", ("a", 2, 7.0), ("a", 1, 7.0), ("b", 1, None), customer_id="kim")
    return shop


def announce(shop, *lines, actor=CLERK, channel="store", **fields):
    body = AuthoriseReturn(
        lines=tuple(AnnouncedLine(sku=sku, quantity=n, reason="broken") for sku, n in lines),
        channel=channel,
        **fields,
    )
    return shop.do("authorise_return", body=body, actor=actor)


def refused(code, act):
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.refusal_code == code, caught.value
    return caught.value


def test_a_receipt_takes_back_what_was_sold_on_it(shop):
    """In several returns, at any place, and never more; the price is the receipt's."""
    return_id = announce(shop, ("a", 2), receipt="basket-7")["id"]
    shop.commit()
    shop.receive(return_id, ("1", 2), at="mid")
    assert shop.refunds()[0]["amount"] == 14.0
    assert shop.refunds()[0]["receipt"] == "basket-7"
    error = refused("quantity_exceeded", lambda: announce(shop, ("a", 2), receipt="basket-7"))
    assert "1 of 'a' may still come back" in error.what
    other = announce(shop, ("a", 1), ("b", 1), receipt="basket-7")["id"]
    refused("quantity_exceeded", lambda: announce(shop, ("b", 1), receipt="basket-7"))
    shop.give_up(other)
    announce(shop, ("b", 1), receipt="basket-7")
    shop.check()


def test_what_plain_returns_of_tills_have_brought_counts(shop):
    """The history of tills says so; both together are never more than was sold."""
    purchase = shop.desk.purchases["basket-7"]
    lines = [
        type(each)(sku=each.sku, quantity=each.quantity, returned=1) for each in purchase.lines
    ]
    shop.desk.purchases = {
        "basket-7": type(purchase)(receipt="basket-7", sold_us=shop.now_us, lines=tuple(lines))
    }
    refused("quantity_exceeded", lambda: announce(shop, ("b", 1), receipt="basket-7"))
    announce(shop, ("a", 1), receipt="basket-7")
    refused("quantity_exceeded", lambda: announce(shop, ("a", 1), receipt="basket-7"))


@pytest.mark.parametrize(
    ("lines", "fields", "code"),
    [
        ([("a", 1)], {"receipt": "basket-8"}, "unknown_receipt"),
        ([("z", 1)], {"receipt": "basket-7"}, "unknown_line"),
        ([("moon", 1)], {"receipt": "basket-7"}, "unknown_sku"),
        ([("a", 1)], {"receipt": "basket-7", "customer_id": "eve"}, "wrong_customer"),
    ],
)
def test_what_is_not_on_the_receipt_is_refused(shop, lines, fields, code):
    """An unknown receipt, a SKU that was not sold on it, another customer's."""
    refused(code, lambda: announce(shop, *lines, **fields))
    assert shop.book.returns == {}


def test_the_window_runs_from_the_sale(shop):
    """A receipt ages like an order."""
    shop.now_us += 31 * DAY_US
    refused("return_window_over", lambda: announce(shop, ("a", 1), receipt="basket-7"))


def test_a_till_that_names_the_return_is_a_claim(shop):
    """Its units come once, told by app and till alike; more than announced are unmatched."""
    return_id = announce(shop, ("a", 2), receipt="basket-7")["id"]
    assert shop.till(("a", 1), return_id=return_id) == "returned"
    shop.receive(return_id, ("1", 2))
    assert shop.till(("a", 1), return_id=return_id) == "told_before"
    assert shop.till(("a", 1), return_id=return_id) == "unmatched"
    assert shop.restocked() == {("a", "near", "sellable"): 3}
    shop.check()


def test_more_in_the_parcel_is_the_receipts_as_far_as_it_goes(shop):
    """The rest is a stray."""
    return_id = announce(shop, ("a", 1), receipt="basket-7", channel="mail")["id"]
    answer = shop.receive(return_id, ("sku:a", 2), ("sku:b", 2))
    assert [(each["sku"], each["received"]) for each in answer["lines"]] == [
        ("a", 1),
        ("a", 1),
        ("b", 1),
    ]
    assert shop.restocked() == {("a", "near", "sellable"): 2, ("b", "near", "sellable"): 2}


def test_a_place_takes_back_blindly_where_the_policy_says_so(shop):
    """By name or by group; elsewhere only when somebody may set that aside."""
    refused("return_not_allowed", lambda: announce(shop, ("z", 1), location="near"))
    shop.policy(blind_locations=("near",), override_roles=("orders",))
    return_id = announce(shop, ("z", 2), location="near")["id"]
    shop.receive(return_id, ("1", 2), ("sku:b", 1))
    assert shop.restocked() == {("z", "near", "sellable"): 2, ("b", "near", "sellable"): 1}
    assert len(shop.book.returns[return_id].lines) == 2
    refused("return_not_allowed", lambda: announce(shop, ("z", 1), location="mid"))
    associate = Actor("a", None, "associate")
    refused(
        "override_forbidden",
        lambda: announce(shop, ("z", 1), location="mid", actor=associate, override="please"),
    )
    assert announce(shop, ("z", 1), location="mid", override="known to us")["status"] == (
        "authorised"
    )
    shop.policy(blind_groups=("west",))
    announce(shop, ("z", 1), location="mid")
    shop.check()


def test_a_blind_exchange_needs_to_know_where_to(shop):
    """In a store it is collected there; by mail somebody has to say."""
    shop.policy(blind_groups=("all",))
    lines = (AnnouncedLine(sku="z", quantity=1, reason="broken"),)
    body = AuthoriseReturn(
        lines=lines, channel="store", location="near", exchange=_exchange("a"), customer_id="kim"
    )
    made = shop.do("authorise_return", body=body)
    assert shop.book.orders[made["exchange"]["order_id"]].customer.id == "kim"
    body = AuthoriseReturn(lines=lines, channel="mail", location="near", exchange=_exchange("a"))
    refused("return_not_allowed", lambda: shop.do("authorise_return", body=body))


def _exchange(sku):
    return (ExchangeLine(sku=sku, quantity=1),)
