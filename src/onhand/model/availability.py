"""Answers about availability: the numbers of one SKU at one scope, and how fresh they are.

The same numbers go out as JSON from :mod:`onhand.table.reader`, rendered natively; these types are
for callers in Python and for the published schema.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Band = Literal["in", "low", "out"]


class AvailableOn(msgspec.Struct, frozen=True):
    """Units that may be ordered for a day: none of the days after it is left short."""

    date: str
    quantity: int


class Numbers(msgspec.Struct, frozen=True):
    """The terms of one answer, all in base units.

    ``available`` is the sum over cells of ``on_hand - reserved - safety_stock``, each floored at 0;
    the other terms are plain sums.
    """

    available: int
    on_hand: int
    held: int
    in_transit: int
    reserved: int
    safety_stock: int
    shortfall: int
    band: Band
    available_to_order: list[AvailableOn]


class LocationNumbers(Numbers, frozen=True):
    """The numbers of one cell in an answer about a group."""

    location: str


class Answer(Numbers, frozen=True):
    """What is known of a SKU at a scope.

    ``as_of`` is the append time up to which every partition is applied, RFC 3339; ``age_ms`` is
    how long ago that was. ``locations`` is there when asked for; cells of all zeros are left out.
    """

    sku: str
    scope: str
    as_of: str
    age_ms: int
    locations: list[LocationNumbers] | msgspec.UnsetType = msgspec.UNSET


class QueryAnswer(msgspec.Struct, frozen=True):
    """The answers about many SKUs; those that nobody has heard of are listed apart."""

    items: list[Answer]
    unknown: list[str]
    as_of: str
    age_ms: int


class Movement(msgspec.Struct, frozen=True):
    """One applied movement of a cell, from the table's recent history.

    ``position`` is its place in that history: pass it as ``before`` to read on. ``effects`` names
    what it changed: ``on_hand``, ``held``, ``in_transit``, ``damaged``, ``incoming``; with
    ``superseded`` when a newer count had already taken in its part on ``on_hand``.
    """

    position: int
    type: str
    quantity: int
    effects: tuple[str, ...]
    occurred_us: int
    append_us: int
    topic: str
    partition: int
    offset: int


class Progress(msgspec.Struct, frozen=True):
    """How far the tables are: the slowest shard decides.

    ``offsets`` is the next offset that is not applied yet, per (topic, partition).
    """

    as_of_us: int
    heartbeat_us: int
    lag_events: int
    ledger_sequence: int
    generations: tuple[int, ...]
    offsets: dict[tuple[str, int], int]
