"""The published generation of every shard, mapped and followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from onhand._native.reader import Table, stamp
from onhand.errors import TableUnavailable

if TYPE_CHECKING:
    from onhand.table.directory import Published, TableDirectory

OPEN_TRIES = 8
"""A generation may be replaced between reading its name and mapping it, but not so often."""

Stamp = tuple[int, int]


class OpenTables(msgspec.Struct, frozen=True):
    """One generation of every shard; valid as long as it is held, whatever is published since."""

    tables: tuple[Table, ...]
    published: tuple[Published, ...]

    @property
    def generations(self) -> tuple[int, ...]:
        """The generation of each shard."""
        return tuple(each.generation for each in self.published)


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
        self.opened: OpenTables | None = None

    def refresh(self) -> bool:
        """Map what is published now, if that is not what is mapped already; under 2 us a shard.

        Raises
        ------
        TableUnavailable
            There is no table to read, and there was none before.
        """
        # Taken before the files are read: what is published in between is found by the next call.
        stamps = [stamp(path) for path in self._paths]
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
        self.opened = opened
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
                raise TableUnavailable(
                    f"{table.path} is not what its name says",
                    "Stop ingest, remove the file and start again; the table is rebuilt",
                )
