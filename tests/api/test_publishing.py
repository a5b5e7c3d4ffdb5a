"""Events in over HTTP: judged, durable in the embedded log, told one by one."""

import json

import msgspec
import pytest

from onhand.log.embedded import EmbeddedLog
from onhand.log.open import LOG_FILE
from tests.deployments import wait_until
from tests.servers import Server, event, now, problem
from tests.stock_events import OWN_FIELDS
from tests.stock_events import event as event_of

EVENTS = "/v1/events"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("publishing"))
    server.publish()
    server.start()
    yield server
    server.close()


@pytest.fixture
def log(server):
    log = EmbeddedLog(server.data / LOG_FILE)
    wait_until(lambda: log.partitions(["stock.sales"]))  # A server that just started makes them.
    yield log
    log.close()


def end_of(log, topic):
    return log.end_offsets([(topic, 0)])[topic, 0]


def ids_in(log, topic, since):
    records = log.read((topic, 0), since, 1_000)
    return [msgspec.json.decode(record.value)["id"] for record in records]


def lines(*values):
    return b"\n".join(json.dumps(value).encode() for value in values)


def test_one_event_is_durable_when_it_is_accepted(server, log):
    """The answer is 202, and the event's own bytes are in the log under its SKU."""
    since = end_of(log, "stock.sales")
    body = json.dumps(event(id="one", till=7), indent=1).encode()
    response = server.client.post(EVENTS, content=body)
    assert (response.status_code, response.json()) == (202, {"accepted": 1, "rejected": []})
    (record,) = log.read(("stock.sales", 0), since, 10)
    assert record.value == body
    assert record.key == b"apple"


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        ("sale", "stock.sales"),
        ("receipt", "stock.receipts"),
        ("expected", "stock.receipts"),
        ("transfer_shipped", "stock.transfers"),
        ("transfer_received", "stock.transfers"),
        ("transfer_lost", "stock.transfers"),
        ("return", "stock.returns"),
        ("inspected", "stock.returns"),
        ("count", "stock.counts"),
        ("adjustment", "stock.counts"),
    ],
)
def test_each_type_goes_to_its_topic(server, log, kind, topic):
    """Every type of event is accepted, on the topic that is meant for it."""
    assert kind in OWN_FIELDS
    since = end_of(log, topic)
    sent = event_of(kind, id=f"{kind}-1", occurred_at=now())
    assert server.post(EVENTS, sent).json() == {"accepted": 1, "rejected": []}
    assert ids_in(log, topic, since) == [f"{kind}-1"]


def test_an_array_is_taken_event_by_event(server, log):
    """A wrong event is named by its place and its field, and the others are accepted."""
    since = end_of(log, "stock.sales")
    response = server.post(
        EVENTS,
        [event(id="a"), event(id="b", quantity=0), event(id="c"), event(id="d", location=None), 7],
    )
    answer = response.json()
    assert response.status_code == 202
    assert answer["accepted"] == 2
    assert [(each["index"], each["code"], each["pointer"]) for each in answer["rejected"]] == [
        (1, "out_of_range", "/quantity"),
        (3, "missing_field", "/location"),
        (4, "not_an_object", ""),
    ]
    assert all(each["detail"] for each in answer["rejected"])
    assert ids_in(log, "stock.sales", since) == ["a", "c"]


def test_lines_of_ndjson_are_taken_one_by_one(server, log):
    """NDJSON with blank and torn lines; the index counts the lines that hold something."""
    since = end_of(log, "stock.sales")
    body = lines(event(id="1")) + b"\n\n{torn\n" + lines(event(id="2")) + b"\n"
    headers = {"content-type": "application/x-ndjson; charset=utf-8"}
    answer = server.client.post(EVENTS, content=body, headers=headers).json()
    assert answer["accepted"] == 2
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [(1, "malformed_json")]
    assert ids_in(log, "stock.sales", since) == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quantity": 0}, "out_of_range"),
        ({"quantity": -1}, "out_of_range"),
        ({"quantity": 1.5}, "wrong_type"),
        ({"quantity": 2**31}, "out_of_range"),
        ({"quantity": "1"}, "wrong_type"),
        ({"id": ""}, "empty_id"),
        ({"id": "x" * 129}, "too_long"),
        ({"sku": "x" * 65}, "too_long"),
        ({"sku": "a\u0007b"}, "not_printable"),
        ({"type": "theft"}, "unknown_type"),
        ({"occurred_at": "2026-01-01T00:00:00"}, "bad_time"),
        ({"occurred_at": "2020-01-01T00:00:00Z"}, "too_late"),
        ({"occurred_at": "2099-01-01T00:00:00Z"}, "clock_ahead"),
        ({"lines": [{"sku": "apple", "quantity": 1}]}, "sku_or_lines"),
        ({"type": "transfer_shipped", "transfer_id": "t", "from": "x", "to": "x"}, "same_location"),
    ],
)
def test_a_wrong_event_is_refused_with_its_code(server, log, change, code):
    """Nothing of a refused event reaches the log."""
    topics = ("stock.sales", "stock.transfers")
    before = [end_of(log, topic) for topic in topics]
    answer = server.post(EVENTS, event(**change)).json()
    assert (answer["accepted"], [each["code"] for each in answer["rejected"]]) == (0, [code])
    assert [end_of(log, topic) for topic in topics] == before


@pytest.mark.parametrize("body", [b"", b"   ", b"hello", b"{", b"[", b"[1,", b"[]", b"7", b"null"])
def test_a_body_that_is_no_event_is_a_400(server, body):
    """What holds no event at all is a problem and not a list of refusals."""
    problem(server.client.post(EVENTS, content=body), 400, "not_an_event")


def test_lines_that_hold_no_event_are_a_400(server):
    """NDJSON without a single object is no event either."""
    headers = {"content-type": "application/x-ndjson"}
    response = server.client.post(EVENTS, content=b"hello\nworld\n", headers=headers)
    problem(response, 400, "not_an_event")


def test_a_cloud_event_is_taken_as_it_came(server, log):
    """A structured CloudEvent is judged by its data and kept whole."""
    since = end_of(log, "stock.sales")
    envelope = {
        "specversion": "1.0",
        "type": "com.example.sale",
        "source": "/tills",
        "id": "e",
        "data": event(id="inner"),
    }
    answer = server.post(EVENTS, envelope).json()
    assert answer == {"accepted": 1, "rejected": []}
    (record,) = log.read(("stock.sales", 0), since, 10)
    assert json.loads(record.value) == envelope


def test_a_large_body_of_many_events_is_taken(server, log):
    """Just below the limit, every event of a body is accepted."""
    since = end_of(log, "stock.sales")
    many = [event(id=f"many-{number}") for number in range(5_000)]
    response = server.post(EVENTS, many)
    assert response.json() == {"accepted": 5_000, "rejected": []}
    assert end_of(log, "stock.sales") == since + 5_000


def test_waiting_for_visible_answers_when_tables_have_applied(server, log):
    """The answer waits for the offset of the event, however far the table is behind."""
    offset = end_of(log, "stock.sales")
    server.kit.set_applied_offset(0, offset + 1)
    answer = server.post(EVENTS + "?wait=visible", event())
    assert answer.json() == {"accepted": 1, "rejected": []}


def test_another_wait_is_refused(server):
    """The parameter takes one value."""
    response = server.post(EVENTS + "?wait=forever", event())
    assert problem(response, 400, "invalid_request")["errors"][0]["pointer"] == "/wait"


def test_events_are_counted_by_outcome(server):
    """Accepted and refused events are metrics."""
    series = 'onhand_publish_events_total{outcome="%s"}'
    before = [server.counted(series % outcome) for outcome in ("accepted", "rejected")]
    server.post(EVENTS, [event(), event(), event(quantity=0)])
    after = [server.counted(series % outcome) for outcome in ("accepted", "rejected")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1]
