"""Decoding: bytes of the log to columns, one event and 100 lines a message.

Bias: every event is plain JSON without record headers, the case that tills and shops send; the
values lie in memory, in cache for the small parameter. The limit beside each figure is
``msgspec.json.decode`` of the same bytes into the same schema, which makes an object per event and
judges less (no time, no horizons, no printable characters).
"""

import hashlib
import time

import msgspec
import numpy as np
import pytest

from benchmarks.figures import state
from onhand.ingest.decode import Window, decode_batch
from onhand.log.base import RawBatch
from onhand.model.events import AnyEvent
from onhand.model.times import parse_time

APPEND_US = parse_time("2026-03-29T12:30:01Z")
WINDOW = Window(late_us=259_200_000_000, count_us=86_400_000_000)


def make_value(number, line_count):
    """Write a sale of some lines as a till does."""
    lines = [
        {"sku": f"SKU{(number + line) * 7919 % 68509:07d}", "quantity": line % 5 + 1}
        for line in range(line_count)
    ]
    own = lines[0] if line_count == 1 else {"lines": lines}
    return msgspec.json.encode(
        {
            "type": "sale",
            "id": f"till-7-{number:09d}",
            "source": "pos/store-042",
            "occurred_at": "2026-03-29T12:30:00.123Z",
            "location": f"store-{number % 457:03d}",
            **own,
            "basket_id": f"b{number}",
        }
    )


def make_poll(values):
    """Lay values out as a poll of one partition."""
    count = len(values)
    return RawBatch(
        values=values,
        offsets=np.arange(count),
        append_us=np.full(count, APPEND_US),
        partitions=np.zeros(count, np.uint16),
        headers=None,
        whole=values.__getitem__,
    )


def report(benchmark, key, count, values):
    """State the rate beside the limit measured now."""
    decoder = msgspec.json.Decoder(AnyEvent)
    limit_s = []
    for _ in range(5):
        begin = time.perf_counter()
        for value in values:
            decoder.decode(value)
        limit_s.append(time.perf_counter() - begin)
    if benchmark.stats is None:
        return
    rate = count / benchmark.stats.stats.min
    state(benchmark, key, rate, limit=count / min(limit_s), limit_name="msgspec.json.decode")


@pytest.mark.parametrize("event_count", [100, 1_000])
def bench_decode_one_line(benchmark, event_count):
    """One event a message: 0.2 us each at most."""
    values = [make_value(number, 1) for number in range(event_count)]
    raw = make_poll(values)
    batch = benchmark(decode_batch, raw, WINDOW)
    assert len(batch.events) == event_count
    assert not batch.rejects
    print("\nresult", hashlib.sha256(batch.lines.tobytes()).hexdigest()[:16])
    report(benchmark, "decode", event_count, values)


@pytest.mark.parametrize("event_count", [10, 1_000])
def bench_decode_100_lines(benchmark, event_count):
    """100 lines a message: 10 million lines/s at least."""
    values = [make_value(number, 100) for number in range(event_count)]
    raw = make_poll(values)
    batch = benchmark(decode_batch, raw, WINDOW)
    assert len(batch.lines) == event_count * 100
    print("\nresult", hashlib.sha256(batch.lines.tobytes()).hexdigest()[:16])
    report(benchmark, "decode_100_lines", event_count * 100, values)
