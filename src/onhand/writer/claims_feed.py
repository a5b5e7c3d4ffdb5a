"""What tills say about promised goods: read from ``stock.claims``, decided like any command.

A claim is known by its source and id, so it may be read again and is decided once. How far all is
decided goes to the ledger with the claims that follow: at worst a few are read twice.
"""

from __future__ import annotations

import threading
from hashlib import sha256
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.errors import LedgerUnavailable, LogUnavailable, OffsetOutOfRange
from onhand.ingest.dead_letters import dead_letter
from onhand.log.topics import CLAIMS
from onhand.logging import get_logger
from onhand.model.batch import Reject
from onhand.model.check import Refused
from onhand.model.codes import RejectCode
from onhand.orders import claims
from onhand.orders.engine import Asked
from onhand.writer.answer import Answer, code_of
from onhand.writer.deciding import CLAIM, NOTHING
from onhand.writer.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onhand.ledger.order_store import OrderStore
    from onhand.log.base import EventLog, LogReader, RawBatch, Record, TopicPartition
    from onhand.tracing import Tracing
    from onhand.writer.metrics import WriterMetrics

PAUSE_S: Final = 0.02
"""Between looks while there is nothing. A log waits less by itself, for those who must have its
records at once, and each look takes the interpreter lock from who answers requests."""

ANSWER_S: Final = 0.25
"""Waiting for the writer looks this often whether it is to end."""

POLL_COUNT_MAX: Final = 500
RETRY_S: Final = 0.5
LOOK_COUNT: Final = 500
"""Empty polls between looks for partitions that are new."""

TRIES_MAX: Final = 5
"""How often deciding a claim may fail by an error of ours before it goes to the dead letters."""

STOP_S_MAX: Final = 2.0

log = get_logger(__name__)


class ClaimsFeed:
    """Hands claims to the writer, a batch at a time.

    Parameters
    ----------
    enter
        Lets commands wait for their decision.
    stopping
        Once set, reading ends; one of its own when left out.
    tracing
        Traces claims that carry a sampled context; None traces none.
    """

    def __init__(
        self,
        enter: Callable[[list[Waiting]], None],
        store: OrderStore,
        event_log: EventLog,
        metrics: WriterMetrics,
        stopping: threading.Event | None = None,
        *,
        tracing: Tracing | None = None,
    ) -> None:
        self._enter = enter
        self._store = store
        self._log = event_log
        self._metrics = metrics
        self._tracing = tracing
        self._answered: SimpleQueue[Sequence[Waiting]] = SimpleQueue()
        self._noted: dict[int, int] = {}
        self._notes = _Notes()
        self._stopping = stopping or threading.Event()
        self._thread = threading.Thread(target=self._run, name="claims", daemon=True)
        self.error: str | None = None
        self.decided_us = 0
        """Every claim appended to the log up to here is decided."""

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is not decided is read again by the next."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)

    def warnings(self) -> list[str]:
        """Say why claims are not read, if so."""
        return [] if self.error is None else [f"{CLAIMS} is not read: {self.error}"]

    def deliver(self, answered: Sequence[Waiting]) -> None:
        """Hand on the answers of one batch."""
        self._answered.put(answered)

    # ---- its thread ----

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except (LogUnavailable, LedgerUnavailable, OffsetOutOfRange) as error:
                if self.error is None:
                    log.warning("claims_waiting", error=str(error))
                self.error = str(error)
            except Exception:
                log.exception("claims_failed")
                self.error = "reading failed; the log has the details"
            self._stopping.wait(RETRY_S)

    def _read(self) -> None:
        """Read until partitions are added or told to stop."""
        partitions = self._log.partitions([CLAIMS])
        if partitions:
            reader = self.open(partitions)
            try:
                self._follow(reader, partitions)
            finally:
                reader.close()

    def open(self, partitions: Sequence[TopicPartition]) -> LogReader:
        """Open the log at what the ledger says is decided.

        Raises
        ------
        LogUnavailable, LedgerUnavailable, OffsetOutOfRange
            It cannot be read from there.
        """
        start = {**self._log.begin_offsets(partitions), **self._offsets(partitions)}
        self._noted = {number: start[topic, number] for topic, number in partitions}
        return self._log.reader(start, gather_ms=int(PAUSE_S * 1000))

    def _offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        known = self._store.claim_offsets()
        return {(topic, number): known[number] for topic, number in partitions if number in known}

    def _follow(self, reader: LogReader, partitions: Sequence[TopicPartition]) -> None:
        idle_count = 0
        while not self._stopping.is_set():
            if self.take(reader):
                idle_count = 0
                continue
            idle_count += 1
            if idle_count % LOOK_COUNT == 0 and self._log.partitions([CLAIMS]) != partitions:
                return
            self._stopping.wait(PAUSE_S)

    def take(self, reader: LogReader) -> bool:
        """Read once and have all of it decided, or be told to stop; False when nothing came."""
        batch = reader.poll(POLL_COUNT_MAX, 0.0)
        self.error = reader.error()
        decided = {number: offset for (_, number), offset in reader.next_offsets().items()}
        progress_us = reader.progress_us()
        if len(batch):
            self._decide(batch)
            if self._stopping.is_set():
                return True
        self._note(decided)
        self.decided_us = progress_us
        return len(batch) > 0

    def _decide(self, batch: RawBatch) -> None:
        """Have every claim of a batch decided; return once all are, or when told to stop."""
        waiting = [each for index in range(len(batch)) if (each := self._waiting(batch, index))]
        tries: dict[int, int] = {}
        while waiting and not self._stopping.is_set():
            self._enter(list(waiting))
            failed = self._wait(len(waiting))
            waiting = []
            for each in failed:
                index: int = each.ticket
                if code_of(_answer(each)) == "internal_error":
                    tries[index] = tries.get(index, 0) + 1
                if tries.get(index, 0) >= TRIES_MAX:
                    detail = "deciding it failed; the server's log has the details"
                    self._refuse(batch.record(index), RejectCode.UNDECIDED, detail)
                else:
                    waiting.append(each)
            if waiting:
                self._stopping.wait(RETRY_S)

    def _waiting(self, batch: RawBatch, index: int) -> Waiting | None:
        headers = batch.headers[index] if batch.headers is not None else None
        try:
            claim = claims.parse(batch.values[index], headers or ())
        except Refused as refused:
            self._refuse(batch.record(index), refused.code, refused.detail)
            return None
        waiting = Waiting(Asked(what=CLAIM, body=claim), self, index, key_of(claim))
        if self._tracing is not None:
            waiting.trace = self._tracing.sampled(headers, batch.values[index])
        return waiting

    def _wait(self, count: int) -> list[Waiting]:
        """Wait for the answers of so many; return those that failed."""
        failed: list[Waiting] = []
        while count and not self._stopping.is_set():
            try:
                answered = self._answered.get(timeout=ANSWER_S)
            except Empty:
                continue
            count -= len(answered)
            for each in answered:
                if _answer(each).failure:
                    failed.append(each)
                else:
                    self._count(each)
        return failed

    def _note(self, decided: dict[int, int]) -> None:
        """Have the ledger note how far all is decided; again when a commit failed meanwhile."""
        if self._notes.is_lost:
            self._notes.is_lost = False
            self._noted.clear()
        moved = dict(decided.items() - self._noted.items())
        if moved:
            self._noted |= moved
            self._enter([Waiting(Asked(what=NOTHING), self._notes, None, claim_offsets=moved)])

    def _count(self, each: Waiting) -> None:
        repeated = each.outcome == "repeated"
        document = msgspec.json.decode(_answer(each).document)
        self._metrics.count_claim("repeated" if repeated else document["outcome"])

    def _refuse(self, record: Record, code: RejectCode, detail: str) -> None:
        reject = Reject(record=0, type=None, code=code, pointer="", detail=detail)
        bytes_max = self._log.record_bytes_max("stock.dead-letters")
        self._log.append([dead_letter(record, reject, bytes_max)])
        self._metrics.count_claim("dead")


class _Notes:
    """Takes the answers to notes, which nobody waits for: one that was lost is written again.

    The answers that claims were given are kept for days only: without the note a claim of then
    would be decided anew after a restart.
    """

    def __init__(self) -> None:
        self.is_lost = False

    def deliver(self, answered: Sequence[Waiting]) -> None:
        """Remember that one failed; called by the writer's thread."""
        if any(_answer(each).failure for each in answered):
            self.is_lost = True


def key_of(claim: claims.Claim) -> bytes:
    """Hash who told of what under which id: the same claim is decided once."""
    return sha256(f"claim\0{len(claim.source)}\0{claim.source}\0{claim.id}".encode()).digest()


def _answer(each: Waiting) -> Answer:
    if each.answer is None:
        raise AssertionError("Invariant: what is delivered is answered")
    return each.answer
