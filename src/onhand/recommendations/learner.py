"""Learning from sales: which basket each belongs to, and which pairs that adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onhand.recommendations.baskets import ITEMS_MAX
from onhand.recommendations.pairs import Basket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.recommendations.checkpoint import Learnt
    from onhand.recommendations.gathering import Sale


class Learner:
    """Learns sale by sale; what it ends in depends on the sales and their order alone.

    Parameters
    ----------
    learnt
        What it goes on from.
    """

    def __init__(self, learnt: Learnt) -> None:
        self.pairs = learnt.pairs
        self.baskets = learnt.baskets
        self._grown: list[Basket] = []

    def learn(self, sales: Iterable[Sale]) -> None:
        """Count what sales have added to their baskets."""
        for sale in sales:
            skus = list(dict.fromkeys(sale.skus))[:ITEMS_MAX]
            if not self.pairs.has_room(len(skus)):
                self._make_room(len(skus))
            grown = self.baskets.grow(sale.key, sale.occurred_us, self.pairs.number(skus))
            if grown is not None:
                self._grown.append(Basket(sale.occurred_us, *grown))
        self._count()

    def _count(self) -> None:
        self.pairs.add(self._grown)
        self._grown = []

    def _make_room(self, count: int) -> None:
        # What waits is counted first: numbers mean others afterwards.
        self._count()
        while not self.pairs.has_room(count):
            self.baskets.forget(self.pairs.forget())
