"""The same units told of by app and till: one restock, whoever is first and whatever they name."""

import itertools

import pytest

from onhand.orders.refusal import Refusal
from tests.returns_shop import ReturnsShop


@pytest.fixture
def shop():
    """Put 9 of a in the nearest store."""
    return ReturnsShop({("a", "near"): 9, ("a", "mid"): 0, ("a", "far"): 0})


@pytest.fixture
def sold(shop):
    """Sell 4 of a in two lines; return the order's id."""
    return shop.sold(("a", 3, 10.0), ("a", 1, 10.0))


@pytest.mark.parametrize("named", ["return_id", "order_id", "both"])
@pytest.mark.parametrize("order", list(itertools.permutations(["app", "app", "till", "till"])))
def test_parts_told_by_both_come_once(shop, sold, named, order):
    """In any order; the till may name the return, the order, or both."""
    return_id = shop.announce(sold, ("1", 3))["id"]
    names = {"return_id": return_id, "order_id": sold}
    names = names if named == "both" else {named: names[named]}
    acts = {
        "app": lambda: shop.receive(return_id, ("1", 1)),
        "till": lambda: shop.till(("a", 1), **names),
    }
    for who in order:
        acts[who]()
    assert shop.restocked() == {("a", "near", "sellable"): 2}
    assert shop.back(sold) == (2, 1)
    assert sum(line["quantity"] for each in shop.refunds() for line in each["lines"]) == 2
    shop.check()


def test_a_till_alone_begins_a_return(shop, sold):
    """It stands on the order like any other, closed as soon as it is there."""
    assert shop.till(("a", 2), at="mid", order_id=sold) == "returned"
    (return_id,) = shop.book.orders[sold].returns
    return_ = shop.book.returns[return_id]
    assert (return_.status, return_.by_till, return_.location) == ("received", True, "mid")
    assert shop.restocked() == {("a", "mid", "sellable"): 2}
    shop.check()


def test_what_a_till_has_taken_in_can_be_announced_there_afterwards(shop, sold):
    """The app comes later to the same units: they are taken over, and nothing moves again."""
    shop.till(("a", 4), at="mid", order_id=sold)
    with pytest.raises(Refusal):
        shop.announce(sold, ("1", 2), location="near")
    with pytest.raises(Refusal):
        shop.announce(sold, ("1", 2), channel="mail", location="mid")
    answer = shop.announce(sold, ("1", 2), location="mid")
    assert (answer["status"], answer["lines"][0]["received"]) == ("received", 2)
    shop.receive(answer["id"], ("1", 2), at="mid")
    rest = shop.announce(sold, ("a", 2), location="mid")
    shop.receive(
        rest["id"], *[(line["line"], line["quantity"]) for line in rest["lines"]], at="mid"
    )
    assert shop.restocked() == {("a", "mid", "sellable"): 4}
    assert shop.book.returns[shop.book.orders[sold].returns[0]].status == "cancelled"
    shop.check()


def test_units_told_loosely_belong_to_the_return_that_the_app_names(shop, sold):
    """Two returns are on their way; the till names the order alone, the app the younger one."""
    by_mail = shop.announce(sold, ("1", 1), channel="mail")["id"]
    in_store = shop.announce(sold, ("1", 1))["id"]
    shop.till(("a", 1), at="mid", order_id=sold)
    assert shop.book.returns[by_mail].status == "received"
    assert shop.receive(in_store, ("1", 1), at="mid")["status"] == "received"
    assert shop.book.returns[by_mail].status == "authorised"
    assert shop.restocked() == {("a", "mid", "sellable"): 1}
    shop.receive(by_mail, ("1", 1), at="far")
    assert shop.restocked() == {("a", "mid", "sellable"): 1, ("a", "far", "sellable"): 1}
    assert shop.back(sold) == (2, 0)
    shop.check()


@pytest.mark.parametrize("first", ["app", "till"])
def test_of_two_that_tell_of_different_places_the_first_is_believed(shop, sold, first):
    """A return comes once, even when one of them has the place wrong."""
    return_id = shop.announce(sold, ("2", 1))["id"]
    acts = [
        lambda: shop.receive(return_id, ("1", 1), at="near"),
        lambda: shop.till(("a", 1), at="mid", return_id=return_id),
    ]
    for act in acts if first == "app" else acts[::-1]:
        act()
    place = "near" if first == "app" else "mid"
    assert shop.restocked() == {("a", place, "sellable"): 1}
    shop.check()


def test_a_till_brings_more_than_was_announced(shop, sold):
    """What the order has room for begins a return; what is beyond is there, and unmatched."""
    return_id = shop.announce(sold, ("1", 1))["id"]
    assert shop.till(("a", 7), return_id=return_id) == "partly_unmatched"
    assert shop.back(sold) == (4, 0)
    assert shop.restocked() == {("a", "near", "sellable"): 7}
    assert shop.till(("a", 1), return_id=return_id) == "unmatched"
    shop.check()


def test_a_till_names_a_return_that_was_given_up(shop, sold):
    """The goods are there: they are the order's, and begin another return."""
    return_id = shop.announce(sold, ("1", 1))["id"]
    shop.give_up(return_id)
    assert shop.till(("a", 1), return_id=return_id) == "returned"
    assert len(shop.book.orders[sold].returns) == 2
    assert shop.back(sold) == (1, 0)
    shop.check()


def test_what_is_inspected_is_not_taken_over(shop, sold):
    """Units that somebody has looked at stay with the return that they were looked at for."""
    shop.till(("a", 1), at="mid", order_id=sold, disposition="inspect")
    (born,) = shop.book.orders[sold].returns
    shop.inspect(born, ("1", 1, "damaged"), at="mid")
    other = shop.announce(sold, ("1", 1))["id"]
    shop.receive(other, ("1", 1), at="mid")
    assert shop.restocked() == {("a", "mid", "inspect"): 1, ("a", "mid", "sellable"): 1}
    shop.check()
