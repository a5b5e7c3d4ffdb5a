"""The rules of an event, one by one."""

import pytest

from onhand.model.batch import TYPE_NUMBERS
from onhand.model.check import Refused, check_object
from onhand.model.codes import MEANINGS, RejectCode
from onhand.model.events import EVENT_STRUCTS
from tests.stock_events import event

NAMELESS = 65 * "x"
WRONG = [
    # type, fields, code, pointer, words
    ("sale", {"type": "sold"}, "unknown_type", "/type", 'was "sold"'),
    ("sale", {"type": ...}, "missing_field", "/type", "must be there"),
    ("sale", {"type": 7}, "wrong_type", "/type", "must be a string, was a number"),
    ("sale", {"id": ""}, "empty_id", "/id", "1 to 128 characters"),
    ("sale", {"id": 129 * "x"}, "too_long", "/id", "at most 128 characters, has 129"),
    ("sale", {"id": None}, "missing_field", "/id", "must not be null"),
    ("sale", {"source": ...}, "missing_field", "/source", "must be there"),
    ("sale", {"source": ["a"]}, "wrong_type", "/source", "was an array"),
    ("sale", {"occurred_at": "2026-03-29T12:30:00"}, "bad_time", "/occurred_at", "an offset"),
    ("sale", {"occurred_at": 1774787400}, "wrong_type", "/occurred_at", "was a number"),
    ("sale", {"location": ...}, "missing_field", "/location", "must be there"),
    ("sale", {"location": NAMELESS}, "too_long", "/location", "at most 64 characters, has 65"),
    ("sale", {"sku": "a\tb"}, "not_printable", "/sku", "U+0009"),
    ("sale", {"sku": "a\u200bb"}, "not_printable", "/sku", "U+200B"),
    ("sale", {"sku": ...}, "missing_field", "/sku", "give sku and quantity, or lines"),
    ("sale", {"quantity": ...}, "missing_field", "/quantity", "or lines"),
    ("sale", {"quantity": 0}, "out_of_range", "/quantity", "from 1 to 2,147,483,647, was 0"),
    ("sale", {"quantity": -1}, "out_of_range", "/quantity", "was -1"),
    ("sale", {"quantity": 2**31}, "out_of_range", "/quantity", "was 2,147,483,648"),
    ("sale", {"quantity": 10**5000}, "out_of_range", "/quantity", "was over 10^18"),
    ("sale", {"quantity": 1.0}, "wrong_type", "/quantity", "must be an integer, was 1.0"),
    ("sale", {"quantity": True}, "wrong_type", "/quantity", "was a boolean"),
    ("sale", {"quantity": "1"}, "wrong_type", "/quantity", "was a string"),
    ("sale", {"attributes": "x"}, "wrong_type", "/attributes", "must be an object"),
    ("sale", {"order_id": ""}, "empty_id", "/order_id", "1 to 128"),
    ("sale", {"allocation_id": 129 * "x"}, "too_long", "/allocation_id", "128"),
    ("sale", {"lines": []}, "line_count", "/lines", "1 to 1,000 lines, has 0"),
    ("sale", {"lines": {}}, "wrong_type", "/lines", "must be an array, was an object"),
    ("sale", {"lines": [1]}, "wrong_type", "/lines/0", "must be an object, was a number"),
    ("sale", {"lines": [{"sku": "a"}]}, "missing_field", "/lines/0/quantity", "must be there"),
    ("count", {"quantity": -1}, "out_of_range", "/quantity", "from 0 to"),
    ("expected", {"expected_on": "2026-02-30"}, "bad_date", "/expected_on", "a day"),
    ("expected", {"expected_on": "1 May"}, "bad_date", "/expected_on", "such as"),
    ("expected", {"purchase_order": ...}, "missing_field", "/purchase_order", "be there"),
    ("transfer_lost", {"transfer_id": ...}, "missing_field", "/transfer_id", "be there"),
    ("transfer_lost", {"to": "depot"}, "same_location", "/to", 'both are "depot"'),
    ("return", {"disposition": "eaten"}, "unknown_value", "/disposition", "or sellable"),
    ("return", {"disposition": ...}, "missing_field", "/disposition", "be there"),
    ("inspected", {"disposition": "inspect"}, "unknown_value", "/disposition", 'was "inspect"'),
    ("adjustment", {"delta": 0}, "out_of_range", "/delta", "must not be 0"),
    ("adjustment", {"delta": -(2**31)}, "out_of_range", "/delta", "was -2,147,483,648"),
    ("adjustment", {"delta": ..., "quantity": 1}, "missing_field", "/delta", "sku and delta"),
    ("adjustment", {"reason": ...}, "missing_field", "/reason", "be there"),
    ("adjustment", {"reason": 257 * "x"}, "too_long", "/reason", "256"),
]


@pytest.mark.parametrize(("kind", "fields", "code", "pointer", "words"), WRONG)
def test_a_broken_rule_is_refused_by_name_and_place(kind, fields, code, pointer, words):
    """An event that breaks one rule is refused with its code, the field and the rule in words."""
    with pytest.raises(Refused) as refused:
        check_object(event(kind, **fields))
    assert (refused.value.code, refused.value.pointer) == (code, pointer)
    assert words in refused.value.detail


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_what_is_no_object_is_refused(value):
    """Only an object can be an event."""
    with pytest.raises(Refused) as refused:
        check_object(value)
    assert refused.value.code is RejectCode.NOT_AN_OBJECT


@pytest.mark.parametrize("kind", EVENT_STRUCTS)
def test_a_plain_event_of_each_type_is_accepted(kind):
    """A right event passes, and its values come in the form of the columns."""
    checked = check_object(event(kind))
    assert checked.type == kind
    assert (checked.skus, checked.quantities) == (["sku-1"], [3])
    assert checked.location == "store-1"
    assert checked.from_location == ("depot" if kind.startswith("transfer") else "")
    assert checked.reference == ("po-7" if kind in {"receipt", "expected"} else "")
    assert checked.unknown_fields == 0
    assert not checked.is_claim


@pytest.mark.parametrize("kind", ["count", "expected"])
def test_a_total_may_be_zero(kind):
    """A count and an expected total of 0 are right."""
    assert check_object(event(kind, quantity=0)).quantities == [0]


@pytest.mark.parametrize("kind", EVENT_STRUCTS)
def test_lines_share_the_rest(kind):
    """Every type takes lines; an adjustment's carry delta in the place of quantity."""
    amount = "delta" if kind == "adjustment" else "quantity"
    checked = check_object(event(kind, lines=[{"sku": "a", amount: 1}, {"sku": "b", amount: 2}]))
    assert (checked.skus, checked.quantities) == (["a", "b"], [1, 2])


@pytest.mark.parametrize("extra", [{"sku": "a"}, {"quantity": 1}])
def test_lines_and_a_sku_or_quantity_exclude_each_other(extra):
    """An event that has both says two things, so it is refused."""
    with pytest.raises(Refused) as refused:
        check_object(event("sale", lines=[{"sku": "a", "quantity": 1}]) | extra)
    assert refused.value.code is RejectCode.SKU_OR_LINES


def test_the_line_at_fault_is_named():
    """A bad line refuses the whole event and is pointed at."""
    lines = [{"sku": f"s{n}", "quantity": 1} for n in range(5)]
    lines[3]["quantity"] = 0
    with pytest.raises(Refused) as refused:
        check_object(event("sale", lines=lines))
    assert refused.value.pointer == "/lines/3/quantity"


def test_only_a_count_may_not_name_a_sku_twice():
    """Two counts of one SKU in one event contradict each other; two sales of one do not."""
    lines = [{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 1}, {"sku": "a", "quantity": 2}]
    assert len(check_object(event("sale", lines=lines)).skus) == 3
    with pytest.raises(Refused) as refused:
        check_object(event("count", lines=lines))
    assert refused.value.code is RejectCode.DUPLICATE_SKU_IN_COUNT
    assert refused.value.pointer == "/lines/2/sku"


@pytest.mark.parametrize("count", [1, 1000])
def test_lines_are_1_to_1000(count):
    """Up to 1,000 lines are right, one more is not."""
    lines = [{"sku": f"s{n}", "quantity": 1} for n in range(count)]
    assert len(check_object(event("sale", lines=lines)).skus) == count
    with pytest.raises(Refused) as refused:
        check_object(event("sale", lines=[{"sku": "a", "quantity": 1}] * 1001))
    assert refused.value.code is RejectCode.LINE_COUNT


@pytest.mark.parametrize(
    ("kind", "field", "is_claim"),
    [
        ("sale", "allocation_id", True),
        ("sale", "order_id", False),
        ("return", "return_id", True),
        ("return", "order_id", True),
        ("receipt", "order_id", False),
    ],
)
def test_claims_are_told_from_movements(kind, field, is_claim):
    """A sale of an allocation is a claim, a return of an order too, but not on the ledger."""
    named = event(kind, **{field: "x-1"})
    assert check_object(named).is_claim is is_claim
    assert check_object(event(kind, **{field: None})).is_claim is False
    assert check_object(named | {"sequence": 1}, is_ledger=True).is_claim is False


def test_the_ledger_needs_a_sequence_and_others_ignore_it():
    """Events of the order layer carry their sequence; elsewhere it is an unknown field."""
    assert check_object(event(sequence=5), is_ledger=True).sequence == 5
    ignored = check_object(event(sequence="rubbish"))
    assert (ignored.sequence, ignored.unknown_fields) == (0, 1)
    for sequence in (..., 0, "1"):
        with pytest.raises(Refused):
            check_object(event(sequence=sequence), is_ledger=True)


def test_unknown_fields_are_ignored_and_counted():
    """Fields of no type, of other types and of lines are counted, never judged."""
    assert check_object(event("sale", colour="red", delta="x", reason=1)).unknown_fields == 3
    lines = [{"sku": "a", "quantity": 1, "price": 3, "tax": 1}]
    assert check_object(event("sale", lines=lines)).unknown_fields == 2


def test_characters_and_not_bytes_are_counted():
    """A name of 64 characters is right, whatever their length in UTF-8."""
    assert check_object(event(sku=64 * "語", id=128 * "🧦")).skus == [64 * "語"]


def test_every_code_has_a_meaning_and_every_type_a_number():
    """The published lists are whole."""
    assert set(MEANINGS) == set(RejectCode)
    assert list(EVENT_STRUCTS) == list(TYPE_NUMBERS)
