"""Holds and orders as the ledger keeps them."""

import re

import msgspec
import pytest

from onhand.orders.book import decode_hold, decode_order, encode
from onhand.simulation.promised import read_hold, read_order
from tests.orders_shop import Shop


@pytest.fixture
def book():
    shop = Shop({("a", "near"): 9, ("b", "near"): 9})
    shop.hold("a", 2, location="near")
    shop.walk(shop.task(shop.order(("a", 1), ("b", 2))), "pick", "pack")
    return shop.book


@pytest.mark.parametrize(
    ("kind", "decode", "read"),
    [("holds", decode_hold, read_hold), ("orders", decode_order, read_order)],
)
def test_documents_leave_out_what_is_as_by_default(book, kind, decode, read):
    """They read back as they were, and so do those of versions that wrote every field."""
    (known,) = getattr(book, kind).values()
    document = encode(known)
    in_full = msgspec.json.encode(read(document))
    assert decode(document) == decode(in_full) == known
    assert re.search(rb":0[,}]", in_full)
    assert not re.search(rb":0[,}]", document)


def test_what_has_happened_is_in_the_document(book):
    (order,) = book.orders.values()
    allocations = msgspec.json.decode(encode(order))["allocations"]
    assert [each["picked"] for each in allocations] == [1, 2]
    assert all("handed" not in each for each in allocations)
