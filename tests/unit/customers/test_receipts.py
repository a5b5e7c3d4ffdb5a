"""What a till sold is found by what its receipt says, with what has come back of it."""

import pytest

from onhand.customers.receipts import Receipts
from onhand.orders.purchases import PurchasedLine

DAY_US = 86_400_000_000


@pytest.fixture
def receipts(till):
    """Find receipts among what the till has told."""
    return Receipts(till.database, 10 * DAY_US, lambda: till.now_us)


def lines(purchase):
    return [(line.sku, line.quantity, line.returned) for line in purchase.lines]


def test_a_sale_older_than_purchases_are_kept_is_nowhere(till, sale, receipts):
    """Whether it is dropped already or not: of what came back of it nobody knows any more."""
    till.tell(sale(id="r-1"))
    till.read()
    till.now_us += 10 * DAY_US
    assert "r-1" in receipts.find(["r-1"])
    till.now_us += 1
    assert receipts.find(["r-1"]) == {}


@pytest.mark.parametrize("name", ["id", "basket_id", "reference"])
def test_a_sale_is_found_by_each_of_its_names(till, sale, receipts, name):
    """With who bought, where and when."""
    till.tell(sale(**{name: "r-1"}), sale(basket_id="other"))
    till.read()
    found = receipts.find(["r-1", "unknown", "\0"])
    assert list(found) == ["r-1"]
    purchase = found["r-1"]
    assert purchase.lines == (PurchasedLine(sku="apple", quantity=1),)
    assert (purchase.receipt, purchase.location, purchase.customer_id) == ("r-1", "north", "kim")
    assert purchase.sold_us == till.now_us // 1_000_000 * 1_000_000


def test_a_basket_of_several_events_is_one_purchase(till, sale, receipts):
    """Their units are summed by SKU."""
    pears = [{"sku": "pear", "quantity": 2}, {"sku": "apple", "quantity": 3}]
    till.tell(sale(basket_id="b-1"), sale(basket_id="b-1", lines=pears))
    till.read()
    assert lines(receipts.find(["b-1"])["b-1"]) == [("apple", 4, 0), ("pear", 2, 0)]


@pytest.mark.parametrize(
    "fields",
    [
        {"reference": "r-1"},
        {"reference": "r-1", "location": "south"},
        {"basket_id": "r-1", "location": "south"},
    ],
    ids=str,
)
def test_sales_that_share_a_name_and_are_no_basket_are_nobodys(till, sale, receipts, fields):
    """Two places, or two sales of one reference: which is meant cannot be said."""
    till.tell(sale(**fields | {"location": "north"}), sale(**fields))
    till.read()
    assert receipts.find(["r-1"]) == {}


def test_tills_may_number_baskets_anew(till, sale, receipts):
    """The same number on another day is another basket, and then neither can be told."""
    till.tell(sale(basket_id="17"))
    till.now_us += 86_400_000_000
    till.tell(sale(basket_id="17"))
    till.read()
    assert receipts.find(["17"]) == {}


def test_what_a_till_took_back_is_counted(till, sale, receipts):
    """By any name of the sale; what the ledger knows of is left to the ledger."""
    till.tell(sale(id="s", basket_id="b", reference="r", quantity=10))
    back = {"type": "return", "disposition": "sellable", "customer_id": None}
    till.tell(
        sale(**back, reference="s"),
        sale(**back, reference="r"),
        sale(**back, basket_id="b", quantity=2),
        sale(**back, basket_id="b", return_id="ret.1"),
        sale(**back, basket_id="b", order_id="o-1"),
        sale(**back, basket_id="b", sku="pear"),
        sale(**back, basket_id="c"),
    )
    till.read()
    for name in ("s", "b", "r"):
        assert lines(receipts.find([name])[name]) == [("apple", 10, 4)]


def test_no_more_came_back_than_was_sold(till, sale, receipts):
    """Whatever tills say."""
    back = {"type": "return", "disposition": "sellable", "quantity": 5}
    till.tell(sale(basket_id="b"), sale(**back, basket_id="b"))
    till.read()
    assert lines(receipts.find(["b"])["b"]) == [("apple", 1, 1)]


def test_a_hand_over_of_an_order_is_no_purchase(till, sale, receipts):
    """What an order sold comes back to the order."""
    till.tell(sale(basket_id="b", allocation_id="o-1.a1"))
    till.tell(sale(basket_id="c", allocation_id="o-1.a2"), sale(basket_id="c", sku="pear"))
    till.read()
    assert receipts.find(["b"]) == {}
    assert lines(receipts.find(["c"])["c"]) == [("pear", 1, 0)]
