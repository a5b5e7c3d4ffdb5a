"""The flow's source: lanes that hand over whole polls of the log.

A lane is one log reader over a share of the partitions. One lane per Bytewax worker, each poll one
item: an object per event would cost more than everything else onhand does with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from onhand.ingest.ahead import Poll

if TYPE_CHECKING:
    from onhand.ingest.ahead import ReadAhead
    from onhand.ingest.engine import Engine

WAIT_S: Final = 0.02
"""How long a worker with nothing else to do waits for a poll. When told that there is none, Bytewax
rests for a millisecond, whatever comes meanwhile."""


class Lane(StatefulSourcePartition[Poll, None]):
    """One log reader as a Bytewax partition.

    It resumes at the checkpoints' offsets, which the engine knows, so Bytewax stores nothing.
    """

    def __init__(self, engine: Engine, ahead: ReadAhead) -> None:
        self._engine = engine
        self._ahead = ahead

    def next_batch(self) -> list[Poll]:
        """Hand over what has been read, at most one poll; empty while the shards are behind.

        Raises
        ------
        StopIteration
            Once the engine is told to stop.
        """
        if self._engine.stopping.is_set():
            raise StopIteration
        if self._engine.is_congested():
            return []
        poll = self._ahead.take(WAIT_S if self._engine.may_wait() else 0.0)
        if poll is None:
            return []
        self._engine.batch_entered()
        return [poll]

    def snapshot(self) -> None:
        """Nothing: the table's checkpoint holds the offsets."""

    def close(self) -> None:
        """Leave the log."""
        self._ahead.close()


class LogSource(FixedPartitionedSource[Poll, None]):
    """Every lane of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list_parts(self) -> list[str]:
        """Name the lanes; two digits keep them in order."""
        return [f"{lane:02d}" for lane in range(self._engine.lane_count)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Lane:  # noqa: ARG002
        """Open the lane's reader at the offsets every shard has applied."""
        return Lane(self._engine, self._engine.open_lane(int(for_part)))
