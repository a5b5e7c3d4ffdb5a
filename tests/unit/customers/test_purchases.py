"""Which events are purchases: those that name who bought, or a receipt, and that ingest takes."""

import base64
import time

import msgspec
import pytest

from onhand.customers.purchases import Details, read_purchase, read_purchases
from onhand.ingest.decode import Window
from onhand.log.base import RawBatch, Record

NOW_US = time.time_ns() // 1000
HOUR_US = 3_600_000_000
WINDOW = Window(late_us=72 * HOUR_US, count_us=24 * HOUR_US)
TIME = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_US // 1_000_000))
SALE = {
    "type": "sale",
    "id": "s-1",
    "source": "till-1",
    "occurred_at": TIME,
    "location": "north",
    "sku": "apple",
    "quantity": 2,
    "customer_id": "kim",
}


def read(event, headers=(), append_us=NOW_US, window=WINDOW):
    value = event if isinstance(event, bytes) else msgspec.json.encode(event)
    return read_purchase(value, headers, append_us, window)


def details(row):
    return msgspec.json.decode(row.document, type=Details)


def test_a_sale_that_names_its_customer_is_a_purchase():
    """With where, when, what, and how it was sold."""
    row = read(SALE | {"basket_id": "b-1", "reference": "r-1", "order_id": "o-1"})
    assert row[:7] == ("purchase", "till-1", "s-1", "kim", "b-1", "r-1", "north")
    assert abs(row.occurred_us - NOW_US) < 1_000_000
    assert row.appended_us == NOW_US
    assert details(row) == Details(lines=[("apple", 2)], order_id="o-1")


def test_lines_stay_as_they_are():
    """Also when a SKU comes twice."""
    lines = [{"sku": "apple", "quantity": 1}, {"sku": "pear", "quantity": 2}]
    lines.append(lines[0])
    row = read({k: v for k, v in SALE.items() if k not in ("sku", "quantity")} | {"lines": lines})
    assert details(row).lines == [("apple", 1), ("pear", 2), ("apple", 1)]


def test_a_return_is_kept_with_its_disposition():
    """And with what it is a claim of."""
    fields = {"type": "return", "disposition": "inspect", "return_id": "ret-1"}
    row = read(SALE | fields)
    assert row.kind == "return"
    assert details(row) == Details(lines=[("apple", 2)], return_id="ret-1", disposition="inspect")


@pytest.mark.parametrize("name", ["customer_id", "basket_id", "reference"])
def test_a_customer_or_a_receipt_is_enough(name):
    """Each of the three names; null is no name."""
    plain = {key: value for key, value in SALE.items() if key != "customer_id"}
    assert read(plain | {name: "x"}) is not None
    assert read(plain | {name: None}) is None
    assert read(plain | {"attributes": {name: "x"}}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "receipt"},
        {"type": "count", "quantity": 0},
        {"type": "gift"},
        {"quantity": 0},
        {"quantity": "2"},
        {"quantity": None},
        {"lines": [{"sku": "apple", "quantity": 1}]},
        {"lines": []},
        {"sku": "a\u0007"},
        {"sku": ""},
        {"location": None},
        {"location": "n" * 65},
        {"occurred_at": "yesterday"},
        {"occurred_at": "2020-01-01T00:00:00Z"},
        {"occurred_at": "2099-01-01T00:00:00Z"},
        {"attributes": 7},
        {"id": ""},
        {"source": None},
        {"type": "return"},
        {"type": "return", "disposition": "lost"},
    ],
    ids=str,
)
def test_what_ingest_refuses_or_is_no_sale_is_no_purchase(wrong):
    """It is a dead letter or another event; put right, it comes again."""
    assert read(SALE | wrong) is None


def test_what_cannot_be_read_is_no_purchase():
    """Whatever bytes a publisher sends."""
    for value in (b"", b"customer_id", b'{"customer_id":', b"\xff\xfecustomer_id", b"[]"):
        assert read(value) is None
    assert read(b"[" * 100_000 + b"customer_id") is None


def test_every_encoding_is_read():
    """MessagePack, CloudEvents of each mode, and names written with escapes."""
    plain = read(SALE)
    assert read(msgspec.msgpack.encode(SALE)) == plain
    envelope = {"specversion": "1.0", "id": "e", "source": "s", "type": "t"}
    assert read(envelope | {"data": SALE}) == plain
    hidden = base64.b64encode(msgspec.json.encode(SALE)).decode()
    assert read(envelope | {"data_base64": hidden}) == plain
    binary = (("ce_specversion", b"1.0"), ("content-type", b"application/json"))
    assert read(SALE, headers=binary) == plain
    assert read(SALE, headers=(("trace", b"1"),)) == plain
    escaped = msgspec.json.encode(SALE).replace(b'"customer_id"', b'"customer\\u005fid"')
    assert read(escaped) == plain


def test_a_forced_event_may_be_old():
    """As ingest takes it; without the force neither does."""
    old = SALE | {"occurred_at": "2024-01-01T00:00:00Z"}
    assert read(old, headers=(("onhand-force", b"too_late"),)) is not None
    assert read(old, window=Window(late_us=-1, count_us=0)) is not None
    assert read(old) is None


def test_names_that_cannot_be_printed_are_not_asked_for():
    """Nobody can ask for such a customer; the receipt is still found."""
    row = read(SALE | {"customer_id": "k\u0000m", "basket_id": "b-1"})
    assert (row.customer, row.basket_id) == (None, "b-1")
    assert read(SALE | {"customer_id": "\n"}) is None
    assert "\0" not in read(SALE | {"id": "a\u0000b"}).event_id


def test_a_poll_is_read_whole():
    """In order; what is nobody's purchase is left out, headers or not."""
    values = [SALE, {**SALE, "customer_id": None}, {**SALE, "id": "s-2"}]
    records = [
        Record("stock.sales", 0, index, NOW_US, None, msgspec.json.encode(value), headers)
        for index, (value, headers) in enumerate(zip(values, ((), (), (("a", b"b"),)), strict=True))
    ]
    for some in (records, records[:2]):
        raw = RawBatch.of(some, {("stock.sales", 0): 0})
        found = [row.event_id for row in read_purchases(raw, WINDOW)]
        assert found == ["s-1", "s-2"][: len(some) - 1]
