"""What is committed: the naive model of holds, orders, answers and movements.

It takes the rows of each commit at the moment that the database has them for good, reads their
documents as JSON, and sums up what they promise. It shares no code with the book; of the model it
takes the defaults, which documents leave out.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from onhand.model.orders import Allocation, HeldLine, Hold, Order, OrderedLine, Task
from onhand.simulation.faults import must

if TYPE_CHECKING:
    from onhand.ledger.rows import AnswerRow, Commit

Cell = tuple[str, str]


class Movement(msgspec.Struct, frozen=True):
    """A ledger event: its record's value, and what it keeps reserved until supply has it."""

    document: bytes
    event: dict[str, Any]
    reserved: list[tuple[str, str, int]]


class Promised:
    """Everything that any writer has committed."""

    def __init__(self) -> None:
        self.holds: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.hold_rows: dict[str, bytes] = {}
        self.order_rows: dict[str, bytes] = {}
        self.returns: dict[str, dict[str, Any]] = {}
        self.answers: dict[bytes, AnswerRow] = {}
        self.movements: list[Movement] = []
        self.open: Counter[Cell] = Counter()
        """Units of active holds and open allocations, by cell."""
        self.commit_count = 0
        self.event_count = 0

    def take(self, commit: Commit) -> None:
        """Take a commit that is on disk."""
        self.commit_count += 1
        self.event_count += len(commit.events)
        for hold in commit.holds:
            self._replace(self.holds, hold.id, read_hold(hold.document))
            self.hold_rows[hold.id] = hold.document
        for order in commit.orders:
            document = read_order(order.document)
            check_order(document)
            self._replace(self.orders, order.id, document)
            self.order_rows[order.id] = order.document
        for return_ in commit.returns:
            self.returns[return_.id] = msgspec.json.decode(return_.document)
        for answer in commit.answers:
            must(answer.key not in self.answers, "a key is answered once", answer.key)
            self.answers[answer.key] = answer
        for row in commit.ledger_events:
            must(row.sequence == len(self.movements) + 1, "sequences have no gap", row.sequence)
            event = msgspec.json.decode(row.document)
            must(event["sequence"] == row.sequence, "a movement says its own sequence", event)
            reserved = msgspec.json.decode(row.reserved, type=list[tuple[str, str, int]])
            self.movements.append(Movement(row.document, event, reserved))

    def reserved(self, applied: int) -> dict[Cell, int]:
        """Sum what is promised and was not taken off the shelf, supply having applied so many."""
        total = Counter(self.open)
        for movement in self.movements[applied:]:
            for sku, location, units in movement.reserved:
                total[sku, location] += units
        return {cell: units for cell, units in total.items() if units}

    def allocations(self) -> list[dict[str, Any]]:
        """List the allocations of every order."""
        return [each for order in self.orders.values() for each in order["allocations"]]

    def _replace(self, documents: dict[str, Any], its_id: str, new: dict[str, Any]) -> None:
        for document, sign in ((documents.get(its_id), -1), (new, 1)):
            if document is not None:
                for cell, units in _promises(document):
                    self.open[cell] += sign * units
        documents[its_id] = new


def read_hold(document: bytes) -> dict[str, Any]:
    """Read a hold with all its fields."""
    return _in_full(document, Hold, {"lines": HeldLine})


def read_order(document: bytes) -> dict[str, Any]:
    """Read an order with all its fields."""
    return _in_full(
        document, Order, {"lines": OrderedLine, "allocations": Allocation, "tasks": Task}
    )


def open_units(allocation: dict[str, Any]) -> int:
    """Count the units of an allocation that have neither left nor been given up."""
    gone: int = allocation["handed"] + allocation["cancelled"] + allocation["expired"]
    return int(allocation["quantity"]) - gone


def check_order(order: dict[str, Any]) -> None:
    """Find what does not add up in an order."""
    for each in order["allocations"]:
        must(open_units(each) >= 0, "no more is gone than was promised", each)
        must(0 <= each["handed"] <= each["picked"], "what left was picked", each)
        must(each["handed"] == max(each["told_by_app"], each["told_by_till"]), "told once", each)
        must(each["returned"] + each["returning"] <= each["handed"], "no more comes back", each)
    for line in order["lines"]:
        mine = [each for each in order["allocations"] if each["line"] == line["id"]]
        placed = sum(each["quantity"] - each["cancelled"] for each in mine)
        must(placed <= line["quantity"], "no more is promised than was ordered", line, mine)


def _promises(document: dict[str, Any]) -> list[tuple[Cell, int]]:
    if "allocations" in document:
        return [
            ((each["sku"], each["location"]), open_units(each))
            for each in document["allocations"]
            if each["stage"] != "backordered"
        ]
    if document["status"] != "active":
        return []
    return [((line["sku"], line["location"]), line["quantity"]) for line in document["lines"]]


def _in_full(
    document: bytes, kind: type[msgspec.Struct], parts: dict[str, type[msgspec.Struct]]
) -> dict[str, Any]:
    found: dict[str, Any] = _defaults(kind) | msgspec.json.decode(document)
    for name, its_kind in parts.items():
        found[name] = [_defaults(its_kind) | each for each in found[name]]
    return found


@cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        field.name: field.default
        if field.default is not msgspec.NODEFAULT
        else field.default_factory()
        for field in msgspec.structs.fields(kind)
        if not field.required
    }
