"""The demand table: what is promised of every cell, and what is owed beyond it.

::

    generation = directory.next_demand_generation()
    demand = Demand.create(directory.demand_path(generation), ...)
    demand.add_many(...)                         all that the ledger says is open
    directory.publish_demand(generation)
    demand.add(sku, location, +2)                after each commit, and -2 when it is settled
    demand.stamp(...)

One process writes it, the order writer, from one thread at a time; any number read it, each row as
it was at one moment, and never wait. It is one table for all SKUs and has the structure of a supply
table: reserved units stand where that has on_hand, backorders where that has incoming entries.

A :class:`Demand` is open for writing. A :class:`DemandReader` is what everybody else has of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import msgspec
import numpy as np

from onhand._native.demand import BelowZero, DemandError, DemandTable
from onhand._native.reader import Table
from onhand.errors import TableUnavailable
from onhand.table.status import raise_demand_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CHANGE_RING_MAX = 1 << 20
CHANGE_RING_MIN = 1 << 10
CHANGE_BYTES = 16
SKUS_AT_ONCE = 65_536
"""SKUs whose cells are listed together."""


class OverReleased(AssertionError):
    """More was to be released than is promised: a bug in the order layer. Nothing has changed."""


class DemandStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the table holds and how full it is; counts and bytes.

    ``cell_count`` counts every cell that was ever reserved in this generation, those of 0 too.
    ``commit_number`` and ``heartbeat_us`` are as stamped.
    """

    generation: int
    cell_count: int
    sku_count: int
    location_count: int
    used_bytes: int
    allocated_bytes: int
    capacity_bytes: int
    row_bytes: int
    change_seq: int
    commit_number: int
    heartbeat_us: int


class DemandReader:
    """What is promised, for any process.

    Parameters
    ----------
    table
        The mapped table; :meth:`open` maps one by its path.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    @classmethod
    def open(cls, path: Path) -> DemandReader:
        """Map a demand table; its file may be unlinked afterwards.

        Raises
        ------
        TableUnavailable
            There is no such file, or it is not a table.
        """
        try:
            return cls(Table(path))
        except OSError as error:
            raise TableUnavailable(
                f"The demand table {path} cannot be opened: {error.strerror}",
                "Start the order writer, or look for a newer generation",
            ) from error

    @property
    def generation(self) -> int:
        """The generation, from 1."""
        return self.table.identity[3]

    @property
    def heartbeat_us(self) -> int:
        """When the order writer last stamped it."""
        return self.table.progress()[1]

    @property
    def commit_number(self) -> int:
        """Commits of the ledger up to this one are in the table."""
        return self.table.progress()[3]

    def reserved(self, sku: str, location: str) -> int:
        """Return what is reserved of a cell, 0 when nobody has heard of it."""
        number, place = self.table.find_sku(sku), self.table.find_location(location)
        if number is None or place is None:
            return 0
        locations, reserved, *_ = self.table.row(number)
        return int(reserved[locations == place].sum())

    def cells(self) -> Iterator[tuple[list[str], list[str], NDArray[np.int64]]]:
        """Yield every cell with reserved units, each row as it was at one moment.

        Yields
        ------
        tuple
            SKUs, locations and reserved units (int64), as long as each other; 65,536 SKUs at most.
        """
        places = self.table.location_names()
        for start in range(0, self.table.sku_count, SKUS_AT_ONCE):
            names = self.table.sku_names(start, start + SKUS_AT_ONCE)
            columns = self.table.cells(start, start + len(names))
            if len(places) < self.table.location_count:
                places = self.table.location_names()
            kept = np.flatnonzero(columns["on_hand"])
            yield (
                [names[number - start] for number in columns["sku"][kept].tolist()],
                [places[number] for number in columns["location"][kept].tolist()],
                columns["on_hand"][kept],
            )

    def backorders(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield every backorder as (sku, location, day since 1970-01-01, units)."""
        for start in range(0, self.table.sku_count, SKUS_AT_ONCE):
            names = self.table.sku_names(start, start + SKUS_AT_ONCE)
            due = self.table.incoming(start, start + len(names))
            places = self.table.location_names()
            rows = zip(*(column.tolist() for column in due.values()), strict=True)
            for number, place, day, units in rows:
                yield names[number - start], places[place], day, units


class Demand:
    """The writer's face of the demand table; make one with :meth:`create`.

    Parameters
    ----------
    native
        The open native table.
    reader
        The same table as others see it.
    """

    def __init__(self, native: DemandTable, reader: DemandReader) -> None:
        self._native = native
        self._reader = reader

    @classmethod
    def create(
        cls, path: Path, *, cluster_id: bytes, generation: int, capacity_bytes: int
    ) -> Demand:
        """Make an empty table in a new file; its directory exists.

        Parameters
        ----------
        cluster_id
            16 bytes that readers compare with their own.
        capacity_bytes
            What the file may grow to; space is taken as it fills, 16 MiB at a time.

        Raises
        ------
        TableUnavailable
            The file cannot be made, or its file system has no room.
        TableFull
            ``capacity_bytes`` does not even hold an empty table.
        """
        share = max(1, capacity_bytes // (64 * CHANGE_BYTES))
        ring = min(CHANGE_RING_MAX, max(CHANGE_RING_MIN, 1 << share.bit_length() - 1))
        try:
            native = DemandTable(
                os.fsencode(path),
                cluster_id,
                generation=generation,
                capacity_bytes=capacity_bytes,
                change_ring_size=ring,
            )
        except DemandError as error:
            raise_demand_in_words(error, path)
        return cls(native, DemandReader.open(path))

    def add(self, sku: str, location: str, delta: int) -> int:
        """Add to what is reserved of a cell, and return what it is then; 0.3 us.

        Raises
        ------
        TableFull, TableUnavailable
            There is no room for a new SKU or cell; nothing has changed.
        OverReleased
            A bug: fewer than 0 units would be left. Nothing has changed.
        """
        try:
            return self._native.add(sku, location, delta)
        except (BelowZero, DemandError) as error:
            _refuse(error, f"{sku} at {location}")

    def reserved(self, sku: str, location: str) -> int:
        """Return what is reserved of a cell, 0 when nobody has heard of it."""
        return self._native.reserved(sku, location)

    def add_many(
        self, skus: list[str], locations: list[str], deltas: NDArray[np.int64] | list[int]
    ) -> None:
        """Add to many cells, pairwise and in order: how a table is filled at start.

        Raises
        ------
        TableFull, TableUnavailable, OverReleased
            As for :meth:`add`; what stands before that entry has been added.
        """
        try:
            self._native.add_many(skus, locations, np.ascontiguousarray(deltas, np.int64))
        except (BelowZero, DemandError) as error:
            _refuse(error, "a cell")

    def add_backorder(self, sku: str, location: str, day: int, delta: int) -> int:
        """Add to the units owed at a location from a day on, and return what they are then.

        Parameters
        ----------
        day
            Days since 1970-01-01, in the location's zone.

        Raises
        ------
        TableFull, TableUnavailable, OverReleased
            As for :meth:`add`.
        """
        try:
            return self._native.add_backorder(sku, location, day, delta)
        except (BelowZero, DemandError) as error:
            _refuse(error, f"backorders of {sku} at {location} for day {day}")

    def tell(self, sku: str, location: str) -> None:
        """Let those who follow changes look at a cell though nothing of it changes here.

        A new generation promises less than the one before it where promises have ended in between.
        Call this for those cells once the new one is published.

        Raises
        ------
        TableFull, TableUnavailable
            As for :meth:`add`.
        """
        try:
            self._native.tell(sku, location)
        except DemandError as error:
            _refuse(error, f"{sku} at {location}")

    def cells(self) -> Iterator[tuple[list[str], list[str], NDArray[np.int64]]]:
        """Yield every cell with reserved units; see :meth:`DemandReader.cells`."""
        return self._reader.cells()

    def backorders(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield every backorder; see :meth:`DemandReader.backorders`."""
        return self._reader.backorders()

    def stamp(self, *, heartbeat_us: int, commit_number: int) -> None:
        """Tell readers that the writer lives, and which commits of the ledger are in."""
        self._native.stamp(heartbeat_us, commit_number)

    def statistics(self) -> DemandStatistics:
        """Return what the table holds now."""
        return DemandStatistics(**self._native.figures())

    def close(self) -> None:
        """Let go of the file; it stays, until ``TableDirectory.remove_demand``."""
        self._native.close()


def _refuse(error: BelowZero | DemandError, what: str) -> NoReturn:
    if isinstance(error, DemandError):
        raise_demand_in_words(error)
    msg = f"Invariant: no more is released than is promised; {what}: {error.units} {error.delta:+d}"
    raise OverReleased(msg) from None
