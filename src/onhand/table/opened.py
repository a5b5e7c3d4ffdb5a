"""The published generation of every shard and of the demand table, mapped and followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from onhand._native.reader import Table, Watch, stamp
from onhand.errors import TableUnavailable

if TYPE_CHECKING:
    from onhand.table.directory import Published, TableDirectory

OPEN_TRIES = 8
"""A generation may be replaced between reading its name and mapping it, but not so often."""

DEMAND_SHARDS = (0, 0)
"""Shard and shard count of a table that is of all SKUs, and no shard."""

Stamp = tuple[int, int]


class OpenTables(msgspec.Struct, frozen=True):
    """One generation of every table; valid as long as it is held, whatever is published since.

    ``demand`` is None when none has been published since this was first looked at.
    """

    tables: tuple[Table, ...]
    published: tuple[Published, ...]
    demand: Table | None = None

    @property
    def generations(self) -> tuple[int, ...]:
        """The generation of each shard."""
        return tuple(each.generation for each in self.published)

    @property
    def demand_generation(self) -> int:
        """The generation of the demand table, 0 without one."""
        return self.demand.identity[3] if self.demand is not None else 0


class Follower:
    """Finds the tables of one cluster, and finds out when there are newer ones.

    Parameters
    ----------
    directory
        Where they are published.
    """

    def __init__(self, directory: TableDirectory) -> None:
        self._directory = directory
        self._paths: list[bytes] = [os.fsencode(directory.published_path(0))]
        self._stamps: list[Stamp | None] = [None]
        self._demand_path = os.fsencode(directory.demand_published_path())
        self._watches: list[Watch] = []
        self._demand_watch: Watch | None = None
        self._demand_stamp: Stamp | None = None
        self._demand: Table | None = None
        self.demand_before: Table | None = None
        """The demand table before this one: what it alone promised has changed as well."""
        self.opened: OpenTables | None = None

    def refresh(self) -> bool:
        """Map what is published now, if that is not what is mapped already; under 2 us.

        Raises
        ------
        TableUnavailable
            There is no table to read, and there was none before.
        """
        if self.opened is not None and self._nothing_is_new():
            return False
        # Taken before the files are read: what is published in between is found by the next call.
        watches = [Watch(path) for path in self._paths]
        demand_watch = Watch(self._demand_path)
        demand_stamp = stamp(self._demand_path)
        stamps = [stamp(path) for path in self._paths]
        # None: the order writer has ended and freed its table. What it wrote stays readable.
        if demand_stamp not in (None, self._demand_stamp):
            self._follow_demand(demand_stamp)
        changed = self._follow_supply(stamps)
        # What could not be followed is looked at again each time.
        self._watches = watches if stamps == self._stamps else []
        self._demand_watch = demand_watch if demand_stamp == self._demand_stamp else None
        opened = self.opened
        if opened is None or opened.demand is self._demand:
            return changed
        self.opened = OpenTables(opened.tables, opened.published, self._demand)
        return True

    def _nothing_is_new(self) -> bool:
        if not self._watches:
            return False
        for each in self._watches:
            if not each.in_place():
                return False
        watch = self._demand_watch
        if watch is not None and watch.in_place():
            return True
        return self._demand is None and stamp(self._demand_path) is None

    def _follow_supply(self, stamps: list[Stamp | None]) -> bool:
        if self.opened is None:
            return self._reopen(stamps)
        if stamps == self._stamps or None in stamps:
            # None: ingest has stopped and freed its tables. What it wrote stays readable, and
            # says how old it is.
            return False
        try:
            return self._reopen(stamps)
        except TableUnavailable:
            # A new division into shards is not published whole yet.
            return False

    def _follow_demand(self, demand_stamp: Stamp | None) -> None:
        before, demand = self._demand, self._open_demand()
        if demand is None:
            return
        self._demand_stamp = demand_stamp
        if before is None or before.identity != demand.identity:
            self.demand_before, self._demand = before, demand

    def _open_demand(self) -> Table | None:
        for _ in range(OPEN_TRIES):
            published = self._directory.published_demand()
            if published is None:
                return None
            try:
                table = Table(self._directory.path / published.file)
            except FileNotFoundError:
                continue
            cluster = bytes.fromhex(self._directory.cluster_id)
            if table.identity != (cluster, *DEMAND_SHARDS, published.generation):
                raise _wrong_table(table)
            return table
        # Unlinked between two looks, as often as we looked: the next refresh looks again.
        return None

    def _reopen(self, stamps: list[Stamp | None]) -> bool:
        before = self.opened
        opened = self._open()
        shard_count = len(opened.tables)
        if shard_count != len(self._paths):
            # Of some files there is no stamp from before they were read: look once more.
            stamps = [None] * shard_count
        shards = range(shard_count)
        self._paths = [os.fsencode(self._directory.published_path(shard)) for shard in shards]
        self._stamps = stamps
        if before is not None and before.published == opened.published:
            return False
        self.opened = OpenTables(opened.tables, opened.published, self._demand)
        return True

    def _open(self) -> OpenTables:
        for _ in range(OPEN_TRIES):
            published = self._published()
            try:
                tables = tuple(Table(self._directory.path / each.file) for each in published)
            except FileNotFoundError:
                continue
            self._check(tables, published)
            return OpenTables(tables, published)
        raise TableUnavailable(
            f"The tables of {self._directory.path} are replaced faster than they can be opened",
            "Look at the log of ingest: it restarts again and again",
        )

    def _published(self) -> tuple[Published, ...]:
        first = self._directory.published(0)
        shard_count = first.shard_count if first else 1
        found = [self._directory.published(shard) for shard in range(shard_count)]
        published = tuple(each for each in found if each is not None)
        if len(published) < shard_count or any(p.shard_count != shard_count for p in published):
            raise TableUnavailable(
                f"{len(published)} of {shard_count} tables are published in {self._directory.path}",
                "Start ingest, or wait until it has read what is in the log",
            )
        return published

    def _check(self, tables: tuple[Table, ...], published: tuple[Published, ...]) -> None:
        cluster = bytes.fromhex(self._directory.cluster_id)
        for shard, (table, told) in enumerate(zip(tables, published, strict=True)):
            expected = (cluster, shard, told.shard_count, told.generation)
            if table.identity != expected:
                raise _wrong_table(table)


def _wrong_table(table: Table) -> TableUnavailable:
    return TableUnavailable(
        f"{table.path} is not what its name says",
        "Stop onhand, remove the file and start again; the table is rebuilt",
    )
