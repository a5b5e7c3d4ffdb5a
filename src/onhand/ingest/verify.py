"""Rebuild the table from the log, beside a live one, and list every difference.

The rebuild goes through the same decoding, judging and applying, from the log's beginning or, when
retention has taken that, from the oldest checkpoint kept. It then follows the live table: a cell
that differs is read again, at newer offsets, until it agrees or has differed for so long that no
movement on its way can explain it. The same goes for what is due. What the log says was moved is
summed beside it, and has to lie somewhere in the rebuilt table (``conservation``).
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from onhand._native.reader import Table
from onhand.errors import OffsetOutOfRange
from onhand.identity import open_identity
from onhand.ingest.conservation import Tally
from onhand.ingest.dead_letters import list_dead_letters
from onhand.ingest.decode import Window, decode_batch
from onhand.log import open_log
from onhand.log.base import RawBatch, partition_name
from onhand.log.topics import LEDGER
from onhand.model.codes import RejectCode
from onhand.settings import Settings
from onhand.table.checkpoint import Checkpoints
from onhand.table.reader import TableReader
from onhand.table.supply import Supply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from onhand.ingest.conservation import Conserved
    from onhand.log.base import EventLog, TopicPartition

FIELDS = ("on_hand", "held", "in_transit", "damaged")
RECHECK_COUNT_MAX = 40
RECHECK_S = 0.05
READ_RECORD_COUNT = 5_000

STATEFUL_REFUSALS = (RejectCode.IDS_FORGOTTEN.value, RejectCode.COUNTS_FORGOTTEN.value)
"""Refusals that depended on what was remembered then; the dead letters are their record."""

LOCATIONS_MAX = 1 << 16
JUDGED_ALREADY_US = 1 << 62
IDS_MAX = 1 << 30
"""The rebuild forgets no id: it takes memory for those that there are."""

Due = dict[tuple[int, int], int]
"""Units by a cell's key and the day on which they are due."""

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class Cells(msgspec.Struct, frozen=True, eq=False):
    """Cells of a table that are not all zeros: keys, sorted, and a row of ``FIELDS`` for each."""

    key: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def at(self, key: int) -> list[int]:
        """Return a cell's numbers; one that was never touched is all zeros."""
        place = int(np.searchsorted(self.key, key))
        if place < len(self.key) and self.key[place] == key:
            return list(map(int, self.numbers[place]))
        return [0] * len(FIELDS)

    def differing(self, other: Cells) -> NDArray[np.int64]:
        """Return the keys whose numbers are not the same in both."""
        both, here, there = np.intersect1d(
            self.key, other.key, assume_unique=True, return_indices=True
        )
        unequal = (self.numbers[here] != other.numbers[there]).any(axis=1)
        return np.union1d(both[unequal], np.setxor1d(self.key, other.key, assume_unique=True))


class Difference(msgspec.Struct, frozen=True, order=True):
    """One number of one cell that the live table and the log do not agree on."""

    sku: str
    location: str
    field: str
    live: int
    rebuilt: int


class Verified(msgspec.Struct, frozen=True):
    """What a verification covered and found.

    ``offsets`` is the next offset, by ``topic[partition]``, that the rebuild had not applied.
    ``conserved`` is None when retention has taken the log's beginning.
    """

    cell_count: int
    record_count: int
    offsets: dict[str, int]
    differences: list[Difference]
    conserved: Conserved | None


class Rebuild:
    """A table of our own, fed from the log up to offsets of our choosing.

    Parameters
    ----------
    partitions
        The live table's partitions, in its order.
    supply
        An empty table, or one loaded from a checkpoint.
    starts
        The offset to begin at, by partition index.
    refused
        Positions (partition index, offset) that the live flow refused because of what it had
        forgotten by then.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        event_log: EventLog,
        partitions: Sequence[TopicPartition],
        supply: Supply,
        starts: Sequence[int],
        refused: frozenset[tuple[int, int]],
    ) -> None:
        self.record_count = 0
        self.offsets = list(starts)
        self.tally = Tally() if not any(starts) else None
        self._append_us = [0] * len(starts)
        self._supply = supply
        self._log = event_log
        self._partitions = list(partitions)
        self._refused = refused
        self._window = Window(late_us=settings.late_us, count_us=settings.count_us)
        self._ledger = frozenset(
            number for number, (topic, _) in enumerate(partitions) if topic == LEDGER
        )

    def advance(self, targets: Sequence[int], tell: Callable[[int, int], None]) -> None:
        """Apply every record below the target offset of its partition."""
        total = self.record_count + sum(
            max(0, target - offset) for target, offset in zip(targets, self.offsets, strict=True)
        )
        while behind := [n for n, target in enumerate(targets) if self.offsets[n] < target]:
            # Abreast in append time, as the live flow read them: so no more is remembered at once.
            number = min(behind, key=self._append_us.__getitem__)
            self._advance_one(number, targets[number])
            tell(self.record_count, total)

    def _advance_one(self, number: int, target: int) -> None:
        partition = self._partitions[number]
        offset = self.offsets[number]
        records = self._log.read(partition, offset, min(READ_RECORD_COUNT, target - offset))
        if not records or records[0].offset > offset:
            self._check_kept(partition, offset)
        records = [record for record in records if record.offset < target]
        # Kafka leaves gaps; when only they are left the target is reached.
        self.offsets[number] = records[-1].offset + 1 if records else target
        if records:
            self._append_us[number] = records[-1].append_us
        self.record_count += len(records)
        kept = [each for each in records if (number, each.offset) not in self._refused]
        batch = decode_batch(RawBatch.of(kept, {partition: number}), self._window, self._ledger)
        batch.next_offsets = {number: self.offsets[number]}
        # What memory decided then is known from the dead letters; it decides nothing here.
        batch.ids_since_us = batch.counts_since_us = JUDGED_ALREADY_US
        self._supply.apply(batch)
        if self.tally is not None:
            self.tally.add(batch)
        if self._supply.needs_checkpoint():
            self._make_room()

    def _check_kept(self, partition: TopicPartition, offset: int) -> None:
        """Tell a gap, which Kafka may leave anywhere, from what retention has taken meanwhile."""
        begin = self._log.begin_offsets([partition])[partition]
        if offset < begin:
            raise OffsetOutOfRange(
                f"{partition_name(partition)} was to be read from offset {offset:,}, and begins at "
                f"{begin:,} by now: retention has dropped records while they were verified",
                "Verify again; when it happens often, keep events for longer "
                "(log_retention_hours, or the topic's retention.ms)",
            )

    def _make_room(self) -> None:
        for _ in range(2):
            self._supply.freeze().release()
            self._supply.forget()


def verify_tables(settings: Settings, tell: Callable[[int, int], None]) -> Verified:
    """Compare the live tables with what the log says.

    Parameters
    ----------
    tell
        Called with records replayed and records to replay.

    Raises
    ------
    OnhandError
        No table is live, or the log no longer holds what no checkpoint covers.
    """
    with contextlib.ExitStack() as stack:
        event_log = stack.enter_context(contextlib.closing(open_log(settings)))
        cluster_id = open_identity(settings.data, log=event_log.identity()).id
        return compare_tables(settings, event_log, cluster_id, tell)


def compare_tables(
    settings: Settings, event_log: EventLog, cluster_id: str, tell: Callable[[int, int], None]
) -> Verified:
    """Compare the live tables of a cluster with an open log; see :func:`verify_tables`."""
    with contextlib.ExitStack() as stack:
        reader = TableReader(settings.table_dir, cluster_id)
        reader.refresh()
        settings = judging_as(settings, reader.published()[0].windows_us)
        partitions = list(reader.progress().offsets)
        directory = stack.enter_context(_scratch_directory(settings.table_dir, cluster_id))
        scratch = directory / "rebuilt.table"
        supply, starts = _base(settings, event_log, cluster_id, partitions, scratch)
        stack.callback(supply.close)
        refused = _stateful_refusals(event_log, partitions)
        rebuild = Rebuild(
            settings=settings,
            event_log=event_log,
            partitions=partitions,
            supply=supply,
            starts=starts,
            refused=refused,
        )
        return _compare(reader, rebuild, partitions, scratch, tell)


def judging_as(settings: Settings, windows_us: tuple[int, int] | None) -> Settings:
    """Judge events by age as the live tables' writer does, in what one was not told otherwise.

    Parameters
    ----------
    windows_us
        What the writer has published; None when it has not.
    """
    if windows_us is None:
        return settings
    late_us, count_us = windows_us
    default = Settings()
    if settings.late_window == default.late_window:
        late = timedelta(microseconds=late_us) if late_us >= 0 else None
        settings = msgspec.structs.replace(settings, late_window=late)
    if settings.count_window == default.count_window:
        count = timedelta(microseconds=count_us)
        settings = msgspec.structs.replace(settings, count_window=count)
    return settings


class Numbering:
    """One numbering of names for both tables: each has numbers of its own."""

    def __init__(self) -> None:
        self.skus: dict[str, int] = {}
        self.locations: dict[str, int] = {}

    def columns(
        self, skus: list[str], locations: list[str], cells: dict[str, NDArray[Any]]
    ) -> Cells:
        """Key cells by SKU and location in this numbering; columns of numbers, sorted by key."""
        sku = _renumber(self.skus, skus)[cells["sku"]]
        location = _renumber(self.locations, locations)[cells["location"]]
        key = sku * LOCATIONS_MAX + location
        order = np.argsort(key, kind="stable")
        numbers = np.stack([cells[field][order].astype(np.int64) for field in FIELDS], axis=1)
        touched = numbers.any(axis=1)
        return Cells(key[order][touched], numbers[touched])

    def due(self, skus: list[str], locations: list[str], due: dict[str, NDArray[Any]]) -> Due:
        """Key what is due by SKU and location in this numbering, and by day."""
        sku = _renumber(self.skus, skus)[due["sku"]]
        location = _renumber(self.locations, locations)[due["location"]]
        keys = zip((sku * LOCATIONS_MAX + location).tolist(), due["day"].tolist(), strict=True)
        units = zip(keys, due["quantity"].tolist(), strict=True)
        return {key: quantity for key, quantity in units if quantity}

    def by_sku(self, cells: Cells) -> dict[str, tuple[int, ...]]:
        """Sum the numbers of all locations, by SKU."""
        sums = np.zeros((len(self.skus), len(FIELDS)), np.int64)
        np.add.at(sums, cells.key // LOCATIONS_MAX, cells.numbers)
        return dict(zip(self.skus, map(tuple, sums.tolist()), strict=True))

    def name(self, key: int) -> tuple[str, str]:
        """Return the SKU and location of a key."""
        return list(self.skus)[key // LOCATIONS_MAX], list(self.locations)[key % LOCATIONS_MAX]


def _renumber(numbers: dict[str, int], names: list[str]) -> NDArray[np.int64]:
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _compare(
    reader: TableReader,
    rebuild: Rebuild,
    partitions: Sequence[TopicPartition],
    scratch: Path,
    tell: Callable[[int, int], None],
) -> Verified:
    numbering = Numbering()
    suspects, suspects_due = np.empty(0, np.int64), set[tuple[int, int]]()
    for turn in range(RECHECK_COUNT_MAX):
        if turn:
            time.sleep(RECHECK_S)
        reader.refresh()
        live = _merge(numbering.columns(*shard) for shard in reader.cells())
        live_due = _merge_due(numbering.due(*shard) for shard in reader.incoming())
        # The table is read before the offsets, so the rebuild is never behind what was read.
        offsets = reader.progress().offsets
        rebuild.advance([offsets[partition] for partition in partitions], tell)
        rebuilt, rebuilt_due = _rebuilt(scratch, numbering)
        differing = live.differing(rebuilt)
        suspects = np.intersect1d(suspects, differing) if turn else differing
        differing_due = {key for key, _ in live_due.items() ^ rebuilt_due.items()}
        suspects_due = suspects_due & differing_due if turn else differing_due
        if not len(suspects) and not suspects_due:
            break
    names = [f"{topic}[{number}]" for topic, number in partitions]
    tally = rebuild.tally
    return Verified(
        cell_count=len(rebuilt.key),
        record_count=rebuild.record_count,
        offsets=dict(zip(names, rebuild.offsets, strict=True)),
        differences=sorted(
            [
                *_differences(suspects, live, rebuilt, numbering),
                *_differences_due(suspects_due, live_due, rebuilt_due, numbering),
            ]
        ),
        conserved=tally.against(numbering.by_sku(rebuilt)) if tally is not None else None,
    )


def _merge(shards: Iterable[Cells]) -> Cells:
    found = list(shards)
    key = np.concatenate([cells.key for cells in found])
    numbers = np.concatenate([cells.numbers for cells in found])
    order = np.argsort(key, kind="stable")
    return Cells(key[order], numbers[order])


def _merge_due(shards: Iterable[Due]) -> Due:
    return {key: units for shard in shards for key, units in shard.items()}


def _rebuilt(scratch: Path, numbering: Numbering) -> tuple[Cells, Due]:
    table = Table(scratch)
    skus, locations = table.sku_names(), table.location_names()
    cells = numbering.columns(skus, locations, table.cells())
    return cells, numbering.due(skus, locations, table.incoming())


def _differences(
    suspects: NDArray[np.int64], live: Cells, rebuilt: Cells, numbering: Numbering
) -> Iterator[Difference]:
    for key in suspects.tolist():
        sku, location = numbering.name(key)
        for field, there, here in zip(FIELDS, live.at(key), rebuilt.at(key), strict=True):
            if there != here:
                yield Difference(sku, location, field, there, here)


def _differences_due(
    suspects: Iterable[tuple[int, int]], live: Due, rebuilt: Due, numbering: Numbering
) -> Iterator[Difference]:
    for key, day in suspects:
        sku, location = numbering.name(key)
        field = f"due on {date.fromordinal(day + _EPOCH_ORDINAL).isoformat()}"
        there, here = live.get((key, day), 0), rebuilt.get((key, day), 0)
        yield Difference(sku, location, field, there, here)


@contextlib.contextmanager
def _scratch_directory(table_dir: Path, cluster_id: str) -> Iterator[Path]:
    """Make room for the rebuild beside the live tables; gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix=f"onhand-verify-{cluster_id}-", dir=table_dir) as path:
        yield Path(path)


def _stateful_refusals(
    event_log: EventLog, partitions: Sequence[TopicPartition]
) -> frozenset[tuple[int, int]]:
    index = {partition: number for number, partition in enumerate(partitions)}
    letters = list_dead_letters(event_log, STATEFUL_REFUSALS)
    return frozenset(
        (index[letter.topic, letter.origin_partition], letter.origin_offset) for letter in letters
    )


def _base(
    settings: Settings,
    event_log: EventLog,
    cluster_id: str,
    partitions: Sequence[TopicPartition],
    path: Path,
) -> tuple[Supply, list[int]]:
    """Open the table to rebuild in: empty when the log is whole, else from an old checkpoint."""
    begins = event_log.begin_offsets(partitions)
    options: dict[str, Any] = {
        "cluster_id": bytes.fromhex(cluster_id),
        "shard": 0,
        "shard_count": 1,
        "generation": 1,
        "capacity_bytes": settings.table_bytes_max,
        "ids_max": IDS_MAX,
        "history_max": settings.history_max,
        "purchase_orders_max": settings.purchase_orders_max,
    }
    if not any(begins.values()):
        return Supply.create(path, **options), [0] * len(partitions)
    found = None
    if settings.shard_count == 1:
        found = Checkpoints(
            settings.data / "checkpoints" / "shard-000",
            cluster_id=cluster_id,
            log_identity=event_log.identity(),
            shard=0,
            shard_count=1,
        ).oldest()
    covered = found.meta.offsets_by_partition() if found else {}
    for partition, begin in begins.items():
        if covered.get(partition, 0) < begin:
            raise OffsetOutOfRange(
                f"{partition[0]}[{partition[1]}] begins at offset {begin}, and no checkpoint kept "
                "covers what came before",
                "Keep events for longer (log_retention_hours) or checkpoints "
                "(checkpoint_archive_days), so that the table can be rebuilt",
            )
    assert found is not None  # noqa: S101 - some offset above 0 is covered
    starts = [covered[partition] for partition in partitions]
    return Supply.load(path, found, **options), starts
