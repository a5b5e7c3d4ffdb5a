"""The engine of ingest: what the dataflow's steps share.

It opens the log and the shards, knows which offset every shard has applied, judges, and keeps the
promise that a batch travels on only when its dead letters and claims are durable. Bytewax wires;
this decides, and runs without Bytewax in tests.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from onhand.errors import LogUnavailable, OffsetOutOfRange
from onhand.ingest.ahead import ReadAhead
from onhand.ingest.dead_letters import dead_letter
from onhand.ingest.decode import Window, decode_batch
from onhand.ingest.sink import shard_key
from onhand.ingest.traced import traced_poll
from onhand.log.base import NewRecord, record_bytes
from onhand.log.topics import CLAIMS, DEAD_LETTERS, EVENT_TOPICS, LEDGER
from onhand.logging import get_logger
from onhand.model.batch import Reject
from onhand.model.codes import RejectCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onhand.ingest.ahead import Poll
    from onhand.ingest.metrics import IngestMetrics
    from onhand.ingest.shard import Shard
    from onhand.log.base import EventLog, LogReader, RawBatch, TopicPartition
    from onhand.model.batch import Batch
    from onhand.settings import Settings
    from onhand.tracing import Tracing

log = get_logger(__name__)

CONGESTION_BATCHES_MAX = 16
"""Batches between the lanes and the shards. Bytewax bounds no queue inside an epoch; this does."""

OUTPUT_RETRY_S = 1.0
HOUR_US = 3_600_000_000


class Engine:
    """Everything that the steps of the availability flow share.

    Parameters
    ----------
    settings
        The process's settings.
    event_log
        The open log.
    partitions
        The flow's partitions; a partition's index is its place here and never changes.
    shards
        The loaded shards, all of them in this process.
    starts
        For each shard, the offset it resumes each partition at.
    metrics
        Counters of what was read and refused.
    clock
        Returns microseconds since 1970-01-01 UTC.
    cluster_id
        Whose tables these are.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        event_log: EventLog,
        partitions: Sequence[TopicPartition],
        shards: Sequence[Shard],
        starts: Sequence[Sequence[int]],
        metrics: IngestMetrics,
        clock: Callable[[], int],
        cluster_id: str,
    ) -> None:
        self.settings = settings
        self.cluster_id = cluster_id
        self.shards = list(shards)
        self.clock = clock
        self.tracing: Tracing | None = None
        """What traces events; set before the flow begins."""
        self.stopping = threading.Event()
        self.lane_count = lane_count(settings, partitions)
        self.poll_record_count_max = settings.poll_record_count_max
        self._log = event_log
        self._metrics = metrics
        self.partitions = list(partitions)
        self._index = {partition: index for index, partition in enumerate(partitions)}
        self._ledger_partitions = frozenset(
            index for index, (topic, _) in enumerate(partitions) if topic == LEDGER
        )
        # Per lane, how many checkpoints its offsets have been committed of.
        self._committed = [0] * self.lane_count
        self._in_flight = 0
        self._in_flight_lock = threading.Lock()
        self._lanes: list[ReadAhead] = []
        # Every shard is given every record from here on and skips what it has applied.
        self._starts = [min(offsets) for offsets in zip(*starts, strict=True)]

    def stop(self) -> None:
        """Let the lanes end; the shards then write their last checkpoints."""
        self.stopping.set()

    def close(self) -> None:
        """Let go of the log's readers and of every table, once the flow has ended."""
        for lane in self._lanes:
            lane.close()
        for shard in self.shards:
            shard.close()

    # -- lanes ---------------------------------------------------------------------------------

    def open_lane(self, lane: int) -> ReadAhead:
        """Read on, in a thread, at the offsets that every shard has applied."""
        ahead = ReadAhead(self, lane, self.lane_reader(lane))
        self._lanes.append(ahead)
        return ahead

    def lane_reader(self, lane: int) -> LogReader:
        """Open the log for a lane at the offsets that every shard has applied."""
        start = {
            partition: self._starts[index]
            for index, partition in enumerate(self.partitions)
            if index % self.lane_count == lane
        }
        return self._log.reader(start, self._index)

    def by_index(self, offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
        """Name partitions by their index in the flow."""
        return {self._index[partition]: offset for partition, offset in offsets.items()}

    def added_partitions(self) -> list[TopicPartition]:
        """List the partitions that the log has now and this flow does not read.

        Raises
        ------
        LogUnavailable
            The log cannot be asked.
        """
        return choose_partitions(self._log, self.partitions)[len(self.partitions) :]

    def is_congested(self) -> bool:
        """Whether the shards have enough to do."""
        return self._in_flight >= CONGESTION_BATCHES_MAX * len(self.shards)

    def may_wait(self) -> bool:
        """Whether a lane may keep its worker waiting: nothing else could come for it to do."""
        return self.lane_count == 1 and self._in_flight == 0

    def batch_entered(self) -> None:
        """Count a batch on its way to every shard."""
        with self._in_flight_lock:
            self._in_flight += len(self.shards)

    def batch_left(self) -> None:
        """Count a batch that one shard has applied."""
        with self._in_flight_lock:
            self._in_flight -= 1

    # -- judge ---------------------------------------------------------------------------------

    def window(self) -> Window:
        """Return the rules of time as of now: the settings and what the shards still remember."""
        return Window(
            late_us=self.settings.late_us,
            count_us=self.settings.count_us,
            ids_since_us=max(shard.supply.ids_since_us for shard in self.shards),
            counts_since_us=max(shard.supply.counts_since_us for shard in self.shards),
        )

    def judge(self, poll: Poll) -> list[tuple[str, tuple[int, Batch]]]:
        """Decode and judge a poll; return it once for every shard.

        Every shard is told every batch, lines for it or not: it carries the offsets.
        """
        batch = decode_batch(poll.raw, self.window(), self._ledger_partitions)
        batch.next_offsets = poll.next_offsets
        batch.progress_us = poll.progress_us
        batch.lag_events = poll.lag_events
        self._metrics.count_judged(batch)
        if batch.rejects or batch.claims:
            self._divert(poll.raw, batch)
        if self.tracing is not None:
            self._trace(self.tracing, poll.raw, batch)
        item = (poll.lane, batch)
        return [(shard_key(number), item) for number in range(len(self.shards))]

    def _trace(self, tracing: Tracing, raw: RawBatch, batch: Batch) -> None:
        """Tell of the events that are traced, now or when every shard has applied them.

        What is read again after a restart was told of before, so nothing is told until readers see
        this generation of the tables.
        """
        if all(shard.is_published for shard in self.shards):
            traced = traced_poll(tracing, raw, batch, self.partitions, len(self.shards))
            if traced is not None:
                traced.tell_diverted(self.clock())
                batch.on_applied = traced.applied

    def _divert(self, raw: RawBatch, batch: Batch) -> None:
        """Write dead letters and claims; return only when they are durable."""
        claim_bytes_max = self._log.record_bytes_max(CLAIMS)
        claims = {index: _claim(raw, index) for index in batch.claims}
        # A key or headers of any size may come with an event that fits.
        too_large = [at for at, each in claims.items() if record_bytes(each) > claim_bytes_max]
        for index in too_large:
            del claims[index]
        batch.claims = list(claims)
        batch.rejects = [*batch.rejects, *map(_too_large, too_large)]
        bytes_max = self._log.record_bytes_max(DEAD_LETTERS)
        records = [
            *(dead_letter(raw.record(each.record), each, bytes_max) for each in batch.rejects),
            *claims.values(),
        ]
        while True:
            try:
                self._log.append(records)
            except LogUnavailable as error:
                # Nothing may be skipped: the flow waits here, the lag grows and pages someone.
                log.warning("outputs_waiting", records=len(records), error=str(error))
                if self.stopping.wait(OUTPUT_RETRY_S):
                    raise
            else:
                return

    def after_poll(self, lane: int, reader: LogReader) -> None:
        """Tell the log's consumer group what checkpoints hold, for operators' tools."""
        checkpointed = sum(shard.checkpoint_count for shard in self.shards)
        if checkpointed == self._committed[lane]:
            return
        self._committed[lane] = checkpointed
        durable = self._durable_offsets()
        reader.commit({each: durable[each] for each in reader.next_offsets()})

    def prune(self) -> None:
        """Let an embedded log drop what is older than its retention and in every checkpoint.

        Raises
        ------
        LogUnavailable
            Another time, then.
        """
        retention_us = self.settings.log_retention_hours * HOUR_US
        self._log.prune(self.clock() - retention_us, self._durable_offsets())

    def _durable_offsets(self) -> dict[TopicPartition, int]:
        return {
            partition: min(shard.supply.checkpointed_offset(index) for shard in self.shards)
            for partition, index in self._index.items()
        }


def lane_count(settings: Settings, partitions: Sequence[TopicPartition]) -> int:
    """Return how many readers share the partitions: one for each worker that gets any."""
    return min(settings.worker_count, len(partitions))


def _too_large(index: int) -> Reject:
    return Reject(
        record=index,
        type=None,
        code=RejectCode.TOO_LARGE,
        pointer="",
        detail="the claim with its key and headers must fit the topic stock.claims",
    )


def _claim(raw: RawBatch, index: int) -> NewRecord:
    record = raw.record(index)
    origin = (
        ("onhand.origin.topic", record.topic.encode()),
        ("onhand.origin.partition", str(record.partition).encode()),
        ("onhand.origin.offset", str(record.offset).encode()),
    )
    return NewRecord(
        topic=CLAIMS, key=record.key, value=record.value, headers=(*record.headers, *origin)
    )


def choose_partitions(event_log: EventLog, known: Sequence[TopicPartition]) -> list[TopicPartition]:
    """List the flow's partitions: those a checkpoint knows keep their places, new ones follow."""
    present = event_log.partitions((*EVENT_TOPICS, LEDGER))
    return [*known, *sorted(set(present) - set(known))]


def start_offsets(
    event_log: EventLog,
    partitions: Sequence[TopicPartition],
    checkpointed: Mapping[TopicPartition, int],
) -> list[int]:
    """Decide where to resume each partition, in their order.

    Raises
    ------
    OffsetOutOfRange
        The log has dropped records that no checkpoint covers, or ends before a checkpoint.
    """
    begins = event_log.begin_offsets(partitions)
    ends = event_log.end_offsets(partitions)
    starts = []
    for partition in partitions:
        offset = checkpointed.get(partition, begins[partition])
        name = f"{partition[0]}[{partition[1]}]"
        if offset < begins[partition]:
            raise OffsetOutOfRange(
                f"{name} resumes at offset {offset}, but the log begins at {begins[partition]}: "
                f"{begins[partition] - offset} records were dropped before they were applied",
                "Start from an archived checkpoint that covers them, or from an empty data "
                "directory with a stock count of every location",
            )
        if offset > ends[partition]:
            raise OffsetOutOfRange(
                f"{name} resumes at offset {offset}, but the log ends at {ends[partition]}: "
                "it is not the log that this data directory was filled from",
                "Point --kafka or --data at the log they belong to",
            )
        starts.append(offset)
    return starts
