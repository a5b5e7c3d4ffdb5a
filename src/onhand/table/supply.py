"""The one writer of a supply table, with its ids, counts, purchase orders and history.

::

    supply = Supply.create(path, ...)            or Supply.load(path, checkpoint, ...)
    supply.apply(batch)                          as often as there are batches
    image = supply.freeze()                      between two batches; apply goes on right after
    checkpoints.write(image, ...)                in any thread
    supply.forget()                              once it is durable, in the writer's thread

A supply is used by one thread at a time; only an image may be read by another. Apply, freeze and
load release the interpreter lock.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NotRequired, TypedDict, TypeVar, Unpack

import msgspec
import numpy as np

from onhand._native.supply import StatusError, SupplyTable
from onhand.errors import OnhandError
from onhand.table.status import raise_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from onhand.model.batch import Batch
    from onhand.table.checkpoint import Checkpoint

Result = TypeVar("Result")

SECTION_NAMES = ("store", "private", "ids", "counts", "orders", "texts")
"""The parts of an image, ``enum oh_section``."""

PARTITIONS_MAX = 1024
HISTORY_ROWS_MIN = 1024
CHANGE_RING_BYTES = 16
CHANGE_RING_MAX = 1 << 20
CHANGE_RING_MIN = 1 << 10
PURCHASE_ORDERS_MAX = 4_000_000


class TableOptions(TypedDict):
    """What a table is made with.

    ``cluster_id`` is 16 bytes that readers compare with their own. The file may grow to
    ``capacity_bytes``; space is taken as it fills. ``ids_max``, ``history_max`` (a power of two,
    else the one below) and ``purchase_orders_max`` say how many ids, movements and lines of
    purchase orders are remembered.
    """

    cluster_id: bytes
    shard: int
    shard_count: int
    generation: int
    capacity_bytes: int
    ids_max: int
    history_max: int
    purchase_orders_max: NotRequired[int]


class Applied(msgspec.Struct, frozen=True):
    """What became of a batch in one shard.

    ``events`` were applied and have a line in this shard, ``lines`` are those lines; ``duplicates``
    had been applied before; ``skipped`` lie below the offsets this shard starts at. ``by_type``
    counts applied events by ``TYPE_NUMBERS``, each in the shard of its first line: sums over shards
    count every event once.
    """

    events: int
    duplicates: int
    lines: int
    skipped: int
    by_type: tuple[int, ...]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a table holds and how full it is; bytes, counts and microseconds since 1970."""

    cell_count: int
    sku_count: int
    location_count: int
    used_bytes: int
    allocated_bytes: int
    capacity_bytes: int
    row_bytes: int
    id_count: int
    id_count_max: int
    movement_count: int
    movement_count_max: int
    counted_cell_count: int
    purchase_order_count: int
    purchase_order_count_max: int
    text_bytes: int
    ledger_sequence: int
    change_seq: int
    ids_since_us: int
    counts_since_us: int


class Image:
    """A supply as it stood between two batches, to be written by any thread.

    The memory is the supply's standing buffer: :meth:`release` gives it back, and until then the
    supply cannot be frozen again.
    """

    def __init__(
        self,
        sections: dict[str, list[memoryview]],
        *,
        offsets: tuple[int, ...],
        ledger_sequence: int,
        horizons: tuple[int, int],
        release: Callable[[], None],
    ) -> None:
        self.sections = sections
        self.offsets = offsets
        self.ledger_sequence = ledger_sequence
        self.ids_since_us, self.counts_since_us = horizons
        self._release: Callable[[], None] | None = release

    @property
    def size_bytes(self) -> int:
        """Bytes of all sections."""
        return sum(piece.nbytes for pieces in self.sections.values() for piece in pieces)

    def release(self) -> None:
        """Give the memory back; calling it again does nothing."""
        release, self._release = self._release, None
        if release is None:
            return
        for pieces in self.sections.values():
            for piece in pieces:
                piece.release()
        release()


class Supply:
    """The writer's face of one shard's table; make one with :meth:`create` or :meth:`load`.

    Parameters
    ----------
    native
        The open native table.
    offsets
        Per partition index, the next offset to apply as of the checkpoint it was loaded from.
    """

    def __init__(self, native: SupplyTable, offsets: Sequence[int] = ()) -> None:
        self._native = native
        self._durable_offsets = tuple(offsets)
        self._frozen_offsets = tuple(offsets)

    @classmethod
    def create(cls, path: Path, **options: Unpack[TableOptions]) -> Supply:
        """Make an empty table in a new file; its directory exists.

        Raises
        ------
        TableUnavailable
            The file cannot be made, or its file system has no room.
        TableFull
            ``capacity_bytes`` does not hold the history.
        """
        native = _configured(options)
        try:
            native.create(os.fsencode(path))
        except StatusError as error:
            raise_in_words(error, path)
        return cls(native)

    @classmethod
    def load(cls, path: Path, checkpoint: Checkpoint, **options: Unpack[TableOptions]) -> Supply:
        """Make a table from a checkpoint; as fast as it can be read, about 0.5 s for 10M cells.

        A limit may be raised; one below what the checkpoint remembers holds once that has been
        forgotten. A history shorter than the checkpoint's stays as long as it is.

        Raises
        ------
        CheckpointInvalid
            The checkpoint's content is not what its checksums say.
        TableUnavailable, TableFull
            As for :meth:`create`.
        """
        native = _configured(options)
        lengths = [checkpoint.section_bytes(name) for name in SECTION_NAMES]
        try:
            buffers = native.adopt(os.fsencode(path), lengths)
        except StatusError as error:
            native.close()
            raise_in_words(error, path, checkpoint=checkpoint.path)
        try:
            checkpoint.read_into(dict(zip(SECTION_NAMES, buffers, strict=True)))
            native.adopted()
        except (OnhandError, StatusError) as error:
            native.close()
            path.unlink(missing_ok=True)
            if isinstance(error, StatusError):
                raise_in_words(error, path, checkpoint=checkpoint.path)
            raise
        return cls(native, checkpoint.meta.offsets)

    # -- applying ------------------------------------------------------------------------------

    def apply(self, batch: Batch, expired_us: int = 0) -> Applied:
        """Apply the lines of a batch that are this shard's, whole or not at all.

        Parameters
        ----------
        batch
            Decoded and judged.
        expired_us
            Every count that occurred until then is refused for its age, in this batch and after
            it: movements as old may be forgotten to make room, without a checkpoint.

        Raises
        ------
        TableFull
            The batch does not fit; the message names the setting to raise. Nothing is applied.
        TableUnavailable
            The table's file system is full.
        LedgerSequenceGap
            The order ledger's events skip a sequence.
        """
        try:
            result = self._native.apply(
                batch.events,
                batch.lines,
                batch.heap,
                batch.next_offsets,
                batch.ids_since_us,
                batch.counts_since_us,
                expired_us,
            )
        except StatusError as error:
            raise_in_words(error)
        return Applied(*result)

    def apply_columns(
        self,
        sku: NDArray[np.uint32],
        location: NDArray[np.uint32],
        delta: NDArray[np.int32],
    ) -> None:
        """Add ``delta`` to on_hand of each (sku, location), numbers resolved; no ids, no history.

        For loading and measuring: counts know nothing of what was added so.
        """
        self._call(lambda: self._native.apply_columns(sku, location, delta))

    def resolve_skus(self, skus: list[str]) -> NDArray[np.uint32]:
        """Return the number of each SKU, made when it has none."""
        return self._call(lambda: self._native.resolve_skus(skus))

    def resolve_locations(self, locations: list[str]) -> NDArray[np.uint32]:
        """Return the number of each location, made when it has none."""
        return self._call(lambda: self._native.resolve_locations(locations))

    def stamp(self, *, heartbeat_us: int, as_of_us: int, lag_events: int) -> None:
        """Tell readers that the writer lives and how far it has come."""
        self._native.stamp(heartbeat_us, as_of_us, lag_events)

    # -- checkpoints ---------------------------------------------------------------------------

    def needs_checkpoint(self) -> bool:
        """Whether room for ids or movements is running out: it is made by checkpoints alone."""
        return self._native.needs_checkpoint()

    def freeze(self, ids_expired_us: int = 0) -> Image:
        """Copy everything into the standing buffer; the one pause of a checkpoint.

        Parameters
        ----------
        ids_expired_us
            Ids appended before it may be forgotten though there is room for them.

        Raises
        ------
        TableFull
            An earlier batch stopped halfway: what is half done is never kept.
        """
        pieces = self._call(lambda: self._native.freeze(ids_expired_us))
        offsets = [self._native.applied_offset(index) for index in range(PARTITIONS_MAX)]
        while offsets and offsets[-1] == 0:
            offsets.pop()
        self._frozen_offsets = tuple(offsets)
        return Image(
            dict(zip(SECTION_NAMES, pieces, strict=True)),
            offsets=self._frozen_offsets,
            ledger_sequence=self._native.figures()["ledger_sequence"],
            horizons=self._native.announced,
            release=self._native.release,
        )

    def forget(self) -> None:
        """Advance the horizons, once the newest image is durable.

        What that image announced holds from now on; what the one before announced is evicted.
        """
        self._native.forget()
        self._durable_offsets = self._frozen_offsets

    @property
    def ids_since_us(self) -> int:
        """Ids of events appended before this may be forgotten; judges refuse by it."""
        return self._native.in_force[0]

    @property
    def counts_since_us(self) -> int:
        """Movements that occurred at or before this may be forgotten; judges refuse by it."""
        return self._native.in_force[1]

    # -- looking at it -------------------------------------------------------------------------

    def applied_offset(self, partition: int) -> int:
        """Return the next offset to apply of a partition, by its index."""
        return self._native.applied_offset(partition)

    def checkpointed_offset(self, partition: int) -> int:
        """Return the offset of a partition that the newest durable checkpoint resumes at."""
        offsets = self._durable_offsets
        return offsets[partition] if partition < len(offsets) else 0

    def changes(
        self, since_seq: int, count_max: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32], int, bool]:
        """Return changed cells after a sequence: SKUs, locations, sequence reached, complete.

        Not complete: the ring has overwritten some of them since.
        """
        return self._native.changes(since_seq, count_max)

    def statistics(self) -> Statistics:
        """Return what the table holds now."""
        ids_since_us, counts_since_us = self._native.in_force
        return Statistics(
            ids_since_us=ids_since_us, counts_since_us=counts_since_us, **self._native.figures()
        )

    def close(self) -> None:
        """Let go of the file and of all memory; images must be released before."""
        self._native.close()

    def _call(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except StatusError as error:
            raise_in_words(error)


def _configured(options: TableOptions) -> SupplyTable:
    """Hold the options of a table to come, its rings rounded to what the store takes."""
    native = SupplyTable()
    share = options["capacity_bytes"] // (64 * CHANGE_RING_BYTES)
    native.configure(
        options["cluster_id"],
        shard=options["shard"],
        shard_count=options["shard_count"],
        generation=options["generation"],
        capacity_bytes=options["capacity_bytes"],
        ids_max=options["ids_max"],
        history_max=_power_of_two(max(options["history_max"], HISTORY_ROWS_MIN)),
        change_ring_size=_power_of_two(min(CHANGE_RING_MAX, max(CHANGE_RING_MIN, share))),
        orders_max=options.get("purchase_orders_max", PURCHASE_ORDERS_MAX),
    )
    return native


def _power_of_two(size: int) -> int:
    """Return the greatest power of two that is not above ``size``."""
    return 1 << size.bit_length() - 1
