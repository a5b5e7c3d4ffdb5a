"""Publish every change of available on ``stock.availability``, from a process of its own.

The table's writer only notes which cells changed. This reads the notes as any reader would, waits
a moment so that many changes of a cell become one record, and appends what the cell and its groups
have available now. Records of a compacted topic say what is, not what happened, so one told twice
is harmless and one overtaken is not missed.

How far it has come is kept beside the tables; a checkpoint takes that along, and a table loaded
from it starts telling from there. By which set-up it was told is kept in the data directory: when
that is another at a start, everything is told. So no change is lost, however either process ends.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING

import msgspec

from onhand.errors import LedgerUnavailable, LogFull, LogUnavailable, TableUnavailable
from onhand.identity import open_identity
from onhand.ledger import SetupStore, open_ledger
from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.log.topics import AVAILABILITY
from onhand.logging import get_logger
from onhand.metrics import Page, metrics_directory
from onhand.model.setup import ALL, Setup
from onhand.model.times import show_time
from onhand.structs import make_structs_ready
from onhand.table.directory import CHANGES_NAME, TableDirectory
from onhand.table.reader import Cursor, TableReader, band_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from onhand.log.base import EventLog
    from onhand.settings import Settings

log = get_logger(__name__)

CELLS_MAX = 65_536
"""Cells of each shard told of in one turn."""

TOLD_BY_NAME = "told-setup.json"

IDLE_POLL_S = 0.2
"""How long to wait for a first table, or for a log that cannot be reached."""


class Told(msgspec.Struct, frozen=True):
    """The value of a record on ``stock.availability``."""

    sku: str
    scope: str
    available: int
    band: str
    as_of: str


class _Before(msgspec.Struct, frozen=True):
    """What was available, None if nobody knows, and each location's groups, before a change."""

    available: dict[tuple[str, str], int] | None
    groups_of: dict[str, list[str]]


class _ToldBy(msgspec.Struct, frozen=True):
    """The set-up by which everything was told that is on the topic."""

    version: int
    groups_of: dict[str, list[str]]


def sent_path(directory: TableDirectory) -> Path:
    """Name the file that says how far the changes have been told."""
    return directory.path / CHANGES_NAME


def sent_cursor(directory: TableDirectory) -> Cursor | None:
    """Read how far the changes have been told; None before the first."""
    try:
        return msgspec.json.decode(sent_path(directory).read_bytes(), type=Cursor)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def told_seq(directory: TableDirectory, shard: int, generation: int, base_seq: int) -> int:
    """Return the sequence up to which a shard's changes have been told; ``base_seq`` at first."""
    sent = sent_cursor(directory)
    if sent is None or shard >= len(sent.generations) or sent.generations[shard] != generation:
        return base_seq
    return sent.sequences[shard]


class ChangePublisher:
    """Follows the tables and tells of changes.

    Parameters
    ----------
    directory
        Where the tables are, and the note of how far has been told.
    event_log
        Where to append.
    store
        The set-up: groups and safety stock decide what is available.
    """

    def __init__(
        self,
        settings: Settings,
        directory: TableDirectory,
        event_log: EventLog,
        store: SetupStore,
        page: Page,
    ) -> None:
        self._directory = directory
        self._reader = TableReader(
            settings.table_dir, directory.cluster_id, low_stock=settings.low_stock
        )
        self._low_stock = settings.low_stock
        self._log = event_log
        self._store = store
        self._told_by_path = settings.data / TOLD_BY_NAME
        self._setup = Setup()
        self._groups_of: dict[str, list[str]] = {}
        self._setup_version = -1
        self._untold: _Before | None = None
        self._cursor: Cursor | None = None
        self._published = page.counter("onhand_changes_published_total")

    def turn(self) -> bool:
        """Tell of what has changed since the last turn; True when there may be more at once.

        Raises
        ------
        TableUnavailable
            There is no table yet.
        LogUnavailable, LogFull
            Nothing is lost: the next turn tells it.
        """
        if self._reader.refresh() or self._cursor is None:
            self._cursor = self._resume(self._cursor)
        self._follow_setup()
        changes = self._reader.changes(self._cursor, CELLS_MAX)
        if not changes.complete:
            return self._tell_rows(self._cursor)
        self._tell(dict.fromkeys(changes.cells))
        self._advance(changes.cursor)
        return len(changes.cells) >= CELLS_MAX

    def _resume(self, before: Cursor | None) -> Cursor:
        """Start at what was told of these generations, else at what their bases had.

        Of a demand table that is new to a process that is, all is told: what only the table before
        it promised is told by whoever filled this one.
        """
        published = self._reader.published()
        generations = tuple(each.generation for each in published)
        sent = before or sent_cursor(self._directory) or Cursor((), ())
        demand = (sent.demand_generation, sent.demand_sequence)
        if before is None and demand[0] != self._reader.cursor().demand_generation:
            demand = (0, 0)
        if sent.generations == generations:
            return Cursor(generations, sent.sequences, *demand)
        return Cursor(generations, tuple(each.changes_since for each in published), *demand)

    def _advance(self, cursor: Cursor) -> None:
        if cursor == self._cursor:
            return
        _replace(sent_path(self._directory), cursor)
        self._cursor = cursor

    def _tell_rows(self, since: Cursor) -> bool:
        """Tell of whole rows: the ring of changes has overwritten what we had not read."""
        now = self._reader.cursor()
        for cells in self._cells_since(since):
            self._tell(cells)
        self._advance(now)
        return True

    def _cells_since(self, since: Cursor) -> Iterator[dict[tuple[str, str], None]]:
        """Name the cells of all rows that have changed, some at a time."""
        cells: dict[tuple[str, str], None] = {}
        for cell in self._reader.cells_of(self._reader.changed_skus(since)):
            cells[cell] = None
            if len(cells) >= CELLS_MAX:
                yield cells
                cells = {}
        yield cells

    def _tell(
        self, cells: Collection[tuple[str, str]], more_groups: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Tell of cells and the groups they are in, and of more (sku, group)."""
        groups = {
            (sku, group)
            for sku, location in cells
            for group in _groups_at(self._groups_of, location)
        }.union(more_groups)
        if not cells and not groups:
            return
        as_of = show_time(self._reader.progress().as_of_us)
        records = [*self._cell_records(cells, as_of), *self._group_records(groups, as_of)]
        self._log.append(records)
        self._published.add(len(records))

    def _cell_records(self, cells: Collection[tuple[str, str]], as_of: str) -> Iterator[NewRecord]:
        skus, locations = [sku for sku, _ in cells], [location for _, location in cells]
        found = self._reader.available_many(skus, locations).tolist()
        for (sku, location), available in zip(cells, found, strict=True):
            yield self._record(sku, f"location:{location}", f"{sku}|{location}", available, as_of)

    def _group_records(self, groups: set[tuple[str, str]], as_of: str) -> Iterator[NewRecord]:
        for sku, group in sorted(groups):
            # Of a group that no location names any more, the compacted topic still has what it was.
            is_there = self._reader.has_scope(f"group:{group}")
            available = self._reader.group_available(sku, group) if is_there else 0
            yield self._record(sku, f"group:{group}", f"{sku}|group:{group}", available, as_of)

    def _record(self, sku: str, scope: str, key: str, available: int, as_of: str) -> NewRecord:
        told = Told(sku, scope, available, band_of(available, self._low_stock), as_of)
        return NewRecord(topic=AVAILABILITY, key=key.encode(), value=msgspec.json.encode(told))

    # -- set-up --------------------------------------------------------------------------------

    def _follow_setup(self) -> None:
        """Take over a new set-up and tell of every cell and group whose available it changes."""
        if self._store.setup_version() != self._setup_version:
            if self._untold is None:
                self._untold = self._before()
            self._setup = self._store.load_setup()
            self._setup_version = self._setup.version
            self._groups_of = _groups_of(self._setup)
            self._reader.set_scopes(self._setup, time.time())
        if self._untold is not None:
            self._tell_setup(self._untold)
            # Only now: a log that cannot be reached is told of it in a later turn.
            self._untold = None
            self._note_told_by()

    def _before(self) -> _Before | None:
        """Return what is told; None when it was told by this very set-up."""
        if self._setup_version >= 0:
            return _Before(self._available_by_cell(), self._groups_of)
        try:
            told_by = msgspec.json.decode(self._told_by_path.read_bytes(), type=_ToldBy)
        except (OSError, msgspec.DecodeError):
            return _Before(None, {})
        if told_by.version == self._store.setup_version():
            return None
        return _Before(None, told_by.groups_of)

    def _note_told_by(self) -> None:
        try:
            _replace(self._told_by_path, _ToldBy(self._setup_version, self._groups_of))
        except OSError as error:
            # The next start tells everything once more, which is harmless.
            log.warning("told_setup_not_noted", path=str(self._told_by_path), error=str(error))

    def _tell_setup(self, before: _Before) -> None:
        """Tell of what a set-up has changed; of everything when it did so while nobody told."""
        old = before.available
        if old is None:
            for cells in self._cells_since(Cursor((), ())):
                self._tell(cells, self._regrouped(cells, before))
            return
        new = self._available_by_cell()
        changed = [cell for cell, units in new.items() if old.get(cell) != units]
        stocked = [cell for cell, units in new.items() if units > 0 or old.get(cell, 0) > 0]
        self._tell(changed, self._regrouped(stocked, before))

    def _regrouped(
        self, cells: Iterable[tuple[str, str]], before: _Before
    ) -> Iterator[tuple[str, str]]:
        """Name each (sku, group) that a cell's location has joined or left; it changes no cell."""
        moved = {
            location: {*_groups_at(before.groups_of, location)}
            ^ {*_groups_at(self._groups_of, location)}
            for location in {*before.groups_of, *self._groups_of}
        }
        return ((sku, group) for sku, location in cells for group in moved.get(location, ()))

    def _available_by_cell(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for skus, locations, columns in self._reader.cells():
            names = [skus[number] for number in columns["sku"].tolist()]
            places = [locations[number] for number in columns["location"].tolist()]
            units = self._reader.available_many(names, places).tolist()
            found.update(zip(zip(names, places, strict=True), units, strict=True))
        return found


def publish_changes(settings: Settings, stopping: threading.Event) -> None:
    """Tell of changes until told to stop."""
    make_structs_ready()
    cluster_id = open_identity(settings.data).id
    directory = TableDirectory(settings.table_dir, cluster_id)
    ledger = open_ledger(settings, cluster_id=cluster_id)
    event_log = open_log(settings)
    page = Page(metrics_directory(settings.table_dir, cluster_id), "changes")
    publisher = ChangePublisher(settings, directory, event_log, SetupStore(ledger), page)
    interval_s = settings.publish_interval_ms / 1000
    waiting = False
    try:
        while not stopping.is_set():
            try:
                if not publisher.turn():
                    stopping.wait(interval_s)
                waiting = False
            except TableUnavailable:
                stopping.wait(IDLE_POLL_S)
            except (LogUnavailable, LogFull, LedgerUnavailable) as error:
                if not waiting:
                    log.warning("changes_waiting", error=str(error))
                waiting = True
                stopping.wait(IDLE_POLL_S)
    finally:
        event_log.close()
        ledger.close()
        page.close()


def _replace(path: Path, document: msgspec.Struct) -> None:
    """Write a document in the place of the one before, so that it is found whole.

    A process that was overtaken may do the same this moment: each has a draft of its own.
    """
    draft = path.with_suffix(f".{uuid.uuid4().hex}.new")
    try:
        draft.write_bytes(msgspec.json.encode(document))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _groups_of(setup: Setup) -> dict[str, list[str]]:
    """Name, for each configured location, the groups it is in; none when it is disabled."""
    found: dict[str, list[str]] = {location: [] for location in setup.locations}
    for group, members in setup.groups().items():
        for location in members:
            found[location].append(group)
    return found


def _groups_at(groups_of: dict[str, list[str]], location: str) -> Sequence[str]:
    """Name the groups of a location; one that nobody has set up is in ``all`` only."""
    return groups_of.get(location, (ALL,))
