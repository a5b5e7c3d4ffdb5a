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
    from onhand.ledger.rows import Commit, LedgerEventRow
    from onhand.log.base import EventLog

CHUNK_COUNT_MAX: Final = 2_000
KEPT_COUNT_MAX: Final = 20_000
"""Events of a topic kept in memory; more are read back from the ledger."""

RETRY_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
WARN_S: Final = 2.0
"""A log that has not taken anything for so long is worth a warning."""

MARK_S: Final = 1.0
"""When there is nothing else to commit, what was sent is noted this often."""

STOP_S_MAX: Final = 5.0
IDLE_S: Final = 1.0

_CLOUDEVENT: Final = (("content-type", b"application/cloudevents+json; charset=utf-8"),)

log = get_logger(__name__)


class Event(NamedTuple):
    """A record to send, under a number that rises by one."""

    number: int
    record: NewRecord


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
        self._ledger = _Lane(
            LEDGER, event_log, _LedgerEvents(store), newest.ledger_sequence, chunk_count
        )
        self._events = _Lane(
            ORDER_EVENTS, event_log, _OrderEvents(store), newest.event_number, CHUNK_COUNT_MAX
        )
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

    # ---- the writer's thread ----

    def add_marks(self, commit: Commit, now_s: float) -> None:
        """Note with a commit what was sent, unless that would be all that it does, too often."""
        marks = (self._events.sent or 0, self._ledger.sent or 0)
        if marks == self._marked or (commit.is_empty and now_s - self._marked_at_s < MARK_S):
            return
        commit.events_published, commit.ledger_published = marks

    def committed(self, commit: Commit, position: Position) -> None:
        """Take what was committed."""
        if commit.events_published or commit.ledger_published:
            self._marked = (commit.events_published, commit.ledger_published)
            self._marked_at_s = time.monotonic()
        if commit.events:
            first = position.event_number - len(commit.events) + 1
            self._events.take(
                [
                    Event(number, _order_record(each.key, each.value))
                    for number, each in enumerate(commit.events, first)
                ]
            )
        if commit.ledger_events:
            self._ledger.take(_movements(commit.ledger_events))

    # ---- from any thread ----

    def pending(self) -> dict[str, int]:
        """Count what is committed and not known to be in the log, by topic."""
        return {lane.topic: lane.pending for lane in (self._ledger, self._events)}

    def warnings(self) -> list[str]:
        """Say what cannot be sent."""
        return [
            f"{lane.pending} events wait to be written to {lane.topic}: {lane.error}"
            for lane in (self._ledger, self._events)
            if lane.error is not None and time.monotonic() - lane.failing_since_s > WARN_S
        ]


class _Source(Protocol):
    """Where pending events are read back from."""

    def pending(self, count_max: int) -> list[Event]: ...


class _LedgerEvents:
    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def pending(self, count_max: int) -> list[Event]:
        return _movements(self._store.pending_ledger_events(count_max))


class _OrderEvents:
    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def pending(self, count_max: int) -> list[Event]:
        rows = self._store.pending_events(count_max)
        return [Event(each.number, _order_record(each.key, each.value)) for each in rows]


class _Lane:
    """Sends the events of one topic, each only once all before it are durable."""

    def __init__(
        self, topic: str, event_log: EventLog, source: _Source, newest: int, chunk_count: int
    ) -> None:
        self.topic = topic
        self.sent: int | None = None
        """The last event known to be in the log, None while that is not known."""
        self.error: str | None = None
        self.failing_since_s = 0.0
        self._newest = newest
        self._log = event_log
        self._source = source
        self._chunk_count = chunk_count
        self._kept: deque[Event] = deque()
        self._ready: list[Event] = []
        self._lock = threading.Lock()
        self._there_is_more = threading.Event()
        self._give_up_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"outbox-{topic}", daemon=True)

    @property
    def pending(self) -> int:
        return self._newest - self.sent if self.sent is not None else 0

    def start(self) -> None:
        self._there_is_more.set()
        self._thread.start()

    def end(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._there_is_more.set()

    def join(self, give_up_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(max(0.0, give_up_s - time.monotonic()) + IDLE_S)

    def take(self, events: Sequence[Event]) -> None:
        with self._lock:
            self._newest = events[-1].number
            # What finds no room is read back; what comes after it must not be sent before it.
            follows = not self._kept or self._kept[-1].number + 1 == events[0].number
            if follows and len(self._kept) + len(events) <= KEPT_COUNT_MAX:
                self._kept.extend(events)
        self._there_is_more.set()

    def _run(self) -> None:
        failures = 0
        while True:
            self._there_is_more.wait(IDLE_S)
            self._there_is_more.clear()
            try:
                self._send_all()
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

    def _send_all(self) -> None:
        while not self._is_over() and self._refill():
            chunk = self._ready[: self._chunk_count]
            self._send(chunk)
            del self._ready[: len(chunk)]
            self.sent = chunk[-1].number

    def _refill(self) -> bool:
        """Have events ready that come right after the last one sent; False when all are sent."""
        if not self._ready:
            with self._lock:
                newest = self._newest
                self._ready = self._take_kept()
            if not self._ready and self.sent != newest:
                self._ready = self._read_back(newest)
        return bool(self._ready)

    def _take_kept(self) -> list[Event]:
        kept, sent = self._kept, self.sent
        if sent is None:
            return []
        while kept and kept[0].number <= sent:
            kept.popleft()
        if not kept or kept[0].number != sent + 1:
            return []
        return [kept.popleft() for _ in range(min(len(kept), CHUNK_COUNT_MAX))]

    def _read_back(self, newest: int) -> list[Event]:
        found = self._source.pending(CHUNK_COUNT_MAX)
        if self.sent is None:
            # What was committed when this was asked and is not pending has been sent before.
            self.sent = found[0].number - 1 if found else newest
        events = [each for each in found if each.number > self.sent]
        if not events and self.sent != newest:
            # They are noted as sent a little later than they are, and hide the others until then.
            time.sleep(RETRY_S[0])
            self._there_is_more.set()
        return events

    def _send(self, chunk: Sequence[Event]) -> None:
        records = [each.record for each in chunk]
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


def _movements(rows: Sequence[LedgerEventRow]) -> list[Event]:
    return [Event(row.sequence, NewRecord(topic=LEDGER, value=row.document)) for row in rows]


def _order_record(key: str, value: bytes) -> NewRecord:
    return NewRecord(topic=ORDER_EVENTS, value=value, key=key.encode(), headers=_CLOUDEVENT)


def _without_data(record: NewRecord) -> NewRecord:
    """Leave out what an event tells, where its topic does not take it: who it is about stays."""
    event: dict[str, Any] = msgspec.json.decode(record.value)
    event.pop("data", None)
    event["dataomitted"] = True
    return msgspec.structs.replace(record, value=msgspec.json.encode(event))
