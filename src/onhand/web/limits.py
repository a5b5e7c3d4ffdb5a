"""How often one token may ask, so that no caller takes all that the order writer can do."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimits:
    """A bucket for each token: it fills at a rate and holds one second of it.

    Used by the event loop's thread alone. There are as many buckets as tokens that ever asked.

    Parameters
    ----------
    per_s
        Requests a second; 0 for no limit.
    clock_s
        Seconds of a clock that only moves forward.
    """

    def __init__(self, per_s: float, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._room = max(1.0, per_s)
        self._clock_s = clock_s
        self._buckets: dict[str, tuple[float, float]] = {}
        """What is left in each, and when that was."""

    def take(self, token_id: str) -> None:
        """Count one request of a token.

        Raises
        ------
        ProblemError
            ``rate_limited``, saying when there is room again.
        """
        if not self._per_s:
            return
        now_s = self._clock_s()
        left, since_s = self._buckets.get(token_id, (self._room, now_s))
        left = min(self._room, left + (now_s - since_s) * self._per_s)
        if left < 1:
            self._buckets[token_id] = (left, now_s)
            wait_s = math.ceil((1 - left) / self._per_s)
            raise ProblemError(
                ProblemCode.RATE_LIMITED,
                f"The token may make {self._per_s:g} requests a second.",
                retry_after_s=wait_s,
            )
        self._buckets[token_id] = (left - 1, now_s)
