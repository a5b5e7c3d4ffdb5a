"""What the ingest process counts, on top of what the tables count themselves."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

import numpy as np

from onhand.model.batch import TYPE_NUMBERS

if TYPE_CHECKING:
    from onhand.metrics import Page
    from onhand.model.batch import Batch
    from onhand.table.supply import Applied

TYPE_NAMES = {number: name for name, number in TYPE_NUMBERS.items()}
UNKNOWN_TYPE = "unknown"


class IngestMetrics:
    """Counters of one ingest process.

    Parameters
    ----------
    page
        The process's page of shared counters.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._polls = page.counter("onhand_ingest_polls_total")
        self._claimed = page.counter("onhand_events_claimed_total")
        self._unknown_fields = page.counter("onhand_fields_unknown_total")
        self._duplicates = page.counter("onhand_events_duplicate_total")
        self._lines = page.counter("onhand_lines_applied_total")
        self._applied = {
            number: page.counter("onhand_events_applied_total", name)
            for number, name in TYPE_NAMES.items()
        }
        self._visible = page.histogram("onhand_event_visible_seconds")

    def count_judged(self, batch: Batch) -> None:
        """Count what decoding and judging a poll came to."""
        self._polls.add(1)
        self._claimed.add(len(batch.claims))
        self._unknown_fields.add(batch.unknown_fields)
        for (kind, code), count in Tally((r.type, r.code) for r in batch.rejects).items():
            self._page.counter("onhand_events_dead_total", kind or UNKNOWN_TYPE, code).add(count)

    def count_applied(self, batch: Batch, applied: Applied, now_us: int) -> None:
        """Count a batch that readers can see since ``now_us``."""
        self._lines.add(applied.lines)
        self._duplicates.add(applied.duplicates)
        for number, count in enumerate(applied.by_type):
            if count:
                self._applied[number].add(int(count))
        self._visible.observe_since(np.ascontiguousarray(batch.events["append_us"]), now_us)

    def count_checkpoint(
        self, shard: int, *, bytes_written: int, taken_us: int, seconds: float
    ) -> None:
        """Note a checkpoint that is on disk."""
        self._page.counter("onhand_checkpoints_total", "done").add(1)
        self._page.gauge("onhand_checkpoint_seconds").set(seconds)
        self._page.gauge("onhand_checkpoint_bytes", str(shard)).set(bytes_written)
        self._page.gauge("onhand_checkpoint_timestamp_seconds", str(shard)).set(taken_us / 1e6)

    def count_pause(self, seconds: float) -> None:
        """Note how long apply stood still for a checkpoint."""
        self._page.gauge("onhand_checkpoint_pause_seconds").set(seconds)

    def count_failed_checkpoint(self) -> None:
        """Count a checkpoint that did not reach the disk."""
        self._page.counter("onhand_checkpoints_total", "failed").add(1)
