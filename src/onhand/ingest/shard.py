"""A shard at work: apply, say how fresh it is, publish its table, keep checkpoints.

A shard is used by one thread. Only writing a frozen image to disk happens beside it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from onhand.errors import OnhandError, TableFull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onhand.model.batch import Batch
    from onhand.table.supply import Image, Supply

log = structlog.get_logger(__name__)

CHECKPOINT_WAIT_S_MAX = 60.0


class Checkpointer:
    """Writes frozen images in a thread, one at a time.

    Parameters
    ----------
    write
        Writes one image and returns once it is on disk.
    """

    def __init__(self, write: Callable[[Image], None]) -> None:
        self._write = write
        self._thread: threading.Thread | None = None
        self._error: OnhandError | OSError | None = None

    @property
    def is_writing(self) -> bool:
        """Whether an image is still on its way to disk."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, image: Image) -> None:
        """Begin to write an image; none may be on its way."""
        self._thread = threading.Thread(target=self._run, args=(image,), name="checkpoint")
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
            self._thread.join(CHECKPOINT_WAIT_S_MAX)
        return self.take_outcome()

    def _run(self, image: Image) -> None:
        try:
            self._write(image)
        except (OnhandError, OSError) as error:
            # The table goes on with the checkpoint before; a metric and a log line tell of it.
            self._error = error


class Shard:
    """One supply table with its progress and its checkpoints.

    Parameters
    ----------
    supply
        The table, loaded, not yet visible to readers unless its targets are reached.
    targets
        Per partition index, the next offset that must be applied before readers may see this
        generation: nobody promises from the past.
    publish
        Makes this generation the one that readers open; called once.
    write_checkpoint
        Puts an image on disk; called in another thread.
    """

    def __init__(
        self,
        supply: Supply,
        *,
        lane_count: int,
        targets: Mapping[int, int],
        clock: Callable[[], int],
        checkpoint_interval_us: int,
        publish: Callable[[], None],
        write_checkpoint: Callable[[Image], None],
        on_durable: Callable[[], None],
    ) -> None:
        self.supply = supply
        self._clock = clock
        self._targets = dict(targets)
        self._lane_progress_us = [0] * lane_count
        self._lane_lag_events = [0] * lane_count
        self._publish = publish
        self._is_published = False
        self._checkpoint_interval_us = checkpoint_interval_us
        self._checkpoint_us = clock()
        self._checkpointer = Checkpointer(write_checkpoint)
        self._on_durable = on_durable
        self._finished = False
        self._publish_when_caught_up()

    @property
    def is_published(self) -> bool:
        """Whether readers see this generation."""
        return self._is_published

    def write(self, lane: int, batch: Batch) -> None:
        """Apply one batch and do what has become due.

        Raises
        ------
        TableFull
            The batch does not fit, and no checkpoint can make room; nothing of it is applied.
        """
        try:
            applied = self.supply.apply(batch)
        except TableFull:
            self._make_room()
            applied = self.supply.apply(batch)
        now_us = self._clock()
        self._lane_progress_us[lane] = batch.progress_us
        self._lane_lag_events[lane] = batch.lag_events
        self.supply.stamp(
            heartbeat_us=now_us,
            as_of_us=min(self._lane_progress_us),
            lag_events=sum(self._lane_lag_events),
        )
        if applied.events:
            self.supply.observe_visible(batch, now_us)
        if not self._is_published:
            self._publish_when_caught_up()
        self._checkpoint_when_due(now_us)

    def finish(self) -> None:
        """Write a last checkpoint and wait until it is on disk."""
        if self._finished:
            return
        self._finished = True
        self._settle(self._checkpointer.wait())
        self._checkpointer.start(self.supply.freeze())
        self._settle(self._checkpointer.wait())

    def _publish_when_caught_up(self) -> None:
        if all(self.supply.applied_offset(p) >= end for p, end in self._targets.items()):
            self._publish()
            self._is_published = True

    def _checkpoint_when_due(self, now_us: int) -> None:
        self._settle(self._checkpointer.take_outcome())
        if self._checkpointer.is_writing:
            return
        overdue = now_us - self._checkpoint_us >= self._checkpoint_interval_us
        if overdue or self.supply.needs_checkpoint():
            self._checkpoint_us = now_us
            self._checkpointer.start(self.supply.freeze())

    def _settle(self, outcome: bool | None) -> None:  # noqa: FBT001
        if outcome:
            self.supply.forget()
            self._on_durable()

    def _make_room(self) -> None:
        """Two checkpoints in a row: the first announces what the second may forget."""
        for _ in range(2):
            self._settle(self._checkpointer.wait())
            self._checkpointer.start(self.supply.freeze())
        self._settle(self._checkpointer.wait())
