"""Traces of a real deployment at a real receiver: request to commit, event to visible."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import time

import pytest
from confluent_kafka import Producer

from onhand.identity import read_identity
from tests.collectors import Caller, Collector
from tests.deployments import Deployment, is_alive, wait_until
from tests.servers import event

pytestmark = pytest.mark.timeout(300)


@contextlib.contextmanager
def deployed(scratch, *flags):
    running = Deployment(scratch, *flags)
    try:
        yield running.start().wait_ready()
    finally:
        running.close()
        if (running.data / "cluster.json").exists():
            shutil.rmtree(running.table_path(), ignore_errors=True)


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory, collector):
    """Run a deployment that traces nothing by chance, in two shards and lanes."""
    scratch = tmp_path_factory.mktemp("traced")
    flags = ("--otlp-endpoint", collector.url, "--trace-sample-ratio", "0")
    with deployed(scratch, *flags, "--shard-count", "2", "--worker-count", "2") as running:
        yield running


def own_spans(collector, running):
    """List the spans of one deployment."""
    cluster = read_identity(running.data).id
    return collector.spans_of(cluster)


def received(quantity=10, **fields):
    return event(type="receipt", quantity=quantity, **fields)


def hold(sku="apple", quantity=1):
    return {"lines": [{"sku": sku, "quantity": quantity, "location": "north"}], "ttl_s": 60}


def test_an_event_is_traced_from_its_request_until_it_is_visible(traced, collector):
    """The record goes on with the request's trace; its span ends when every shard has applied."""
    caller = Caller()
    lines = [{"sku": f"traced-{number}", "quantity": 3} for number in range(8)]
    sent = received(None, sku=None, lines=lines)
    before_ns = time.time_ns()
    assert traced.publish(sent, headers=caller.headers)[0] == 202
    posted, visible = collector.wait_spans(caller.trace, "POST /v1/events", "stock.visible")
    # The span of a request ends a moment after its answer has left.
    after_ns = time.time_ns()
    assert posted.parent == caller.id
    assert visible.parent == posted.id
    # Appends are timed in microseconds. Readers may see an event just before ingest says so.
    assert before_ns <= posted.begun_ns <= visible.begun_ns + 1_000
    assert visible.begun_ns <= visible.ended_ns
    assert visible.begun_ns < posted.ended_ns <= after_ns
    assert visible.attributes == {
        "onhand.topic": "stock.receipts",
        "onhand.partition": 0,
        "onhand.offset": visible.attributes["onhand.offset"],
        "onhand.event_type": "receipt",
        "onhand.lines": 8,
    }
    assert posted.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/events",
        "http.response.status_code": 202,
    }
    assert posted.process["service.name"] == visible.process["service.name"] == "onhand"
    assert (posted.process["onhand.role"], visible.process["onhand.role"]) == ("serve", "ingest")
    assert visible in own_spans(collector, traced)
    assert visible.process["service.version"]
    assert [span.name for span in collector.spans(caller.trace)].count("stock.visible") == 1


def test_a_hold_is_traced_from_its_request_to_its_commit(traced, collector):
    """Decision, commit and answer follow each other within the request's span."""
    traced.publish(received())
    caller = Caller()
    status, made = traced.request("POST", "/v1/holds", hold(), caller.headers)
    assert status == 201
    posted, decided, committed = collector.wait_spans(
        caller.trace, "POST /v1/holds", "orders.decide", "orders.commit"
    )
    assert posted.parent == caller.id
    assert decided.parent == committed.parent == posted.id
    assert posted.begun_ns <= decided.begun_ns <= decided.ended_ns <= committed.begun_ns
    assert committed.begun_ns < committed.ended_ns <= posted.ended_ns
    assert posted.attributes["http.response.status_code"] == 201
    assert decided.attributes == {
        "onhand.command": "place_hold",
        "onhand.outcome": "done",
        "onhand.id": made["id"],
    }
    assert committed.attributes["onhand.commands"] >= 1
    assert committed.attributes["onhand.commit_number"] >= 1
    assert not any(span.is_failed for span in (posted, decided, committed))

    caller = Caller()
    assert traced.request("DELETE", f"/v1/holds/{made['id']}", None, caller.headers)[0] == 200
    (decided,) = collector.wait_spans(caller.trace, "orders.decide")
    assert decided.attributes["onhand.id"] == made["id"]
    collector.wait_spans(caller.trace, "DELETE /v1/holds/{hold_id}", "orders.commit")


def test_a_refused_command_says_why_and_is_no_failure(traced, collector):
    """What is refused changes nothing and commits nothing, and its trace has the code."""
    traced.publish(received())
    caller = Caller()
    assert traced.request("POST", "/v1/holds", hold(quantity=10**6), caller.headers)[0] == 409
    posted, decided = collector.wait_spans(caller.trace, "POST /v1/holds", "orders.decide")
    assert decided.attributes["onhand.outcome"] == "refused"
    assert decided.attributes["onhand.code"] == "insufficient_stock"
    assert posted.attributes["http.response.status_code"] == 409
    assert not posted.is_failed
    assert not decided.is_failed


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [
        ("/v1/availability/apple?group=all", "GET /v1/availability/{sku}", 200),
        ("/v1/availability/nobody-knows", "GET /v1/availability/{sku}", 404),
        ("/v1/holds/nobody-knows", "GET /v1/holds/{hold_id}", 404),
        ("/v1/no/such/path", "GET", 404),
    ],
)
def test_reads_have_a_span_named_by_their_route(traced, collector, path, name, status):
    """Names and attributes hold the route, never what stands in its place."""
    traced.publish(received())
    caller = Caller()
    assert traced.request("GET", path, None, caller.headers)[0] == status
    (read,) = collector.wait_spans(caller.trace, name)
    assert read.parent == caller.id
    assert read.attributes["http.response.status_code"] == status
    assert "nobody-knows" not in str(read)


def test_requests_at_once_keep_their_traces_apart(traced, collector):
    """Each has its own spans, whichever of them share a commit."""
    traced.publish(received(1_000, sku="shared"))
    callers = [Caller() for _ in range(12)]
    connections = []
    body = json.dumps(hold("shared")).encode()
    for caller in callers:
        connections.append(socket.create_connection(("127.0.0.1", traced.port)))
        connections[-1].sendall(
            b"POST /v1/holds HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"traceparent: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (caller.traceparent.encode(), len(body), body)
        )
    for connection in connections:
        assert connection.recv(64).startswith(b"HTTP/1.1 201")
        connection.close()
    for caller in callers:
        posted, decided, committed = collector.wait_spans(
            caller.trace, "POST /v1/holds", "orders.decide", "orders.commit"
        )
        assert posted.parent == caller.id
        assert decided.parent == committed.parent == posted.id
        assert len(collector.spans(caller.trace)) == 3


def test_what_is_not_sampled_is_not_traced(traced, collector):
    """Neither a caller who does not sample nor chance, at a ratio of 0, makes a span."""
    callers = [Caller(sampled=False) for _ in range(3)]
    for caller in callers:
        assert traced.publish(received(), headers=caller.headers)[0] == 202
        assert traced.request("POST", "/v1/holds", hold(), caller.headers)[0] == 201
    assert traced.request("GET", "/v1/availability/apple", None, {"traceparent": "no"})[0] == 200
    # What is sent afterwards arrives afterwards: each process has one queue.
    last = Caller()
    traced.publish(received(), headers=last.headers)
    collector.wait_spans(last.trace, "POST /v1/events", "stock.visible")
    assert not any(collector.spans(caller.trace) for caller in callers)
    assert all(span.parent for span in own_spans(collector, traced))


def test_a_claim_is_traced_until_it_is_decided(traced, collector):
    """A till's sale that names an allocation goes on to the order writer with its trace."""
    caller = Caller()
    sold = event(allocation_id="o-nobody.a1")
    assert traced.publish(sold, headers=caller.headers)[0] == 202
    posted, passed_on, decided, committed = collector.wait_spans(
        caller.trace, "POST /v1/events", "stock.claim", "orders.decide", "orders.commit"
    )
    assert passed_on.parent == decided.parent == committed.parent == posted.id
    assert passed_on.attributes["onhand.topic"] == "stock.sales"
    assert decided.attributes["onhand.command"] == "claim"
    assert decided.process["onhand.role"] == "serve"


def test_what_is_read_again_after_a_crash_is_not_told_twice(traced, collector):
    """The next process reads on from a checkpoint before the event, and tells of newer ones."""
    before, after = Caller(), Caller()
    assert traced.publish(received(), headers=before.headers)[0] == 202
    collector.wait_spans(before.trace, "stock.visible")
    killed = traced.ingest_pid()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed) and traced.ingest_pid() != killed)
    assert traced.publish(received())[0] == 202
    assert traced.publish(received(), headers=after.headers)[0] == 202
    collector.wait_spans(after.trace, "stock.visible")
    told = [span for span in collector.spans(before.trace) if span.name == "stock.visible"]
    assert len(told) == 1


@pytest.mark.slow
def test_chance_decides_about_requests_that_nobody_traces(tmp_path, collector):
    """With a ratio of 1 every request under /v1 begins a trace, and no probe does."""
    flags = ("--otlp-endpoint", collector.url, "--trace-sample-ratio", "1")
    with deployed(tmp_path, *flags, "--storefront-worker-count", "1") as running:
        assert running.publish(received())[0] == 202
        front = Deployment(tmp_path, port=running.port + 1)
        assert front.get("/v1/availability/apple")[0] == 200

        def told():
            return {(s.name, s.process["onhand.role"]) for s in own_spans(collector, running)}

        wanted = {
            ("POST /v1/events", "serve"),
            ("stock.visible", "ingest"),
            ("GET /v1/availability/{sku}", "storefront"),
        }
        wait_until(lambda: told() == wanted)
        # The last spans are sent when it ends.
        assert running.get("/v1/availability/apple")[0] == 200
        assert running.stop() == 0
    assert ("GET /v1/availability/{sku}", "serve") in told()
    requests = [s for s in own_spans(collector, running) if s.name != "stock.visible"]
    assert {span.parent for span in requests} == {""}


@pytest.mark.slow
@pytest.mark.kafka
def test_records_of_kafka_are_traced_by_what_their_producer_set(tmp_path, broker, collector):
    """A traceparent comes in a header, or as CloudEvents' extension in either of its modes."""
    options = broker.options()
    flags = ("--kafka", broker.address, "--topic-prefix", options.topic_prefix)
    traced = ("--otlp-endpoint", collector.url, "--trace-sample-ratio", "0")
    plain, binary, structured, refused, unsampled = (Caller() for _ in range(5))
    unsampled = Caller(sampled=False)
    envelope = {
        "specversion": "1.0",
        "id": "1",
        "source": "/tills/1",
        "type": "sale",
        "traceparent": structured.traceparent,
    }
    records = [
        (event(), {"traceparent": plain.traceparent}),
        (event(), {"ce_specversion": "1.0", "ce_traceparent": binary.traceparent}),
        ({**envelope, "data": event()}, {}),
        (event(quantity=-1), {"traceparent": refused.traceparent}),
        (event(), {"traceparent": unsampled.traceparent}),
        (event(), {"traceparent": "no traceparent, but long enough to be taken for one at 54 1"}),
    ]
    with deployed(tmp_path, *flags, *traced) as running:
        producer = Producer({"bootstrap.servers": broker.address})
        for value, headers in records:
            topic = f"{options.topic_prefix}stock.sales"
            producer.produce(topic, json.dumps(value).encode(), headers=list(headers.items()))
        assert producer.flush(30) == 0
        for caller in (plain, binary, structured):
            (visible,) = collector.wait_spans(caller.trace, "stock.visible")
            assert visible.parent == caller.id
            assert visible.attributes["onhand.topic"] == "stock.sales"
            assert visible.attributes["onhand.lines"] == 1
        (told,) = collector.wait_spans(refused.trace, "stock.refused")
        assert told.is_failed
        assert told.parent == refused.id
        assert told.attributes["onhand.code"]
        # Over HTTP as well: the request's trace goes into the record's header.
        caller = Caller()
        assert running.publish(received(), headers=caller.headers)[0] == 202
        posted, visible = collector.wait_spans(caller.trace, "POST /v1/events", "stock.visible")
        assert visible.parent == posted.id
    assert not collector.spans(unsampled.trace)


@pytest.mark.slow
def test_a_collector_that_is_away_costs_one_warning(tmp_path):
    """Everything works, and everything ends in time; what was lost is said and counted."""
    with socket.socket() as taken:
        # Bound and not listened at: connections are refused, and nobody else takes the port.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with deployed(tmp_path, "--otlp-endpoint", url) as running:
            for _ in range(5):
                caller = Caller()
                assert running.publish(received(), headers=caller.headers)[0] == 202
                assert running.request("POST", "/v1/holds", hold(), caller.headers)[0] == 201
            lost = re.compile(r'onhand_spans_total{outcome="lost"} [1-9]')
            wait_until(lambda: lost.search(running.get("/metrics")[1]))
            assert running.get("/readyz")[0] == 200
            begun_s = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - begun_s < 20
    warnings = [line for line in running.said().splitlines() if "spans_lost" in line]
    # One of each process at most.
    assert 1 <= len(warnings) <= 2
    assert "Connection refused" in warnings[0]
    assert "Traceback" not in running.said()


def test_a_deployment_that_does_not_trace_imports_nothing_of_it(tmp_path, monkeypatch):
    """No process of it loads the library, whatever it is asked and with whichever traceparent."""
    # Every process then says what it imports.
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with deployed(tmp_path) as running:
        caller = Caller()
        assert running.publish(received(), headers=caller.headers)[0] == 202
        assert running.request("POST", "/v1/holds", hold(), caller.headers)[0] == 201
        assert running.request("GET", "/v1/orders", None, caller.headers)[0] == 200
        assert running.stop() == 0
    imported = re.findall(r"^import time: .*\| +(\S+)$", running.said(), re.MULTILINE)
    # In `up`, ingest and the server.
    assert imported.count("onhand.tracing") >= 3
    # Where it is installed, Litestar looks for its instrumentation on its own, and finds none.
    looked_for = re.compile(r"opentelemetry(\.(semconv|instrumentation)\b.*)?")
    loaded = {name for name in imported if name.startswith(("opentelemetry", "google.protobuf"))}
    assert {name for name in loaded if not looked_for.fullmatch(name)} == set()
