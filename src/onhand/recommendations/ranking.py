"""From counts to neighbours: which items go best with an item.

The score of ``other`` for ``item`` is

    together / (bought(item) + PRIOR) / (bought(other) + PRIOR) ** COMMONNESS

The first quotient is the share of the item's baskets that held the other, and a prior keeps a few
baskets from saying much. The second tempers what is in every basket anyway. Exponents of one half
each would be the cosine; on grocery baskets this asymmetry finds a held-out item half as often
again. Both constants were chosen on weeks that the benchmark does not measure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from onhand.recommendations.pairs import FREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from onhand.recommendations.pairs import Pairs

PRIOR: Final = 10.0
COMMONNESS: Final = 0.25
NEIGHBOURS_MAX: Final = 64
"""Neighbours of an item that are published: more of them find hardly more."""

_ROWS_MAX: Final = 4_096
_SHARE_PER_TURN: Final = 64
"""One in so many rows is ranked again each turn, though it has not changed: others have."""


class Ranked:
    """The best neighbours of every item, kept up to date row by row.

    Parameters
    ----------
    pairs
        Whose counts are ranked.

    Attributes
    ----------
    neighbours, scores
        Shape (capacity, count), uint32 and float32, the best first. A place without a neighbour
        is item 0 with score 0.
    """

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._count = min(NEIGHBOURS_MAX, pairs.width)
        self._next = 0
        self.neighbours: NDArray[np.uint32] = np.zeros((0, self._count), np.uint32)
        self.scores: NDArray[np.float32] = np.zeros((0, self._count), np.float32)
        pairs.touched[: len(pairs.names)] = True

    def update(self) -> int:
        """Rank the rows that have changed, and a share of the others; return how many."""
        pairs = self._pairs
        self._fit(len(pairs.bought))
        share = slice(self._next, self._next + 1 + len(pairs.names) // _SHARE_PER_TURN)
        pairs.touched[share] = True
        self._next = share.stop if share.stop < len(pairs.names) else 0
        rows = np.flatnonzero(pairs.touched[: len(pairs.names)])
        for begin in range(0, len(rows), _ROWS_MAX):
            some = rows[begin : begin + _ROWS_MAX]
            self.neighbours[some], self.scores[some] = rank(pairs, some, self._count)
        pairs.touched[:] = False
        return len(rows)

    def _fit(self, capacity: int) -> None:
        more = capacity - len(self.scores)
        if more > 0:
            self.neighbours = np.pad(self.neighbours, ((0, more), (0, 0)))
            self.scores = np.pad(self.scores, ((0, more), (0, 0)))


def rank(
    pairs: Pairs, rows: NDArray[np.intp], count: int
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Return the best ``count`` neighbours of items and their scores, the best first.

    Takes about 10 us a row. Equal scores are in the order of places.
    """
    scale = pairs.scale()
    others, counts = pairs.neighbours[rows], pairs.counts[rows]
    is_free = others == FREE
    others[is_free] = 0
    bought = (pairs.bought * scale + PRIOR).astype(np.float32)
    scores = counts * np.float32(scale) / bought[rows, None] / bought[others] ** COMMONNESS
    scores[is_free] = 0
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(others, order, axis=1), np.take_along_axis(scores, order, axis=1)


def together_count(score: float, item_bought: float, other_bought: float) -> float:
    """Return how many baskets held both, from the score of the one for the other."""
    return score * (item_bought + PRIOR) * float((other_bought + PRIOR) ** COMMONNESS)
