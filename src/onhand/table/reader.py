"""Reading the tables: every answer about availability starts here.

A :class:`TableReader` maps the published generation of each shard and answers from shared memory,
without a lock and without waiting for the writer. It holds three things:

===========  ==================================================================================
tables       the mapped stores, one a shard, and the demand table once there is one; replaced when
             a generation is published
compilation  groups, safety stock and days in the tables' numbers; done again when set-up or a
             generation is new, a location is, or a day begins
view         both as native code reads them
===========  ==================================================================================

Use a reader from one thread at a time. What native code works on stays valid while it does, also
when another call replaces it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from onhand._native import promising
from onhand.errors import TableUnavailable
from onhand.model.availability import Answer, AvailableOn, Band, Movement, Progress
from onhand.model.setup import Setup
from onhand.table.compilation import EPOCH, Compilation
from onhand.table.demand import DemandReader
from onhand.table.directory import Published, TableDirectory
from onhand.table.history import movement_of
from onhand.table.opened import Follower, OpenTables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from onhand._native.reader import Table
    from onhand._native.view import View

DAY_US = 86_400_000_000

_NOT_YET = "Call refresh() until it finds the tables; ingest publishes them when it has caught up"


class UnknownScope(KeyError):
    """No location or group has this name."""


class Cursor(msgspec.Struct, frozen=True):
    """A place in the changes of all tables.

    ``generations`` and ``sequences`` are those of the shards; the demand table's stand apart, and
    are 0 while there is none. It is of no use once generations have changed.
    """

    generations: tuple[int, ...]
    sequences: tuple[int, ...]
    demand_generation: int = 0
    demand_sequence: int = 0


class Changes(msgspec.Struct, frozen=True):
    """Cells that changed, oldest first, and where to go on.

    When not ``complete``, more has changed than is remembered or a generation is new: what lies
    between must be found by :meth:`TableReader.changed_skus`.
    """

    cells: list[tuple[str, str]]
    cursor: Cursor
    complete: bool


class TableReader:
    """All tables of one cluster.

    Parameters
    ----------
    table_dir
        The table directory of the settings.
    cluster_id
        The data directory's own id.
    low_stock
        Available units up to which a band is ``low``.

    Notes
    -----
    Making one opens nothing: ``refresh`` does, and says so when there is nothing yet.
    """

    def __init__(self, table_dir: Path, cluster_id: str, *, low_stock: int = 5) -> None:
        self._follower = Follower(TableDirectory(table_dir, cluster_id))
        self._low_stock = low_stock
        self._setup = Setup()
        self._now_s = 0.0
        self._compilation: Compilation
        self._view: View | None = None

    # ---- following ----

    def refresh(self) -> bool:
        """Follow to the published generation; under 2 us a shard when there is no new one.

        Returns
        -------
        bool
            Whether another generation is read from now on.

        Raises
        ------
        TableUnavailable
            There is no table yet.
        """
        if not self._follower.refresh():
            return False
        self._compile()
        return True

    def set_scopes(self, setup: Setup, now_s: float) -> None:
        """Compile groups, safety stock and days from set-up.

        Parameters
        ----------
        now_s
            Seconds since 1970-01-01 UTC; what day it is, everywhere, follows from it. Rendering
            moves it on.
        """
        self._setup = setup
        self._now_s = now_s
        if self._follower.opened is not None:
            self._compile()

    def has_scope(self, scope: str) -> bool:
        """Return whether ``location:X`` or ``group:X`` can be asked about."""
        self._current()
        return scope in self._compilation.scopes

    # ---- available ----

    def available(self, sku: str, location: str) -> int:
        """Read the available units of a cell, floored at 0.

        Raises
        ------
        KeyError
            Nobody knows the SKU or the location.
        """
        view = self._view
        if view is None or (units := view.available(sku, location)) < 0:
            units = self._current().available(sku, location, True)
            if units < 0:
                raise KeyError((sku, location))
        return units

    def group_available(self, sku: str, group: str) -> int:
        """Read the available units of a group: the sum of its cells'.

        Raises
        ------
        KeyError
            Nobody knows the SKU or the group.
        """
        view = self._current()
        _, index = self._scope(f"group:{group}")
        units = view.group_available(sku, index)
        if units < 0:
            raise KeyError(sku)
        return units

    def available_many(self, skus: list[str], locations: list[str]) -> NDArray[np.int64]:
        """Read the available units of many cells, pairwise; -1 where SKU or location is unknown."""
        return self._current().available_many(skus, locations)

    # ---- for the order writer ----

    def promisable(self, sku: str, location: str) -> int:
        """Read what may still be promised of a cell: not floored, below 0 what is short.

        ``on_hand - reserved - safety_stock``, from set-up alone where no table knows the SKU or
        the location; 0.3 us.

        Raises
        ------
        TableUnavailable
            There is no supply table yet.
        """
        view = self._view
        units = promising.promisable(view, sku, location) if view is not None else None
        return units if units is not None else self._promisable(sku, location)

    def cell_shortfall(self, sku: str, location: str) -> int:
        """Read the promises of a cell that its shelf cannot keep."""
        on_hand, reserved, safety_stock = self._cell(sku, location)
        return max(0, reserved + min(0, safety_stock) - on_hand)

    def group_cells(self, skus: list[str], group: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Read the available units of SKUs at every member of a group; 2 us for 500 cells.

        Returns
        -------
        tuple
            The members' names, the same tuple until members change, and an array of shape
            ``(len(skus), len(names))`` of units, each floored at 0. SKUs that nobody knows have
            no stock.

        Raises
        ------
        UnknownScope
            No group has this name.
        """
        view = self._current()
        _, index = self._scope(f"group:{group}")
        return self._compilation.member_names(group), promising.group_cells(view, skus, index)

    def to_order(
        self,
        sku: str,
        location: str,
        now_us: int,
        freed: int = 0,
        waived: dict[int, int] | None = None,
    ) -> list[tuple[int, int]]:
        """Read what is available to order of a cell: today, and each day on which it changes.

        Parameters
        ----------
        freed
            Units that count as not reserved.
        waived
            Units by day that the demand table has as owed, and that count as not.

        Returns
        -------
        list
            (day, units): days since 1970-01-01, and units that may be promised for it or later,
            net of what is reserved and of backorders due by then.
        """
        view = self._on_day(now_us)
        ordinal = self._compilation.ordinals.get(location)
        if ordinal is None:
            return self._nothing_due(sku, location, now_us, freed)
        return promising.to_order(view, sku, np.array([ordinal], np.uint32), freed, waived)[0]

    def ledger_sequence_of(self, sku: str) -> int:
        """Return the last ``stock.ledger`` sequence applied by the shard that owns a SKU."""
        return promising.ledger_sequence_of(self._current(), sku)

    def ledger_sequences(self) -> tuple[int, ...]:
        """Return the last ``stock.ledger`` sequence applied, by shard."""
        return tuple(table.progress()[3] for table in self._opened().tables)

    def _promisable(self, sku: str, location: str) -> int:
        on_hand, reserved, safety_stock = self._cell(sku, location)
        return on_hand - reserved - safety_stock

    def _cell(self, sku: str, location: str) -> tuple[int, int, int]:
        view = self._current()
        ordinal = self._compilation.ordinals.get(location)
        if ordinal is not None:
            return promising.cell(view, sku, ordinal)
        unconfigured = self._compilation.unconfigured_count
        return 0, 0, self._setup.safety_stock(sku, location, unconfigured_count=unconfigured)

    def _nothing_due(
        self, sku: str, location: str, now_us: int, freed: int = 0
    ) -> list[tuple[int, int]]:
        return [(now_us // DAY_US, max(0, self._promisable(sku, location) + freed))]

    # ---- answers ----

    def read(self, sku: str, scope: str, now_us: int) -> Answer | None:
        """Read every number of a SKU at a scope; None when nobody knows the SKU.

        Raises
        ------
        UnknownScope
            No location or group has this name.
        """
        view = self._on_day(now_us)
        terms = view.numbers(sku, *self._scope(scope))
        if terms is None:
            return None
        as_of_us, available, on_hand, held, in_transit, reserved, safety, shortfall, days = terms
        as_of = datetime.fromtimestamp(as_of_us / 1e6, UTC)
        return Answer(
            sku=sku,
            scope=scope,
            available=available,
            on_hand=on_hand,
            held=held,
            in_transit=in_transit,
            reserved=reserved,
            safety_stock=safety,
            shortfall=shortfall,
            band=band_of(available, self._low_stock),
            available_to_order=[
                AvailableOn((EPOCH + timedelta(days=day)).isoformat(), units) for day, units in days
            ],
            as_of=as_of.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            age_ms=max(0, now_us - as_of_us) // 1000,
        )

    def render_one(self, sku: str, scope: str, now_us: int, detail: bool = False) -> bytes | None:  # noqa: FBT001, FBT002
        """Write the answer about a SKU at a scope as JSON; None when nobody knows the SKU.

        Parameters
        ----------
        detail
            Whether to list the cells behind a group's numbers; those of all zeros are left out.

        Raises
        ------
        UnknownScope
            No location or group has this name.
        """
        view = self._on_day(now_us)
        return view.render(sku, *self._scope(scope), now_us, detail)

    def render_query(self, skus: list[str], scopes: Sequence[str], now_us: int) -> bytes:
        """Write the answers about many SKUs as JSON, one for each SKU and scope.

        Raises
        ------
        UnknownScope
            No location or group has this name.
        """
        view = self._on_day(now_us)
        return view.render_query(skus, [self._scope(scope) for scope in scopes], now_us)

    def view(self) -> View:
        """Return what native code reads, for callers that hold numbers instead of names."""
        return self._current()

    # ---- what there is ----

    def tables(self) -> tuple[Table, ...]:
        """Return the supply tables now read, one a shard."""
        return self._opened().tables

    def demand(self) -> DemandReader | None:
        """Return the demand table now read; None when none has been published."""
        demand = self._opened().demand
        return DemandReader(demand) if demand is not None else None

    def published(self) -> tuple[Published, ...]:
        """Return what was published of the tables now read, one a shard."""
        return self._opened().published

    def skus(self) -> list[str]:
        """Name every SKU that a table knows."""
        return [name for table in self.tables() for name in table.sku_names()]

    def locations(self) -> list[str]:
        """Name every location that a table knows."""
        names = (name for table in self._every_table() for name in table.location_names())
        return list(dict.fromkeys(names))

    def knows_sku(self, sku: str) -> bool:
        """Return whether events, promises or set-up have named a SKU."""
        known = any(table.find_sku(sku) is not None for table in self._every_table())
        return known or sku in self._setup.skus

    def cells(self) -> Iterator[tuple[list[str], list[str], dict[str, NDArray[Any]]]]:
        """Yield every shard's supply cells, each row as it was at one moment.

        Yields
        ------
        tuple
            SKUs by number, locations by number, and columns ``sku``, ``location`` (numbers),
            ``on_hand``, ``held``, ``in_transit``, ``damaged``.
        """
        for table in self.tables():
            columns = table.cells()
            yield table.sku_names(), table.location_names(), columns

    def incoming(self) -> Iterator[tuple[list[str], list[str], dict[str, NDArray[Any]]]]:
        """Yield what every shard expects, each row as it was at one moment.

        Yields
        ------
        tuple
            SKUs by number, locations by number, and columns ``sku``, ``location`` (numbers),
            ``day`` (since 1970-01-01) and ``quantity``, of all purchase orders.
        """
        for table in self.tables():
            columns = table.incoming()
            yield table.sku_names(), table.location_names(), columns

    def progress(self) -> Progress:
        """Say how far the tables are; the slowest shard decides."""
        opened = self._opened()
        shards = [table.progress() for table in opened.tables]
        partitions = opened.published[0].partitions
        offsets = [table.applied_offsets(len(partitions)) for table in opened.tables]
        return Progress(
            as_of_us=min(shard[0] for shard in shards),
            heartbeat_us=min(shard[1] for shard in shards),
            lag_events=max(shard[2] for shard in shards),
            ledger_sequence=min(shard[3] for shard in shards),
            generations=opened.generations,
            offsets=dict(zip(partitions, map(min, zip(*offsets, strict=True)), strict=True)),
        )

    def statistics(self) -> list[dict[str, int]]:
        """Return each table's sizes in bytes, counts and capacities."""
        return [table.statistics() for table in self.tables()]

    # ---- changes and history ----

    def cursor(self) -> Cursor:
        """Return where the changes are now."""
        opened = self._opened()
        return Cursor(
            opened.generations,
            tuple(table.change_seq for table in opened.tables),
            opened.demand_generation,
            opened.demand.change_seq if opened.demand is not None else 0,
        )

    def changes(self, since: Cursor, count_max: int = 65_536) -> Changes:
        """Read what changed after a cursor: at most ``count_max`` cells of each table."""
        opened = self._opened()
        now = (opened.generations, opened.demand_generation)
        if (since.generations, since.demand_generation) != now:
            return Changes([], self.cursor(), complete=False)
        cells: list[tuple[str, str]] = []
        reached = []
        complete = True
        for table, sequence in zip(self._every_table(), _sequences(since), strict=False):
            skus, locations, last, whole = table.changes(sequence, count_max)
            names = table.location_names() if len(locations) else []
            places = [names[number] for number in locations]
            cells += zip(table.names_of(skus), places, strict=True)
            reached.append(last)
            complete = complete and whole
        shard_count = len(opened.tables)
        demand_sequence = sum(reached[shard_count:])
        cursor = Cursor(now[0], tuple(reached[:shard_count]), now[1], demand_sequence)
        return Changes(cells, cursor, complete)

    def changed_skus(self, since: Cursor) -> Iterator[str]:
        """Name every SKU whose numbers may have changed after a cursor, by a scan of all rows.

        A SKU may be named twice: by its supply and by its demand.
        """
        opened = self._opened()
        same = since.generations == opened.generations
        same_demand = since.demand_generation in (0, opened.demand_generation)
        if not same_demand:
            # What only the demand table before this one promised is promised no longer.
            before = self._follower.demand_before
            if before is not None and before.identity[3] == since.demand_generation:
                yield from before.sku_names()
            else:
                same = False
        for shard, table in enumerate(opened.tables):
            yield from _changed(table, since.sequences[shard] if same else 0)
        if opened.demand is not None:
            yield from _changed(opened.demand, since.demand_sequence if same_demand else 0)

    def cells_of(self, skus: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Name the (sku, location) of every cell of SKUs, once for supply and once for demand."""
        tables = self._every_table()
        names = [table.location_names() for table in tables]
        for sku in skus:
            for at, table in enumerate(tables):
                number = table.find_sku(sku)
                places = table.row(number)[0].tolist() if number is not None else []
                if places and max(places) >= len(names[at]):
                    names[at] = table.location_names()
                yield from ((sku, names[at][place]) for place in places)

    def history(
        self, sku: str, location: str, limit: int = 100, before: int | None = None
    ) -> list[Movement]:
        """Read the recent movements of a cell, newest applied first.

        Parameters
        ----------
        before
            The position of the last movement already read.
        """
        opened = self._opened()
        for table, published in zip(opened.tables, opened.published, strict=True):
            sku_number = table.find_sku(sku)
            location_number = table.find_location(location)
            if sku_number is not None and location_number is not None:
                top = (1 << 64) - 1 if before is None else before
                found = table.history(sku_number, location_number, top, limit)
                return [movement_of(each, published.partitions) for each in found]
        return []

    # ---- compiling ----

    def _opened(self) -> OpenTables:
        opened = self._follower.opened
        if opened is None:
            raise TableUnavailable("No table is open", _NOT_YET)
        return opened

    def _every_table(self) -> tuple[Table, ...]:
        opened = self._opened()
        return opened.tables if opened.demand is None else (*opened.tables, opened.demand)

    def _compile(self) -> None:
        opened = self._opened()
        self._compilation = Compilation(
            opened.tables, opened.demand, self._setup, self._now_s, self._low_stock
        )
        self._view = self._compilation.view

    def _current(self) -> View:
        view = self._view
        if view is None:
            self._opened()
            self._compile()
        elif view.is_stale():
            self._compilation.follow()
        else:
            return view
        self._view = self._compilation.view
        return self._view

    def _on_day(self, now_us: int) -> View:
        view = self._current()
        if now_us < self._compilation.next_day_s * 1e6:
            return view
        self._now_s = now_us / 1e6
        self._compilation.turn_days(self._now_s)
        self._view = self._compilation.view
        return self._view

    def _scope(self, scope: str) -> tuple[bool, int]:
        index = self._compilation.scopes.get(scope)
        if index is None:
            raise UnknownScope(scope)
        return index


def _sequences(cursor: Cursor) -> tuple[int, ...]:
    """List a cursor's places in the order of the tables, the demand table last."""
    return (*cursor.sequences, cursor.demand_sequence)


def _changed(table: Table, sequence: int) -> Iterator[str]:
    start, end = 0, table.sku_count
    while start < end:
        skus, start = table.changed_skus(sequence, start, 65_536)
        yield from table.names_of(skus)


def band_of(available: int, low_stock: int) -> Band:
    """Sort available units into ``out``, ``low`` or ``in``."""
    if available <= 0:
        return "out"
    return "low" if available <= low_stock else "in"
