"""Exchanges: allocated before the goods are back, linked, settled, undone when nothing comes."""

import pytest

from onhand.model.commands import (
    CancelledLine,
    CancelOrder,
    Fulfilment,
    PickTask,
    RejectTask,
    ShortLine,
)
from onhand.orders import upkeep
from onhand.orders.refusal import Refusal
from tests.orders_shop import DAY_US, HERE
from tests.returns_shop import ASSOCIATE, ReturnsShop


@pytest.fixture
def shop():
    """Put 9 of a in the nearest store, 2 of b there and 1 in another."""
    return ReturnsShop({("a", "near"): 9, ("b", "near"): 2, ("b", "mid"): 1, ("b", "far"): 0})


@pytest.fixture
def sold(shop):
    """Sell 2 of a at 20; return the order's id."""
    return shop.sold(("a", 2, 20.0), customer="kim")


def exchange_of(shop, return_id):
    """Return the order that is given in exchange."""
    return shop.book.orders[shop.book.returns[return_id].exchange.order_id]


def test_the_replacement_is_allocated_at_once(shop, sold):
    """For collection where the customer stands; the customer is the same, and both are linked."""
    made = shop.announce(sold, ("1", 1), location="near", exchange=[("b", 1, 25.0)])
    order = exchange_of(shop, made["id"])
    assert (order.exchange_of, order.location, order.customer.id) == (made["id"], "near", "kim")
    assert shop.stock.reserved["b", "near"] == 1
    assert made["exchange"]["price_difference"] == 5.0
    shop.check()


def test_the_replacement_may_come_from_anywhere(shop, sold):
    """A shipment takes more than one place has, while the goods are still with the customer."""
    ship = Fulfilment(method="ship", destination=HERE)
    made = shop.announce(
        sold, ("1", 1), location="near", exchange=[("b", 3, None)], exchange_fulfilment=ship
    )
    assert shop.allocations(exchange_of(shop, made["id"]).id) == [("mid", 1), ("near", 2)]
    assert "price_difference" not in made["exchange"]


def test_by_mail_it_reaches_the_customer_as_the_order_did(shop, sold):
    """Collected there means collected there again, unless somebody says otherwise."""
    made = shop.announce(sold, ("1", 1), channel="mail", exchange=[("b", 1, None)])
    assert exchange_of(shop, made["id"]).location == "near"


def test_an_associate_exchanges_what_comes_back_by_mail(shop, sold):
    """The shopper stands in the store, so the order is the store's; goods follow by parcel."""
    fields = {"channel": "mail", "exchange": [("b", 1, 25.0)], "actor": ASSOCIATE}
    made = shop.announce(sold, ("1", 1), **fields)
    assert exchange_of(shop, made["id"]).channel == "store"


def test_what_is_gone_refuses_the_return_too(shop, sold):
    """All or nothing: no return, no reservation, and the refusal says what there is."""
    before = shop.stock.numbers(), dict(shop.book.orders), dict(shop.book.returns)
    with pytest.raises(Refusal) as caught:
        shop.announce(sold, ("1", 1), location="near", exchange=[("b", 3, None)])
    assert caught.value.refusal_code == "insufficient_stock"
    assert caught.value.more["lines"][0]["available"] == 2
    assert (shop.stock.numbers(), shop.book.orders, shop.book.returns) == before


def test_a_return_that_is_refused_undoes_its_exchange(shop, sold):
    """The replacement was allocated a moment ago; it is free again."""
    before = shop.stock.numbers()
    with pytest.raises(Refusal):
        shop.announce(sold, ("1", 3), location="near", exchange=[("b", 1, None)])
    assert shop.stock.numbers() == before
    assert len(shop.book.orders) == 1


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_with_nothing_back_what_has_not_left_is_cancelled(shop, sold, how):
    """By the customer, or because the time is over."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 2, 20.0)])
    order = exchange_of(shop, made["id"])
    shop.commit()
    if how == "cancelled":
        shop.give_up(made["id"])
    else:
        shop.now_us += 14 * DAY_US
        upkeep.due(shop.desk, shop.now_us)
    assert shop.book.orders[order.id].status == "cancelled"
    assert shop.stock.reserved["b", "near"] == 0
    assert shop.told() == ["order.cancelled", "return.cancelled"]
    shop.check()


def test_what_has_left_of_an_exchange_stays_left(shop, sold):
    """A replacement that was collected cannot be cancelled; the rest of it is."""
    made = shop.announce(sold, ("1", 1), location="near", exchange=[("b", 1, None)])
    order = exchange_of(shop, made["id"])
    shop.walk(shop.task(order.id), "pick", "ready", "collect")
    shop.land()
    shop.book.forget_closed([], [order.id])
    shop.give_up(made["id"])
    assert shop.book.returns[made["id"]].exchange.cancelled
    assert shop.stock.on_hand["b", "near"] == 1


def test_with_a_part_back_the_exchange_stands(shop, sold):
    """Whoever has sent something keeps the replacement; payment settles the rest."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 1, 30.0)])
    shop.receive(made["id"], ("1", 1))
    shop.give_up(made["id"])
    assert exchange_of(shop, made["id"]).status == "open"


def test_what_comes_back_pays_for_the_exchange_first(shop, sold):
    """Of 40 that come back 30 pay for the replacement; nobody is paid twice."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 1, 30.0)])
    assert made["exchange"]["price_difference"] == -10.0
    shop.commit()
    shop.receive(made["id"], ("1", 1))
    shop.receive(made["id"], ("1", 1))
    assert [(each["amount"], each["set_against_exchange"]) for each in shop.refunds()] == [
        (0.0, 20.0),
        (10.0, 10.0),
    ]


def cancel_units(shop, order, *units):
    """Cancel (line, units) of an order, all that has not left when none are named."""
    lines = tuple(CancelledLine(id=line, quantity=count) for line, count in units)
    shop.do("cancel_order", order.id, CancelOrder(lines=lines) if lines else None)


def owed(shop):
    """List the refunds since the last commit: why, and how much."""
    return [(each["why"], each["amount"]) for each in shop.refunds()]


def test_what_has_paid_for_a_cancelled_exchange_is_owed_after_all(shop, sold):
    """Goods of 40 came back for a replacement of 30; without it the 30 are owed too."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 1, 30.0)])
    shop.receive(made["id"], ("1", 2))
    order = exchange_of(shop, made["id"])
    cancel_units(shop, order)
    assert owed(shop) == [("returned", 10.0), ("exchange_cancelled", 30.0)]
    told = shop.refunds()[-1]
    assert (told["exchange_order_id"], told["order_id"]) == (order.id, sold)
    assert (told["customer_id"], told["return_id"]) == ("kim", made["id"])
    exchange = shop.book.returns[made["id"]].exchange
    assert (exchange.settled, exchange.cancelled, exchange.over) == (0.0, True, True)
    assert exchange.price_difference == -40.0


def test_a_part_of_an_exchange_that_is_cancelled_is_owed_as_far_as_it_was_paid(shop, sold):
    """Goods of 20 pay for two replacements of 15; with one of them 5 are left over."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 2, 15.0)])
    shop.receive(made["id"], ("1", 1))
    cancel_units(shop, exchange_of(shop, made["id"]), ("1", 1))
    assert owed(shop) == [("returned", 0.0), ("exchange_cancelled", 5.0)]
    shop.receive(made["id"], ("1", 1))
    assert owed(shop)[2:] == [("returned", 20.0)]


def test_an_exchange_cancelled_before_anything_is_back_takes_nothing_of_the_refund(shop, sold):
    """Nothing was paid with it, so nothing is owed until the goods are here; then all of it is."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 1, 30.0)])
    cancel_units(shop, exchange_of(shop, made["id"]))
    assert owed(shop) == []
    shop.receive(made["id"], ("1", 2))
    assert owed(shop) == [("returned", 40.0)]


@pytest.mark.parametrize("how", ["expired", "rejected", "short"])
def test_an_exchange_that_the_store_gives_up_is_owed_too(shop, sold, how):
    """Uncollected, refused or not there: a pickup is bound to its store, and ends there."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 1, 30.0)])
    shop.receive(made["id"], ("1", 2))
    order = exchange_of(shop, made["id"])
    shop.commit()
    assert made["id"] in shop.book.returns
    task = shop.task(order.id)
    if how == "expired":
        shop.walk(task, "pick", "ready")
        shop.now_us += 8 * DAY_US
        upkeep.due(shop.desk, shop.now_us)
    elif how == "rejected":
        shop.do("reject_task", task, RejectTask(reason="broken"))
    else:
        line = ShortLine(line="1", quantity=1, reason="not there")
        shop.do("pick_task", task, PickTask(short=(line,)))
    assert shop.book.orders[order.id].status == "cancelled"
    assert owed(shop) == [("exchange_cancelled", 30.0)]


def test_a_return_is_kept_in_mind_while_its_exchange_is_open(shop, sold):
    """All is back, yet the exchange may still be cancelled; once it has left, neither is needed."""
    made = shop.announce(sold, ("1", 2), location="near", exchange=[("b", 1, 30.0)])
    order = exchange_of(shop, made["id"])
    shop.receive(made["id"], ("1", 2))
    shop.book.settle()
    assert made["id"] in shop.book.returns
    shop.walk(shop.task(order.id), "pick", "ready", "collect")
    assert owed(shop) == []
    shop.book.settle()
    assert made["id"] not in shop.book.returns


def test_an_exchange_can_come_back_itself(shop, sold):
    """It is an order like any other."""
    made = shop.announce(sold, ("1", 1), location="near", exchange=[("b", 1, 25.0)])
    order = exchange_of(shop, made["id"])
    shop.walk(shop.task(order.id), "pick", "ready", "collect")
    shop.land()
    again = shop.announce(order.id, ("1", 1), location="near", exchange=[("a", 1, 20.0)])
    shop.receive(again["id"], ("1", 1))
    assert shop.back(order.id) == (1, 0)
    shop.check()
