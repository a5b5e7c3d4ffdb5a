"""Both tables as decisions see them: supply as applied, less demand as decided so far.

What a batch reserves is in the demand table at once, before its commit; what it frees is lowered
there only once that is on disk. So a reader may see too little for a moment and never too much,
whatever becomes of the commit or of the process. Decisions see both at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from onhand.errors import AlreadyRunning, TableUnavailable
from onhand.table.demand import Demand

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from onhand.table.directory import TableDirectory
    from onhand.table.reader import TableReader

LOCK_NAME = "orders.lock"


class TableStock:
    """The stock that one order writer promises from; used by its thread alone.

    Parameters
    ----------
    reader
        Follows supply, and this writer's demand once it is published.
    demand
        Open for writing.
    """

    def __init__(self, reader: TableReader, demand: Demand) -> None:
        self.reader = reader
        self.demand = demand
        self._uncommitted: dict[tuple[str, str], int] = {}
        self._freed: dict[str, dict[str, int]] = {}

    def knows_sku(self, sku: str) -> bool:
        """Tell whether an event or set-up has named a SKU."""
        return self.reader.knows_sku(sku)

    def knows_location(self, location: str) -> bool:
        """Tell whether an event or set-up has named a location."""
        return self.reader.has_scope(f"location:{location}")

    def has_group(self, group: str) -> bool:
        """Tell whether a location is set up to be in a group."""
        return self.reader.has_scope(f"group:{group}")

    def promisable(self, sku: str, location: str) -> int:
        """Read on_hand - reserved - safety_stock of a cell, not floored."""
        return self.reader.promisable(sku, location) + self._freed_units(sku, location)

    def group_cells(self, skus: list[str], group: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Read available, floored at 0, of every member of a group: names, int64 [skus, names]."""
        names, cells = self.reader.group_cells(skus, group)
        if self._freed:
            for row, sku in enumerate(skus):
                places = self._freed.get(sku)
                if places is None:
                    continue
                # When many holds expire at once this is nearly every place.
                for at, location in enumerate(names):
                    if location in places:
                        cells[row, at] = max(0, self.promisable(sku, location))
        return names, cells

    def shortfall(self, sku: str, location: str) -> int:
        """Read max(0, reserved + min(0, safety_stock) - on_hand) of a cell."""
        short = self.reader.cell_shortfall(sku, location)
        return max(0, short - self._freed_units(sku, location))

    def to_order(self, sku: str, location: str, now_us: int) -> list[tuple[int, int]]:
        """List (day, units) from which so many can be ordered, backorders taken off."""
        return self.reader.to_order(sku, location, now_us, self._freed_units(sku, location))

    def reserve(self, sku: str, location: str, delta: int) -> None:
        """Raise or lower what is reserved in a cell; readers see the lower number once settled."""
        cell = (sku, location)
        before = self._uncommitted.get(cell, 0)
        after = before + delta
        shown = max(0, after) - max(0, before)
        if shown:
            self.demand.add(sku, location, shown)
        self._uncommitted[cell] = after
        if before < 0 or after < 0:
            self._note_freed(sku, location, max(0, -after))

    def land(self, sku: str, location: str, quantity: int) -> None:
        """Lower what is reserved in a cell for units that left it, now that supply knows."""
        self.demand.add(sku, location, -quantity)

    def settle(self) -> None:
        """Show what was freed: it is on disk."""
        for (sku, location), units in self._uncommitted.items():
            if units < 0:
                self.demand.add(sku, location, units)
        self._uncommitted.clear()
        self._freed.clear()

    def backorder(self, sku: str, location: str, day: int, delta: int) -> None:
        """Raise or lower what is backordered against what comes to a cell by a day."""
        self.demand.add_backorder(sku, location, day, delta)

    def load(self, skus: Sequence[str], locations: Sequence[str], units: Sequence[int]) -> None:
        """Reserve in many cells at once, at start."""
        self.demand.add_many(list(skus), list(locations), list(units))

    def _freed_units(self, sku: str, location: str) -> int:
        places = self._freed.get(sku)
        return places.get(location, 0) if places is not None else 0

    def _note_freed(self, sku: str, location: str, units: int) -> None:
        places = self._freed.setdefault(sku, {})
        if units:
            places[location] = units
            return
        places.pop(location, None)
        if not places:
            del self._freed[sku]


@contextlib.contextmanager
def orders_lock(directory: TableDirectory) -> Iterator[None]:
    """Hold the right to write a deployment's demand table; the kernel frees it with the process.

    Raises
    ------
    AlreadyRunning
        Another process holds it; the message names it.
    TableUnavailable
        The table directory cannot be used.
    """
    directory.prepare()
    descriptor = _open(directory.path / LOCK_NAME)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"Process {holder} already takes orders for the tables in {directory.path}",
                "Stop it first, or serve reads beside it with `onhand storefront`",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TableUnavailable(
            f"{path} cannot be opened: {error.strerror}",
            "Name a directory that may be written with --table-dir",
        ) from error
