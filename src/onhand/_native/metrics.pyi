"""Counters in a shared page; the Python face is ``onhand.metrics``."""

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

@final
class Counter:
    """A count that only rises."""

    def __init__(self, slots: memoryview[int], index: int) -> None: ...
    def add(self, count: int = 1) -> None:
        """Raise the count."""

    @property
    def value(self) -> int:
        """Return the count of this process."""

@final
class Gauge:
    """A number that goes up and down."""

    def __init__(self, slots: memoryview[float], index: int) -> None: ...
    def set(self, value: float) -> None:
        """Replace the number."""

    def add(self, value: float) -> None:
        """Change the number by ``value``, which may be negative."""

    @property
    def value(self) -> float:
        """Return the number as this process last set it."""

@final
class Histogram:
    """Counts of observations by bucket, and their sum."""

    def __init__(
        self,
        counts: memoryview[int],
        sums: memoryview[float],
        index: int,
        bounds: Sequence[float],
    ) -> None: ...
    def observe(self, value: float) -> None:
        """Count one observation."""

    def observe_since(self, begun_us: NDArray[np.int64], now_us: int) -> None:
        """Count, for each time in microseconds, the seconds from it to ``now_us``."""

    @property
    def count(self) -> int:
        """Return how many observations this process has made."""
