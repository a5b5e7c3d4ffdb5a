"""What can be sold now: units at a location, and units that could be shipped from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from onhand.model.setup import ALL, Setup

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from onhand.table.reader import TableReader


class Units(NamedTuple):
    """Units of some SKUs, in their order; int64.

    ``shippable`` counts what every place has that ships, the location's own included. It is not
    looked up, and 0, for a SKU of which the location has enough.
    """

    available: NDArray[np.int64]
    shippable: NDArray[np.int64]


class Sellable:
    """Reads what can be sold; one thread at a time, that of its reader.

    Parameters
    ----------
    reader
        Of the tables; refreshed by whoever owns it.
    setup
        Which places ship.
    """

    def __init__(self, reader: TableReader, setup: Setup) -> None:
        self._reader = reader
        self._setup = setup
        self._members: tuple[str, ...] | None = None
        self._ships: NDArray[np.int64] = np.zeros(0, np.int64)

    @property
    def setup(self) -> Setup:
        """The set-up in force."""
        return self._setup

    def units(self, skus: list[str], location: str | None, wanted: int = 1) -> Units:
        """Read what there is of SKUs at a location, and to be shipped where it has too few.

        Takes 0.2 us for each SKU that is there, and as long again for 50 places of another.

        Raises
        ------
        TableUnavailable
            There is no table yet.
        """
        if location is None:
            available = np.zeros(len(skus), np.int64)
        else:
            found = self._reader.available_many(skus, [location] * len(skus))
            available = np.maximum(found, 0)
        shippable = np.zeros(len(skus), np.int64)
        missing = np.flatnonzero(available < wanted)
        if len(missing):
            shippable[missing] = self.shippable([skus[at] for at in missing.tolist()])
        return Units(available, shippable)

    def shippable(self, skus: list[str]) -> NDArray[np.int64]:
        """Read what all places that ship have of SKUs."""
        members, cells = self._reader.group_cells(skus, ALL)
        if members is not self._members:
            self._members = members
            known = self._setup.locations
            ships = [name not in known or known[name].ship for name in members]
            self._ships = np.array(ships, np.int64)
        return cells @ self._ships
