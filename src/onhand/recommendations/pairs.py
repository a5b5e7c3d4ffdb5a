"""How often items are bought together: counts that fade, in rows of fixed width.

Every item has a number and a row of ``width`` places; a place holds another item and how often the
two were in one basket. A pair that finds no place takes the one that counts least, and begins at
nothing: what is bought together often comes back before it is displaced, and a count is never more
than it should be.

Counts fade by half every ``half_life_us``. Instead of shrinking what is there, what is new counts
more: a basket weighs ``2 ** ((occurred_us - landmark_us) / half_life_us)``. So the order in which
baskets arrive does not matter, and nothing is touched that does not change. Whoever reads a count
multiplies by :meth:`Pairs.scale`. Before weights grow out of bounds the landmark moves on, by whole
half-lives, and counts shrink by as many powers of two, which is exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from onhand._native.pairs import add_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

FREE: Final = 0xFFFF_FFFF
"""What a place holds that no pair has taken; it counts 0."""

ITEM_BYTES: Final = 200
"""About what an item costs beside its row: its name, twice referred to, and its own count."""

_CAPACITY_MIN: Final = 1_024
_EXPONENT_MAX: Final = 32
"""Half-lives by which the newest basket may outweigh one at the landmark."""

_FORGET_SHARE: Final = 16
"""One in so many items is forgotten at a time: it takes a pass over every row."""


class Basket(NamedTuple):
    """Items to be paired; the first ``known_count`` have been paired with each other before."""

    occurred_us: int
    items: Sequence[int]
    known_count: int


class Pairs:
    """Items, how often each was bought, and how often with which others.

    Parameters
    ----------
    items_max
        Items remembered. When full, those bought least are forgotten.
    width
        Others remembered of each item.
    half_life_us
        Time in which counts fade by half; None for never.

    Attributes
    ----------
    names : list of str
        By number; empty for a number that is free.
    neighbours, counts
        Shape (capacity, width), uint32 and float32; rows beyond ``len(names)`` are free.
    bought
        Shape (capacity,), float64: baskets that held the item.
    touched
        Shape (capacity,), bool: rows that have changed since the caller last cleared this.
    newest_us
        When the newest basket was bought: counts are as of then.
    """

    def __init__(self, *, items_max: int, width: int, half_life_us: int | None) -> None:
        self.items_max = items_max
        self.width = width
        self.half_life_us = half_life_us
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self.free: list[int] = []
        self.newest_us = 0
        self.landmark_us = 0
        self.basket_count = 0
        self.forgotten_count = 0
        self._allot(min(items_max, _CAPACITY_MIN))

    # -- items ---------------------------------------------------------------------------------

    def has_room(self, count: int) -> bool:
        """Tell whether so many new items fit."""
        return len(self.numbers) + count <= self.items_max

    def number(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of items, new ones for those not seen before.

        The caller has made room: see :meth:`has_room`.
        """
        numbers = self.numbers
        return [
            found if (found := numbers.get(name)) is not None else self._new(name) for name in names
        ]

    def forget(self) -> list[int]:
        """Forget the items bought least; their numbers will name others."""
        known = np.fromiter(self.numbers.values(), np.intp, len(self.numbers))
        known.sort()
        count = max(1, len(known) // _FORGET_SHARE)
        gone = known[np.argsort(self.bought[known], kind="stable")[:count]]
        for number in gone.tolist():
            del self.numbers[self.names[number]]
            self.names[number] = ""
            self.free.append(number)
        self.bought[gone] = 0
        self._free_places(gone)
        self.forgotten_count += count
        forgotten: list[int] = gone.tolist()
        return forgotten

    # -- counts --------------------------------------------------------------------------------

    def add(self, baskets: Sequence[Basket]) -> None:
        """Count baskets; about 0.1 us for each pair of items, both ways."""
        if not baskets:
            return
        occurred_us = np.array([each.occurred_us for each in baskets], np.int64)
        self._reach(int(occurred_us.max()), first_us=int(occurred_us[0]))
        weights = self._weights(occurred_us)
        sizes = np.array([len(each.items) for each in baskets])
        known = np.array([each.known_count for each in baskets], np.uint32)
        items = np.array([item for each in baskets for item in each.items], np.uint32)
        add_pairs(
            self.neighbours,
            self.counts,
            items,
            np.cumsum(sizes, dtype=np.uint32),
            known,
            weights.astype(np.float32),
        )
        begins = np.cumsum(sizes) - sizes
        fresh = np.arange(len(items)) - np.repeat(begins, sizes) >= np.repeat(known, sizes)
        np.add.at(self.bought, items[fresh], np.repeat(weights, sizes)[fresh])
        self.touched[items] = True
        self.basket_count += int(np.count_nonzero(known == 0))

    def scale(self) -> float:
        """Return what a count is multiplied by, so that the newest basket counts 1."""
        if self.half_life_us is None:
            return 1.0
        return float(2.0 ** ((self.landmark_us - self.newest_us) / self.half_life_us))

    def pair_count(self) -> int:
        """Count the pairs that are remembered, each from both of its items; O(places)."""
        return int(np.count_nonzero(self.neighbours[: len(self.names)] != FREE))

    def bytes_used(self) -> int:
        """Say how much memory this takes, about."""
        arrays = (self.neighbours, self.counts, self.bought, self.touched)
        return sum(each.nbytes for each in arrays) + ITEM_BYTES * len(self.names)

    # -- within --------------------------------------------------------------------------------

    def restore(
        self,
        names: list[str],
        neighbours: NDArray[np.uint32],
        counts: NDArray[np.float32],
        bought: NDArray[np.float64],
    ) -> None:
        """Take over what another one had; rows of another width are cut or padded."""
        self.names = names
        self.numbers = {name: number for number, name in enumerate(names) if name}
        self.free = [number for number, name in enumerate(names) if not name]
        self._allot(max(len(names), min(self.items_max, _CAPACITY_MIN)))
        # The places that count most come first, so that a narrower row keeps them.
        order = np.argsort(-counts, axis=1, kind="stable")[:, : self.width]
        kept = slice(len(names)), slice(order.shape[1])
        self.neighbours[kept] = np.take_along_axis(neighbours, order, axis=1)
        self.counts[kept] = np.take_along_axis(counts, order, axis=1)
        self.bought[: len(names)] = bought

    def _new(self, name: str) -> int:
        if self.free:
            number = self.free.pop()
            self.names[number] = name
        else:
            number = len(self.names)
            self.names.append(name)
            if number >= len(self.bought):
                self._grow()
        self.numbers[name] = number
        return number

    def _allot(self, capacity: int) -> None:
        self.neighbours: NDArray[np.uint32] = np.full((capacity, self.width), FREE, np.uint32)
        self.counts: NDArray[np.float32] = np.zeros((capacity, self.width), np.float32)
        self.bought: NDArray[np.float64] = np.zeros(capacity, np.float64)
        self.touched: NDArray[np.bool_] = np.zeros(capacity, np.bool_)

    def _grow(self) -> None:
        old = self._arrays()
        count = len(self.bought)
        self._allot(min(self.items_max, count + count // 2))
        for now, before in zip(self._arrays(), old, strict=True):
            now[:count] = before

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.neighbours, self.counts, self.bought, self.touched

    def _free_places(self, gone: NDArray[np.intp]) -> None:
        """Free the rows of items, and their places in the rows of others."""
        is_gone = np.zeros(len(self.bought) + 1, np.bool_)
        is_gone[gone] = True
        for begin in range(0, len(self.names), _CAPACITY_MIN):
            rows = slice(begin, min(begin + _CAPACITY_MIN, len(self.names)))
            # What is free is looked up in the last element, which is never gone.
            places = is_gone[np.minimum(self.neighbours[rows], len(self.bought))]
            places[is_gone[:-1][rows]] = True
            self.neighbours[rows][places] = FREE
            self.counts[rows][places] = 0
            self.touched[rows] |= places.any(axis=1)

    def _weights(self, occurred_us: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.half_life_us is None:
            return np.ones(len(occurred_us))
        return np.exp2((occurred_us - self.landmark_us) / self.half_life_us)

    def _reach(self, newest_us: int, *, first_us: int) -> None:
        """Let the counts be as of ``newest_us``, moving the landmark when that is far from it."""
        if not self.basket_count:
            self.landmark_us = self.newest_us = first_us
        self.newest_us = max(self.newest_us, newest_us)
        if self.half_life_us is None:
            return
        half_lives = (self.newest_us - self.landmark_us) // self.half_life_us
        if half_lives > _EXPONENT_MAX:
            self.landmark_us += half_lives * self.half_life_us
            self.counts *= np.float32(math.ldexp(1, -min(half_lives, 1_000)))
            self.bought *= math.ldexp(1, -min(half_lives, 1_000))
