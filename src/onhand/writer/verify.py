"""Rebuild what is promised from the ledger, beside a live table, and list every difference.

What is reserved is a function of what is open: active holds, orders, and movements that supply has
not applied yet. A cell is read before and after the ledger is, so what moves meanwhile explains
what lies between; so does a commit on its way, which shows in the table first. A cell that differs
is read again until it agrees, or has differed for so long that nothing on its way can explain it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.identity import open_identity
from onhand.ledger import open_ledger
from onhand.ledger.order_reads import OrderReads
from onhand.ledger.rows import HoldRow
from onhand.orders.book import backordered_by, decode_hold, decode_order, reserved_by
from onhand.orders.sites import date_of
from onhand.table.reader import TableReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from onhand.ledger.rows import OrderRow
    from onhand.settings import Settings
    from onhand.table.demand import DemandReader

RECHECK_COUNT_MAX: Final = 40
RECHECK_S: Final = 0.05
NAMED_COUNT_MAX: Final = 20
"""So many SKUs are looked for in documents; with more of them every document is read."""

Promised = tuple[str, str, int]
"""SKU, location, and the day of a backorder; :data:`RESERVED` for what is reserved."""

RESERVED: Final = -1

_decode_reserved = msgspec.json.Decoder(list[tuple[str, str, int]]).decode


class DemandDifference(msgspec.Struct, frozen=True, order=True):
    """One number of one cell that the live table and the ledger do not agree on."""

    sku: str
    location: str
    field: str
    live: int
    rebuilt: int


class DemandVerified(msgspec.Struct, frozen=True):
    """What a verification covered and found; ``is_live`` when there was a table to compare."""

    is_live: bool
    cell_count: int
    document_count: int
    differences: list[DemandDifference]


class Ledgered(msgspec.Struct, frozen=True):
    """What the ledger says is promised, and how many documents say it."""

    units: dict[Promised, int]
    document_count: int


def verify_demand(settings: Settings, tell: Callable[[int], None]) -> DemandVerified:
    """Compare the live table of what is promised with what the ledger says.

    Parameters
    ----------
    tell
        Called with documents read.

    Raises
    ------
    OnhandError
        No table is live, or the ledger cannot be read.
    """
    cluster_id = open_identity(settings.data).id
    reader = TableReader(settings.table_dir, cluster_id)
    with contextlib.closing(open_ledger(settings, cluster_id=cluster_id)) as ledger:
        return compare_demand(reader, OrderReads(ledger), tell)


def compare_demand(
    reader: TableReader, reads: OrderReads, tell: Callable[[int], None]
) -> DemandVerified:
    """Compare a reader's table of what is promised with a ledger; see :func:`verify_demand`."""
    reader.refresh()
    demand = reader.demand()
    if demand is None:
        return DemandVerified(is_live=False, cell_count=0, document_count=0, differences=[])
    before = _live(demand)
    ledgered = _ledgered(reads, reader, None, tell)
    after = _live(demand)
    cell_count, document_count = len(ledgered.units), ledgered.document_count
    suspects = _outside(before, ledgered.units, after, before | ledgered.units)
    for _ in range(RECHECK_COUNT_MAX):
        if not suspects:
            break
        time.sleep(RECHECK_S)
        shown, said = after, ledgered.units
        reader.refresh()
        demand = reader.demand() or demand
        before = _live(demand)
        ledgered = _ledgered(reads, reader, {sku for sku, _, _ in suspects}, tell)
        after = _live(demand)
        suspects -= _landed(shown, said, ledgered.units, suspects)
        suspects = _outside(before, ledgered.units, after, suspects)
    return DemandVerified(
        is_live=True,
        cell_count=cell_count,
        document_count=document_count,
        differences=sorted(
            DemandDifference(
                sku, location, _field(day), before.get(each, 0), ledgered.units.get(each, 0)
            )
            for each in suspects
            for sku, location, day in [each]
        ),
    )


def _live(demand: DemandReader) -> dict[Promised, int]:
    found: dict[Promised, int] = {}
    for skus, locations, units in demand.cells():
        for sku, location, reserved in zip(skus, locations, units.tolist(), strict=True):
            found[sku, location, RESERVED] = reserved
    for sku, location, day, backordered in demand.backorders():
        if backordered:
            found[sku, location, day] = backordered
    return found


def _ledgered(
    reads: OrderReads,
    reader: TableReader,
    skus: Collection[str] | None,
    tell: Callable[[int], None],
) -> Ledgered:
    """Sum what is open; with ``skus``, of these alone."""
    units: dict[Promised, int] = {}
    # What supply applies meanwhile is reserved here and free there; the next look agrees again.
    applied = min(reader.ledger_sequences())
    names = _names(skus)
    count = 0
    for count, row in enumerate(reads.load_open(), 1):
        if not names or any(name in row.document for name in names):
            _add(units, _promised(row))
        if count % 1_000 == 0:
            tell(count)
    for event in reads.load_ledger_events(applied):
        _add(
            units,
            (((sku, at, RESERVED), number) for sku, at, number in _decode_reserved(event.reserved)),
        )
    tell(count)
    return Ledgered({each: number for each, number in units.items() if number}, count)


def _promised(row: HoldRow | OrderRow) -> Iterable[tuple[Promised, int]]:
    if isinstance(row, HoldRow):
        for line in decode_hold(row.document).lines:
            yield (line.sku, line.location, RESERVED), line.quantity
        return
    order = decode_order(row.document)
    for (sku, location), units in reserved_by(order).items():
        yield (sku, location, RESERVED), units
    yield from backordered_by(order).items()


def _add(units: dict[Promised, int], more: Iterable[tuple[Promised, int]]) -> None:
    for each, number in more:
        units[each] = units.get(each, 0) + number


def _names(skus: Collection[str] | None) -> list[bytes]:
    """Write SKUs as they stand in documents; none when looking for them costs more than reading."""
    if skus is None or len(skus) > NAMED_COUNT_MAX:
        return []
    return [msgspec.json.encode(sku) for sku in skus]


def _outside(
    before: dict[Promised, int],
    ledgered: dict[Promised, int],
    after: dict[Promised, int],
    among: Iterable[Promised],
) -> set[Promised]:
    """List what the ledger says that the table did not say before, after, or on the way."""
    found = set()
    for each in among:
        first, last = before.get(each, 0), after.get(each, 0)
        if not min(first, last) <= ledgered.get(each, 0) <= max(first, last):
            found.add(each)
    return found


def _landed(
    shown: dict[Promised, int],
    said: dict[Promised, int],
    ledgered: dict[Promised, int],
    among: Iterable[Promised],
) -> set[Promised]:
    """List what the table showed at the last look and the ledger has come to since.

    A promise shows in the table while its commit is on its way; where one follows the other, one
    always is. So a cell that is promised from meanwhile is not suspected, even if its table is
    always a little ahead: that is found once it rests.
    """
    return {
        each for each in among if said.get(each, 0) <= shown.get(each, 0) <= ledgered.get(each, 0)
    }


def _field(day: int) -> str:
    return "reserved" if day == RESERVED else f"backordered for {date_of(day).isoformat()}"
