"""What was kept long enough leaves the ledger, a little at a time, whether anybody waits or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.errors import LedgerUnavailable
from onhand.logging import get_logger
from onhand.orders.book import decode_order

if TYPE_CHECKING:
    from onhand.ledger.order_store import OrderStore
    from onhand.writer.metrics import WriterMetrics

log = get_logger(__name__)

LOOK_S: Final = 60.0
"""Between looks for rows that were kept long enough."""
AGAIN_S: Final = 0.1
"""The same after some were found: what a day's rush has made is dropped as fast as it came."""
LATE_S_MAX: Final = 1.0
"""A step waits so long for a turn without commands."""


class Retention:
    """Drops what was kept long enough; in the writer's thread, between turns."""

    def __init__(self, store: OrderStore, metrics: WriterMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self._due_s = 0.0

    def step(self, now_us: int, now_s: float, applied_sequence: int, *, is_idle: bool) -> None:
        """Drop a bounded number of rows, if that is due.

        Parameters
        ----------
        now_s
            Seconds of a clock that nobody sets.
        applied_sequence
            The last ledger event that supply has applied and holds in a checkpoint.
        is_idle
            Whether no command waits.

        Raises
        ------
        WriterFenced
            Another writer has taken over.
        """
        if now_s < self._due_s + (0.0 if is_idle else LATE_S_MAX):
            return
        pause_s = LOOK_S
        try:
            if self._drop(now_us, applied_sequence):
                pause_s = AGAIN_S
            else:
                self._metrics.measure_ledger(self._store.size_bytes())
        except LedgerUnavailable as error:
            log.warning("retention_failed", error=str(error))
        self._due_s = now_s + pause_s

    def _drop(self, now_us: int, applied_sequence: int) -> int:
        pruned = self._store.prune(now_us, applied_sequence)
        old = [decode_order(row.document) for row in self._store.old_orders(now_us)]
        if old:
            self._store.drop_orders(
                [order.id for order in old],
                [task.id for order in old for task in order.tasks],
                [return_id for order in old for return_id in order.returns],
            )
        self._metrics.count_dropped(pruned, len(old))
        return pruned.total + len(old)
