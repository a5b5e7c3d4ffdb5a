"""The order writer, stepped: the real parts of its process, each turned when a step says so."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from onhand.errors import LedgerUnavailable, LogUnavailable, OnhandError, WriterFenced
from onhand.ledger import SetupStore
from onhand.log.topics import CLAIMS, LEDGER, ORDER_EVENTS
from onhand.orders.desk import Ids
from onhand.simulation.faults import must
from onhand.simulation.timeline import NeverStopped
from onhand.writer.answer import failed
from onhand.writer.claims_feed import ClaimsFeed
from onhand.writer.intake import Intake
from onhand.writer.outbox import Outbox
from onhand.writer.recovery import Recovery
from onhand.writer.setup_watch import SetupWatch
from onhand.writer.turns import Turns
from onhand.writer.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.log.base import LogReader
    from onhand.orders.engine import Asked
    from onhand.settings import Settings
    from onhand.simulation.ledger import SimulatedLedger
    from onhand.simulation.log import SimulatedLog
    from onhand.simulation.promised import Promised
    from onhand.simulation.timeline import HostClock, Timeline
    from onhand.table.directory import TableDirectory
    from onhand.writer.answer import Answer
    from onhand.writer.metrics import WriterMetrics


class Ask:
    """A command of a client under its key, and the answer once it is delivered."""

    def __init__(self, asked: Asked, key: bytes, promised: Promised) -> None:
        self.asked = asked
        self.key = key
        self.answer: Answer | None = None
        self.is_waiting = False
        self.is_settled = False
        self.writer: WriterProcess | None = None
        self._promised = promised

    def deliver(self, answered: Sequence[Waiting]) -> None:
        """Take the answer: what it says is on disk by now."""
        (each,) = (each for each in answered if each.ticket is self)
        must(self.is_waiting, "a command is answered once", self.asked)
        answer = self.answer = each.answer
        must(answer is not None, "an answer says something", self.asked)
        self.is_waiting = False
        if answer is None or answer.failure:
            return
        kept = self._promised.answers.get(self.key)
        must(kept is not None, "an answer is on disk before it is told", self.asked, answer)
        if kept is not None:
            must(
                (kept.document, kept.refused) == (answer.document, answer.refused),
                "the same command is answered the same",
                self.asked,
                kept,
                answer,
            )
        self.is_settled = True

    def waiting(self) -> Waiting:
        """Wait for a decision, again if need be."""
        self.is_waiting = True
        return Waiting(self.asked, self, self, self.key, b"s" * 32)


class Prompt(Intake):
    """Where commands wait; nobody waits for them."""

    def take(self, *, wait: bool = True) -> list[Waiting]:
        """Take what is there."""
        del wait
        return super().take(wait=False)


class WriterProcess:
    """One life of the order writer's process; :meth:`open` answers None while it has to wait."""

    def __init__(
        self,
        settings: Settings,
        *,
        ledger: SimulatedLedger,
        log: SimulatedLog,
        directory: TableDirectory,
        metrics: WriterMetrics,
        clock: HostClock,
        timeline: Timeline,
        seed: int,
    ) -> None:
        self.is_alive = False
        self.turn_count = 0
        self.clock = clock
        self.asks: list[Ask] = []
        self._settings = settings
        self._ledger = ledger
        self._log = log
        self._directory = directory
        self._metrics = metrics
        self._stopping = NeverStopped(timeline)
        self._seed = seed
        self._claims: LogReader | None = None

    def open(self) -> bool:
        """Recover from the ledger, as a new process does; False when that has to wait."""
        setup_store = SetupStore(self._ledger, clock_us=self.clock)
        recovery = Recovery(
            self._settings,
            self._ledger,
            setup_store,
            self._directory,
            clock=self.clock,
            wait=lambda _what, _seconds: False,
        )
        opened = recovery.open()
        if opened is None:
            return False
        self.opened = opened
        opened.desk.ids = Ids(opened.epoch, Random(f"{self._seed}-{opened.epoch}"))
        self._ledger.follow(opened.store)
        position = opened.store.statistics().position
        self.intake = Prompt(failed("writer_unavailable", "not yet"))
        self.intake.open()
        self.outbox = Outbox(
            opened.store,
            self._log,
            position,
            one_by_one=self._log.is_kafka,
        )
        self.feed = ClaimsFeed(
            self._enter_and_turn,
            opened.store,
            self._log,
            self._metrics,
            self._stopping,
        )
        self.setup_watch = SetupWatch(setup_store)
        self.setup_watch.offer(opened.desk.setup)
        self.turns = Turns(
            self._settings,
            opened,
            self.intake,
            outbox=self.outbox,
            setup=self.setup_watch,
            metrics=self._metrics,
            claims_us=lambda: self.feed.decided_us,
            clock=self.clock,
            stopping=self._stopping,
        )
        self.is_alive = True
        return True

    @property
    def epoch(self) -> int:
        """The term of this writer."""
        return self.opened.epoch

    # ---- steps ----

    def ask(self, ask: Ask) -> None:
        """Let a command wait."""
        self.asks.append(ask)
        ask.writer = self
        self.intake.put([ask.waiting()])

    def turn(self) -> str:
        """Take one turn."""
        try:
            self._take_one()
        except WriterFenced:
            self._end()
            return "fenced"
        self.asks = self._still_asked()
        return "turned"

    def send(self, topic: str) -> str:
        """Send what is committed for a topic."""
        try:
            self.outbox.send_now(topic)
        except (LogUnavailable, LedgerUnavailable) as error:
            return type(error).__name__
        return "sent"

    def follow_claims(self) -> str:
        """Read claims once, and have them decided."""
        try:
            if self._claims is None:
                self._claims = self.feed.open(self._log.partitions([CLAIMS]))
            return "decided" if self.feed.take(self._claims) else "nothing"
        except WriterFenced:
            self._end()
            return "fenced"
        except (LogUnavailable, LedgerUnavailable) as error:
            self._claims = None
            return type(error).__name__

    def follow_setup(self) -> str:
        """Look whether the set-up has changed."""
        try:
            self.setup_watch.follow()
        except OnhandError as error:
            return type(error).__name__
        return "followed"

    def kill(self) -> None:
        """End at once: nothing more is decided, written or told."""
        self.is_alive = False
        for each in self._still_asked():
            each.is_waiting = False
        self.asks = []
        self.opened.store.close()
        self.opened.stock.demand.close()

    def topics(self) -> tuple[str, str]:
        """Name what it sends."""
        return (LEDGER, ORDER_EVENTS)

    def _still_asked(self) -> list[Ask]:
        """List the commands that wait here: one that failed may wait elsewhere by now."""
        return [each for each in self.asks if each.is_waiting and each.writer is self]

    def _end(self) -> None:
        """End as a fenced process does: whoever waits is told."""
        answer = failed("writer_fenced", "another writer has taken over")
        for each in self.turns.give_back():
            each.answer = answer
            each.front.deliver([each])
        self.intake.close(answer)
        self.kill()

    def _enter_and_turn(self, waiting: list[Waiting]) -> None:
        """Have claims decided at once: who reads them waits for just that."""
        self.intake.put(waiting)
        self._take_one()

    def _take_one(self) -> None:
        self.turn_count += 1
        self.turns.take_one()
