"""How many tasks each location was given, by when: what a day's capacity is measured against.

Counts are kept by quarter of an hour, on which every zone's midnight falls, so that a location's
local day is a sum of them whatever its zone. A task counts from its creation on, whatever becomes
of it. After a restart the tasks of open orders are counted with them, and those of closed ones are
read from the ledger for the locations that have a capacity at that time.
"""

from __future__ import annotations

from typing import Final

CURRENT_DAY_AGE_US_MAX: Final = 2 * 86_400 * 1_000_000
"""No local day that is not over began longer ago than two days, by any zone."""

QUARTER_US: Final = 900 * 1_000_000
QUARTERS_MAX: Final = 256
"""Kept of a location before those that no current day needs are let go."""

_QUARTERS_NEEDED: Final = CURRENT_DAY_AGE_US_MAX // QUARTER_US


class Workload:
    """Tasks by location and quarter of an hour. ``changed`` names locations until it is cleared."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self._counts: dict[str, dict[int, int]] = {}

    def add(self, location: str, created_us: int, count: int = 1) -> None:
        """Count tasks; a count below 0 takes back what was counted."""
        quarters = self._counts.setdefault(location, {})
        quarter = created_us // QUARTER_US
        quarters[quarter] = quarters.get(quarter, 0) + count
        self.changed.add(location)
        if len(quarters) > QUARTERS_MAX:
            oldest = max(quarters) - _QUARTERS_NEEDED
            self._counts[location] = {at: n for at, n in quarters.items() if at >= oldest}

    def count(self, location: str, begin_us: int, end_us: int) -> int:
        """Count the tasks created from ``begin_us`` to before ``end_us``, in whole quarters."""
        quarters = self._counts.get(location)
        if not quarters:
            return 0
        begin, end = begin_us // QUARTER_US, end_us // QUARTER_US
        return sum(count for at, count in quarters.items() if begin <= at < end)
