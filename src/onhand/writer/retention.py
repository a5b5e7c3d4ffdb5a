"""What was kept long enough leaves the ledger, a little at a time, whether anybody asks or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onhand.errors import CommitUnknown, LedgerUnavailable, WriterFenced
from onhand.ledger import schema
from onhand.ledger.old_rows import BEGIN, OldRows, Place
from onhand.ledger.order_store import ANSWERS_KEEP_US, DAY_US
from onhand.logging import get_logger
from onhand.orders.book import decode_order, decode_return

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy as sa

    from onhand.ledger.order_store import OrderStore
    from onhand.ledger.rows import OrderRow, ReturnRow
    from onhand.model.orders import Order
    from onhand.settings import Settings
    from onhand.writer.metrics import WriterMetrics

log = get_logger(__name__)

LOOK_S: Final = 60.0
"""Between looks for rows that were kept long enough."""
AGAIN_S: Final = 0.03
"""The same when there are more than one step takes."""
SHARE_MAX: Final = 0.1
"""Of the writer's time, as long as there are more."""

ROW_COUNT: Final = 250
ORDER_COUNT: Final = 50
PACK_COUNT: Final = 16
"""Most rows of one step, most orders with what is theirs, and most commits whose answers go: a few
milliseconds, in which nothing is decided."""


class Keep(NamedTuple):
    """How long rows are kept, in microseconds.

    ``short_us`` is for answers after they were given, holds after their expiry and movements after
    they were written, ``long_us`` for orders and returns after their last change.
    """

    short_us: int
    long_us: int


def keep_of(settings: Settings) -> Keep:
    """Say how long the settings keep rows."""
    return Keep(ANSWERS_KEEP_US, settings.orders_keep_days * DAY_US)


class Retention:
    """Drops what was kept long enough; in the writer's thread, between turns.

    Parameters
    ----------
    claims_us
        Returns the time up to which all claims in the log are decided: what a till has told of an
        order waits for nobody who might forget the order.
    """

    def __init__(
        self,
        store: OrderStore,
        metrics: WriterMetrics,
        keep: Keep,
        claims_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._old = OldRows(store)
        self._metrics = metrics
        self._keep = keep
        self._claims_us = claims_us
        self._due_s: float | None = None
        self._measure_s = 0.0
        self._after_order = self._after_return = BEGIN

    def step(self, now_us: int, clock_s: Callable[[], float], applied_sequence: int) -> None:
        """Drop a bounded number of rows, if that is due.

        Parameters
        ----------
        clock_s
            A clock that nobody sets.
        applied_sequence
            The last ledger event that supply has applied and holds in a checkpoint.

        Raises
        ------
        WriterFenced
            Another writer has taken over.
        CommitUnknown
            Nobody knows whether they are dropped; it is to be settled.
        """
        begun_s = clock_s()
        if self._due_s is None:
            # A clock that was wrong at the start has a moment to be set right.
            self._due_s = begun_s + LOOK_S
        try:
            if begun_s >= self._measure_s:
                self._measure_s = begun_s + LOOK_S
                self._metrics.measure_ledger(self._store.size_bytes())
            if begun_s >= self._due_s:
                self._due_s = begun_s + LOOK_S
                if self._drop_some(now_us, applied_sequence):
                    ended_s = clock_s()
                    self._due_s = ended_s + max(AGAIN_S, (ended_s - begun_s) / SHARE_MAX)
        except (CommitUnknown, WriterFenced):
            raise
        except LedgerUnavailable as error:
            log.warning("retention_waiting", error=str(error))
        except Exception:
            # What is old stays, and promises go on.
            log.exception("retention_failed")

    def _drop_some(self, now_us: int, applied_sequence: int) -> bool:
        """Drop what one step takes; tell whether there may be more."""
        before_us = now_us - self._keep.short_us
        answers = self._old.answers(before_us, PACK_COUNT)
        holds = self._old.holds(before_us, ROW_COUNT)
        events = self._old.ledger_events(before_us, applied_sequence, ROW_COUNT)
        before_us = min(now_us, self._claims_us()) - self._keep.long_us
        orders = self._old.orders(before_us, self._after_order, ORDER_COUNT)
        returns = self._old.returns(before_us, self._after_return, ORDER_COUNT)
        over = self._over(orders, before_us)
        keys: dict[sa.Table, list[Any]] = {
            schema.answer: answers,
            schema.hold: holds,
            schema.ledger_event: events,
            schema.task: [task.id for order in over for task in order.tasks],
            schema.returns: [return_id for order in over for return_id in order.returns]
            + [row.id for row in returns if _is_over(row, before_us)],
            schema.orders: [order.id for order in over],
        }
        self._store.drop(keys)
        if answers:
            self._store.forget_answers_before(self._old.first_answer())
        self._metrics.count_dropped({str(table.name): len(some) for table, some in keys.items()})
        # What was looked at and stays is passed over until the walk begins anew.
        self._after_order = self._after_return = BEGIN
        if len(orders) == ORDER_COUNT:
            self._after_order = Place(orders[-1].updated_us, orders[-1].id)
        if len(returns) == ORDER_COUNT:
            self._after_return = Place(returns[-1].created_us, returns[-1].id)
        return (
            len(answers) == PACK_COUNT
            or ROW_COUNT in (len(holds), len(events))
            or ORDER_COUNT in (len(orders), len(returns))
        )

    def _over(self, rows: Sequence[OrderRow], before_us: int) -> list[Order]:
        """Choose the orders of which no return is left to be dealt with."""
        orders = [decode_order(row.document) for row in rows]
        returns = self._store.load_returns([each for order in orders for each in order.returns])
        kept = {row.id for row in returns.values() if not _is_over(row, before_us)}
        return [order for order in orders if kept.isdisjoint(order.returns)]


def _is_over(row: ReturnRow, before_us: int) -> bool:
    return_ = decode_return(row.document)
    return return_.is_over() and return_.updated_us < before_us
