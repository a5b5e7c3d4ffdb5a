"""What supply has done since the last look: hand-overs applied, cells changed, and how old it is.

A look costs a few microseconds while nothing has changed. Nothing is missed: when more has changed
than the tables remember, or a generation is new, that is what is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.errors import TableUnavailable
from onhand.writer.answer import Answer, failed

if TYPE_CHECKING:
    from onhand._native.reader import Table
    from onhand.orders.book import Book, Cell
    from onhand.table.reader import TableReader

CHANGE_COUNT_MAX: Final = 4_096
"""Changes of a shard taken in one look; more wait for the next."""

_UNAVAILABLE: Final = failed(
    "supply_unavailable", "ingest has not published a stock table yet; see GET /readyz"
)
_NOT_YET_CURRENT: Final = failed(
    "supply_stale", "ingest has not said yet how current the stock numbers are"
)


class SupplyWatch:
    """Follows supply for the order writer; used by its thread alone.

    Parameters
    ----------
    reader
        The writer's own.
    age_us_max
        How old stock numbers may be for promises to be made by them.
    """

    def __init__(self, reader: TableReader, book: Book, age_us_max: int) -> None:
        self._reader = reader
        self._book = book
        self._age_us_max = age_us_max
        self._tables: tuple[Table, ...] = ()
        self._sequences: list[int] = []
        self._places: list[list[str]] = []
        self._heartbeat = (0, 0.0)
        self.age_us = 0
        """How far behind the numbers are that promises are made by."""
        self.as_of_us = 0
        self.ledger_sequence = 0
        self.is_there = False

    def look(self, now_us: int, monotonic_s: float) -> list[Cell] | None:
        """Follow supply to this moment: lower what it has applied, list what has changed.

        Parameters
        ----------
        monotonic_s
            Seconds of a clock that nobody sets: a writer that has died stays dead when the other
            clock is set back.

        Returns
        -------
        list
            Cells that promises or backorders depend on and whose supply has changed. None when
            any cell may have: the tables are new, or remember no longer.
        """
        try:
            self._reader.refresh()
            tables = self._reader.tables()
        except TableUnavailable:
            self.is_there = False
            return []
        self.is_there = True
        self._follow_progress(tables, now_us, monotonic_s)
        if tables is not self._tables:
            self._start_over(tables)
            return None
        return self._changed()

    def stale(self) -> Answer | None:
        """Return what promising commands are answered when the numbers are too old, else None."""
        if not self.is_there:
            return _UNAVAILABLE
        if self.age_us <= self._age_us_max:
            return None
        if self.as_of_us <= 0:
            return _NOT_YET_CURRENT
        detail = (
            f"the stock numbers are {self.age_us / 1e6:.1f} s old, "
            f"and promises are made by none older than {self._age_us_max / 1e6:g} s"
        )
        return failed("supply_stale", detail)

    def _follow_progress(self, tables: tuple[Table, ...], now_us: int, monotonic_s: float) -> None:
        progress = [table.progress() for table in tables]
        as_of_us = min(each[0] for each in progress)
        heartbeat_us = min(each[1] for each in progress)
        sequence = min(each[3] for each in progress)
        if heartbeat_us != self._heartbeat[0]:
            self._heartbeat = (heartbeat_us, monotonic_s)
        silent_us = int((monotonic_s - self._heartbeat[1]) * 1e6)
        self.as_of_us = as_of_us
        self.age_us = max(0, now_us - as_of_us, now_us - heartbeat_us, silent_us)
        if sequence > self.ledger_sequence or (
            self._book.handovers and self._book.handovers[0].sequence <= sequence
        ):
            self.ledger_sequence = sequence
            self._book.applied(sequence)

    def _start_over(self, tables: tuple[Table, ...]) -> None:
        self._tables = tables
        self._sequences = [table.change_seq for table in tables]
        self._places = [[] for _ in tables]

    def _changed(self) -> list[Cell] | None:
        found: dict[Cell, None] = {}
        for shard, table in enumerate(self._tables):
            since = self._sequences[shard]
            if table.change_seq == since:
                continue
            skus, locations, last, is_complete = table.changes(since, CHANGE_COUNT_MAX)
            if not is_complete:
                self._start_over(self._tables)
                return None
            self._sequences[shard] = last
            found |= dict.fromkeys(self._of_interest(shard, skus, locations))
        return list(found)

    def _of_interest(self, shard: int, skus: object, locations: object) -> list[Cell]:
        book = self._book
        if not (book.held or book.allocated or book.backordered):
            return []
        table = self._tables[shard]
        if len(self._places[shard]) < table.location_count:
            self._places[shard] = table.location_names()
        places = self._places[shard]
        names = table.names_of(skus)  # type: ignore[arg-type]
        cells = zip(names, (places[number] for number in locations.tolist()), strict=True)  # type: ignore[attr-defined]
        return [
            cell
            for cell in cells
            if cell in book.held or cell in book.allocated or cell[0] in book.backordered
        ]
