"""Explaining a number, over a whole deployment: terms, and the events behind them."""

import pytest

from tests.deployments import Deployment
from tests.servers import event

EXPLAIN = "/v1/availability/apple/explain?location=north"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("explain"))
    try:
        yield deployment.start().wait_ready()
    finally:
        deployment.close()


def test_a_number_is_explained_by_its_events_newest_first(deployment):
    """Receipt, sale and return of a cell, as their publishers wrote them, page by page."""
    sent = [
        event(type="receipt", id="r1", quantity=10, reference="truck 7"),
        event(id="s1", quantity=2, source="till-9"),
        event(type="return", id="b1", quantity=1, disposition="inspect"),
    ]
    for each in sent:
        assert deployment.publish(each) == (202, {"accepted": 1, "rejected": []})
    _, found = deployment.get(EXPLAIN)
    assert (found["terms"]["on_hand"], found["terms"]["held"]) == (8, 1)
    assert found["next"] is None
    assert [
        (each["type"], each["id"], each["source"], each["quantity"], each["effects"])
        for each in found["items"]
    ] == [
        ("return", "b1", "till-1", 1, ["held"]),
        ("sale", "s1", "till-9", 2, ["on_hand"]),
        ("receipt", "r1", "till-1", 10, ["on_hand"]),
    ]
    assert found["items"][2]["reference"] == "truck 7"
    pages, cursor = [], ""
    while cursor is not None:
        _, page = deployment.get(f"{EXPLAIN}&limit=2{cursor and '&cursor=' + cursor}")
        pages += page["items"]
        cursor = page["next"]
    assert pages == found["items"]


def test_an_event_in_an_envelope_is_looked_up_too(deployment):
    """What a CloudEvent carries is told as if it had come plain."""
    envelope = {
        "specversion": "1.0",
        "type": "sale",
        "source": "/tills",
        "id": "outer",
        "data": event(id="inner", sku="pear", order_id=None),
    }
    assert deployment.publish(envelope)[0] == 202
    _, found = deployment.get("/v1/availability/pear/explain?location=north")
    assert found["items"][0]["id"] == "inner"


def test_a_cell_that_nothing_moved_has_terms_and_no_events(deployment):
    """A known SKU at a known place that never had it."""
    deployment.publish(event(sku="plum", location="south"), event(sku="quince"))
    status, found = deployment.get("/v1/availability/plum/explain?location=north")
    assert (status, found["items"], found["terms"]["on_hand"]) == (200, [], 0)


def test_an_answer_to_waiting_comes_after_the_change_is_readable(deployment):
    """A read that starts after ``wait=visible`` answered sees the event, every time."""
    for turn in range(50):
        assert deployment.publish(event(type="receipt", sku="fig", quantity=1))[0] == 202
        assert deployment.on_hand("fig", "north") == turn + 1
