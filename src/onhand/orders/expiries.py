"""When holds expire, for as many as there may be.

What expires later lies in lists, one for each second or so, and is not looked at before its time:
noting one more touches the end of a list, whether there are a hundred or a million. Only those of
the seconds that have begun are in a heap.

What was released or extended meanwhile stays noted until its time. Where that is most of it, the
lists are thinned one after the other.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

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
        self._count = 0
        self._to_thin: list[int] = []

    def __len__(self) -> int:
        """Count what is noted."""
        return self._count

    def note(self, at_us: int, some_id: str) -> None:
        """Note when something expires; O(1) unless that is about now."""
        self._count += 1
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
        self._count -= 1
        return heapq.heappop(self._begun)

    def thin(self, is_wanted: Callable[[Entry], bool]) -> None:
        """Leave out of one list what is not wanted any more; each has its turn."""
        while True:
            if not self._to_thin:
                self._to_thin = [span for span, entries in self._later.items() if entries]
            if not self._to_thin:
                return
            entries = self._later.get(self._to_thin.pop())
            if entries is not None:
                before = len(entries)
                entries[:] = filter(is_wanted, entries)
                self._count -= before - len(entries)
                return

    def _begin(self, span: int) -> None:
        while self._spans and self._spans[0] <= span:
            entries = self._later.pop(heapq.heappop(self._spans))
            if len(entries) > len(self._begun):
                self._begun += entries
                heapq.heapify(self._begun)
            else:
                # As many may have begun as expire at once; they are not gone through each second.
                for entry in entries:
                    heapq.heappush(self._begun, entry)
        self._span = max(self._span, span)
