"""Shortfalls: promises that a shelf cannot keep any more are moved elsewhere, or reported.

A cell falls short when units vanish after they were promised: a count finds fewer, a till sells
what was reserved. The cause may be half of a story, such as a transfer of which the other half is
still on its way, so a cell is settled only when every partition has passed the cause. Units in
flight are not called missing: once applied they may turn out to have been counted already.

Who gives way is decided in :mod:`onhand.orders.giving_way`. What cannot be moved is reported, once
for each promise that bears it, and looked at again when something has changed there, and from time
to time.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from onhand.model.orders import HistoryEntry, Hold
from onhand.orders.giving_way import REASON, bearers, move
from onhand.orders.progress import note, put, tell_allocation
from onhand.orders.views import hold_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onhand.orders.book import Cell
    from onhand.orders.desk import Desk
    from onhand.orders.giving_way import Bearer

LOOK_AGAIN_US: Final = 30_000_000
"""After which a reported cell is looked at again, though nothing has changed in it."""

LOOKED_AT_MAX: Final = 2_000
"""Cells that one call looks at."""


class Settled(Struct):
    """What one call did: units moved to other cells, and units found that cannot be."""

    units_moved: int = 0
    units_reported: int = 0


class _Waiting(NamedTuple):
    short: int
    seen_us: int


class _Reported(Struct):
    short: int
    bearers: dict[str, int]
    """Units reported of each hold and allocation."""
    look_us: int
    mark: tuple[object, ...]


class Shortfalls:
    """Cells that fall short, from when they are seen until they do not any more.

    Nothing in it is journaled: call :meth:`forget` when what was decided is rolled back.

    Parameters
    ----------
    cell_count_max
        Cells kept; beyond it all promises are looked through again once there is room.
    """

    def __init__(self, desk: Desk, *, cell_count_max: int = 100_000) -> None:
        self._desk = desk
        self._cell_count_max = cell_count_max
        self._waiting: dict[Cell, _Waiting] = {}
        self._reported: dict[Cell, _Reported] = {}
        self._unseen: Iterator[Cell] | None = None
        self._has_missed = False

    @property
    def waiting_count(self) -> int:
        """Cells that are to be settled."""
        return len(self._waiting)

    @property
    def reported_count(self) -> int:
        """Cells of which promises cannot be moved."""
        return len(self._reported)

    @property
    def reported_units(self) -> int:
        """Units promised there and not to be had."""
        return sum(sum(each.bearers.values()) for each in self._reported.values())

    def see(self, cells: Iterable[Cell], now_us: int) -> None:
        """Look at cells that have changed in supply; those without promises do not matter."""
        for cell in cells:
            short = self._short(cell)
            reported = self._reported.get(cell)
            if not short:
                self._drop(cell)
            elif reported is None or short > reported.short:
                self._queue(cell, short, now_us)

    def see_all(self) -> None:
        """Look at every cell with a promise, some at each :meth:`settle`.

        For a start, a new set-up, and all else that is not a change of a cell in supply.
        """
        book = self._desk.book
        self._unseen = iter(
            [*book.held, *(cell for cell in book.allocated if cell not in book.held)]
        )

    def forget(self) -> None:
        """Begin anew: what was decided is undone."""
        self._waiting.clear()
        self._reported.clear()
        self.see_all()

    def settle(self, as_of_us: int, now_us: int, count_max: int = 100) -> Settled:
        """Settle cells whose cause every partition has passed.

        Parameters
        ----------
        as_of_us
            The append time up to which every partition is applied, and every claim decided.
        count_max
            Cells that are settled at most.
        """
        self._look_through(now_us)
        self._look_again(now_us)
        settled = Settled()
        done: list[Cell] = []
        try:
            for cell in self._due(as_of_us, count_max):
                # If settling it fails, the cells behind it come first the next time.
                self._wait(cell, self._waiting[cell].short, now_us)
                self._settle_cell(cell, now_us, settled)
                done.append(cell)
        except BaseException:
            # What was decided of these is undone as well, and nobody is told of it.
            for cell in done:
                self._reported.pop(cell, None)
                self._wait(cell, self._short(cell), now_us)
            raise
        return settled

    # ---- which cells ----

    def _queue(self, cell: Cell, short: int, now_us: int) -> None:
        waiting = self._waiting.get(cell)
        if waiting is not None and short <= waiting.short:
            return
        if waiting is None and len(self._waiting) >= self._cell_count_max:
            self._has_missed = True
            return
        self._wait(cell, short, now_us)

    def _wait(self, cell: Cell, short: int, now_us: int) -> None:
        """Put a cell at the end: the front is always what was seen first."""
        self._waiting.pop(cell, None)
        self._waiting[cell] = _Waiting(short, now_us)

    def _drop(self, cell: Cell) -> None:
        self._waiting.pop(cell, None)
        self._reported.pop(cell, None)

    def _due(self, as_of_us: int, count_max: int) -> list[Cell]:
        due: list[Cell] = []
        for cell, waiting in self._waiting.items():
            if waiting.seen_us > as_of_us or len(due) >= count_max:
                break
            due.append(cell)
        return due

    def _look_through(self, now_us: int) -> None:
        if self._unseen is None and self._has_missed and not self._waiting:
            self._has_missed = False
            self.see_all()
        if self._unseen is not None:
            cells = list(islice(self._unseen, LOOKED_AT_MAX))
            self.see(cells, now_us)
            if not cells:
                self._unseen = None

    def _look_again(self, now_us: int) -> None:
        for cell in list(islice(self._reported, LOOKED_AT_MAX)):
            reported = self._reported[cell]
            if now_us >= reported.look_us or self._mark(cell) != reported.mark:
                reported.look_us = now_us + LOOK_AGAIN_US
                self._queue(cell, self._short(cell), now_us)
        if len(self._reported) > LOOKED_AT_MAX:
            for cell in list(islice(self._reported, LOOKED_AT_MAX)):
                self._reported[cell] = self._reported.pop(cell)

    def _mark(self, cell: Cell) -> tuple[object, ...]:
        """Return what is different once the promises of a cell are not the same."""
        held = self._desk.book.held.get(cell)
        allocated = self._desk.book.allocated.get(cell, {})
        return (
            *((held.newest(), len(held)) if held is not None else (None, 0)),
            *(next(reversed(allocated), None), len(allocated)),
            self._short(cell),
        )

    # ---- one cell ----

    def _short(self, cell: Cell) -> int:
        """Read a cell's shortfall; where nothing is promised nobody is let down."""
        book = self._desk.book
        is_promised = cell in book.held or cell in book.allocated
        return self._desk.stock.shortfall(*cell) if is_promised else 0

    def _settle_cell(self, cell: Cell, now_us: int, settled: Settled) -> None:
        short = self._short(cell)
        if not short:
            self._drop(cell)
            return
        missing = max(0, short - self._desk.book.in_flight.get(cell, 0))
        moved = 0
        if missing and self._desk.rules.shortfall == "source_again":
            moved = move(self._desk, cell, missing, now_us)
            settled.units_moved += moved
        if missing > moved:
            settled.units_reported += self._report(cell, missing - moved, now_us)
        if missing < short or moved:
            # What is in flight shows later; what was moved is looked at once more.
            self._wait(cell, max(0, short - moved), now_us)
        else:
            self._waiting.pop(cell, None)

    def _report(self, cell: Cell, units: int, now_us: int) -> int:
        """Tell of promises that cannot be kept, each once; return the units not told before."""
        before = self._reported.pop(cell, None)
        told = before.bearers if before is not None else {}
        found = bearers(self._desk, cell, units)
        fresh = {each.id: max(0, each.units - told.get(each.id, 0)) for each in found}
        for each in found:
            if fresh[each.id]:
                self._tell(cell, each, now_us)
        if found:
            borne = {each.id: each.units for each in found}
            look_us = now_us + LOOK_AGAIN_US
            self._reported[cell] = _Reported(self._short(cell), borne, look_us, self._mark(cell))
        return sum(fresh.values())

    def _tell(self, cell: Cell, bearer: Bearer, now_us: int) -> None:
        desk, promise, units = self._desk, bearer.promise, bearer.units
        if isinstance(promise, Hold):
            data = {"sku": cell[0], "location": cell[1], "quantity": units}
            desk.tell("hold.short", promise.id, now_us, hold_view(promise) | {"short": data})
            return
        # An allocation before may have put the order anew.
        order = desk.book.orders[promise.id].copy()
        each = next(each for each in order.allocations if each.id == bearer.id)
        entry = HistoryEntry(
            at_us=now_us, what=REASON, location=cell[1], line=each.line, quantity=units
        )
        note(order, entry)
        put(desk, order, now_us)
        tell_allocation(desk, order, each, "short", now_us, quantity=units, reason=REASON)
