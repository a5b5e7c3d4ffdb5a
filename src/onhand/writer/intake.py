"""Where commands wait for their turn."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from onhand.writer.deciding import FAILED
from onhand.writer.waiting import deliver_same

if TYPE_CHECKING:
    from onhand.writer.answer import Answer
    from onhand.writer.waiting import Waiting

TICK_S: Final = 0.02
"""The longest that a turn is waited for."""

BATCH_COUNT_MAX: Final = 1_024
"""Commands of one turn, and so of one commit."""


class Intake:
    """A queue of commands: any thread puts, the writer's thread takes, opens and closes.

    Parameters
    ----------
    closed
        What commands are answered until it is opened.
    """

    def __init__(self, closed: Answer) -> None:
        self._closed: Answer | None = closed
        self._queue: SimpleQueue[list[Waiting]] = SimpleQueue()
        self._left_over: list[Waiting] = []

    def put(self, waiting: list[Waiting]) -> None:
        """Let commands wait, or answer them at once; the list is no longer the caller's."""
        self._queue.put(waiting)
        # Looked at last: whoever closes says so first and empties the queue then.
        self._refuse()

    def take(self, *, wait: bool = True) -> list[Waiting]:
        """Take what waits, at most a batch; wait a tick for the first of it, or not at all."""
        taken, self._left_over = self._left_over, []
        try:
            if not taken:
                taken = self._queue.get(wait, TICK_S)
            while len(taken) < BATCH_COUNT_MAX:
                taken.extend(self._queue.get_nowait())
        except Empty:
            pass
        if len(taken) > BATCH_COUNT_MAX:
            taken, self._left_over = taken[:BATCH_COUNT_MAX], taken[BATCH_COUNT_MAX:]
        return taken

    def wake(self) -> None:
        """Let a turn come now."""
        self._queue.put([])

    def open(self) -> None:
        """Let commands wait from now on."""
        self._closed = None

    def close(self, answer: Answer) -> None:
        """Answer whatever waits, and whatever comes from now on."""
        self._closed = answer
        left_over, self._left_over = self._left_over, []
        deliver_same(left_over, answer, FAILED)
        self._refuse()

    def _refuse(self) -> None:
        """Answer whatever waits, as long as it is closed: any thread may open it meanwhile."""
        try:
            while (answer := self._closed) is not None:
                deliver_same(self._queue.get_nowait(), answer, FAILED)
        except Empty:
            return
