"""What happens by itself, before any command of a turn: supply's doing, and what becomes due.

Each part is undone alone when it fails, and never holds up commands. What a commit that failed has
undone is looked at again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.logging import get_logger
from onhand.orders import holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from onhand.orders.book import Cell
    from onhand.orders.desk import Desk
    from onhand.writer.metrics import WriterMetrics
    from onhand.writer.supply_watch import SupplyWatch

log = get_logger(__name__)

DUE_COUNT_MAX: Final = 1_000
"""What is done of one kind in one turn: a million holds may expire at once."""

RETRY_S: Final = 1.0
"""A part that has failed is left alone for so long."""


class Background:
    """Runs before the commands of each turn, and shares their commit."""

    def __init__(self, desk: Desk, supply: SupplyWatch, metrics: WriterMetrics) -> None:
        self._desk = desk
        self._supply = supply
        self._metrics = metrics
        self._changed: dict[Cell, None] = {}
        self._uncommitted: dict[Cell, None] = {}
        self._expired_count = 0
        self._failed_until_s: dict[str, float] = {}

    def step(self, now_us: int, now_s: float, *, is_paused: bool) -> None:
        """Follow supply and do what is due.

        Parameters
        ----------
        now_s
            Seconds of a clock that nobody sets.
        is_paused
            Whether nothing is to be decided; supply is followed all the same.
        """
        for cell in self._supply.look(now_us, now_s):
            self._changed[cell] = None
        if is_paused:
            return
        self._try("expire_holds", now_s, lambda: self._expire_holds(now_us))

    def kept(self) -> None:
        """Forget how to do it again: what was done is on disk."""
        self._uncommitted = {}
        if self._expired_count:
            self._metrics.holds_expired.add(self._expired_count)
            self._expired_count = 0

    def undone(self) -> None:
        """Let what was done be due again: it is undone."""
        self._changed = self._uncommitted | self._changed
        self._uncommitted = {}
        self._expired_count = 0

    def _try(self, what: str, now_s: float, part: Callable[[], None]) -> None:
        if self._failed_until_s.get(what, 0.0) > now_s:
            return
        mark = self._desk.book.mark()
        try:
            part()
        except Exception:
            self._desk.book.rollback(mark)
            self._failed_until_s[what] = now_s + RETRY_S
            log.exception("background_failed", part=what)

    def _expire_holds(self, now_us: int) -> None:
        next_us = self._desk.book.next_expiry_us()
        if next_us is None or next_us > now_us:
            return
        due = self._desk.book.due_holds(now_us, DUE_COUNT_MAX)
        for hold in due:
            holds.expire(self._desk, hold, now_us)
        self._expired_count += len(due)
