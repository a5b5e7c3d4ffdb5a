"""A shard at work: apply, say how fresh it is, publish its table, keep checkpoints.

A shard is used by one thread. Only writing a frozen image to disk happens beside it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from onhand.errors import OnhandError, TableFull
from onhand.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onhand.ingest.metrics import IngestMetrics
    from onhand.model.batch import Batch
    from onhand.settings import Settings
    from onhand.table.supply import Applied, Image, Supply

    WriteCheckpoint = Callable[[Image, int], None]

log = get_logger(__name__)

ROOM_CHECKPOINT_COUNT = 3
"""Checkpoints that applying waits for at most: the one on its way may have nothing to announce, the
next announces, and what it announced goes with the one after."""

RETRY_US = 1_000_000
"""After a checkpoint that failed, the next is not taken at once: each one pauses applying."""

IDS_MARGIN_US = 120_000_000
"""Ids are kept this much longer than ``late_window``: clocks may run 60 s ahead."""


class Checkpointer:
    """Writes frozen images in a thread, one at a time.

    Parameters
    ----------
    write
        Writes one image and returns once it is on disk.
    make_thread
        As :class:`threading.Thread`; the simulation's runs when it is told to.
    """

    def __init__(
        self,
        write: WriteCheckpoint,
        make_thread: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        self._write = write
        self._make_thread = make_thread
        self._thread: threading.Thread | None = None
        self._error: OnhandError | OSError | None = None

    @property
    def is_started(self) -> bool:
        """Whether there is an image whose outcome has not been taken."""
        return self._thread is not None

    def start(self, image: Image, change_seq: int) -> None:
        """Begin to write an image; none may be on its way."""
        self._thread = self._make_thread(
            target=self._run, args=(image, change_seq), name="checkpoint"
        )
        self._thread.start()

    def take_outcome(self) -> bool | None:
        """Return True once when an image became durable, False when it failed, else None."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            log.error("checkpoint_failed", error=str(error))
            return False
        return True

    def wait(self) -> bool | None:
        """Wait for the image on its way, if any, and return its outcome."""
        if self._thread is not None:
            self._thread.join()
        return self.take_outcome()

    def _run(self, image: Image, change_seq: int) -> None:
        try:
            self._write(image, change_seq)
        except (OnhandError, OSError) as error:
            # The table goes on with the checkpoint before; a metric and a log line tell of it.
            self._error = error


class Shard:
    """One supply table with its progress and its checkpoints.

    Parameters
    ----------
    supply
        The table, loaded, not yet visible to readers unless its targets are reached.
    starts
        Per partition index, the offset this shard resumes at: the log may begin above 0.
    targets
        Per partition index, the next offset that must be applied before readers may see this
        generation: nobody promises from the past.
    publish
        Makes this generation the one that readers open; called once.
    checkpointer
        Puts an image, taken at a change sequence, on disk beside this thread.
    """

    def __init__(
        self,
        supply: Supply,
        *,
        starts: Sequence[int],
        targets: Mapping[int, int],
        lane_count: int,
        settings: Settings,
        metrics: IngestMetrics,
        clock: Callable[[], int],
        publish: Callable[[], None],
        checkpointer: Checkpointer,
    ) -> None:
        self.supply = supply
        self.is_published = False
        self.checkpoint_count = 0
        self._next_offsets = list(starts)
        self._targets = dict(targets)
        self._lane_progress_us = [0] * lane_count
        self._lane_lag_events = [0] * lane_count
        self._interval_us = int(settings.checkpoint_interval_s * 1e6)
        self._late_us = settings.late_us
        self._count_us = settings.count_us
        self._metrics = metrics
        self._clock = clock
        self._publish = publish
        self._checkpoint_us = clock()
        self._failed_us = 0
        self._checkpointer = checkpointer

    def write(self, lane: int, batch: Batch) -> None:
        """Apply one batch and do what has become due.

        Raises
        ------
        TableFull
            The batch does not fit, and no checkpoint can make room; nothing of it is applied.
        """
        applied = self._apply(batch)
        self._lane_progress_us[lane] = batch.progress_us
        self._lane_lag_events[lane] = batch.lag_events
        for partition, offset in batch.next_offsets.items():
            self._next_offsets[partition] = offset
        now_us = self._clock()
        self.supply.stamp(
            heartbeat_us=now_us,
            as_of_us=min(self._lane_progress_us),
            lag_events=sum(self._lane_lag_events),
        )
        if batch.on_applied is not None:
            batch.on_applied(now_us)
        if not self.is_published:
            self._publish_when_caught_up()
        if applied.events or applied.duplicates:
            self._metrics.count_applied(batch, applied, now_us)
        self._checkpoint_when_due(now_us)

    def finish(self) -> None:
        """Write a last checkpoint and wait until it is on disk; failing that, say so."""
        self._settle(self._checkpointer.wait())
        self._start_checkpoint()
        self._settle(self._checkpointer.wait())

    def close(self) -> None:
        """Let go of the table once nothing writes it to disk any more."""
        self._checkpointer.wait()
        self.supply.close()

    def _apply(self, batch: Batch) -> Applied:
        # What every lane had handed out before this batch: no record after that is older.
        expired_us = min(self._lane_progress_us) - self._count_us
        for _ in range(ROOM_CHECKPOINT_COUNT):
            try:
                return self.supply.apply(batch, expired_us)
            except TableFull:
                self._make_room()
        return self.supply.apply(batch, expired_us)

    def _make_room(self) -> None:
        """Wait for one more checkpoint, for room comes from checkpoints alone."""
        if not self._checkpointer.is_started:
            self._start_checkpoint()
        self._settle(self._checkpointer.wait())

    def _publish_when_caught_up(self) -> None:
        if all(self._next_offsets[p] >= end for p, end in self._targets.items()):
            self._publish()
            self.is_published = True

    def _checkpoint_when_due(self, now_us: int) -> None:
        self._settle(self._checkpointer.take_outcome())
        # One that has come to its end since then has an outcome that nobody has taken yet.
        if self._checkpointer.is_started or now_us - self._failed_us < RETRY_US:
            return
        if now_us - self._checkpoint_us >= self._interval_us or self.supply.needs_checkpoint():
            self._checkpoint_us = now_us
            self._start_checkpoint()

    def _start_checkpoint(self) -> None:
        change_seq = self.supply.statistics().change_seq
        self._checkpointer.start(self._freeze(), change_seq)

    def _freeze(self) -> Image:
        began_us = self._clock()
        expired_us = began_us - self._late_us - IDS_MARGIN_US if self._late_us >= 0 else 0
        image = self.supply.freeze(expired_us)
        self._metrics.count_pause((self._clock() - began_us) / 1e6)
        return image

    def _settle(self, outcome: bool | None) -> None:  # noqa: FBT001 - what a checkpoint came to
        if outcome:
            self.supply.forget()
            self.checkpoint_count += 1
        elif outcome is False:
            self._failed_us = self._clock()
            self._metrics.count_failed_checkpoint()
