"""What the shelves must hold by what was acknowledged: added up beside the deployment, not read."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec


class Cell(NamedTuple):
    """A SKU at a location."""

    sku: str
    location: str


class Account(msgspec.Struct):
    """Movements that were acknowledged, summed by cell; what nobody else knows is left to verify.

    A count takes in what left before it by the server's clock. And of what was asked for and never
    answered nobody knows whether it was done.
    """

    on_hand: Counter[Cell] = msgspec.field(default_factory=Counter)
    held: Counter[Cell] = msgspec.field(default_factory=Counter)
    in_transit: Counter[Cell] = msgspec.field(default_factory=Counter)
    counted: set[Cell] = msgspec.field(default_factory=set)
    unanswered: set[str] = msgspec.field(default_factory=set)
    """SKUs that something was asked for without an answer."""

    def move(self, sku: str, location: str, units: int) -> None:
        """Put units on a shelf, or take them off."""
        self.on_hand[Cell(sku, location)] += units

    def add(self, other: Account) -> None:
        """Take in what another process was acknowledged."""
        # Not Counter.update of a subtraction: sums may be below 0 and must stay.
        for mine, theirs in (
            (self.on_hand, other.on_hand),
            (self.held, other.held),
            (self.in_transit, other.in_transit),
        ):
            mine.update(theirs)
        self.counted |= other.counted
        self.unanswered |= other.unanswered

    def cells(self) -> list[Cell]:
        """List every cell that something has moved, of which all movements are known."""
        moved = self.on_hand.keys() | self.held.keys() | self.in_transit.keys()
        return sorted(cell for cell in moved - self.counted if cell.sku not in self.unanswered)

    def at(self, cell: Cell) -> tuple[int, int, int]:
        """Return a cell's on_hand, held and in_transit."""
        return self.on_hand[cell], self.held[cell], self.in_transit[cell]
