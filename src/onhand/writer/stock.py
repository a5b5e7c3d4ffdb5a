"""Both tables as decisions see them: supply as applied, less demand as decided so far.

What a batch reserves or owes is in the demand table at once, before its commit; what it frees, or
owes no longer, is lowered there only once that is on disk. So a reader may see too little for a
moment and never too much, whatever becomes of the commit or of the process. Decisions see both at
once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Any

from onhand.errors import AlreadyRunning, TableUnavailable
from onhand.table.demand import Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
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
        self._reserved = _Uncommitted(demand.add)
        self._freed: dict[str, dict[str, int]] = {}
        """What decisions see and readers do not yet: units free again, by SKU and location."""
        self._owed = _Uncommitted(demand.add_backorder)
        self._waived: dict[tuple[str, str], dict[int, int]] = {}
        """The same of what is owed no longer, by cell and day."""

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
        freed, waived = self._freed_units(sku, location), self._waived.get((sku, location))
        return self.reader.to_order(sku, location, now_us, freed, waived)

    def reserve(self, sku: str, location: str, delta: int) -> None:
        """Raise or lower what is reserved in a cell; readers see the lower number once settled."""
        _keep(self._freed, sku, location, self._reserved.change((sku, location), delta))

    def land(self, sku: str, location: str, quantity: int) -> None:
        """Lower what is reserved in a cell for units that left it, now that supply knows."""
        self.demand.add(sku, location, -quantity)

    def settle(self) -> None:
        """Show what was freed and waived: it is on disk."""
        self._reserved.settle()
        self._owed.settle()
        self._freed.clear()
        self._waived.clear()

    def backorder(self, sku: str, location: str, day: int, delta: int) -> None:
        """Raise or lower what is backordered against what comes to a cell by a day."""
        waived = self._owed.change((sku, location, day), delta)
        _keep(self._waived, (sku, location), day, waived)

    def load(self, skus: Sequence[str], locations: Sequence[str], units: Sequence[int]) -> None:
        """Reserve in many cells at once, at start; what is owed was raised before, for good too."""
        self.demand.add_many(list(skus), list(locations), list(units))
        self.settle()

    def _freed_units(self, sku: str, location: str) -> int:
        places = self._freed.get(sku)
        return places.get(location, 0) if places is not None else 0


class _Uncommitted:
    """Changes of a batch to numbers of the demand table: raised at once, lowered once settled.

    Parameters
    ----------
    add
        Changes one number there, named by the parts of its key.
    """

    def __init__(self, add: Callable[..., object]) -> None:
        self._add = add
        self._net: dict[tuple[Any, ...], int] = {}

    def change(self, key: tuple[Any, ...], delta: int) -> int:
        """Raise or lower a number; return by how much it is to be lowered once settled."""
        before = self._net.get(key, 0)
        after = before + delta
        shown = max(0, after) - max(0, before)
        if shown:
            self._add(*key, shown)
        self._net[key] = after
        return max(0, -after)

    def settle(self) -> None:
        for key, units in self._net.items():
            if units < 0:
                self._add(*key, units)
        self._net.clear()


def _keep(kept: dict[Any, dict[Any, int]], key: object, part: object, units: int) -> None:
    """Keep what is not 0, and only keys that have some."""
    parts = kept.get(key)
    if units:
        kept.setdefault(key, {})[part] = units
    elif parts is not None and parts.pop(part, None) is not None and not parts:
        del kept[key]


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
