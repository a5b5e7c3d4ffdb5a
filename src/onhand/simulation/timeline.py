"""Time that passes only when the simulation says so.

There is one true time. Hosts have clocks that may be set wrong, back and forth; nobody sets the
time that has passed, which stands for the operating system's monotonic clock.
"""

from __future__ import annotations

import threading
from typing import Final

START_US: Final = 1_780_000_000_000_000
SECOND_US: Final = 1_000_000


class Timeline:
    """The true time; it stands for the module ``time`` where real code measures."""

    def __init__(self) -> None:
        self.now_us = START_US

    def advance(self, microseconds: int) -> None:
        """Let time pass."""
        self.now_us += microseconds

    def monotonic(self) -> float:
        """Return seconds that have passed."""
        return (self.now_us - START_US) / 1e6 + 1.0

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        """Let time pass: nobody sleeps here."""
        self.advance(int(seconds * SECOND_US))


class HostClock:
    """The clock of one host: the true time, or how it was set."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.offset_us = 0

    def __call__(self) -> int:
        """Return microseconds since 1970-01-01 UTC, as this host has them."""
        return self._timeline.now_us + self.offset_us


class NeverStopped(threading.Event):
    """A stop sign that is never set; whoever waits for it only lets time pass."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline

    def wait(self, timeout: float | None = None) -> bool:
        """Let time pass."""
        self._timeline.sleep(timeout or 0.0)
        return False
