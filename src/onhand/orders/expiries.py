"""When holds expire, for as many as there may be.

What expires later lies in lists, one for each second or so, and is not looked at before its time:
noting one more touches the end of a list, whether there are a hundred or a million. Only those of
the seconds that have begun are in a heap.
"""

from __future__ import annotations

import heapq
from typing import Final

Entry = tuple[int, str]
"""A time in microseconds, and the id of what expires then."""

_SPAN_BITS: Final = 20
"""A list holds what expires within 2^20 us."""


class Expiries:
    """Ids by the time at which they expire; the same one may be noted several times."""

    def __init__(self) -> None:
        self._begun: list[Entry] = []
        self._later: dict[int, list[Entry]] = {}
        self._spans: list[int] = []
        """The keys of ``_later``, a heap."""
        self._span = -1
        """The last span that has begun."""

    def note(self, at_us: int, some_id: str) -> None:
        """Note when something expires; O(1) unless that is about now."""
        span = at_us >> _SPAN_BITS
        if span <= self._span:
            heapq.heappush(self._begun, (at_us, some_id))
            return
        found = self._later.get(span)
        if found is None:
            self._later[span] = [(at_us, some_id)]
            heapq.heappush(self._spans, span)
        else:
            found.append((at_us, some_id))

    def take(self, now_us: int) -> Entry | None:
        """Take out the first of those whose time has come; None when there is none."""
        self._begin(now_us >> _SPAN_BITS)
        if not self._begun or self._begun[0][0] > now_us:
            return None
        return heapq.heappop(self._begun)

    def _begin(self, span: int) -> None:
        if self._spans and self._spans[0] <= span:
            while self._spans and self._spans[0] <= span:
                self._begun += self._later.pop(heapq.heappop(self._spans))
            heapq.heapify(self._begun)
        self._span = max(self._span, span)
