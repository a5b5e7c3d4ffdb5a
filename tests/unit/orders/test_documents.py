"""Holds and orders as the ledger keeps them."""

import msgspec
import pytest

from onhand.orders.book import decode_hold, decode_order, encode
from tests.orders_shop import Shop


@pytest.fixture
def book():
    shop = Shop({("a", "near"): 9, ("b", "near"): 9})
    shop.hold("a", 2, location="near")
    shop.walk(shop.task(shop.order(("a", 1), ("b", 2))), "pick", "pack")
    return shop.book


def written_in_full(value):
    return msgspec.json.encode(_as_dict(value))


def _as_dict(value):
    if isinstance(value, msgspec.Struct):
        return {name: _as_dict(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, (list, tuple)):
        return [_as_dict(each) for each in value]
    return value


@pytest.mark.parametrize("kind", ["holds", "orders"])
def test_documents_leave_out_what_is_as_by_default(book, kind):
    """They read back as they were, and so do those of versions that wrote every field."""
    (known,) = getattr(book, kind).values()
    decode = {"holds": decode_hold, "orders": decode_order}[kind]
    document, in_full = encode(known), written_in_full(known)
    assert decode(document) == decode(in_full) == known
    assert len(document) < 0.9 * len(in_full)
    assert b":0," not in document


def test_what_has_happened_is_in_the_document(book):
    (order,) = book.orders.values()
    allocations = msgspec.json.decode(encode(order))["allocations"]
    assert [each["picked"] for each in allocations] == [1, 2]
    assert all("handed" not in each for each in allocations)
