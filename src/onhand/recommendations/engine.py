"""The engine of recommendations: what the dataflow's steps share.

It reads the log from where the checkpoint stands, learns, publishes what it has learnt and writes
it down now and then. Bytewax wires; this decides, and runs without Bytewax in tests.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from onhand.errors import LogUnavailable
from onhand.identity import open_identity
from onhand.log import open_log
from onhand.log.base import now_us, partition_name
from onhand.log.topics import LEDGER
from onhand.logging import get_logger
from onhand.metrics import Page, metrics_directory
from onhand.recommendations import checkpoint, snapshot
from onhand.recommendations.arrays_file import remove_drafts
from onhand.recommendations.checkpoint import load_checkpoint, write_checkpoint
from onhand.recommendations.gathering import Sale, gather_sales, window_of
from onhand.recommendations.learner import Learner
from onhand.recommendations.ranking import Ranked
from onhand.recommendations.snapshot import write_snapshot
from onhand.table.directory import TableDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from onhand.log.base import EventLog, RawBatch, TopicPartition
    from onhand.recommendations.checkpoint import Learnt
    from onhand.settings import Settings

TOPICS: Final = ("stock.sales", LEDGER)
"""Where sales are: tills publish to the first, the order layer to the second."""

POLL_S: Final = 0.2
PACE_S: Final = 0.1
"""Between polls that have emptied the log: what is learnt is published every few seconds."""

PUBLISH_US: Final = 5_000_000
CHECKPOINT_US: Final = 60_000_000
PUBLISH_SHARE: Final = 20
"""Publishing and writing down take at most one in so many parts of the time."""

log = get_logger(__name__)


class Poll(NamedTuple):
    """One poll of the log, and where reading stands after it."""

    raw: RawBatch
    next_offsets: dict[TopicPartition, int]
    progress_us: int
    lag_events: int


class Gathered(NamedTuple):
    """The sales of a poll, and where reading stands after it."""

    sales: list[Sale]
    poll: Poll


class Engine:
    """Everything that the steps of the recommendations flow share; one thread uses it.

    Parameters
    ----------
    settings
        The process's settings.
    event_log
        The open log.
    log_identity
        Its name.
    learnt
        What to go on from.
    table_path
        The directory of the deployment's shared tables; made.
    page
        Where to count.
    clock
        Returns microseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        event_log: EventLog,
        log_identity: str,
        learnt: Learnt,
        table_path: Path,
        page: Page,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self.stopping = threading.Event()
        self.clock = clock
        self.learner = Learner(learnt)
        self.snapshot_path = table_path / snapshot.NAME
        self._learnt = learnt
        self._log_identity = log_identity
        self._checkpoint_path = settings.data / checkpoint.NAME
        self._record_count_max = settings.poll_record_count_max
        self._log = event_log
        self._partitions = event_log.partitions(TOPICS)
        start = _start(event_log, self._partitions, learnt.offsets)
        self._offsets: dict[TopicPartition, int] = start
        indexes = {partition: index for index, partition in enumerate(self._partitions)}
        self._ledger = frozenset(index for (topic, _), index in indexes.items() if topic == LEDGER)
        self._window = window_of(settings)
        self._reader = event_log.reader(start, indexes, gather_ms=int(PACE_S * 1000))
        self._ranked = Ranked(learnt.pairs)
        self._metrics = _Metrics(page, learnt)
        for path in (self.snapshot_path, self._checkpoint_path):
            remove_drafts(path)
        # What a predecessor left is replaced, and so is ours to free.
        self._published = _file_at(self.snapshot_path)
        self._publish_after_us = 0
        self._checkpoint_after_us = clock() + CHECKPOINT_US
        self._is_new = True
        self._is_caught_up = False

    def stop(self) -> None:
        """Let the flow end."""
        self.stopping.set()

    def added_partitions(self) -> list[TopicPartition]:
        """List the partitions that the log has now and this flow does not read.

        Raises
        ------
        LogUnavailable
            The log cannot be asked.
        """
        return sorted(set(self._log.partitions(TOPICS)) - set(self._partitions))

    # -- steps ---------------------------------------------------------------------------------

    def read(self) -> Poll:
        """Poll the log; without records when there are none for a while."""
        if self._is_caught_up:
            self.stopping.wait(PACE_S)
        raw = self._reader.poll(self._record_count_max, POLL_S)
        self._is_caught_up = self._reader.lag_events() < self._record_count_max
        return Poll(
            raw,
            self._reader.next_offsets(),
            self._reader.progress_us(),
            self._reader.lag_events(),
        )

    def gather(self, poll: Poll) -> Gathered:
        """Judge a poll and list its sales."""
        return Gathered(gather_sales(poll.raw, self._window, self._ledger), poll)

    def learn(self, gathered: Gathered) -> None:
        """Learn from sales; publish, and write down, when it is time to."""
        self.learner.learn(gathered.sales)
        self._is_new = self._is_new or bool(gathered.sales)
        poll = gathered.poll
        self._offsets.update(poll.next_offsets)
        now = self.clock()
        self._metrics.learnt(poll, now)
        if self._is_new and now >= self._publish_after_us:
            self.publish()
        if now >= self._checkpoint_after_us:
            self.write_down()

    def publish(self) -> None:
        """Rank what has changed and let readers have it; a full table directory can wait."""
        begun_us = self.clock()
        self._ranked.update()
        try:
            size_bytes = write_snapshot(
                self.snapshot_path, self._learnt.pairs, self._ranked, created_us=begun_us
            )
        except OSError as error:
            log.warning("recommendations_not_published", error=str(error))
        else:
            self._is_new = False
            self._published = _file_at(self.snapshot_path)
            self._metrics.published(begun_us, self.clock() - begun_us, size_bytes)
        now = self.clock()
        self._publish_after_us = now + max(PUBLISH_US, PUBLISH_SHARE * (now - begun_us))

    def write_down(self) -> None:
        """Write a checkpoint; when that fails, a restart learns again from the one before."""
        begun_us = self.clock()
        try:
            write_checkpoint(
                self._checkpoint_path, self._learnt, self._offsets, log_identity=self._log_identity
            )
        except OSError as error:
            log.warning("recommendations_not_written_down", error=str(error))
        now = self.clock()
        self._checkpoint_after_us = now + max(CHECKPOINT_US, PUBLISH_SHARE * (now - begun_us))

    def finish(self) -> None:
        """Write down what has been learnt, at the end of the flow."""
        self._reader.close()
        self.write_down()

    def withdraw(self) -> None:
        """Free what is published, unless a successor has published since.

        It may: whoever starts this process can be killed and started again before this has ended.
        """
        if self._published == _file_at(self.snapshot_path):
            self.snapshot_path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_engine(settings: Settings, *, clock: Callable[[], int] = now_us) -> Iterator[Engine]:
    """Open everything learning needs; on a clean exit what is published is freed.

    Raises
    ------
    OnhandError
        The log or the shared memory is not as it must be.
    """
    with contextlib.ExitStack() as stack:
        event_log = stack.enter_context(contextlib.closing(open_log(settings)))
        event_log.ensure_topics(settings.kafka_partition_count)
        log_identity = event_log.identity()
        identity = open_identity(settings.data, log=log_identity)
        directory = TableDirectory(settings.table_dir, identity.id)
        directory.prepare()
        page = Page(metrics_directory(settings.table_dir, identity.id), "recommendations")
        stack.callback(page.close)
        path = settings.data / checkpoint.NAME
        engine = Engine(
            settings,
            event_log=event_log,
            log_identity=log_identity,
            learnt=load_checkpoint(path, settings, log_identity=log_identity),
            table_path=directory.path,
            page=page,
            clock=clock,
        )
        yield engine
        # After a failure readers go on with what there is.
        engine.withdraw()


class _Metrics:
    """What learning counts."""

    def __init__(self, page: Page, learnt: Learnt) -> None:
        self._pairs = learnt.pairs
        name = "onhand_recommendation_{}".format
        self._baskets = page.counter(name("baskets_total"))
        self._forgotten = page.counter(name("items_forgotten_total"))
        self._items = page.gauge(name("items"))
        self._kept = page.gauge(name("pairs"))
        self._fill = page.gauge(name("fill_ratio"))
        self._bytes = page.gauge(name("bytes"))
        self._lag_events = page.gauge(name("lag_events"))
        self._lag_seconds = page.gauge(name("lag_seconds"))
        self._published = page.gauge(name("snapshot_timestamp_seconds"))
        self._snapshot_bytes = page.gauge(name("snapshot_bytes"))
        self._publish_seconds = page.gauge(name("publish_seconds"))
        self._counted = (learnt.pairs.basket_count, learnt.pairs.forgotten_count)

    def learnt(self, poll: Poll, at_us: int) -> None:
        pairs = self._pairs
        self._baskets.add(pairs.basket_count - self._counted[0])
        self._forgotten.add(pairs.forgotten_count - self._counted[1])
        self._counted = (pairs.basket_count, pairs.forgotten_count)
        self._items.set(len(pairs.numbers))
        self._fill.set(len(pairs.numbers) / pairs.items_max)
        self._lag_events.set(poll.lag_events)
        self._lag_seconds.set(max(0, at_us - poll.progress_us) / 1e6)

    def published(self, at_us: int, took_us: int, size_bytes: int) -> None:
        self._kept.set(self._pairs.pair_count())
        self._bytes.set(self._pairs.bytes_used())
        self._published.set(at_us / 1e6)
        self._snapshot_bytes.set(size_bytes)
        self._publish_seconds.set(took_us / 1e6)


def _file_at(path: Path) -> tuple[int, int] | None:
    """Tell one file of a name from the next; None while there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _start(
    event_log: EventLog,
    partitions: list[TopicPartition],
    learnt: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Decide where to read on; what retention has dropped unread is not learnt, and said."""
    begins = event_log.begin_offsets(partitions)
    ends = event_log.end_offsets(partitions)
    start = {}
    for partition in partitions:
        wanted = learnt.get(partition, begins[partition])
        start[partition] = min(max(wanted, begins[partition]), ends[partition])
        if start[partition] != wanted:
            log.warning(
                "recommendations_skipped_records",
                partition=partition_name(partition),
                learnt_to=wanted,
                read_from=start[partition],
            )
    return start


def watch_partitions(engine: Engine, poll_s: float) -> None:
    """Stop the engine when the log has partitions that it does not read: a new start reads them."""
    while not engine.stopping.wait(poll_s):
        with contextlib.suppress(LogUnavailable):
            added = engine.added_partitions()
            if added:
                log.info("partitions_added", partitions=[*map(partition_name, added)])
                engine.stop()
