"""Latencies by kind of request and interval of time, in buckets, so that an hour takes no room."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

INTERVAL_S = 10.0
"""Requests are counted to the interval in which they were due."""

GROWTH = 1.06
"""From one bucket to the next: a percentile is right to 3 %."""

LEAST_S = 20e-6
BUCKET_COUNT = 280
_LOG_GROWTH = math.log(GROWTH)


class Latencies:
    """Counts of requests by kind, interval and bucket of latency.

    Parameters
    ----------
    begun_s
        When the load began, by the monotonic clock that all processes of a machine share.
    """

    def __init__(self, begun_s: float) -> None:
        self.begun_s = begun_s
        self._counts: defaultdict[tuple[str, int], np.ndarray] = defaultdict(_no_counts)

    def observe(self, kind: str, due_s: float, taken_s: float) -> None:
        """Count one request that was due at a time and had its answer so much later."""
        place = int(math.log(taken_s / LEAST_S) / _LOG_GROWTH) if taken_s > LEAST_S else 0
        interval = max(0, int((due_s - self.begun_s) / INTERVAL_S))
        self._counts[kind, interval][min(place, BUCKET_COUNT - 1)] += 1

    def add(self, other: Latencies) -> None:
        """Take in what another process has counted."""
        for key, counts in other._counts.items():
            self._counts[key] = self._counts[key] + counts

    def kinds(self) -> list[str]:
        """List the kinds that were counted."""
        return sorted({kind for kind, _ in self._counts})

    def intervals(self, kind: str) -> list[int]:
        """List the intervals that have requests of a kind."""
        return sorted(interval for each, interval in self._counts if each == kind)

    def count(self, kind: str, intervals: range | list[int]) -> int:
        """Count the requests of a kind that were due in some intervals."""
        return int(self._sum(kind, intervals).sum())

    def percentile_ms(self, kind: str, share: float, intervals: range | list[int]) -> float | None:
        """Return the latency that a share of the requests kept within; None without requests."""
        reached = np.cumsum(self._sum(kind, intervals))
        if not reached[-1]:
            return None
        place = int(np.searchsorted(reached, share * reached[-1]))
        return LEAST_S * GROWTH ** (place + 0.5) * 1_000

    def _sum(self, kind: str, intervals: range | list[int]) -> np.ndarray:
        found = (self._counts[kind, each] for each in intervals if (kind, each) in self._counts)
        return sum(found, start=_no_counts())


def _no_counts() -> np.ndarray:
    return np.zeros(BUCKET_COUNT, np.int64)
