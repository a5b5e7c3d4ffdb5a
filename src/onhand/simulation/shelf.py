"""What the contract says of stock events, in dictionaries: the naive model of what is on the shelf.

It reads the records of the log as any program could, as JSON, knows the rules of time as numbers,
and shares no code with decoding, judging and applying. Every movement is kept, so that a count may
come in any order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from onhand.log.topics import LEDGER

if TYPE_CHECKING:
    from onhand.log.base import Record

Verdict = Literal["event", "claim", "refused"]
Cell = tuple[str, str]

LATE_US: Final = 72 * 3_600_000_000
COUNT_US: Final = 24 * 3_600_000_000
AHEAD_US: Final = 60_000_000
HELD, IN_TRANSIT, DAMAGED = 1, 2, 3
NOTHING: Final = (0, 0, 0, 0)
COLUMN_OF: Final = {"sellable": 0, "inspect": HELD, "damaged": DAMAGED}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def verdict(record: Record, event: dict[str, Any]) -> Verdict:
    """Judge a record by the contract; ``event`` is its JSON, empty when it has none."""
    if not event:
        return "refused"
    if record.topic == LEDGER:
        return "event"
    least = 0 if event["type"] in ("count", "expected") else 1
    if any(line.get("quantity", 1) < least or line.get("delta", 1) == 0 for line in event["lines"]):
        return "refused"
    at_us = microseconds(event["occurred_at"])
    if at_us > record.append_us + AHEAD_US or at_us < record.append_us - LATE_US:
        return "refused"
    if event["type"] == "count" and at_us < record.append_us - COUNT_US:
        return "refused"
    is_claim = (event["type"] == "sale" and "allocation_id" in event) or (
        event["type"] == "return" and ("order_id" in event or "return_id" in event)
    )
    return "claim" if is_claim else "event"


def read_json(value: bytes) -> dict[str, Any] | None:
    """Read an event; None when it is none."""
    try:
        event = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None
    if not isinstance(event, dict):
        return None
    if "lines" not in event:
        quantities = {name: event[name] for name in ("quantity", "delta") if name in event}
        event["lines"] = [{"sku": event["sku"], **quantities}]
    return event


class Shelf:
    """The numbers of every cell, from the events that one shard has been given."""

    def __init__(self) -> None:
        self.sequence = 0
        """The last ledger event."""
        self.event_count = 0
        self._seen: set[tuple[str, str]] = set()
        self._cells: dict[Cell, _Shelved] = {}

    def give(self, event: dict[str, Any]) -> set[Cell]:
        """Take an accepted event; the same again changes nothing. Return the cells it is about."""
        if "sequence" in event:
            if event["sequence"] <= self.sequence:
                return set()
            self.sequence = event["sequence"]
        else:
            key = (event["source"], event["id"])
            if key in self._seen:
                return set()
            self._seen.add(key)
        self.event_count += 1
        rank = (microseconds(event["occurred_at"]), event["source"].encode(), event["id"].encode())
        touched = set()
        for line in event["lines"]:
            for cell, column, units in _movements(event, line["sku"], _units(line)):
                self._cell(cell).move(column, units, rank[0])
                touched.add(cell)
            if event["type"] == "count":
                cell = (line["sku"], event["location"])
                self._cell(cell).count(_units(line), rank)
                touched.add(cell)
        return touched

    def numbers(self, cell: Cell) -> tuple[int, ...]:
        """Return on_hand, held, in_transit and damaged of a cell."""
        found = self._cells.get(cell)
        return tuple(found.numbers) if found is not None else NOTHING

    def cells(self) -> dict[Cell, tuple[int, ...]]:
        """Return the numbers of every cell that has any."""
        return {
            cell: tuple(each.numbers) for cell, each in self._cells.items() if any(each.numbers)
        }

    def _cell(self, cell: Cell) -> _Shelved:
        found = self._cells.get(cell)
        if found is None:
            found = self._cells[cell] = _Shelved()
        return found


class _Shelved:
    """One cell: its newest count, and every movement of what is on hand."""

    def __init__(self) -> None:
        self.numbers = [0, 0, 0, 0]
        self._counted: tuple[tuple[int, bytes, bytes], int] | None = None
        self._moved: list[tuple[int, int]] = []

    def move(self, column: int, units: int, at_us: int) -> None:
        if column == 0:
            self._moved.append((at_us, units))
            if self._counted is not None and at_us <= self._counted[0][0]:
                return
        self.numbers[column] += units

    def count(self, units: int, rank: tuple[int, bytes, bytes]) -> None:
        if self._counted is None or rank > self._counted[0]:
            self._counted = (rank, units)
            self.numbers[0] = units + sum(more for at_us, more in self._moved if at_us > rank[0])


def _movements(event: dict[str, Any], sku: str, units: int) -> list[tuple[Cell, int, int]]:
    kind = event["type"]
    if kind.startswith("transfer"):
        here = (sku, event["to"])
        return {
            "transfer_shipped": [((sku, event["from"]), 0, -units), (here, IN_TRANSIT, units)],
            "transfer_received": [(here, IN_TRANSIT, -units), (here, 0, units)],
            "transfer_lost": [(here, IN_TRANSIT, -units)],
        }[kind]
    cell = (sku, event["location"])
    if kind in ("return", "inspected"):
        back = [(cell, COLUMN_OF[event["disposition"]], units)]
        return [(cell, HELD, -units), *back] if kind == "inspected" else back
    return {
        "sale": [(cell, 0, -units)],
        "receipt": [(cell, 0, units)],
        "adjustment": [(cell, 0, units)],
        "count": [],
        "expected": [],
    }[kind]


def _units(line: dict[str, Any]) -> int:
    return int(line["delta"] if "delta" in line else line["quantity"])


def microseconds(text: str) -> int:
    """Read a time of an event."""
    passed = datetime.fromisoformat(text) - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
