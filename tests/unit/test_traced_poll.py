"""Which events of a poll are traced, as what they are told, and when."""

import contextlib
import gc
import weakref

import pytest

from onhand.ingest.decode import decode_batch
from onhand.ingest.traced import TRACED_COUNT_MAX, traced_poll
from onhand.metrics import Page
from onhand.tracing import Tracing
from tests.collectors import Caller, carried
from tests.stock_events import APPEND_US, WINDOW, encode, event, poll

TOPICS = [("stock.sales", 0), ("stock.counts", 3)]


@pytest.fixture
def trace(tmp_path, collector):
    with (
        contextlib.closing(Page(tmp_path / "metrics", "test")) as page,
        contextlib.closing(Tracing(collector.url, 0.0, {}, page)) as made,
    ):
        yield made


def test_a_poll_tells_of_what_is_traced_in_it(trace, collector):
    """Each record is told as what became of it, and events when every shard has applied them."""
    callers = [Caller() for _ in range(6)]
    values = [
        b"{",
        encode(event(id="1")),
        encode(event(id="2", allocation_id="a")),
        encode(event(id="3", lines=[{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 2}])),
        encode(event(id="4", quantity=-1)),
        encode(event("count", id="5", unknown=1)),
    ]
    raw = poll(
        values,
        headers=[None, *map(carried, callers[1:])],
        partitions=[0, 0, 0, 1, 0, 0],
    )
    batch = decode_batch(raw, WINDOW)
    assert len(batch.rejects) == 2
    assert batch.claims == [2]
    found = traced_poll(trace, raw, batch, TOPICS, 2)
    found.tell_diverted(APPEND_US + 1)
    found.applied(APPEND_US + 2)
    found.applied(APPEND_US + 3)
    trace.close()
    (first,) = collector.wait_spans(callers[1].trace, "stock.visible")
    assert (first.begun_ns, first.ended_ns) == (APPEND_US * 1_000, (APPEND_US + 3) * 1_000)
    assert first.attributes["onhand.offset"] == 101
    assert first.attributes["onhand.lines"] == 1
    (claim,) = collector.wait_spans(callers[2].trace, "stock.claim")
    assert claim.ended_ns == (APPEND_US + 1) * 1_000
    (lines,) = collector.wait_spans(callers[3].trace, "stock.visible")
    assert lines.attributes["onhand.lines"] == 2
    assert (lines.attributes["onhand.topic"], lines.attributes["onhand.partition"]) == TOPICS[1]
    (refused,) = collector.wait_spans(callers[4].trace, "stock.refused")
    assert refused.is_failed
    (count,) = collector.wait_spans(callers[5].trace, "stock.visible")
    assert count.attributes["onhand.event_type"] == "count"
    assert not collector.spans(callers[0].trace)


def test_a_poll_that_is_applied_is_freed_at_once(trace):
    """Nothing waits for a collection of garbage, which ingest lets come rarely."""
    raw = poll([encode(event())], headers=[carried(Caller())])
    batch = decode_batch(raw, WINDOW)
    batch.on_applied = traced_poll(trace, raw, batch, TOPICS, 1).applied
    batch.on_applied(APPEND_US)
    held = weakref.ref(batch.on_applied.__self__)
    gc.disable()
    try:
        del raw, batch
        assert held() is None
    finally:
        gc.enable()


def test_a_poll_of_which_nothing_is_traced_is_left_alone(trace):
    """Neither records without headers nor unsampled ones make anything."""
    plain = poll([encode(event())])
    assert traced_poll(trace, plain, decode_batch(plain, WINDOW), TOPICS, 1) is None
    unsampled = poll([encode(event())], headers=[carried(Caller(sampled=False))])
    assert traced_poll(trace, unsampled, decode_batch(unsampled, WINDOW), TOPICS, 1) is None


def test_a_publisher_that_samples_everything_is_traced_in_part(trace, collector):
    """Of one poll only so many events are told of, the first."""
    caller = Caller()
    values = [encode(event(id=str(number))) for number in range(200)]
    raw = poll(values, headers=[carried(caller)] * 200)
    found = traced_poll(trace, raw, decode_batch(raw, WINDOW), TOPICS, 1)
    found.applied(APPEND_US)
    trace.close()
    offsets = [span.attributes["onhand.offset"] for span in collector.spans(caller.trace)]
    assert offsets == list(range(100, 100 + TRACED_COUNT_MAX))
