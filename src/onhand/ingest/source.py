"""The flow's source: lanes that hand over whole polls of the log.

A lane is one log reader over a share of the partitions. One lane per Bytewax worker, each poll one
item: an object per event would cost more than everything else onhand does with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from onhand.logging import get_logger

if TYPE_CHECKING:
    from onhand.ingest.engine import Engine
    from onhand.log.base import LogReader, RawBatch

log = get_logger(__name__)

TICK_US = 10_000
"""An idle lane still says every 10 ms how far it has read: freshness is news too."""


class Poll(msgspec.Struct, frozen=True):
    """What one lane read in one poll, and how far the lane is after it."""

    lane: int
    raw: RawBatch
    next_offsets: dict[int, int]
    progress_us: int
    lag_events: int
    polled_us: int


class Lane(StatefulSourcePartition[Poll, None]):
    """One log reader as a Bytewax partition.

    It resumes at the checkpoints' offsets, which the engine knows, so Bytewax stores nothing.
    """

    def __init__(self, engine: Engine, lane: int, reader: LogReader) -> None:
        self._engine = engine
        self._lane = lane
        self._reader = reader
        self._told_us = 0
        self._error: str | None = None

    def next_batch(self) -> list[Poll]:
        """Read what is there, at most one poll; empty while the shards are behind.

        Raises
        ------
        StopIteration
            Once the engine is told to stop.
        """
        if self._engine.stopping.is_set():
            raise StopIteration
        if self._engine.is_congested():
            return []
        raw = self._reader.poll(self._engine.poll_record_count_max, 0.0)
        self._engine.after_poll(self._reader)
        now_us = self._engine.clock()
        if not raw.values and now_us - self._told_us < TICK_US:
            return []
        self._told_us = now_us
        self._note_error(self._reader.error())
        self._engine.batch_entered()
        return [
            Poll(
                lane=self._lane,
                raw=raw,
                next_offsets=self._engine.by_index(self._reader.next_offsets()),
                progress_us=self._reader.progress_us(),
                lag_events=self._reader.lag_events(),
                polled_us=now_us,
            )
        ]

    def _note_error(self, error: str | None) -> None:
        if error == self._error:
            return
        self._error = error
        if error is None:
            log.info("log_reached_again", lane=self._lane)
        else:
            log.warning("log_not_reached", lane=self._lane, error=error)

    def snapshot(self) -> None:
        """Nothing: the table's checkpoint holds the offsets."""

    def close(self) -> None:
        """Leave the log."""
        self._reader.close()


class LogSource(FixedPartitionedSource[Poll, None]):
    """Every lane of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list_parts(self) -> list[str]:
        """Name the lanes; two digits keep them in order."""
        return [f"{lane:02d}" for lane in range(self._engine.lane_count)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Lane:  # noqa: ARG002
        """Open the lane's reader at the offsets every shard has applied."""
        lane = int(for_part)
        return Lane(self._engine, lane, self._engine.open_reader(lane))
