"""What a trace tells of an event: from its append to the log until its effect can be seen."""

from __future__ import annotations

import threading
from bisect import bisect_left
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

NOTHING: Final = b""


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
    traced = list(_sampled(tracing, raw, batch))
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
        self._batch = batch
        self._partitions = partitions
        self._codes = {each.record: str(each.code) for each in batch.rejects}
        self._claims = frozenset(batch.claims)
        self._diverted = sorted(self._codes.keys() | self._claims)
        self._left = shard_count
        self._lock = threading.Lock()
        self._to_divert = [each for each in traced if self._row(each[0]) is None]
        self._to_apply = [each for each in traced if self._row(each[0]) is not None]

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
        events = self._batch.events
        for index, trace in self._to_apply:
            event = events[self._row(index)]
            more: Told = {
                "onhand.event_type": TYPE_NAMES[int(event["type"])],
                "onhand.lines": int(event["line_count"]),
            }
            self._tell("stock.visible", index, trace, now_us, more)

    def _row(self, index: int) -> int | None:
        """Return a record's place among the events; None when it was diverted."""
        before = bisect_left(self._diverted, index)
        is_diverted = before < len(self._diverted) and self._diverted[before] == index
        return None if is_diverted else index - before

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
    """Find the records that carry a sampled context, at most :data:`TRACED_COUNT_MAX`."""
    # Only what is no plain event may be an envelope that carries one within.
    indexes = batch.slow if raw.headers is None else range(len(raw))
    slow = frozenset(batch.slow)
    found = 0
    for index in indexes:
        headers = raw.headers[index] if raw.headers is not None else None
        trace = tracing.sampled(headers, raw.values[index] if index in slow else NOTHING)
        if trace is not None:
            yield index, trace
            found += 1
            if found == TRACED_COUNT_MAX:
                return
