"""``onhand explain``, from the tables on this machine and from a server."""

import json
from datetime import UTC, datetime

import pytest

from onhand import cli
from tests.deployments import HELD_UP, Deployment


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("explain"), *HELD_UP)
    try:
        deployment.start().wait_ready()
        now = datetime.now(UTC).isoformat()
        shared = {"source": "dock", "occurred_at": now, "location": "store-1", "sku": "sku-1"}
        # One after the other: their topics differ, and order holds within a topic only.
        for event in (
            {"type": "receipt", "id": "r-1", "quantity": 12, **shared},
            {"type": "adjustment", "id": "a-1", "delta": -2, "reason": "breakage", **shared},
            {"type": "receipt", "id": "r-2", "quantity": 5, **shared, "sku": "sku-2"},
        ):
            assert deployment.publish(event)[0] == 202
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(params=["tables", "server"])
def explain(request, running, capsys):
    where = {
        "tables": ("--data", str(running.data)),
        "server": ("--url", running.url),
    }[request.param]

    def run(*arguments):
        code = cli.run(["explain", *arguments, *where])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_terms_and_events_are_shown(explain):
    """The numbers that make up available, then the events, newest first."""
    code, out, err = explain("sku-1", "store-1")
    assert code == 0, err
    assert "10 on hand - 0 reserved - 0 safety stock = 10 available (in)" in out
    rows = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert [row[1:6] for row in rows] == [
        ["type", "quantity", "effect", "source", "id"],
        ["adjustment", "-2", "on_hand", "dock", "a-1"],
        ["receipt", "12", "on_hand", "dock", "r-1"],
    ]


def test_a_program_gets_json(explain):
    """One document with the terms and the events."""
    code, out, _ = explain("sku-1", "store-1", "--json", "--limit", "1")
    document = json.loads(out)
    assert code == 0
    assert document["terms"]["on_hand"] == 10
    assert [item["id"] for item in document["items"]] == ["a-1"]


@pytest.fixture(scope="module")
def returned(running):
    """Take a unit back that was sold by an order; return the return's id."""
    pickup = {"method": "pickup", "location": "store-1"}
    stocked = {"type": "receipt", "source": "dock", "location": "store-1", "quantity": 5}
    now = datetime.now(UTC).isoformat()
    for sku in ("sku-3", "sku-4"):
        running.publish({**stocked, "id": sku, "sku": sku, "occurred_at": now})
    lines = [{"sku": "sku-3", "quantity": 2, "unit_price": 5.0}]
    order = sent(running, "/v1/orders", {"lines": lines, "fulfilment": pickup})
    task = f"/v1/tasks/{order['tasks'][0]}"
    sent(running, f"{task}/pick")
    sent(running, f"{task}/ready")
    sent(running, f"{task}/collect", {"pickup_code": order["pickup_code"]})
    body = {
        "order_id": order["id"],
        "channel": "store",
        "location": "store-1",
        "lines": [{"line": "1", "quantity": 2, "reason": "too small"}],
        "exchange": [{"sku": "sku-4", "quantity": 1, "unit_price": 4.0}],
    }
    return_id = sent(running, "/v1/returns", body)["id"]
    line = {"line": "1", "quantity": 1, "disposition": "inspect"}
    sent(running, f"/v1/returns/{return_id}/receive", {"location": "store-1", "lines": [line]})
    return return_id


def sent(running, path, document=None):
    status, answer = running.request("POST", path, document)
    assert status in (200, 201), answer
    return answer


def test_a_return_is_explained(explain, returned):
    """By which rule it came back, where it lies, what it pays for, and what it moved."""
    code, out, err = explain(returned)
    assert code == 0, err
    assert f"{returned}: partially_received, in a store, of order order_" in out
    assert "worth 4.00, of which 4.00 has come back" in out
    rows = [line.split("\t") for line in out.splitlines() if "\t" in line]
    lies, rule = "1 held at store-1", "default of policy 0"
    assert ["1", "sku-3", "2", "1", "too small", lies, rule] in rows
    assert any(row[1] == "received" for row in rows)
    assert "return" in [row[-1] for row in rows]
    code, out, _ = explain(returned, "--json")
    assert json.loads(out)["return"]["id"] == returned


def test_an_unknown_return_is_said(explain):
    """It fails with words, as an unknown order does."""
    code, _, err = explain("return_nobody")
    assert code == 1
    assert err.startswith("onhand: ")


@pytest.mark.parametrize("cell", [("never-seen", "store-1"), ("sku-1", "nowhere")])
def test_an_unknown_cell_is_said(explain, cell):
    """A SKU or location that nobody has named fails with words."""
    code, _, err = explain(*cell)
    assert code == 1
    assert err.startswith("onhand: ")


def test_without_tables_or_server_the_message_says_so(tmp_path, capsys):
    """Nothing runs: exit code 1, and a line about it."""
    assert cli.run(["explain", "a", "b", "--data", str(tmp_path / "none")]) == 1
    assert cli.run(["explain", "a", "b", "--url", "http://127.0.0.1:9"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_an_order_and_what_it_reserves_are_explained(running, explain):
    """Why its location was chosen, its history, and its allocation behind the cell's number."""
    body = {
        "id": "web-1",
        "lines": [{"sku": "sku-2", "quantity": 1}],
        "fulfilment": {"method": "pickup", "location": "store-1"},
    }
    assert running.request("POST", "/v1/orders", body)[0] in (201, 409)
    code, out, err = explain("web-1")
    assert code == 0, err
    assert "web-1: open, by pickup" in out
    rows = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert any("sku-2" in row and "store-1" in row and row[-1] for row in rows)
    assert any("placed" in row for row in rows)
    code, out, _ = explain("web-1", "--json")
    assert json.loads(out)["order"]["id"] == "web-1"
    code, out, _ = explain("sku-2", "store-1")
    assert "5 on hand - 1 reserved" in out
    rows = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert ["allocation", "1", "allocated", "web-1.a2", "web-1"] in [row[1:6] for row in rows]


def test_an_unknown_order_is_named(explain):
    """Exit code 1, and the id."""
    code, _, err = explain("nobody")
    assert code == 1
    assert "nobody" in err
