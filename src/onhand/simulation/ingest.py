"""The ingest process, stepped: the real engine and shards, and in place of Bytewax the scheduler.

::

    lanes ── poll, judge (dead letters and claims are durable) ──▶ a queue a shard ── apply
                                                                        │ freeze
                                                                        ▼
                                                         a checkpoint, written when a step says so
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from onhand._native.reader import Table
from onhand.ingest.ahead import poll_of
from onhand.ingest.opening import Opening
from onhand.simulation.faults import must
from onhand.simulation.shelf import NOTHING, Shelf
from onhand.simulation.timeline import NeverStopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onhand.ingest.metrics import IngestMetrics
    from onhand.log.base import LogReader
    from onhand.model.batch import Batch
    from onhand.settings import Settings
    from onhand.simulation.disk import SimulatedDisk
    from onhand.simulation.judged import Judged
    from onhand.simulation.log import SimulatedLog
    from onhand.simulation.timeline import HostClock, Timeline
    from onhand.table.directory import TableDirectory

FIELDS = ("on_hand", "held", "in_transit", "damaged")


class SteppedThread(threading.Thread):
    """A thread that runs when a step says so."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> None:
        super().__init__(name=name)
        self._work: Callable[[], None] | None = lambda: target(*args)

    def start(self) -> None:
        """Be ready."""

    def is_alive(self) -> bool:
        """Tell whether it has not run yet."""
        return self._work is not None

    def join(self, timeout: float | None = None) -> None:  # noqa: ARG002
        """Run, if it has not."""
        work, self._work = self._work, None
        if work is not None:
            work()


class IngestProcess:
    """One life of the ingest process; :meth:`kill` ends it at once.

    Raises
    ------
    LogUnavailable
        The log cannot be reached at the start; the supervisor tries again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        log: SimulatedLog,
        directory: TableDirectory,
        metrics: IngestMetrics,
        clock: HostClock,
        disk: SimulatedDisk,
        timeline: Timeline,
        judged: Judged,
    ) -> None:
        self._threads: list[SteppedThread] = []
        directory.clean_all(settings.shard_count)
        opening = Opening(
            settings,
            log,
            directory,
            metrics,
            clock,
            disk=disk,
            make_thread=self._make_thread,
        )
        self.engine = opening.engine()
        self.engine.stopping = NeverStopped(timeline)
        self._judged = judged
        self._readers: list[LogReader] = [
            self.engine.lane_reader(lane) for lane in range(self.engine.lane_count)
        ]
        self._queues: list[deque[tuple[int, Batch]]] = [deque() for _ in self.engine.shards]
        self.followers = [
            Follower(shard.supply.applied_offset, _path_of(directory, number), judged, self)
            for number, shard in enumerate(self.engine.shards)
        ]

    # ---- steps ----

    def poll(self, lane: int) -> str:
        """Let a lane read and judge, unless the shards have enough to do."""
        if self.engine.is_congested():
            return "congested"
        reader = self._readers[lane]
        raw = reader.poll(self.engine.poll_record_count_max, 0.0)
        self.engine.after_poll(lane, reader)
        self.engine.batch_entered()
        for key, item in self.engine.judge(poll_of(self.engine, lane, reader, raw)):
            self._queues[int(key)].append(item)
        return f"{len(raw)} records"

    def apply(self, number: int) -> str:
        """Let a shard apply what comes next."""
        if not self._queues[number]:
            return "nothing"
        lane, batch = self._queues[number].popleft()
        shard = self.engine.shards[number]
        was_published = shard.is_published
        shard.write(lane, batch)
        self.engine.batch_left()
        self.followers[number].follow()
        news = " published" if shard.is_published and not was_published else ""
        return f"{len(batch.events)} events{news}"

    def write_checkpoint(self) -> str:
        """Let the oldest checkpoint on its way get to the disk."""
        self._threads = [each for each in self._threads if each.is_alive()]
        if not self._threads:
            return "nothing"
        self._threads.pop(0).join()
        return "written"

    def is_idle(self) -> bool:
        """Tell whether everything that was read is applied."""
        return not any(self._queues) and all(reader.lag_events() == 0 for reader in self._readers)

    def kill(self) -> None:
        """End at once; what was mapped is let go of, nothing is written."""
        for shard in self.engine.shards:
            shard.supply.close()

    def _make_thread(self, *, target: Any, args: Any, name: str) -> SteppedThread:
        thread = SteppedThread(target, args, name)
        self._threads.append(thread)
        return thread


class Follower:
    """Follows one shard by the naive model: whatever offsets it says it has, its numbers follow."""

    def __init__(
        self,
        applied_offset: Callable[[int], int],
        path: Path,
        judged: Judged,
        process: IngestProcess,
    ) -> None:
        self.shelf = Shelf()
        self.table = Table(path)
        self._applied_offset = applied_offset
        self._judged = judged
        self._partitions = process.engine.partitions
        self._followed = [0] * len(self._partitions)
        self.follow()

    def follow(self) -> None:
        """Give the model what the shard has applied since, and compare every number.

        Outputs come first: a record that was refused or is a claim is never behind an offset
        before its dead letter or its claim is in the log.
        """
        for index, partition in enumerate(self._partitions):
            offset = self._applied_offset(index)
            must(offset >= self._followed[index], "offsets never go back", partition, offset)
            for each in self._judged.between(partition, self._followed[index], offset):
                if each.verdict == "event":
                    self.shelf.give(each.event)
                else:
                    must(each.is_passed_on, "outputs come before offsets", each.record, offset)
            self._followed[index] = offset
        self.compare()

    def compare(self) -> None:
        """Find cells whose numbers are not what the events before the offsets say."""
        table, names = self.table, self.table.location_names()
        cells = table.cells()
        skus = table.sku_names()
        columns = [cells[name].tolist() for name in FIELDS]
        found = set()
        for sku, location, *numbers in zip(
            cells["sku"].tolist(), cells["location"].tolist(), *columns, strict=True
        ):
            cell = (skus[sku], names[location])
            found.add(cell)
            expected = self.shelf.numbers(cell)
            must(tuple(numbers) == expected, "numbers follow from offsets", cell, numbers, expected)
        known = set(skus)
        for cell, expected in self.shelf.cells().items():
            if cell[0] in known and cell not in found:
                must(expected == NOTHING, "numbers follow from offsets: none", cell, expected)
        sequence = table.progress()[3]
        must(
            sequence == self.shelf.sequence,
            "sequence and offset agree",
            sequence,
            self.shelf.sequence,
        )


def _path_of(directory: TableDirectory, number: int) -> Path:
    files = directory.path.glob(f"shard-{number:03}.*.table")
    return max(files, key=lambda path: int(path.name.split(".")[1]))
