"""What was kept long enough leaves the ledger, a little at a time, whether anybody asks or not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from onhand.errors import CommitUnknown, LedgerUnavailable
from onhand.ledger import schema
from onhand.ledger.old_rows import BEGIN, OldRows, Place
from onhand.ledger.order_store import ANSWERS_KEEP_US, DAY_US
from onhand.logging import get_logger
from onhand.orders.book import decode_order, decode_return

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import sqlalchemy as sa

    from onhand.ledger.order_store import OrderStore
    from onhand.ledger.rows import OrderRow, ReturnRow
    from onhand.model.orders import Order
    from onhand.settings import Settings
    from onhand.writer.metrics import WriterMetrics

log = get_logger(__name__)
T = TypeVar("T")

LOOK_S: Final = 60.0
"""Between looks for rows that were kept long enough."""
AGAIN_S: Final = 0.03
"""The same when there are more than one step takes."""
SHARE_MAX: Final = 0.1
"""Of the writer's time, as long as there are more."""

ROW_COUNT: Final = 250
ORDER_COUNT: Final = 50
PACK_COUNT: Final = 256
ANSWER_COUNT: Final = 2_000
"""Most rows of one step, most orders with what is theirs, most commits whose answers go, and
answers after which no more go: a few milliseconds, in which nothing is decided."""


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
    passed_us
        Returns the time up to which supply is applied and every claim that it passed on is decided:
        a till's word about an order finds the order.
    """

    def __init__(
        self,
        store: OrderStore,
        metrics: WriterMetrics,
        keep: Keep,
        passed_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._old = OldRows(store)
        self._metrics = metrics
        self._keep = keep
        self._passed_us = passed_us
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
            The last ledger event that supply has applied.

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
        if begun_s >= self._measure_s:
            self._measure_s = begun_s + LOOK_S
            with _going_on():
                self._metrics.measure_ledger(self._store.size_bytes())
        if begun_s < self._due_s:
            return
        self._due_s = begun_s + LOOK_S
        has_more = self._drop(lambda: self._find_short(now_us, applied_sequence))
        has_more |= self._drop(lambda: self._find_long(now_us))
        if has_more:
            ended_s = clock_s()
            self._due_s = ended_s + max(AGAIN_S, (ended_s - begun_s) / SHARE_MAX)

    def _drop(self, find: Callable[[], _Old]) -> bool:
        """Drop what one part finds; tell whether there may be more of it."""
        old = _Old({}, has_more=False)
        with _going_on():
            old = find()
        try:
            self._store.drop(old.keys)
        except CommitUnknown:
            raise
        except LedgerUnavailable as error:
            log.warning("retention_waiting", error=str(error))
            return False
        self._metrics.count_dropped(
            {str(table.name): len(each) for table, each in old.keys.items()}
        )
        if old.keys.get(schema.answer):
            with _going_on():
                self._store.forget_answers_before(self._old.first_answer())
        return old.has_more

    def _find_short(self, now_us: int, applied_sequence: int) -> _Old:
        before_us = now_us - self._keep.short_us
        packs = self._old.answers(before_us, PACK_COUNT, ANSWER_COUNT)
        holds = self._old.holds(before_us, ROW_COUNT)
        events = self._old.ledger_events(before_us, applied_sequence, ROW_COUNT)
        return _Old(
            {schema.answer: packs.numbers, schema.hold: holds, schema.ledger_event: events},
            has_more=packs.has_more or ROW_COUNT in (len(holds), len(events)),
        )

    def _find_long(self, now_us: int) -> _Old:
        before_us = min(now_us, self._passed_us()) - self._keep.long_us
        orders = self._old.orders(before_us, self._after_order, ORDER_COUNT)
        returns = self._old.returns(before_us, self._after_return, ORDER_COUNT)
        over = self._over(orders, before_us)
        theirs = [return_id for order in over for return_id in order.returns]
        alone = [row.id for row in returns if _is_over(row, before_us)]
        # What was looked at and stays is passed over until the walk begins anew.
        self._after_order = self._after_return = BEGIN
        if len(orders) == ORDER_COUNT:
            self._after_order = Place(orders[-1].updated_us, orders[-1].id)
        if len(returns) == ORDER_COUNT:
            self._after_return = Place(returns[-1].created_us, returns[-1].id)
        return _Old(
            {
                schema.task: [task.id for order in over for task in order.tasks],
                schema.returns: theirs + alone,
                schema.orders: [order.id for order in over],
            },
            has_more=ORDER_COUNT in (len(orders), len(returns)),
        )

    def _over(self, rows: Sequence[OrderRow], before_us: int) -> list[Order]:
        """Choose the orders of which no return is left to be dealt with."""
        read = (_read(decode_order, row) for row in rows)
        orders = [order for order in read if order is not None]
        returns = self._store.load_returns([each for order in orders for each in order.returns])
        kept = {row.id for row in returns.values() if not _is_over(row, before_us)}
        return [order for order in orders if kept.isdisjoint(order.returns)]


class _Old(NamedTuple):
    keys: dict[sa.Table, list[Any]]
    has_more: bool


@contextlib.contextmanager
def _going_on() -> Iterator[None]:
    """Go on whatever fails: nothing is written inside, what is old stays, and promises go on."""
    try:
        yield
    except LedgerUnavailable as error:
        log.warning("retention_waiting", error=str(error))
    except Exception:
        log.exception("retention_failed")


def _is_over(row: ReturnRow, before_us: int) -> bool:
    return_ = _read(decode_return, row)
    return return_ is not None and return_.is_over() and return_.updated_us < before_us


def _read(decode: Callable[[bytes], T], row: OrderRow | ReturnRow) -> T | None:
    """Read a document; one that cannot be read stays where it is."""
    try:
        return decode(row.document)
    except msgspec.DecodeError:
        log.exception("retention_failed", row=row.id)
        return None
