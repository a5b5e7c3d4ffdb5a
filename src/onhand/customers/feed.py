"""The feed of purchases: a process that follows the stock topics and keeps what customers buy.

It is beside ingest, not in it: nothing that it does may hold up stock, and nothing that fails here
may end it. It reads from the offsets that it stored with the last purchases, so however it ends
each purchase is there once.
"""

from __future__ import annotations

import contextlib
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from onhand.customers.purchases import read_purchases, window_of
from onhand.customers.store import CustomerStore, FeedOvertaken, open_customers
from onhand.errors import LedgerUnavailable, LogUnavailable, OffsetOutOfRange
from onhand.identity import open_identity
from onhand.ledger import open_ledger
from onhand.log.base import now_us
from onhand.log.open import open_log
from onhand.log.topics import EVENT_TOPICS
from onhand.logging import get_logger
from onhand.metrics import Page, metrics_directory
from onhand.structs import make_structs_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from onhand.customers.purchases import PurchaseRow
    from onhand.log.base import EventLog, LogReader, TopicPartition
    from onhand.settings import Settings

POLL_COUNT_MAX: Final = 2_000
"""Records taken at once, and so the most rows of one transaction."""

PACE_S: Final = 0.05
"""Between polls once everything is read: a purchase is to be seen within a moment, and each poll
and each commit costs."""

OFFSETS_S: Final = 1.0
"""How often offsets are stored when nothing else is."""

LOOK_S: Final = 10.0
"""Between looks for new partitions, and for purchases that were kept long enough."""

PRUNE_AGAIN_S: Final = 0.2
RETRY_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)

DAY_US: Final = 86_400_000_000
LATE_US_MAX: Final = 7 * DAY_US
"""How late an event of a time before an erasure may come where ``late_window`` is off."""

log = get_logger(__name__)


class PurchaseFeed:
    """Reads the stock topics and stores purchases; used by one thread.

    Parameters
    ----------
    clock
        Microseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        store: CustomerStore,
        page: Page,
        *,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._log = event_log
        self._store = store
        self._clock = clock
        self._window = window_of(settings)
        self._keep_us = settings.purchases_keep_days * DAY_US
        self._late_us = settings.late_us if settings.late_us >= 0 else LATE_US_MAX
        self._partitions: list[TopicPartition] = []
        self._stored: dict[TopicPartition, int] = {}
        self._stored_at_s = 0.0
        self._look_at_s = 0.0
        self._prune_at_s = 0.0
        self._count = page.counter("onhand_purchases_stored_total")
        self._skipped = page.counter("onhand_purchases_skipped_total")
        self._rows = page.gauge("onhand_purchases_kept")
        self._lag_events = page.gauge("onhand_purchases_lag_events")
        self._lag_seconds = page.gauge("onhand_purchases_lag_seconds")

    def run(self, stopping: Event) -> None:
        """Follow the log until told to stop; wait out whatever fails meanwhile."""
        failures = _Pauses()
        while not stopping.is_set():
            try:
                self.follow(stopping, failures)
            except FeedOvertaken:
                log.warning("purchases_overtaken")
                stopping.wait(failures.next_s())
            except (LogUnavailable, LedgerUnavailable, OffsetOutOfRange) as error:
                if not failures.count:
                    log.warning("purchases_waiting", error=str(error))
                stopping.wait(failures.next_s())

    def follow(self, stopping: Event, failures: _Pauses | None = None) -> None:
        """Read from what is stored until partitions are added or told to stop.

        Raises
        ------
        LogUnavailable, LedgerUnavailable, OffsetOutOfRange, FeedOvertaken
            It is to be called again.
        """
        reader = self._open()
        if reader is None:
            stopping.wait(RETRY_S[-1])
            return
        with contextlib.closing(reader):
            while not stopping.is_set() and not self._has_more_partitions():
                is_behind = self.step(reader)
                if failures is not None:
                    failures.count = 0
                if not is_behind:
                    self._tidy(reader)
                    stopping.wait(PACE_S)
            self._keep(reader, [])

    def step(self, reader: LogReader) -> bool:
        """Take one poll and store it; tell whether there is more to be had at once."""
        batch = reader.poll(POLL_COUNT_MAX, 0.0)
        rows = read_purchases(batch, self._window)
        now_s = time.monotonic()
        if rows or now_s - self._stored_at_s >= OFFSETS_S:
            self._keep(reader, rows)
        self._lag_events.set(reader.lag_events())
        self._lag_seconds.set(max(0, self._clock() - reader.progress_us()) / 1e6)
        return len(batch) >= POLL_COUNT_MAX

    def _open(self) -> LogReader | None:
        self._partitions = self._log.partitions(EVENT_TOPICS)
        self._look_at_s = time.monotonic() + LOOK_S
        if not self._partitions:
            return None
        begins = self._log.begin_offsets(self._partitions)
        known = self._store.offsets()
        self._stored = {each: known.get(each, begins[each]) for each in self._partitions}
        self._stored_at_s = time.monotonic()
        start = {each: max(offset, begins[each]) for each, offset in self._stored.items()}
        skipped = sum(start[each] - offset for each, offset in self._stored.items())
        if skipped:
            # Retention was faster. What is left must not wait for what is gone.
            log.error("purchases_skipped", records=skipped, reason="dropped before they were read")
            self._skipped.add(skipped)
        return self._log.reader(start, gather_ms=int(PACE_S * 1000))

    def _keep(self, reader: LogReader, rows: list[PurchaseRow]) -> None:
        after = reader.next_offsets()
        self._stored_at_s = time.monotonic()
        if rows or after != self._stored:
            self._count.add(self._store.store(rows, self._stored, after))
            self._stored = after

    def _has_more_partitions(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_S
        return self._log.partitions(EVENT_TOPICS) != self._partitions

    def _tidy(self, reader: LogReader) -> None:
        """Drop some of what was kept long enough, while nothing waits."""
        now_s = time.monotonic()
        if now_s < self._prune_at_s:
            return
        dropped = self._store.prune(self._clock() - self._keep_us)
        # Late events may still come, and the clocks of hosts differ by less than an hour.
        self._store.forget_erasures(reader.progress_us() - self._late_us - DAY_US // 24)
        self._rows.set(self._store.purchase_count())
        self._prune_at_s = now_s + (PRUNE_AGAIN_S if dropped else LOOK_S)


class _Pauses:
    """How long to wait after each failure in a row."""

    def __init__(self) -> None:
        self.count = 0

    def next_s(self) -> float:
        """Count a failure; return the pause after it."""
        self.count += 1
        return RETRY_S[min(self.count, len(RETRY_S)) - 1]


def keep_purchases(settings: Settings, stopping: Event) -> None:
    """Run the feed of a deployment until told to stop."""
    make_structs_ready()
    cluster_id = open_identity(settings.data).id
    with contextlib.ExitStack() as stack:
        page = Page(metrics_directory(settings.table_dir, cluster_id), "purchases")
        stack.callback(page.close)
        event_log = stack.enter_context(contextlib.closing(open_log(settings)))
        store = None
        for pause_s in _pauses():
            try:
                # The database may be another deployment's: the ledger beside knows.
                open_ledger(settings, cluster_id=cluster_id).close()
                database = open_customers(settings, is_feed=True)
                stack.callback(database.close)
                store = CustomerStore(database)
                break
            except LedgerUnavailable as error:
                log.warning("purchases_waiting", error=str(error))
                if stopping.wait(pause_s):
                    return
        if store is not None:
            PurchaseFeed(settings, event_log, store, page).run(stopping)


def _pauses() -> Iterator[float]:
    return chain(RETRY_S, repeat(RETRY_S[-1]))
