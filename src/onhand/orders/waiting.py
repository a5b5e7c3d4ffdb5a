"""Who waits for units of each SKU, and where those may come from: first come, first served."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

    from onhand.model.orders import Order

ANYWHERE: Final = ""
"""Waits at no place of its own: any place that ships may serve it."""


class Waiting:
    """Orders with backordered units, by SKU and place."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[str, _Queue]] = {}

    def follow(self, old: Order | None, new: Order | None) -> None:
        """Take in that an order was replaced."""
        before = waits_of(old) if old is not None else set()
        after = waits_of(new) if new is not None else set()
        for sku, place in before - after:
            places = self._queues[sku]
            if old is not None and places[place].drop(old.id):
                del places[place]
                if not places:
                    del self._queues[sku]
        if new is not None:
            for sku, place in after - before:
                queue = self._queues.setdefault(sku, {}).setdefault(place, _Queue())
                queue.add(new.created_us, new.id)

    def places(self, sku: str) -> list[str]:
        """List the places at which somebody waits for a SKU, :data:`ANYWHERE` among them."""
        return list(self._queues.get(sku, ()))

    def oldest(self, sku: str, places: set[str]) -> Generator[tuple[str, str], None, None]:
        """Go through those who wait at any of ``places``, the first come first.

        Orders may be replaced and ``places`` made smaller on the way.

        Yields
        ------
        tuple
            Id of the order, and the place that it waits at.
        """
        taken: list[tuple[_Queue, tuple[int, str]]] = []
        queues = {place: queue for place, queue in self._queues[sku].items() if place in places}
        try:
            while True:
                heads = [(queue.head(), place) for place, queue in queues.items()]
                first = min(
                    ((head, place) for head, place in heads if head and place in places),
                    default=None,
                )
                if first is None:
                    return
                head, place = first
                taken.append((queues[place], queues[place].take()))
                yield head[1], place
        finally:
            for queue, entry in taken:
                queue.give_back(entry)


def waits_of(order: Order) -> set[tuple[str, str]]:
    """Name the (SKU, place) pairs that an order waits for.

    An order that may not be split waits where the rest of it is.
    """
    anywhere = order.method == "ship" and order.policy.allow_split
    return {
        (each.sku, ANYWHERE if anywhere else each.location or ANYWHERE)
        for each in order.allocations
        if each.stage == "backordered" and each.open
    }


class _Queue:
    """Orders by age. One that leaves stays in the heap until it comes up.

    An order that was undone may come again under its id, at another time: of each only what was
    added last counts.
    """

    def __init__(self) -> None:
        self._members: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def add(self, created_us: int, order_id: str) -> None:
        self._members[order_id] = created_us
        heapq.heappush(self._heap, (created_us, order_id))

    def drop(self, order_id: str) -> bool:
        """Let one go; tell whether nobody is left."""
        self._members.pop(order_id, None)
        return not self._members

    def head(self) -> tuple[int, str] | None:
        while self._heap:
            if self._counts(self._heap[0]):
                return self._heap[0]
            heapq.heappop(self._heap)
        return None

    def take(self) -> tuple[int, str]:
        """Take the head out, and whatever stands for the same order again."""
        entry = heapq.heappop(self._heap)
        while self._heap and self._heap[0] == entry:
            heapq.heappop(self._heap)
        return entry

    def give_back(self, entry: tuple[int, str]) -> None:
        if self._counts(entry):
            heapq.heappush(self._heap, entry)

    def _counts(self, entry: tuple[int, str]) -> bool:
        created_us, order_id = entry
        return self._members.get(order_id) == created_us
