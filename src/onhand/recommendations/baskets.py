"""Baskets seen lately: which items of a sale are new in its basket.

A basket is one sale of several lines, or several sales that share a ``basket_id`` at one location
within a short time. Each brings only what is new: so a basket told in parts is paired as a whole at
once, without waiting for its end, and a sale that is told again brings nothing.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

ITEMS_MAX: Final = 200
"""Items of one basket that are paired; more say less and cost their square."""


class Grown(NamedTuple):
    """A basket after a sale: its items, of which the first ``known_count`` were there before."""

    items: list[int]
    known_count: int


class Baskets:
    """The baskets that may still grow.

    Parameters
    ----------
    count_max
        Baskets remembered; the oldest are forgotten first.
    window_us
        Sales of one basket lie within this time; a later one begins another basket.
    """

    def __init__(self, *, count_max: int, window_us: int) -> None:
        self._count_max = count_max
        self._window_us = window_us
        # When each basket was begun, and its items.
        self._baskets: dict[int, tuple[int, list[int]]] = {}
        self._oldest_first: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._baskets)

    def grow(self, key: int, occurred_us: int, items: Sequence[int]) -> Grown | None:
        """Put a sale's items into its basket; None when it brings nothing new."""
        begun = self._baskets.get(key)
        if begun is None:
            self._begin(key)
        if begun is None or abs(occurred_us - begun[0]) > self._window_us:
            begun = self._baskets[key] = (occurred_us, [])
        known = begun[1]
        known_count = len(known)
        for item in items:
            if item not in known and len(known) < ITEMS_MAX:
                known.append(item)
        return Grown(known.copy(), known_count) if len(known) > known_count else None

    def forget(self, items: Collection[int]) -> None:
        """Take items out of every basket: their numbers will name others."""
        gone = frozenset(items)
        for _, known in self._baskets.values():
            if not gone.isdisjoint(known):
                known[:] = [item for item in known if item not in gone]

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Write the baskets as columns, the oldest first."""
        baskets = [self._baskets[key] for key in self._oldest_first]
        return {
            "basket_key": np.array(self._oldest_first, np.uint64),
            "basket_begun_us": np.array([begun_us for begun_us, _ in baskets], np.int64),
            "basket_end": np.cumsum([len(items) for _, items in baskets], dtype=np.uint32),
            "basket_item": np.array([item for _, items in baskets for item in items], np.uint32),
        }

    def load(self, columns: Mapping[str, NDArray[np.generic]]) -> None:
        """Read what :meth:`columns` wrote; of too many the oldest are left out."""
        ends: list[int] = columns["basket_end"].tolist()
        items: list[int] = columns["basket_item"].tolist()
        keys, begun = columns["basket_key"].tolist(), columns["basket_begun_us"].tolist()
        for at in range(max(0, len(ends) - self._count_max), len(ends)):
            first = ends[at - 1] if at else 0
            self._baskets[keys[at]] = (begun[at], items[first : ends[at]])
            self._oldest_first.append(keys[at])

    def _begin(self, key: int) -> None:
        if len(self._baskets) >= self._count_max:
            del self._baskets[self._oldest_first.popleft()]
        self._oldest_first.append(key)


def basket_key(location: str, basket_id: str) -> int:
    """Name a basket; tills number theirs from 1, so the location is part of it. 1 us."""
    return name_hash(f"{location}\0{basket_id}")


def name_hash(name: str) -> int:
    """Hash a name to 64 bits, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
