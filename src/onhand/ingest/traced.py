"""What a trace tells of an event: from its append to the log until its effect can be seen."""

from __future__ import annotations

import threading
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Final

from onhand.ingest.metrics import TYPE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onhand.log.base import RawBatch, TopicPartition
    from onhand.model.batch import Batch
    from onhand.tracing import Trace, Tracing

    Told = dict[str, str | int]

TRACED_COUNT_MAX: Final = 32
"""Events of one poll that are traced, the first of them: a publisher that samples all of its events
must not hold up those of others."""


def traced_poll(
    tracing: Tracing,
    raw: RawBatch,
    batch: Batch,
    partitions: Sequence[TopicPartition],
    shard_count: int,
) -> TracedPoll | None:
    """Find what of a poll is traced; None when nothing is.

    Parameters
    ----------
    batch
        What the poll was judged to be.
    partitions
        The flow's, in order.
    shard_count
        How many shards are to apply it.
    """
    traced = list(islice(_sampled(tracing, raw, batch), TRACED_COUNT_MAX))
    return TracedPoll(traced, raw, batch, partitions, shard_count) if traced else None


class TracedPoll:
    """The records of a poll that are traced; :func:`traced_poll` makes it."""

    def __init__(
        self,
        traced: Sequence[tuple[int, Trace]],
        raw: RawBatch,
        batch: Batch,
        partitions: Sequence[TopicPartition],
        shard_count: int,
    ) -> None:
        self._raw = raw
        # Not the batch: it holds on to this until it is applied, and polls are freed as they end.
        self._events = batch.events
        self._partitions = partitions
        self._codes = {each.record: str(each.code) for each in batch.rejects}
        self._left = shard_count
        self._lock = threading.Lock()
        self._to_divert: list[tuple[int, Trace]] = []
        self._to_apply: list[tuple[int, int, Trace]] = []
        # What was diverted has no row among the events.
        diverted = sorted({*self._codes, *batch.claims})
        for index, trace in traced:
            before = bisect_left(diverted, index)
            if diverted[before : before + 1] == [index]:
                self._to_divert.append((index, trace))
            else:
                self._to_apply.append((index, index - before, trace))

    def tell_diverted(self, now_us: int) -> None:
        """Tell of what is durable among dead letters or claims since ``now_us``, if anything is."""
        for index, trace in self._to_divert:
            code = self._codes.get(index)
            if code is None:
                self._tell("stock.claim", index, trace, now_us, {})
            else:
                self._tell("stock.refused", index, trace, now_us, {"onhand.code": code}, error=code)

    def applied(self, now_us: int) -> None:
        """Note that one more shard has applied it; once all have, tell of what can be seen."""
        with self._lock:
            self._left -= 1
            if self._left:
                return
        for index, row, trace in self._to_apply:
            event = self._events[row]
            more: Told = {
                "onhand.event_type": TYPE_NAMES[int(event["type"])],
                "onhand.lines": int(event["line_count"]),
            }
            self._tell("stock.visible", index, trace, now_us, more)

    def _tell(
        self,
        name: str,
        index: int,
        trace: Trace,
        now_us: int,
        more: Told,
        *,
        error: str | None = None,
    ) -> None:
        topic, number = self._partitions[self._raw.partitions[index]]
        told = {
            "onhand.topic": topic,
            "onhand.partition": number,
            "onhand.offset": int(self._raw.offsets[index]),
            **more,
        }
        append_ns = int(self._raw.append_us[index]) * 1_000
        trace.span(name, append_ns, now_us * 1_000, told, error=error, kind="CONSUMER")


def _sampled(tracing: Tracing, raw: RawBatch, batch: Batch) -> Iterator[tuple[int, Trace]]:
    """Find the records that carry a sampled context."""
    # Only what is no plain event may be an envelope that carries one within.
    indexes = batch.slow if raw.headers is None else range(len(raw))
    slow = frozenset(batch.slow)
    for index in indexes:
        headers = raw.headers[index] if raw.headers is not None else None
        trace = tracing.sampled(headers, raw.values[index] if index in slow else b"")
        if trace is not None:
            yield index, trace
