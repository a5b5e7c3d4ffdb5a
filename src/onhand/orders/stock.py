"""What the order layer decides on: supply as applied, less demand as decided so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class Stock(Protocol):
    """Both tables as the one writer of demand sees them."""

    def knows_sku(self, sku: str) -> bool:
        """Tell whether an event or set-up has named a SKU."""

    def knows_location(self, location: str) -> bool:
        """Tell whether an event or set-up has named a location."""

    def has_group(self, group: str) -> bool:
        """Tell whether a location is set up to be in a group."""

    def promisable(self, sku: str, location: str) -> int:
        """Read on_hand - reserved - safety_stock of a cell, not floored."""

    def group_cells(self, skus: list[str], group: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Read available, floored at 0, of every member of a group: names, int64 [skus, names]."""

    def shortfall(self, sku: str, location: str) -> int:
        """Read max(0, reserved + min(0, safety_stock) - on_hand) of a cell."""

    def to_order(self, sku: str, location: str, now_us: int) -> list[tuple[int, int]]:
        """List (day, units) from which so many can be ordered, backorders taken off.

        A shelf that is short of what it has promised takes from what comes first.
        """

    def reserve(self, sku: str, location: str, delta: int) -> None:
        """Raise or lower what is reserved in a cell."""

    def land(self, sku: str, location: str, quantity: int) -> None:
        """Lower what is reserved in a cell for units that left it, now that supply knows."""

    def settle(self) -> None:
        """Take what was reserved and freed for good: it is on disk."""

    def backorder(self, sku: str, location: str, day: int, delta: int) -> None:
        """Raise or lower what is backordered against what comes to a cell by a day."""

    def load(self, skus: Sequence[str], locations: Sequence[str], units: Sequence[int]) -> None:
        """Reserve in many cells at once, at start."""
