"""Recommending: what goes with a basket, as far as it can be sold.

The neighbours of everything in the basket are summed by their scores. What is in the basket, what
the caller leaves out and what nobody could sell now is passed over. When that leaves too few, what
is bought most follows. A basket of 20 SKUs takes about 0.2 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
from msgspec import Struct

from onhand.recommendations.ranking import together_count
from onhand.recommendations.snapshot import Snapshot, names_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from onhand.recommendations.sellable import Units
    from onhand.recommendations.snapshot import SnapshotFollower

BASKET_MAX: Final = 50
"""SKUs that a recommendation is based on, the first ones given."""

CANDIDATES_MAX: Final = 512
"""Neighbours whose stock is looked at; and as many of what is bought most."""

REASONS_MAX: Final = 3
Kind = Literal["bought_together", "popular"]


class Stock(Protocol):
    """What can be sold now."""

    def units(self, skus: list[str], location: str | None) -> Units:
        """Read units at a location, and units that could be shipped."""
        ...


class Reason(Struct, frozen=True):
    """A SKU that speaks for another: of ``baskets`` with it, ``together`` held both.

    Counts fade with time, so they are no whole numbers. ``score`` is its part of the sum.
    """

    sku: str
    score: float
    together: float
    baskets: float


class Recommended(Struct, frozen=True, kw_only=True):
    """A SKU that can be sold: ``available`` units here, else ``shippable`` ones."""

    sku: str
    kind: Kind
    score: float
    available: int
    shippable: int
    because: list[Reason] = []


class Recommender:
    """Recommends from the newest snapshot; one thread at a time.

    Parameters
    ----------
    follower
        Of the snapshot; while there is none, nothing is recommended.
    """

    def __init__(self, follower: SnapshotFollower) -> None:
        self._follower = follower
        self._sums: NDArray[np.float32] = np.zeros(0, np.float32)

    def snapshot(self) -> Snapshot | None:
        """Return what is recommended from."""
        return self._follower.current()

    def recommend(
        self,
        basket: Sequence[str],
        stock: Stock,
        *,
        location: str | None = None,
        limit: int = 10,
        without: Collection[str] = (),
        popular: bool = True,
    ) -> list[Recommended]:
        """List what goes best with a basket and can be sold now, the best first.

        Parameters
        ----------
        basket
            SKUs in the basket, or bought lately; those never sold say nothing.
        location
            Where the customer is; None looks only at what can be shipped.
        limit
            The most that are listed.
        without
            SKUs that are not to be recommended, beside the basket's.
        popular
            Whether what is bought most follows when too little goes with the basket.

        Raises
        ------
        TableUnavailable
            There is no table to tell what can be sold.
        """
        snapshot = self._follower.current()
        if snapshot is None:
            return []
        names = list(dict.fromkeys(basket))
        found = snapshot.find([*names, *without])
        items = [number for number in found[: min(BASKET_MAX, len(names))] if number >= 0]
        left_out = {number for number in found if number >= 0}
        ranked, scores = self._ranked(snapshot, items, left_out)
        reasons = _Reasons(snapshot, items)
        chosen: list[Recommended] = []
        for part in _parts(ranked, limit):
            sellable = self._sellable(snapshot, ranked[part], stock, location)
            for at, number, available, shippable in sellable:
                chosen.append(
                    Recommended(
                        sku=snapshot.name(number),
                        kind="bought_together",
                        score=float(scores[part][at]),
                        available=available,
                        shippable=shippable,
                        because=reasons.of(number),
                    )
                )
                left_out.add(number)
                if len(chosen) == limit:
                    return chosen
        if popular:
            chosen += self._popular(snapshot, stock, location, limit - len(chosen), left_out)
        return chosen

    def rank(self, basket: Sequence[str], *, limit: int) -> list[tuple[str, float]]:
        """List what goes best with a basket, whether it can be sold or not: (SKU, score)."""
        snapshot = self._follower.current()
        if snapshot is None:
            return []
        items = [number for number in snapshot.find(basket) if number >= 0]
        ranked, scores = self._ranked(snapshot, items, set(items))
        names = names_of(snapshot, ranked[:limit].tolist())
        return list(zip(names, scores[:limit].tolist(), strict=True))

    def similar(self, sku: str, candidates: Sequence[str]) -> list[tuple[str, float]]:
        """Rank candidates by how much the company they are bought in is the SKU's own.

        Two brands of one thing are seldom in one basket, but in baskets of one kind. Takes 4 us
        for each candidate: see :func:`most_bought` for choosing some of many.

        Returns
        -------
        list
            (candidate, similarity from 0 to 1), the most similar first, equally similar ones in
            their order.
        """
        similarity = np.zeros(len(candidates))
        snapshot = self._follower.current()
        if snapshot is not None:
            item, *numbers = snapshot.find([sku, *candidates])
            known = np.flatnonzero(np.array(numbers, np.int64) >= 0)
            if item >= 0 and len(known):
                rows = np.array(numbers, np.int64)[known]
                similarity[known] = self._similarity(snapshot, item, rows)
        order = np.argsort(-similarity, kind="stable").tolist()
        return [(candidates[at], float(similarity[at])) for at in order]

    # -- within --------------------------------------------------------------------------------

    def _ranked(
        self, snapshot: Snapshot, items: list[int], left_out: Collection[int]
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Sum the neighbours of items; return the best of them and their sums."""
        if not items:
            return np.zeros(0, np.uint32), np.zeros(0, np.float32)
        sums = self._cleared(snapshot)
        flat = snapshot.neighbours[items].ravel()
        np.add.at(sums, flat, snapshot.scores[items].ravel())
        sums[list(left_out)] = 0
        flat.sort()
        found = flat[np.append(True, flat[1:] != flat[:-1])]
        scores = sums[found]
        sums[found] = 0
        if len(found) > CANDIDATES_MAX:
            best = np.argpartition(-scores, CANDIDATES_MAX)[:CANDIDATES_MAX]
            best.sort()
            found, scores = found[best], scores[best]
        order = np.argsort(-scores, kind="stable")
        order = order[: int(np.count_nonzero(scores > 0))]
        return found[order], scores[order]

    def _similarity(
        self, snapshot: Snapshot, item: int, numbers: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the cosine between the neighbours of an item and those of others."""
        sums = self._cleared(snapshot)
        mine, weights = snapshot.neighbours[item], snapshot.scores[item]
        np.add.at(sums, mine, weights)
        theirs = snapshot.scores[numbers].astype(np.float64)
        common = (sums[snapshot.neighbours[numbers]] * theirs).sum(axis=1)
        sums[mine] = 0
        lengths = np.sqrt((theirs**2).sum(axis=1)) * float(np.linalg.norm(weights))
        similarity = np.zeros(len(numbers))
        np.divide(common, lengths, out=similarity, where=lengths > 0)
        return np.minimum(similarity, 1)

    def _cleared(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """Return a sum for every item, all 0; whoever uses it clears it again."""
        if len(self._sums) != snapshot.item_count:
            self._sums = np.zeros(snapshot.item_count, np.float32)
        return self._sums

    def _popular(
        self,
        snapshot: Snapshot,
        stock: Stock,
        location: str | None,
        limit: int,
        left_out: Collection[int],
    ) -> list[Recommended]:
        first = snapshot.popular[: CANDIDATES_MAX + len(left_out)]
        ranked = np.array([n for n in first.tolist() if n not in left_out], np.uint32)
        chosen: list[Recommended] = []
        for part in _parts(ranked, limit):
            sellable = self._sellable(snapshot, ranked[part], stock, location)
            for _, number, available, shippable in sellable:
                if len(chosen) == limit:
                    return chosen
                chosen.append(
                    Recommended(
                        sku=snapshot.name(number),
                        kind="popular",
                        score=0.0,
                        available=available,
                        shippable=shippable,
                    )
                )
        return chosen

    @staticmethod
    def _sellable(
        snapshot: Snapshot, numbers: NDArray[np.uint32], stock: Stock, location: str | None
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield (place in the list, item, units here, units to ship) of what can be sold."""
        listed = numbers.tolist()
        units = stock.units(names_of(snapshot, listed), location)
        here, shipped = units.available.tolist(), units.shippable.tolist()
        for at, number in enumerate(listed):
            if here[at] or shipped[at]:
                yield at, number, here[at], shipped[at]


def most_bought(snapshot: Snapshot | None, skus: Sequence[str], limit: int) -> list[str]:
    """Choose the SKUs that are bought most, in that order; 2 us each, in any thread."""
    if snapshot is None:
        return list(skus[:limit])
    numbers = np.array(snapshot.find(skus), np.int64)
    bought = np.zeros(len(skus), np.float32)
    known = numbers >= 0
    bought[known] = snapshot.bought[numbers[known]]
    return [skus[at] for at in np.argsort(-bought, kind="stable")[:limit].tolist()]


def _parts(ranked: NDArray[np.uint32], limit: int) -> Iterator[slice]:
    """Part a list, first into about what is wanted: mostly the first is enough."""
    begin, size = 0, max(16, limit + limit // 2)
    while begin < len(ranked) and limit > 0:
        yield slice(begin, begin + size)
        begin += size
        size = 128


class _Reasons:
    """Which items of a basket speak for others."""

    def __init__(self, snapshot: Snapshot, items: list[int]) -> None:
        self._snapshot = snapshot
        self._items = items
        self._neighbours = snapshot.neighbours[items]
        self._scores = snapshot.scores[items]

    def of(self, number: int) -> list[Reason]:
        """List the items that speak for one, the strongest first."""
        rows, columns = np.nonzero(self._neighbours == number)
        found = sorted(zip((-self._scores[rows, columns]).tolist(), rows.tolist(), strict=True))
        bought = float(self._snapshot.bought[number])
        return [
            self._reason(self._items[row], -score, bought) for score, row in found[:REASONS_MAX]
        ]

    def _reason(self, item: int, score: float, bought: float) -> Reason:
        baskets = float(self._snapshot.bought[item])
        together = together_count(score, baskets, bought)
        return Reason(self._snapshot.name(item), score, round(together, 1), round(baskets, 1))
