"""Reading ahead: a lane's reader has a thread of its own, which polls while the worker applies.

::

    reader's thread    poll ── poll ── poll ── (two wait: rests)
                           ╲       ╲
    worker                  judge, apply ── judge, apply

Polling, decoding and applying are native and release the interpreter lock for most of their time,
so on two cores the one is hidden behind the others.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.logging import get_logger

if TYPE_CHECKING:
    from onhand.ingest.engine import Engine
    from onhand.log.base import LogReader, RawBatch

log = get_logger(__name__)

TICK_US: Final = 10_000
"""An idle lane still says every 10 ms how far it has read: freshness is news too."""

AHEAD_COUNT_MAX: Final = 2
"""Polls that wait for the worker: one to be taken at once, one for when the next takes long."""

GATHER_RECORD_COUNT: Final = 100
GATHER_S: Final = 0.001
"""A poll of fewer records has emptied the log. More are let gather for a millisecond, or every
event would cost a poll of its own."""


class Poll(msgspec.Struct, frozen=True):
    """What one lane read in one poll, and how far the lane is after it."""

    lane: int
    raw: RawBatch
    next_offsets: dict[int, int]
    progress_us: int
    lag_events: int


def poll_of(engine: Engine, lane: int, reader: LogReader, raw: RawBatch) -> Poll:
    """Put what a lane's reader has just handed out together with how far that brings it."""
    return Poll(
        lane=lane,
        raw=raw,
        next_offsets=engine.by_index(reader.next_offsets()),
        progress_us=reader.progress_us(),
        lag_events=reader.lag_events(),
    )


class ReadAhead:
    """A thread that polls a reader and keeps a few polls ready.

    Nobody else uses the reader, from its first poll to its closing.

    Parameters
    ----------
    engine
        Whose lane it is; once it is told to stop, the thread ends.
    lane
        The lane's number.
    reader
        Open; the thread closes it.
    """

    def __init__(self, engine: Engine, lane: int, reader: LogReader) -> None:
        self._engine = engine
        self._lane = lane
        self._reader = reader
        self._polls: deque[Poll] = deque()
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._is_closing = False
        self._failure: BaseException | None = None
        self._told_us = 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"lane-{lane}", daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> Poll | None:
        """Return the next poll; None when there is none until the timeout.

        Raises
        ------
        BaseException
            What ended the thread, once every poll before it has been taken.
        """
        with self._lock:
            if not self._polls and self._failure is None and timeout_s > 0:
                self._ready.wait(timeout_s)
            if self._polls:
                self._room.notify()
                return self._polls.popleft()
            if self._failure is not None:
                raise self._failure
            return None

    def close(self) -> None:
        """End the thread; what was not taken is read again at the next start."""
        with self._lock:
            self._is_closing = True
            self._room.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.closing(self._reader):
                while self._wait_room():
                    self._poll()
        except BaseException as failure:  # noqa: BLE001 - or the lane would end unnoticed
            with self._lock:
                self._failure = failure
                self._ready.notify()

    def _wait_room(self) -> bool:
        """Wait until another poll may be made; False when none is to be made any more."""
        with self._lock:
            while len(self._polls) >= AHEAD_COUNT_MAX and not self._is_closing:
                self._room.wait()
            return not self._is_closing and not self._engine.stopping.is_set()

    def _poll(self) -> None:
        engine, reader = self._engine, self._reader
        raw = reader.poll(engine.poll_record_count_max, TICK_US / 1e6)
        engine.after_poll(self._lane, reader)
        now_us = engine.clock()
        # Behind polls that still wait, one without records would tell nothing that they do not.
        if not raw.values and (self._polls or now_us - self._told_us < TICK_US):
            return
        self._told_us = now_us
        self._note_error(reader.error())
        poll = poll_of(engine, self._lane, reader, raw)
        with self._lock:
            self._polls.append(poll)
            self._ready.notify()
        if 0 < len(raw.values) < GATHER_RECORD_COUNT:
            time.sleep(GATHER_S)

    def _note_error(self, error: str | None) -> None:
        if error == self._error:
            return
        self._error = error
        if error is None:
            log.info("log_reached_again", lane=self._lane)
        else:
            log.warning("log_not_reached", lane=self._lane, error=error)
