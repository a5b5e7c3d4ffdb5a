"""What happens by itself, before any command of a turn: supply's doing, and what becomes due.

Each part is undone alone when it fails, and never holds up commands. What a commit that failed has
undone is done again later.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from onhand.logging import get_logger
from onhand.orders import backorders, upkeep
from onhand.orders.shortfalls import Settled, Shortfalls
from onhand.orders.upkeep import Expired

if TYPE_CHECKING:
    from collections.abc import Callable

    from onhand.model.setup import Setup
    from onhand.orders.book import Cell
    from onhand.orders.desk import Desk
    from onhand.writer.metrics import WriterMetrics
    from onhand.writer.supply_watch import SupplyWatch

log = get_logger(__name__)

DUE_COUNT_MAX: Final = 500
"""Expiries of one turn: a million holds may expire at once, and commands come in between."""

FILL_COUNT_MAX: Final = 50
"""SKUs of one turn whose backorders are looked at."""

SETTLE_S: Final = 0.1
"""Between looks at shortfalls."""

SAMPLE_COUNT_MAX: Final = 64
RETRY_S: Final = 1.0
"""A part that has failed is left alone for so long."""


class Background:
    """Runs before the commands of each turn, and shares their commit.

    Parameters
    ----------
    claims_us
        Returns the time up to which all claims in the log are decided.
    """

    def __init__(
        self,
        desk: Desk,
        supply: SupplyWatch,
        metrics: WriterMetrics,
        claims_us: Callable[[], int],
    ) -> None:
        self._desk = desk
        self._supply = supply
        self._metrics = metrics
        self._shortfalls = Shortfalls(desk)
        self._passed = Passed(claims_us)
        self._to_fill: dict[str, None] = {}
        self._setup: Setup = desk.setup
        self._settle_at_s = 0.0
        self._failed_until_s: dict[str, float] = {}
        # Of the turn that is not committed yet:
        self._filled: dict[str, None] = {}
        self._settled = Settled()
        self._expired = Expired(0, 0)

    @property
    def has_more(self) -> bool:
        """Whether the next turn should come at once."""
        return self._expired.most >= DUE_COUNT_MAX

    def passed_us(self) -> int:
        """Return the time up to which supply is applied and every claim of it is decided."""
        return self._passed.as_of_us()

    def step(self, now_us: int, now_s: float, *, is_paused: bool) -> None:
        """Follow supply and do what is due.

        Parameters
        ----------
        now_s
            Seconds of a clock that nobody sets.
        is_paused
            Whether nothing is to be decided; supply is followed all the same.
        """
        self._follow(now_us, now_s)
        self._expired = Expired(0, 0)
        if is_paused:
            return
        self._try("expire", now_s, lambda: self._expire(now_us))
        self._take_freed()
        for sku in list(islice(self._to_fill, FILL_COUNT_MAX)):
            del self._to_fill[sku]
            self._filled[sku] = None
            # One that fails is looked at again when it changes; the others do not wait for it.
            self._try(f"fill_backorders {sku}", now_s, partial(self._fill, sku, now_us))
        if now_s >= self._settle_at_s and self._supply.is_there:
            self._settle_at_s = now_s + SETTLE_S
            self._try("settle_shortfalls", now_s, lambda: self._settle(now_us))

    def kept(self) -> None:
        """Forget how to do it again: what was done is on disk."""
        self._filled = {}
        if self._expired.most:
            self._metrics.count_expired(self._expired)
        if self._settled.units_moved or self._settled.units_reported:
            self._metrics.count_settled(self._settled)
            self._settled = Settled()

    def undone(self) -> None:
        """Let what was done be due again: it is undone."""
        self._to_fill = self._filled | self._to_fill
        self._filled = {}
        self._expired = Expired(0, 0)
        if self._settled.units_moved or self._settled.units_reported:
            self._shortfalls.forget()
            self._settled = Settled()

    def measure(self) -> None:
        """Note what there is now."""
        shortfalls = self._shortfalls
        self._metrics.measure_shortfalls(
            shortfalls.waiting_count + shortfalls.reported_count, shortfalls.reported_units
        )

    def _follow(self, now_us: int, now_s: float) -> None:
        cells = self._supply.look(now_us, now_s)
        if cells is None or self._desk.setup is not self._setup:
            self._setup = self._desk.setup
            self._shortfalls.see_all()
            self._to_fill |= dict.fromkeys(self._desk.book.backordered)
        elif cells:
            self._try("see_shortfalls", now_s, lambda: self._see(cells, now_us))
        if self._supply.is_there:
            self._passed.note(now_us, self._supply.as_of_us)

    def _take_freed(self) -> None:
        """Let those who wait have what others give up: supply does not change by that."""
        freed = self._desk.book.freed
        if freed:
            self._to_fill |= freed
            freed.clear()

    def _see(self, cells: list[Cell], now_us: int) -> None:
        self._shortfalls.see(cells, now_us)
        waited_for = self._desk.book.backordered
        if waited_for:
            self._to_fill |= dict.fromkeys(sku for sku, _ in cells if sku in waited_for)

    def _try(self, what: str, now_s: float, part: Callable[[], None]) -> None:
        if self._failed_until_s.get(what, 0.0) > now_s:
            return
        mark = self._desk.book.mark()
        try:
            part()
            self._failed_until_s.pop(what, None)
        except Exception:
            self._desk.book.rollback(mark)
            self._failed_until_s[what] = now_s + RETRY_S
            log.exception("background_failed", part=what)

    def _expire(self, now_us: int) -> None:
        self._expired = upkeep.due(self._desk, now_us, DUE_COUNT_MAX)

    def _fill(self, sku: str, now_us: int) -> None:
        backorders.settle(self._desk, [sku], now_us)

    def _settle(self, now_us: int) -> None:
        settled = self._shortfalls.settle(self._passed.as_of_us(), now_us)
        self._settled.units_moved += settled.units_moved
        self._settled.units_reported += settled.units_reported


class Passed:
    """Up to which append time supply is applied and every claim that it passed on is decided.

    A claim leaves supply before supply moves on, so once all claims in the log at some moment are
    decided, so are those of everything that supply had applied at that moment.
    """

    def __init__(self, claims_us: Callable[[], int]) -> None:
        self._claims_us = claims_us
        self._samples: deque[tuple[int, int]] = deque()
        self._as_of_us = 0

    def note(self, now_us: int, supply_us: int) -> None:
        """Note how far supply is at this moment."""
        samples = self._samples
        if samples and samples[-1][0] > now_us:
            # The clock was set back: what was noted by it would hold everything up.
            samples.clear()
        if not samples or supply_us > samples[-1][1]:
            if len(samples) >= SAMPLE_COUNT_MAX:
                samples.pop()
            samples.append((now_us, supply_us))

    def as_of_us(self) -> int:
        """Return the time that everything has passed."""
        decided_us = self._claims_us()
        while self._samples and self._samples[0][0] <= decided_us:
            self._as_of_us = self._samples.popleft()[1]
        return self._as_of_us
