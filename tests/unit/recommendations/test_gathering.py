"""Which records of the log are sales that teach, and which basket each is of."""

import json

import msgspec
import pytest

from onhand.ingest.decode import Window
from onhand.log.base import RawBatch, Record
from onhand.recommendations.baskets import basket_key
from onhand.recommendations.gathering import gather_sales

NOW_US = 1_760_000_000_000_000
WHEN = "2025-10-09T08:53:20Z"
WINDOW = Window(late_us=72 * 3_600_000_000, count_us=24 * 3_600_000_000)
INDEXES = {("stock.sales", 0): 0, ("stock.ledger", 0): 1}


def sale(**fields):
    plain = {
        "type": "sale",
        "id": "1",
        "source": "till",
        "occurred_at": WHEN,
        "location": "north",
        "lines": [{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 2}],
    }
    return {name: value for name, value in (plain | fields).items() if value is not None}


def gather(*values, topic="stock.sales", headers=()):
    records = [
        Record(topic, 0, 5 + 3 * at, NOW_US, None, value, headers)
        for at, value in enumerate(values)
    ]
    return gather_sales(RawBatch.of(records, INDEXES), WINDOW, frozenset([1]))


def encoded(**fields):
    return json.dumps(sale(**fields)).encode()


def test_a_sale_is_its_lines_and_its_basket():
    """A basket_id names a basket at a location; without one a sale is a basket of its own."""
    first, second, third = gather(
        encoded(basket_id="7"), encoded(id="2", basket_id="7", location="south"), encoded(id="3")
    )
    assert (first.skus, first.occurred_us) == (["a", "b"], NOW_US)
    assert first.key == basket_key("north", "7")
    assert second.key == basket_key("south", "7")
    assert third.key not in {first.key, second.key}
    assert gather(encoded(id="3"))[0].key == third.key


def test_one_sku_is_a_sale_too():
    """It is no pair, but says what is bought much."""
    (found,) = gather(encoded(lines=None, sku="a", quantity=3))
    assert found.skus == ["a"]


def test_what_ingest_refuses_or_leaves_to_others_teaches_nothing():
    """Rubbish, what is too late, claims and other events; those among them do teach."""
    found = gather(
        b"{",
        encoded(id="2", occurred_at="2025-09-01T00:00:00Z"),
        encoded(id="3", allocation_id="x"),
        encoded(id="4"),
        encoded(id="5", type="receipt"),
        encoded(id="6", lines=[{"sku": "c", "quantity": 0}]),
        encoded(id="7", lines=[{"sku": "z", "quantity": 1}]),
    )
    assert [each.skus for each in found] == [["a", "b"], ["z"]]
    assert gather() == []


@pytest.mark.parametrize("form", ["msgpack", "structured", "binary", "deep"])
def test_every_envelope_says_the_same(form):
    """MessagePack and CloudEvents carry the basket as plain JSON does."""
    event, headers = sale(basket_id="7"), ()
    value = json.dumps(event).encode()
    if form == "msgpack":
        value = msgspec.msgpack.encode(event)
    if form == "structured":
        cloud = {"specversion": "1.0", "id": "x", "source": "y", "type": "sale", "data": event}
        value = json.dumps(cloud).encode()
    if form == "binary":
        headers = (("ce_specversion", b"1.0"), ("ce_id", b"x"), ("ce_source", b"y"))
    if form == "deep":
        value = json.dumps(event | {"attributes": {"basket_id": "8"}}).encode()
    (found,) = gather(value, headers=headers)
    assert (found.key, found.skus) == (basket_key("north", "7"), ["a", "b"])


def test_packages_of_an_order_are_one_basket_wherever_they_left():
    """The order layer tells of hand-overs one by one, with the order's id."""
    found = gather(
        encoded(sequence=1, order_id="o-1"),
        encoded(id="2", sequence=2, order_id="o-1", location="south"),
        topic="stock.ledger",
    )
    assert len({each.key for each in found}) == 1
