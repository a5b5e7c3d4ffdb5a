"""What is committed, on its way to the log: ``stock.ledger`` and ``orders.events``.

An event is in the ledger from its commit on, and is sent until the log has it: after a restart it
may be sent twice, in the same order, under the same sequence or id. While the log is down events
stay where they are. That they have been sent is noted with a later commit, for one of its own would
cost as much as the batch that made them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from onhand.errors import LedgerUnavailable, LogUnavailable, RecordTooLarge
from onhand.log.base import NewRecord
from onhand.log.topics import LEDGER, ORDER_EVENTS
from onhand.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.ledger.order_store import OrderStore, Position
    from onhand.ledger.rows import Commit, EventRow, LedgerEventRow, PendingEvent
    from onhand.log.base import EventLog

CHUNK_COUNT_MAX: Final = 2_000
KEPT_COUNT_MAX: Final = 20_000
"""Events of a topic kept in memory; more are read back from the ledger."""

MOVEMENTS_LINGER_S: Final = 0.01
ORDER_EVENTS_LINGER_S: Final = 0.03
"""Events gather for so long before they are sent: an append costs as much as a small commit, and
its wait for the disk holds up the next one of those."""

RETRY_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
WARN_S: Final = 2.0
"""A log that has not taken anything for so long is worth a warning."""

MARK_S: Final = 1.0
"""When there is nothing else to commit, what was sent is noted this often."""

STOP_S_MAX: Final = 5.0
IDLE_S: Final = 1.0

_CLOUDEVENT: Final = (("content-type", b"application/cloudevents+json; charset=utf-8"),)

log = get_logger(__name__)


class Pack(NamedTuple):
    """Events to send one after the other; their numbers rise by one from the first."""

    first: int
    events: Sequence[Any]

    @property
    def last(self) -> int:
        """The number of the last of them."""
        return self.first + len(self.events) - 1

    def after(self, number: int) -> Pack:
        """Leave out the events up to a number."""
        return Pack(number + 1, self.events[max(0, number + 1 - self.first) :])

    def up_to(self, number: int) -> Pack | None:
        """Leave out the events after a number; None when that is all of them."""
        events = self.events[: max(0, number + 1 - self.first)]
        return Pack(self.first, events) if events else None


class Outbox:
    """Sends what the ledger has pending, one thread a topic.

    Parameters
    ----------
    one_by_one
        Whether movements are sent one at a time. A log that may take a record and refuse the one
        before it would leave a gap, and supply stops at a gap.
    """

    def __init__(
        self, store: OrderStore, event_log: EventLog, newest: Position, *, one_by_one: bool
    ) -> None:
        chunk_count = 1 if one_by_one else CHUNK_COUNT_MAX
        self._ledger = _Lane(event_log, _Movements(store), newest.ledger_sequence, chunk_count)
        self._events = _Lane(event_log, _OrderEvents(store), newest.event_number, CHUNK_COUNT_MAX)
        self._marked = (0, 0)
        self._marked_at_s = 0.0

    def start(self) -> None:
        """Begin to send."""
        self._ledger.start()
        self._events.start()

    def stop(self) -> None:
        """Send what is at hand for a moment more, then end; the rest stays in the ledger."""
        give_up_s = time.monotonic() + STOP_S_MAX
        for lane in (self._ledger, self._events):
            lane.end(give_up_s)
        for lane in (self._ledger, self._events):
            lane.join(give_up_s)

    def send_now(self, topic: str) -> None:
        """Send what there is of a topic, in the caller's thread; for those that start no threads.

        Raises
        ------
        LogUnavailable, LedgerUnavailable
            What is left is sent the next time.
        """
        for lane in (self._ledger, self._events):
            if lane.topic == topic:
                lane.send_now()

    # ---- the writer's thread ----

    def wants_marks(self, now_s: float) -> bool:
        """Tell whether what was sent is worth a commit of its own."""
        return now_s - self._marked_at_s >= MARK_S and self._marks() != self._marked

    def add_marks(self, commit: Commit) -> None:
        """Note with a commit what was sent."""
        if (marks := self._marks()) != self._marked:
            commit.events_published, commit.ledger_published = marks

    def committed(self, commit: Commit, position: Position) -> None:
        """Take what was committed."""
        if commit.events_published or commit.ledger_published:
            self._marked = (commit.events_published, commit.ledger_published)
            self._marked_at_s = time.monotonic()
        if commit.events:
            first = position.event_number - len(commit.events) + 1
            self._events.take(Pack(first, commit.events))
        if commit.ledger_events:
            self._ledger.take(Pack(commit.ledger_events[0].sequence, commit.ledger_events))

    def _marks(self) -> tuple[int, int]:
        return self._events.sent or 0, self._ledger.sent or 0

    # ---- from any thread ----

    def pending(self) -> dict[str, int]:
        """Count what is committed and not in the log, by topic; none that is not looked at yet."""
        counts = {lane.topic: lane.pending for lane in (self._ledger, self._events)}
        return {topic: count for topic, count in counts.items() if count is not None}

    def read_again(self) -> None:
        """Send what the ledger has now, not what is kept of it here: events were rewritten."""
        for lane in (self._ledger, self._events):
            lane.read_again()

    def warnings(self) -> list[str]:
        """Say what cannot be sent."""
        return [
            f"{_count_of(lane.pending)}events wait to be written to {lane.topic}: {lane.error}"
            for lane in (self._ledger, self._events)
            if lane.error is not None and time.monotonic() - lane.failing_since_s > WARN_S
        ]


class _Source(Protocol):
    """Where pending events are read back from, and how they are written."""

    topic: str
    linger_s: float

    def pending(self, count_max: int) -> Pack | None:
        """Read the oldest ones that are not noted as sent; None when there are none."""

    def record(self, event: Any) -> NewRecord:
        """Write an event as its topic has it."""


class _Movements:
    """What supply is told, ``stock.ledger``."""

    topic = LEDGER
    linger_s = MOVEMENTS_LINGER_S

    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def pending(self, count_max: int) -> Pack | None:
        rows = self._store.pending_ledger_events(count_max)
        return Pack(rows[0].sequence, rows) if rows else None

    def record(self, event: LedgerEventRow) -> NewRecord:
        return NewRecord(LEDGER, event.document)


class _OrderEvents:
    """What everybody is told of holds and orders, ``orders.events``."""

    topic = ORDER_EVENTS
    linger_s = ORDER_EVENTS_LINGER_S

    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def pending(self, count_max: int) -> Pack | None:
        rows = self._store.pending_events(count_max)
        return Pack(rows[0].number, rows) if rows else None

    def record(self, event: EventRow | PendingEvent) -> NewRecord:
        return NewRecord(ORDER_EVENTS, event.value, event.key.encode(), _CLOUDEVENT)


class _Lane:
    """Sends the events of one topic, each only once all before it are durable."""

    def __init__(self, event_log: EventLog, source: _Source, newest: int, chunk_count: int) -> None:
        self.topic = source.topic
        self.sent: int | None = None
        """The last event known to be in the log, None while that is not known."""
        self.error: str | None = None
        self.failing_since_s = 0.0
        self._newest = newest
        self._log = event_log
        self._source = source
        self._chunk_count = chunk_count
        self._kept: deque[Pack] = deque()
        self._kept_count = 0
        self._ready: Pack | None = None
        self._is_rewritten = False
        self._lock = threading.Lock()
        self._there_is_more = threading.Event()
        self._give_up_s: float | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"outbox-{source.topic}", daemon=True
        )

    @property
    def pending(self) -> int | None:
        """Count the events that are not in the log, None while that is not known."""
        sent = self.sent
        return self._newest - sent if sent is not None else None

    def start(self) -> None:
        self._there_is_more.set()
        self._thread.start()

    def end(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._there_is_more.set()

    def join(self, give_up_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(max(0.0, give_up_s - time.monotonic()) + IDLE_S)

    def take(self, pack: Pack) -> None:
        with self._lock:
            self._newest = pack.last
            # What finds no room is read back; what comes after it must not be sent before it.
            follows = not self._kept or self._kept[-1].last + 1 == pack.first
            if follows and self._kept_count + len(pack.events) <= KEPT_COUNT_MAX:
                self._kept.append(pack)
                self._kept_count += len(pack.events)
        self._there_is_more.set()

    def read_again(self) -> None:
        with self._lock:
            self._kept.clear()
            self._kept_count = 0
            # Its thread lets go of the pack at hand; what is being sent this moment is sent.
            self._is_rewritten = True

    def _run(self) -> None:
        failures = 0
        while True:
            if self._there_is_more.wait(IDLE_S) and self._give_up_s is None:
                time.sleep(self._source.linger_s)
            self._there_is_more.clear()
            try:
                self.send_now()
                failures, self.error = 0, None
            except (LogUnavailable, LedgerUnavailable) as error:
                self._note(error)
                if self._is_over():
                    return
                time.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                self._there_is_more.set()
            except Exception:
                # What is pending stays in the ledger; without this thread nobody would send it.
                log.exception("outbox_failed", topic=self.topic)
                time.sleep(RETRY_S[-1])
                self._there_is_more.set()
            if self._is_over() or (self._give_up_s is not None and not self.pending):
                return

    def send_now(self) -> None:
        """Send what is there now; what comes meanwhile gathers for the next time."""
        newest = self._newest
        while (self.sent is None or self.sent < newest) and not self._is_over():
            pack = self._next()
            if pack is None:
                return
            chunk = pack.events[: self._chunk_count]
            self._send([self._source.record(each) for each in chunk])
            self.sent = pack.first + len(chunk) - 1
            self._ready = pack.after(self.sent) if self.sent < pack.last else None

    def _next(self) -> Pack | None:
        """Return events that come right after the last one sent; None when all are sent."""
        if self._is_rewritten:
            self._is_rewritten, self._ready = False, None
        if self._ready is None:
            with self._lock:
                newest = self._newest
                self._ready = self._take_kept()
            if self._ready is None and self.sent != newest:
                self._ready = self._read_back(newest)
        return self._ready

    def _take_kept(self) -> Pack | None:
        """Join what is kept into one pack, of a size that is sent at once."""
        kept, sent = self._kept, self.sent
        if sent is None or not kept or kept[0].first > sent + 1:
            return None
        events: list[Any] = []
        first = sent + 1
        while kept and len(events) < CHUNK_COUNT_MAX:
            pack = kept.popleft()
            self._kept_count -= len(pack.events)
            events += pack.after(sent).events
        return Pack(first, events) if events else None

    def _read_back(self, newest: int) -> Pack | None:
        found = self._source.pending(CHUNK_COUNT_MAX)
        if found is not None:
            # What is newer another writer has committed, and it is that one's to send and to note.
            found = found.up_to(newest)
        if self.sent is None:
            # What was committed when this was asked and is not pending has been sent before.
            self.sent = found.first - 1 if found is not None else newest
        if found is not None and found.last > self.sent:
            return found.after(self.sent)
        if self.sent != newest:
            # They are noted as sent a little later than they are, and hide the others until then.
            time.sleep(RETRY_S[0])
            self._there_is_more.set()
        return None

    def _send(self, records: list[NewRecord]) -> None:
        try:
            self._log.append_nowait(records).result()
        except RecordTooLarge:
            for record in records:
                self._send_one(record)

    def _send_one(self, record: NewRecord) -> None:
        try:
            self._log.append_nowait([record]).result()
        except RecordTooLarge as error:
            log.warning("event_cut", topic=self.topic, key=str(record.key), error=str(error))
            self._log.append_nowait([_without_data(record)]).result()

    def _note(self, error: Exception) -> None:
        if self.error is None:
            self.failing_since_s = time.monotonic()
            log.warning("outbox_waiting", topic=self.topic, pending=self.pending, error=str(error))
        self.error = str(error)

    def _is_over(self) -> bool:
        return self._give_up_s is not None and time.monotonic() >= self._give_up_s


def _count_of(pending: int | None) -> str:
    return "" if pending is None else f"{pending} "


def _without_data(record: NewRecord) -> NewRecord:
    """Leave out what an event tells, where its topic does not take it: who it is about stays."""
    event: dict[str, Any] = msgspec.json.decode(record.value)
    event.pop("data", None)
    event["dataomitted"] = True
    return msgspec.structs.replace(record, value=msgspec.json.encode(event))
