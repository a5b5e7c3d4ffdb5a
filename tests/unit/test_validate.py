"""Bodies are built from outside data, and every field at fault is named at its place."""

import pytest

from onhand.errors import InvalidInput
from onhand.model.commands import CancelOrder, PickTask, PlaceHold, PlaceOrder
from onhand.model.validate import build

LINE = {"sku": "apple", "quantity": 1, "location": "north"}
HOLD = {"lines": [LINE], "ttl_s": 60}
ORDER = {
    "lines": [{"sku": "apple", "quantity": 1}],
    "fulfilment": {"method": "pickup", "location": "north"},
}


@pytest.mark.parametrize(
    ("kind", "body", "pointers"),
    [
        (PlaceHold, {}, ["/lines", "/ttl_s"]),
        (PlaceHold, HOLD | {"lines": []}, ["/lines"]),
        (PlaceHold, HOLD | {"lines": [7] * 1_001}, ["/lines"]),
        (PlaceHold, HOLD | {"lines": [LINE, 7, {"sku": ""}]}, ["/lines/1", "/lines/2/quantity"]),
        (PlaceHold, HOLD | {"lines": [LINE, LINE | {"group": "all"}]}, ["/lines/1/location"]),
        (PlaceHold, HOLD | {"lines": [LINE | {"colour": 1}], "x": 1}, ["/lines/0/colour", "/x"]),
        (PlaceOrder, ORDER | {"fulfilment": {"method": "ship"}}, ["/fulfilment/destination"]),
        (
            PlaceOrder,
            ORDER | {"fulfilment": {"method": "ship", "destination": {"latitude": 1}}},
            ["/fulfilment/destination/longitude"],
        ),
        (PlaceOrder, ORDER | {"policy": {"allow_split": 1}}, ["/policy/allow_split"]),
        (PlaceOrder, ORDER | {"channel": "fax"}, ["/channel"]),
        (PlaceOrder, ORDER | {"customer": {"name": 1}}, ["/customer/id", "/customer/name"]),
        (CancelOrder, {"lines": [{"id": "1", "quantity": 0}]}, ["/lines/0/quantity"]),
        (PickTask, {"short": [{"line": "1", "quantity": 1}]}, ["/short/0/reason"]),
    ],
)
def test_every_field_at_fault_is_named(kind, body, pointers):
    """However deep, each by its own pointer; lists that are too long are not looked into."""
    with pytest.raises(InvalidInput) as raised:
        build(kind, body)
    named = [error.pointer for error in raised.value.errors]
    assert named[: len(pointers)] == pointers
    assert set(named) - set(pointers) <= {"/lines/2/sku"}


@pytest.mark.parametrize(("kind", "body"), [(PlaceHold, HOLD), (PlaceOrder, ORDER)])
def test_what_is_right_is_built(kind, body):
    """Structs within structs come out as structs."""
    built = build(kind, body)
    assert built.lines[0].sku == "apple"
