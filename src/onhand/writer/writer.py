"""The order writer's thread: take what waits, decide it, commit it once, answer.

::

    starting ──▶ deciding ──▶ stopped
                  │   ▲
                  ▼   │ the database says what became of a commit
                unsure ──▶ fenced      another writer has taken over

A turn begins with what supply has done and with what is due by itself, since both come before any
new promise; its changes share the commit of the commands. A turn comes at least every 20 ms.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from onhand.errors import OnhandError, WriterFenced
from onhand.log.base import now_us
from onhand.logging import get_logger
from onhand.orders.purchases import NoPurchases
from onhand.table.directory import TableDirectory
from onhand.writer.answer import Answer, failed
from onhand.writer.claims_feed import ClaimsFeed
from onhand.writer.deciding import FAILED
from onhand.writer.intake import Intake
from onhand.writer.metrics import WriterMetrics
from onhand.writer.outbox import Outbox
from onhand.writer.recovery import Recovery
from onhand.writer.setup_watch import SetupWatch
from onhand.writer.stock import orders_lock
from onhand.writer.turns import Turns
from onhand.writer.waiting import FutureFront, Waiting, deliver_same

if TYPE_CHECKING:
    from collections.abc import Callable

    from onhand.ledger import Ledger, SetupStore
    from onhand.log.base import EventLog
    from onhand.metrics import Page
    from onhand.model.setup import Setup
    from onhand.orders.book import Book
    from onhand.orders.engine import Asked
    from onhand.orders.purchases import Purchases
    from onhand.settings import Settings
    from onhand.tracing import Tracing

log = get_logger(__name__)

STOP_S_MAX: Final = 18.0

_STARTING: Final = failed("writer_unavailable", "the order writer is starting; see GET /readyz")
_STOPPING: Final = failed("writer_unavailable", "the order writer is stopping")
_BROKEN: Final = failed("writer_unavailable", "the order writer has failed; it is started again")


class OrderWriter:
    """Takes commands from any thread and decides them in its own.

    Parameters
    ----------
    ledger, setup_store, event_log
        Open, and left open.
    page
        Where this process counts.
    clock
        Microseconds since 1970-01-01 UTC; it may be set back and forth.
    on_broken
        Called when an invariant does not hold, in the writer's thread: the process has to end, and
        the next one starts from the ledger.
    purchases
        Finds what was sold at tills, for returns by receipt; none by default.
    tracing
        Traces what tills claim; commands bring their own traces.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ledger: Ledger,
        setup_store: SetupStore,
        event_log: EventLog,
        cluster_id: str,
        page: Page,
        clock: Callable[[], int] = now_us,
        on_broken: Callable[[], None] | None = None,
        purchases: Purchases | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._setup_store = setup_store
        self._event_log = event_log
        self._directory = TableDirectory(settings.table_dir, cluster_id)
        self._clock = clock
        self._on_broken = on_broken or _end_process
        self._purchases = purchases or NoPurchases()
        self._tracing = tracing
        self._metrics = WriterMetrics(page)
        self._intake = Intake(_STARTING)
        self._futures = FutureFront()
        self._waits_for: str | None = "the order writer has not started"
        self._stopping = threading.Event()
        self._lock = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
        self._setup = SetupWatch(setup_store)
        self._outbox: Outbox | None = None
        self._advisers: tuple[Outbox | ClaimsFeed, ...] = ()
        self._turns: Turns | None = None

    # ---- from any thread ----

    def start(self) -> None:
        """Take the table directory and begin to recover; commands are refused until that is done.

        Raises
        ------
        AlreadyRunning
            Another process takes orders for the same tables.
        TableUnavailable
            The table directory cannot be used.
        """
        self._lock.enter_context(orders_lock(self._directory))
        self._thread.start()

    def stop(self) -> None:
        """Decide and commit what waits, then end; at most 18 s. Events not sent yet stay kept."""
        self._stopping.set()
        self._intake.wake()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)
            if self._thread.is_alive():
                log.error("orders_stop_timed_out", seconds=STOP_S_MAX)
        self._lock.close()

    def submit(
        self, asked: Asked, *, key: bytes | None = None, body_sha: bytes = b""
    ) -> Future[Answer]:
        """Put a command to the writer; :class:`onhand.writer.asking.Asking` is for event loops.

        Parameters
        ----------
        key, body_sha
            As for :meth:`onhand.writer.asking.Asking.ask`.
        """
        future: Future[Answer] = Future()
        self.enter([Waiting(asked, self._futures, future, key, body_sha)])
        return future

    def enter(self, waiting: list[Waiting]) -> None:
        """Let commands wait for their decision; their fronts get the answers."""
        self._intake.put(waiting)

    def use_setup(self, setup: Setup) -> None:
        """Decide by this set-up from the next turn on, unless a newer one is known."""
        self._setup.offer(setup)

    def book(self) -> Book | None:
        """Return what is promised, to be looked at and never changed; None until it is loaded."""
        turns = self._turns
        return turns.book if turns is not None else None

    def missing(self) -> list[str]:
        """Say what commands wait for, for ``GET /readyz``; empty when they are decided."""
        turns = self._turns
        waits_for = self._waits_for or (turns.waits_for if turns is not None else None)
        return [] if waits_for is None else [f"orders: {waits_for}"]

    def warnings(self) -> list[str]:
        """Say what an operator should look at, for ``GET /readyz``."""
        return [warning for each in self._advisers for warning in each.warnings()]

    def read_again(self) -> None:
        """Go by what the ledger says of answers and events: some of them were rewritten there."""
        turns, outbox = self._turns, self._outbox
        if turns is not None:
            turns.forget_answers()
        if outbox is not None:
            outbox.read_again()

    def outbox_pending(self) -> dict[str, int]:
        """Count what is committed and not in the log, by topic; none that is not looked at yet."""
        outbox = self._outbox
        return outbox.pending() if outbox is not None else {}

    # ---- the thread ----

    def _run(self) -> None:
        reason = _STOPPING
        try:
            self._open_and_work()
        except WriterFenced as error:
            reason = failed(error.code, str(error))
            self._waits_for = str(error)
            self._metrics.note_fenced()
            log.error("writer_fenced", error=str(error))  # noqa: TRY400 - it says what to do
        except OnhandError as error:
            reason = failed("writer_unavailable", str(error))
            self._waits_for = str(error)
            log.error("orders_cannot_start", error=str(error))  # noqa: TRY400 - the same
        except Exception:
            reason = _BROKEN
            self._waits_for = "the order writer has failed"
            log.exception("orders_broken")
            self._on_broken()
        finally:
            in_hand = self._turns.give_back() if self._turns is not None else []
            deliver_same(in_hand, reason, FAILED)
            self._intake.close(reason)

    def _open_and_work(self) -> None:
        recovery = Recovery(
            self._settings,
            self._ledger,
            self._setup_store,
            self._directory,
            clock=self._clock,
            wait=self._wait_for,
        )
        opened = recovery.open()
        if opened is None:
            return
        opened.desk.history = self._purchases
        with contextlib.ExitStack() as stack:
            stack.callback(opened.stock.demand.close)
            stack.callback(opened.store.close)
            position = opened.store.statistics().position
            one_by_one = self._settings.kafka is not None
            outbox = Outbox(opened.store, self._event_log, position, one_by_one=one_by_one)
            feed = ClaimsFeed(
                self.enter, opened.store, self._event_log, self._metrics, tracing=self._tracing
            )
            turns = Turns(
                self._settings,
                opened,
                self._intake,
                outbox=outbox,
                setup=self._setup,
                metrics=self._metrics,
                claims_us=lambda: feed.decided_us,
                clock=self._clock,
                stopping=self._stopping,
            )
            self._setup.offer(opened.desk.setup)
            stack.callback(turns.note_sent)
            for part in (self._setup, outbox, feed):
                part.start()
                stack.callback(part.stop)
            self._turns = turns
            self._outbox, self._advisers = outbox, (outbox, feed)
            self._intake.open()
            # Said last: whoever hears that nothing is missing may ask at once.
            self._waits_for = None
            turns.run()
            self._intake.close(_STOPPING)
        # Only a clean end frees the table: after a failure readers go on with what there is.
        self._directory.remove_demand()

    def _wait_for(self, what: str, seconds: float) -> bool:
        if self._waits_for != what:
            log.info("orders_waiting", reason=what)
        self._waits_for = what
        return not self._stopping.wait(seconds)


def _end_process() -> None:
    """End at once: what is in memory can no longer be trusted, and all that counts is on disk."""
    os.kill(os.getpid(), signal.SIGKILL)
