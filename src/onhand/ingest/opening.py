"""Open ingest: lock, log, checkpoints, shards, in the order that keeps every promise."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any

from onhand.errors import AlreadyRunning, TableUnavailable
from onhand.identity import open_identity
from onhand.ingest.changes import told_seq
from onhand.ingest.engine import Engine, choose_partitions, lane_count, start_offsets
from onhand.ingest.metrics import IngestMetrics
from onhand.ingest.shard import Checkpointer, Shard
from onhand.log import open_log
from onhand.log.base import now_us
from onhand.logging import get_logger
from onhand.metrics import Page, metrics_directory
from onhand.table.checkpoint import Checkpoints
from onhand.table.directory import TableDirectory
from onhand.table.disk import DISK
from onhand.table.reader import TableReader
from onhand.table.supply import Supply
from onhand.tracing import open_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from onhand.log.base import EventLog, TopicPartition
    from onhand.settings import Settings
    from onhand.table.checkpoint import Checkpoint
    from onhand.table.disk import Disk
    from onhand.table.supply import Image

log = get_logger(__name__)


@contextlib.contextmanager
def writer_lock(data: Path) -> Iterator[None]:
    """Hold the data directory's writer lock; the kernel frees it however the process ends.

    Raises
    ------
    AlreadyRunning
        Another process holds it; the message names it.
    """
    descriptor = os.open(data / "ingest.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"Process {holder} already writes the tables of {data}",
                "Stop it first, or give this one a --data directory of its own",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_engine(settings: Settings, *, clock: Callable[[], int] = now_us) -> Iterator[Engine]:
    """Open everything ingest needs; on a clean exit the shared tables are freed.

    Raises
    ------
    OnhandError
        The log, a checkpoint, the shared memory or the lock is not as it must be.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    with writer_lock(settings.data), contextlib.ExitStack() as stack:
        event_log = stack.enter_context(contextlib.closing(open_log(settings)))
        for warning in event_log.ensure_topics(settings.kafka_partition_count):
            log.warning("topic_unfit", problem=warning)
        identity = open_identity(settings.data, log=event_log.identity())
        directory = TableDirectory(settings.table_dir, identity.id)
        directory.prepare()
        directory.clean_all(settings.shard_count)
        page = Page(metrics_directory(settings.table_dir, identity.id), "ingest")
        stack.callback(page.close)
        opening = Opening(settings, event_log, directory, IngestMetrics(page), clock)
        engine = opening.engine()
        stack.callback(engine.close)
        tracing = open_tracing(settings, role="ingest", cluster_id=identity.id, page=page)
        if tracing is not None:
            stack.callback(tracing.close)
            engine.tracing = tracing
        yield engine
        # Only a clean end frees the tables: after a failure readers go on with what there is,
        # and see its age.
        directory.remove_tables()


class Opening:
    """The steps of opening shards, and what they share.

    Parameters
    ----------
    directory
        Prepared, and this process is its one writer.
    clock
        Microseconds since 1970-01-01 UTC.
    disk
        Where checkpoints are kept.
    make_thread
        Of what writes them; see :class:`onhand.ingest.shard.Checkpointer`.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        directory: TableDirectory,
        metrics: IngestMetrics,
        clock: Callable[[], int],
        *,
        disk: Disk = DISK,
        make_thread: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        self._disk = disk
        self._make_thread = make_thread
        self._settings = settings
        self._log = event_log
        self._directory = directory
        self._metrics = metrics
        self._clock = clock
        self._partitions: list[TopicPartition] = []

    def engine(self) -> Engine:
        """Load every shard and put the engine around them."""
        stores = [self._checkpoints(shard) for shard in range(self._settings.shard_count)]
        latest = [store.latest() for store in stores]
        known = next((found.meta.partitions for found in latest if found), ())
        self._partitions = choose_partitions(self._log, known)
        starts = [self._starts(found) for found in latest]
        targets = self._targets()
        shards = [
            self._shard(number, stores[number], found, starts[number], targets)
            for number, found in enumerate(latest)
        ]
        return Engine(
            settings=self._settings,
            event_log=self._log,
            partitions=self._partitions,
            shards=shards,
            starts=starts,
            metrics=self._metrics,
            clock=self._clock,
            cluster_id=self._directory.cluster_id,
        )

    def _checkpoints(self, shard: int) -> Checkpoints:
        return Checkpoints(
            self._settings.data / "checkpoints" / f"shard-{shard:03d}",
            cluster_id=self._directory.cluster_id,
            log_identity=self._log.identity(),
            shard=shard,
            shard_count=self._settings.shard_count,
            archive_days=self._settings.checkpoint_archive_days,
            disk=self._disk,
        )

    def _starts(self, found: Checkpoint | None) -> list[int]:
        """Decide where a shard resumes each partition."""
        covered = dict(zip(found.meta.partitions, found.meta.offsets, strict=True)) if found else {}
        return start_offsets(self._log, self._partitions, covered)

    def _targets(self) -> dict[int, int]:
        """Decide what must be applied before readers may see this generation.

        All that any table of the generation before had; without one, all that is in the log now.
        """
        reader = TableReader(self._settings.table_dir, self._directory.cluster_id)
        try:
            reader.refresh()
            offsets = _furthest(reader)
        except TableUnavailable:
            offsets = self._log.end_offsets(self._partitions)
        return {
            index: offsets[partition]
            for index, partition in enumerate(self._partitions)
            if partition in offsets
        }

    def _shard(
        self,
        number: int,
        checkpoints: Checkpoints,
        found: Checkpoint | None,
        starts: list[int],
        targets: Mapping[int, int],
    ) -> Shard:
        generation = self._directory.next_generation(number)
        supply = self._supply(number, generation, found)
        partitions = self._partitions
        base_seq = found.meta.changes_since if found else 0
        log.info(
            "shard_opened",
            shard=number,
            generation=generation,
            checkpoint=found.path.name if found else None,
            cells=supply.statistics().cell_count,
        )

        def publish() -> None:
            self._directory.publish(
                number,
                generation,
                shard_count=self._settings.shard_count,
                partitions=partitions,
                changes_since=base_seq,
                windows_us=(self._settings.late_us, self._settings.count_us),
            )
            log.info("shard_published", shard=number, generation=generation)

        def write_checkpoint(image: Image, change_seq: int) -> None:
            began_us = self._clock()
            # What has been told of since the image was taken is not in it, and is told again.
            told = told_seq(self._directory, number, generation, base_seq)
            written = checkpoints.write(
                image,
                partitions=partitions,
                created_us=began_us,
                changes_since=min(told, change_seq),
            )
            self._metrics.count_checkpoint(
                number,
                bytes_written=written.path.stat().st_size,
                taken_us=began_us,
                seconds=(self._clock() - began_us) / 1e6,
            )

        return Shard(
            supply,
            starts=starts,
            targets=targets,
            lane_count=lane_count(self._settings, partitions),
            settings=self._settings,
            metrics=self._metrics,
            clock=self._clock,
            publish=publish,
            checkpointer=Checkpointer(write_checkpoint, self._make_thread),
        )

    def _supply(self, number: int, generation: int, found: Checkpoint | None) -> Supply:
        path = self._directory.table_path(number, generation)
        options: dict[str, Any] = {
            "cluster_id": bytes.fromhex(self._directory.cluster_id),
            "shard": number,
            "shard_count": self._settings.shard_count,
            "generation": generation,
            "capacity_bytes": self._settings.table_bytes_max,
            "ids_max": self._settings.ids_max,
            "history_max": self._settings.history_max,
            "purchase_orders_max": self._settings.purchase_orders_max,
        }
        if found is None:
            return Supply.create(path, **options)
        return Supply.load(path, found, **options)


def _furthest(reader: TableReader) -> dict[TopicPartition, int]:
    """Say how far the furthest table is in each partition: a slower one must not set the mark."""
    furthest: dict[TopicPartition, int] = {}
    for published, table in zip(reader.published(), reader.tables(), strict=True):
        partitions = published.partitions
        for partition, offset in zip(
            partitions, table.applied_offsets(len(partitions)), strict=True
        ):
            furthest[partition] = max(offset, furthest.get(partition, 0))
    return furthest
