"""What the order writer counts."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.writer.answer import code_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onhand._native.metrics import Counter, Histogram
    from onhand.ledger.rows import LedgerEventRow
    from onhand.metrics import Page
    from onhand.orders.book import Book
    from onhand.orders.shortfalls import Settled
    from onhand.orders.upkeep import Expired
    from onhand.writer.outbox import Outbox
    from onhand.writer.supply_watch import SupplyWatch
    from onhand.writer.waiting import Waiting


class _Line(msgspec.Struct):
    quantity: int


class _Moved(msgspec.Struct):
    """A movement of units that came back, as far as it is counted."""

    disposition: str
    lines: list[_Line]


_RETURN: Final = b'{"type":"return"'
_decode_moved: Final = msgspec.json.Decoder(_Moved).decode


class WriterMetrics:
    """Counters of one order writer.

    Parameters
    ----------
    page
        The process's page of shared counters.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._commit_seconds = page.histogram("onhand_ledger_commit_seconds")
        self._commit_commands = page.histogram("onhand_ledger_commit_commands")
        self._holds_expired = page.counter("onhand_reservations_expired_total", "hold")
        self._pickups_expired = page.counter("onhand_reservations_expired_total", "pickup")
        self._returns_expired = page.counter("onhand_returns_expired_total")
        self._moved_units = page.counter("onhand_shortfall_moved_units_total")
        self._reported_units = page.counter("onhand_shortfall_reported_units_total")
        self._holds_open = page.gauge("onhand_reservations_open", "hold")
        self._orders_open = page.gauge("onhand_reservations_open", "order")
        self._returns_open = page.gauge("onhand_returns_open")
        self._in_flight = page.gauge("onhand_handovers_in_flight")
        self._supply_age = page.gauge("onhand_supply_age_seconds")
        self._fenced = page.gauge("onhand_order_writer_fenced")
        self._shortfall_cells = page.gauge("onhand_shortfall_cells")
        self._shortfall_units = page.gauge("onhand_shortfall_units")
        self._dropped = {
            table: page.counter("onhand_ledger_rows_dropped_total", table)
            for table in ("answer", "hold", "ledger_event", "task", "returns", "orders")
        }
        self._seconds: dict[str, Histogram] = {}
        self._outcomes: dict[tuple[str, str], Counter] = {}

    def count_commit(self, seconds: float, command_count: int) -> None:
        """Count a commit that is on disk, and the commands that shared it."""
        self._commit_seconds.observe(seconds)
        self._commit_commands.observe(command_count)

    def count_answers(self, answered: Sequence[Waiting]) -> None:
        """Count commands by what they were answered, and how long that took."""
        now_s = perf_counter()
        for each in answered:
            what = each.asked.what
            seconds = self._seconds.get(what)
            if seconds is None:
                seconds = self._seconds[what] = self._histogram(what)
            seconds.observe(now_s - each.since_s)
            outcome = each.outcome
            if outcome not in ("done", "repeated") and each.answer is not None:
                outcome = code_of(each.answer)
            counter = self._outcomes.get((what, outcome))
            if counter is None:
                counter = self._page.counter("onhand_order_commands_total", what, outcome)
                self._outcomes[what, outcome] = counter
            counter.add()

    def _histogram(self, what: str) -> Histogram:
        if what == "promise":
            return self._page.histogram("onhand_promise_seconds")
        return self._page.histogram("onhand_reserve_seconds", what)

    def count_moved(self, ledger_events: Sequence[LedgerEventRow]) -> None:
        """Count the units that movements on their way to supply take back."""
        for row in ledger_events:
            if row.document.startswith(_RETURN):
                said = _decode_moved(row.document)
                units = sum(line.quantity for line in said.lines)
                self._page.counter("onhand_returned_units_total", said.disposition).add(units)

    def count_claim(self, outcome: str) -> None:
        """Count a claim by what it turned out to be."""
        self._page.counter("onhand_claims_total", outcome).add()

    def count_dropped(self, counts: Mapping[str, int]) -> None:
        """Count rows that were kept long enough, by their table."""
        for table, count in counts.items():
            self._dropped[table].add(count)

    def measure_ledger(self, size_bytes: int) -> None:
        """Note what the ledger takes on disk."""
        self._page.gauge("onhand_ledger_bytes").set(size_bytes)

    def measure(self, book: Book, supply: SupplyWatch, outbox: Outbox) -> None:
        """Note what there is now."""
        self._holds_open.set(len(book.holds))
        self._orders_open.set(len(book.orders))
        self._returns_open.set(len(book.returns))
        self._in_flight.set(len(book.handovers))
        self._supply_age.set(supply.age_us / 1e6)
        # A gauge is 0 from when it is made, so there is none before the count is known.
        for topic, count in outbox.pending().items():
            self._page.gauge("onhand_outbox_pending", topic).set(count)

    def note_fenced(self) -> None:
        """Note that another writer has taken over, until this process ends."""
        self._fenced.set(1)

    def count_expired(self, expired: Expired) -> None:
        """Count holds, pickups and returns whose time was over."""
        self._holds_expired.add(expired.holds)
        self._pickups_expired.add(expired.pickups)
        self._returns_expired.add(expired.returns)

    def count_settled(self, settled: Settled) -> None:
        """Count units of shortfalls that were moved, and those that could not be."""
        self._moved_units.add(settled.units_moved)
        self._reported_units.add(settled.units_reported)

    def measure_shortfalls(self, cell_count: int, unit_count: int) -> None:
        """Note what is promised beyond what is there."""
        self._shortfall_cells.set(cell_count)
        self._shortfall_units.set(unit_count)
