"""Tracing itself: what is sampled, what is sent where, and what happens when nobody takes it."""

import contextlib
import json
import sys
import time

import pytest
from structlog.testing import capture_logs

from onhand import tracing
from onhand.cli import run
from onhand.errors import SettingsError
from onhand.metrics import Page
from onhand.settings import Settings
from tests.collectors import Caller, carried
from tests.deployments import wait_until
from tests.ports import free_port


@pytest.fixture
def page(tmp_path):
    with contextlib.closing(Page(tmp_path / "metrics", "test")) as page:
        yield page


@pytest.fixture
def trace(collector, page):
    """Give a tracing that traces nothing by chance."""
    made = tracing.Tracing(collector.url, 0.0, {"onhand.role": "test"}, page)
    with contextlib.closing(made):
        yield made


def request(trace, traceparent=None, tracestate=None, *, may_draw=True):
    return trace.request("GET", traceparent, tracestate, may_draw=may_draw)


def test_nothing_is_opened_unless_asked_for(page):
    """Without an endpoint there is no tracing, whatever the ratio says."""
    settings = Settings(trace_sample_ratio=1.0)
    tracing.require(settings)
    assert tracing.open_tracing(settings, role="serve", cluster_id="c", page=page) is None
    assert tracing.current_trace() is None
    assert tracing.trace_headers() == ()


def test_a_missing_library_is_said_with_what_to_install(monkeypatch, tmp_path, capsys):
    """The command ends with exit code 2 and one line; nothing was begun."""
    missing = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SettingsError, match=missing):
        tracing.require(Settings(otlp_endpoint="http://collector:4318"))
    data = tmp_path / "data"
    for command in ("up", "serve", "storefront"):
        options = ["--otlp-endpoint", "http://collector:4318", "--data", str(data), "--port", "0"]
        assert run([command, *options]) == 2
        assert "pip install 'onhand[tracing]'" in capsys.readouterr().err
    assert not data.exists()


@pytest.mark.parametrize(
    ("endpoint", "url", "headers"),
    [
        ("http://c:4318", "http://c:4318/v1/traces", {}),
        ("https://c/otlp/", "https://c/otlp/v1/traces", {}),
        ("http://c:4318/v1/traces", "http://c:4318/v1/traces", {}),
        ("https://[::1]:4318", "https://[::1]:4318/v1/traces", {}),
        ("https://me:h%40sh@c", "https://c/v1/traces", {"authorization": "Basic bWU6aEBzaA=="}),
    ],
)
def test_spans_are_posted_below_the_endpoint(endpoint, url, headers):
    """The path is added once, and what is secret becomes a header."""
    assert tracing.endpoint_of(endpoint) == (url, headers)


def test_credentials_reach_the_collector(collector, page):
    """They are sent as a header."""
    endpoint = f"http://me:hush@{collector.place}/below"
    with contextlib.closing(tracing.Tracing(endpoint, 0.0, {}, page)) as made:
        request(made, Caller().traceparent).end("GET")
    path, headers = collector.requests[0]
    assert path == "/below/v1/traces"
    assert headers["authorization"] == "Basic bWU6aHVzaA=="
    assert headers["content-type"] == "application/x-protobuf"


def test_credentials_are_in_no_warning(page):
    """Whatever the library says of an address that does not answer."""
    with capture_logs() as said:
        made = tracing.Tracing(f"http://me:hush@127.0.0.1:{free_port()}", 0.0, {}, page)
        request(made, Caller().traceparent).end("GET")
        wait_until(lambda: any(line["event"] == "spans_lost" for line in said))
        made.close()
    assert "hush" not in str(said)
    assert "aHVzaA" not in str(said)


@pytest.mark.parametrize("traceparent", ["", "no", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_a_traceparent_that_cannot_be_read_counts_as_none(trace, traceparent):
    """Chance decides then, here that nothing is traced."""
    assert request(trace, traceparent) is None


def test_chance_decides_where_nobody_else_does(collector, page):
    """At a ratio of 1 all is traced that may be; a caller's no stands all the same."""
    with contextlib.closing(tracing.Tracing(collector.url, 1.0, {}, page)) as made:
        assert request(made) is not None
        assert request(made, "no traceparent") is not None
        assert request(made, may_draw=False) is None
        assert request(made, Caller(sampled=False).traceparent) is None
    with contextlib.closing(tracing.Tracing(collector.url, 0.3, {}, page)) as made:
        count = sum(request(made) is not None for _ in range(2_000))
        assert 400 < count < 800


def test_a_request_is_the_parent_of_what_happens_within(trace, collector):
    """Its headers name it to others, and a task's context knows it."""
    caller = Caller()
    made = request(trace, caller.traceparent, "vendor=1")
    context = made.context()
    assert context.run(tracing.current_trace) is made
    assert tracing.current_trace() is None
    made.span("inner", 1_000, 2_000, {"a": 1})
    made.route, made.status = "/v1/x", 503
    made.end("GET")
    trace.close()
    inner, outer = collector.wait_spans(caller.trace, "inner", "GET /v1/x")
    assert (outer.parent, inner.parent) == (caller.id, outer.id)
    assert context.run(tracing.trace_headers) == (
        ("traceparent", f"00-{caller.trace}-{outer.id}-01".encode()),
    )
    assert outer.is_failed
    assert (inner.begun_ns, inner.ended_ns) == (1_000, 2_000)


def test_a_record_belongs_to_what_its_headers_or_its_envelope_name(trace):
    """Only what is sampled counts, and a broken one is none."""
    caller = Caller()
    envelope = json.dumps({"specversion": "1.0", "traceparent": caller.traceparent}).encode()
    assert trace.sampled(carried(caller)) is not None
    assert trace.sampled((("other", b"x"), *carried(caller, "ce_traceparent"))) is not None
    assert trace.sampled(None, envelope) is not None
    assert trace.sampled((), envelope) is not None
    assert trace.sampled(carried(Caller(sampled=False)), envelope) is None
    assert trace.sampled(None) is None
    for odd in (b"", b"\xff" * 55, b"x" * 54 + b"1", caller.traceparent[:-1].encode()):
        assert trace.sampled((("traceparent", odd),)) is None
    for odd in (b'{"traceparent": 1}', b'{"traceparent"', b'["traceparent"]', b'\xff"traceparent"'):
        assert trace.sampled(None, odd) is None


def test_spans_that_nobody_takes_are_dropped_and_counted(collector, page, monkeypatch):
    """Who traces never waits, not even at the end; what is lost is told once in a while."""
    monkeypatch.setattr(tracing, "WAITING_COUNT_MAX", 20)
    monkeypatch.setattr(tracing, "SEND_COUNT_MAX", 10)
    monkeypatch.setattr(tracing, "CLOSE_S_MAX", 0.2)
    collector.hold()
    caller = Caller()
    lost = page.counter("onhand_spans_total", "lost")
    with capture_logs() as said:
        made = tracing.Tracing(collector.url, 0.0, {}, page)
        begun_s = time.monotonic()
        for _ in range(500):
            request(made, caller.traceparent).end("GET")
        # Far less than any sending may take.
        assert time.monotonic() - begun_s < tracing.SEND_S_MAX
        # As many as may wait are left, and those on their way.
        assert 470 <= lost.value <= 480
        begun_s = time.monotonic()
        made.close()
        assert time.monotonic() - begun_s < tracing.SEND_S_MAX
    warnings = [line["event"] for line in said if line["log_level"] == "warning"]
    assert warnings == ["spans_lost", "last_spans_not_sent"]
    collector.release()
    sent = page.counter("onhand_spans_total", "sent")
    wait_until(lambda: sent.value + lost.value == 500)
