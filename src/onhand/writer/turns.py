"""The turns of the order writer: what is due, what is asked, one commit, the answers.

What supply has done and what is due by itself comes before any new promise; its changes share the
commit of the commands. A commit that was not made is undone; while nobody knows whether it was,
nothing is decided.
"""

from __future__ import annotations

import time
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from onhand.errors import CommitUnknown, LedgerUnavailable, OnhandError, WriterFenced
from onhand.ledger.rows import Commit
from onhand.logging import get_logger
from onhand.writer.answer import code_of, failed
from onhand.writer.background import Background
from onhand.writer.deciding import FAILED, Deciding
from onhand.writer.retention import Retention, keep_of
from onhand.writer.supply_watch import SupplyWatch
from onhand.writer.traced import CommitTrace
from onhand.writer.waiting import deliver, deliver_same

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from onhand.settings import Settings
    from onhand.writer.answer import Answer
    from onhand.writer.intake import Intake
    from onhand.writer.metrics import WriterMetrics
    from onhand.writer.outbox import Outbox
    from onhand.writer.recovery import Opened
    from onhand.writer.setup_watch import SetupWatch
    from onhand.writer.waiting import Waiting

log = get_logger(__name__)

ANSWER_WAIT_S_MAX: Final = 5.0
"""How long a decided command waits for a commit of unknown outcome before it is told so."""

SETTLE_RETRY_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
PAUSE_S: Final = 0.5
"""What is due by itself waits so long after a commit that failed; commands do not wait."""

GAUGES_S: Final = 0.25

_UNSURE: Final = failed(
    "ledger_unavailable",
    "the ledger's database does not say whether a commit was made; nothing is decided meanwhile",
)
_UNDONE: Final = failed(
    "ledger_unavailable", "the ledger's database failed before the command was written"
)


class Turns:
    """Turn after turn, in the writer's thread.

    Parameters
    ----------
    claims_us
        Returns the time up to which all claims in the log are decided.
    stopping
        Once set, what waits is decided and then no turn comes any more.
    """

    def __init__(
        self,
        settings: Settings,
        opened: Opened,
        intake: Intake,
        *,
        outbox: Outbox,
        setup: SetupWatch,
        metrics: WriterMetrics,
        claims_us: Callable[[], int],
        clock: Callable[[], int],
        stopping: Event,
    ) -> None:
        self.book = opened.desk.book
        self._desk = opened.desk
        self._store = opened.store
        self._stock = opened.stock
        self._intake = intake
        self._outbox = outbox
        self._setup = setup
        self._metrics = metrics
        self._clock = clock
        self._stopping = stopping
        age_us_max = settings.max_supply_age_ms * 1_000
        self._supply = SupplyWatch(opened.stock.reader, opened.desk.book, age_us_max)
        self._background = Background(opened.desk, self._supply, metrics, claims_us)
        self._deciding = Deciding(opened.desk, opened.store)
        self._in_hand: list[Waiting] = []
        self._commit_trace: CommitTrace | None = None
        self._paused_until_s = 0.0
        self._gauges_at_s = 0.0
        self._retention = Retention(
            opened.store, metrics, keep_of(settings), self._background.passed_us
        )
        self.waits_for: str | None = None
        """Why nothing is decided at the moment, if so."""

    def run(self) -> None:
        """Take turns until told to stop.

        Raises
        ------
        WriterFenced
            Another writer has taken over; nothing that was answered is lost.
        """
        while self.take_one():
            pass

    def take_one(self) -> bool:
        """Take one turn; False when told to stop and nothing waits."""
        # Looked at first: what was submitted before the stop is then among what is taken.
        is_last = self._stopping.is_set()
        waiting = self._in_hand = self._intake.take(wait=not (is_last or self._background.has_more))
        if is_last and not waiting:
            return False
        self._turn(waiting)
        self._in_hand = []
        self._forget()
        return True

    def give_back(self) -> list[Waiting]:
        """Return the commands of a turn that did not come to its end: nobody has answered them."""
        in_hand, self._in_hand = self._in_hand, []
        return in_hand

    def forget_answers(self) -> None:
        """Read answers from the ledger when they are asked for again; any thread."""
        self._store.forget_answers()

    def note_sent(self) -> None:
        """Note what was sent to the log since the last commit, at the end."""
        commit = Commit()
        self._outbox.add_marks(commit)
        try:
            self._store.commit(commit)
        except OnhandError as error:
            # The next writer sends a few events again, which is what their ids are for.
            log.info("sent_events_not_noted", error=str(error))

    def _turn(self, waiting: list[Waiting]) -> None:
        now_us, now_s = self._clock(), time.monotonic()
        self._follow_setup(now_us)
        self._background.step(now_us, now_s, is_paused=now_s < self._paused_until_s)
        commit = None
        try:
            commit = self._deciding.decide(waiting, now_us, self._supply.stale())
            if not commit.is_empty or self._outbox.wants_marks(now_s):
                self._outbox.add_marks(commit)
            self._write(commit, waiting)
        except WriterFenced:
            self._deciding.rollback()
            raise
        except CommitUnknown as error:
            self._settle(commit, error)
        except LedgerUnavailable as error:
            log.warning("commit_failed", commands=len(waiting), error=str(error))
            self._undo(failed("ledger_unavailable", str(error)))
        self._stamp(now_us, now_s)

    def _write(self, commit: Commit, waiting: list[Waiting]) -> None:
        if not commit.is_empty:
            if self._deciding.traces:
                self._commit_trace = CommitTrace(self._deciding.traces, len(waiting))
            begun_s = time.perf_counter()
            self._store.commit(commit)
            self._metrics.count_commit(time.perf_counter() - begun_s, len(waiting))
        self._keep(commit)

    def _keep(self, commit: Commit) -> None:
        trace = self._end_commit_trace()
        self._deciding.settle()
        self._background.kept()
        if not commit.is_empty:
            self._metrics.count_moved(commit.ledger_events)
            self._outbox.committed(commit, self._store.statistics().position)
        answered = self.give_back()
        deliver(answered)
        self._metrics.count_answers(answered)
        if trace is not None:
            trace.tell(self._store.statistics().position.commit_number)

    def _undo(self, answer: Answer) -> None:
        self._deciding.rollback()
        self._background.undone()
        self._paused_until_s = time.monotonic() + PAUSE_S
        self._fail_in_hand(answer)

    def _fail_in_hand(self, answer: Answer) -> None:
        trace = self._end_commit_trace()
        answered = self.give_back()
        deliver_same(answered, answer, FAILED)
        self._metrics.count_answers(answered)
        if trace is not None:
            trace.tell(None, code_of(answer))

    def _end_commit_trace(self) -> CommitTrace | None:
        trace, self._commit_trace = self._commit_trace, None
        if trace is not None:
            trace.end()
        return trace

    # ---- a commit of unknown outcome ----

    def _settle(self, commit: Commit | None, error: CommitUnknown) -> None:
        """Decide nothing until the database has said what became of a commit."""
        if commit is None:
            raise AssertionError("Invariant: what is decided comes after what is settled")
        log.error("commit_unknown", commands=len(self._in_hand), error=str(error))
        self.waits_for = str(error)
        self._intake.close(_UNSURE)
        is_written = self._wait_settled()
        if is_written is None:
            self._fail_in_hand(_UNSURE)
            return
        log.info("commit_settled", is_written=is_written)
        if is_written:
            self._keep(commit)
        else:
            self._undo(_UNDONE)
        self._intake.open()
        # Said last: whoever hears that nothing is missing may ask at once.
        self.waits_for = None

    def _wait_settled(self) -> bool | None:
        give_up_s = time.monotonic() + ANSWER_WAIT_S_MAX
        for pause_s in chain(SETTLE_RETRY_S, repeat(SETTLE_RETRY_S[-1])):
            try:
                return self._store.settle()
            except LedgerUnavailable as error:
                self.waits_for = str(error)
            if time.monotonic() >= give_up_s:
                # What was decided may still come to be; its key tells whoever asks again.
                self._fail_in_hand(_UNSURE)
            if self._stopping.wait(pause_s):
                break
        return None

    # ---- between ----

    def _follow_setup(self, now_us: int) -> None:
        setup = self._setup.take(self._desk.setup)
        if setup is not None:
            self._stock.reader.set_scopes(setup, now_us / 1e6)
            self._desk.setup = setup

    def _forget(self) -> None:
        """Drop some of what was kept long enough, unless a commit's outcome is not known."""
        if self.waits_for is not None:
            return
        try:
            self._retention.step(self._clock(), time.monotonic, self._supply.ledger_sequence)
        except CommitUnknown as error:
            self._settle(Commit(), error)

    def _stamp(self, now_us: int, now_s: float) -> None:
        if now_s < self._gauges_at_s:
            return
        self._gauges_at_s = now_s + GAUGES_S
        position = self._store.statistics().position
        self._stock.demand.stamp(heartbeat_us=now_us, commit_number=position.commit_number)
        self._metrics.measure(self._desk.book, self._supply, self._outbox)
        self._background.measure()
