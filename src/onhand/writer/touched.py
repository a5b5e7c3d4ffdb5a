"""What a command is about: the holds and orders that must be in the book before it is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.orders.book import decode_hold, decode_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onhand.ledger.order_store import OrderStore
    from onhand.orders.book import Book
    from onhand.orders.engine import Asked

ID_LENGTH_MAX: Final = 128

ABOUT_HOLD: Final = frozenset({"extend_hold", "release_hold"})
PROMISING: Final = frozenset({"place_hold", "place_order", "promise"})
"""Commands that promise units, which needs stock numbers of now."""


class Touched:
    """The closed holds and orders that one batch adopts, and lets go of again.

    Parameters
    ----------
    book
        Everything that is open is in it; what is not must be looked up.
    """

    def __init__(self, book: Book, store: OrderStore) -> None:
        self._book = book
        self._store = store
        self._hold_ids: list[str] = []
        self._order_ids: list[str] = []

    def adopt(self, commands: Iterable[Asked]) -> None:
        """Take what these commands are about into the book.

        Raises
        ------
        LedgerUnavailable
            The ledger cannot be read.
        """
        hold_ids: dict[str, None] = {}
        order_ids: dict[str, None] = {}
        for asked in commands:
            if asked.what == "place_hold":
                continue
            for hold_id in hold_ids_of(asked):
                if hold_id not in self._book.holds and _may_exist(hold_id):
                    hold_ids[hold_id] = None
            for order_id in order_ids_of(asked):
                if order_id not in self._book.orders and _may_exist(order_id):
                    order_ids[order_id] = None
        if hold_ids:
            self._adopt_holds(list(hold_ids))
        if order_ids:
            self._adopt_orders(list(order_ids))

    def release(self) -> None:
        """Let go of what was adopted and is still closed."""
        if self._hold_ids or self._order_ids:
            self._book.forget_closed(self._hold_ids, self._order_ids)
            self._hold_ids, self._order_ids = [], []

    def _adopt_holds(self, hold_ids: Sequence[str]) -> None:
        for row in self._store.load_holds(hold_ids).values():
            hold = decode_hold(row.document)
            self._hold_ids.append(hold.id)
            self._book.adopt_hold(hold)

    def _adopt_orders(self, order_ids: Sequence[str]) -> None:
        for row in self._store.load_orders(order_ids).values():
            order = decode_order(row.document)
            self._order_ids.append(order.id)
            self._book.adopt_order(order)


def hold_ids_of(asked: Asked) -> list[str]:
    """Name the holds that a command is about."""
    if asked.what in ABOUT_HOLD:
        return [asked.target]
    if asked.what == "place_order" and asked.body.hold_id is not None:
        return [asked.body.hold_id]
    return []


def order_ids_of(asked: Asked) -> list[str]:
    """Name the orders that a command is about."""
    if asked.what == "cancel_order":
        return [asked.target]
    if asked.what == "place_order":
        return [] if asked.body.id is None else [asked.body.id]
    if asked.what == "claim":
        return [asked.body.about]
    if asked.what.endswith("_task"):
        return [owner_of(asked.target)]
    return []


def owner_of(part_id: str) -> str:
    """Name the order that a task or an allocation is part of: ids say it."""
    return part_id.rpartition(".")[0]


def _may_exist(some_id: str) -> bool:
    # What was never accepted as an id is not asked for: databases refuse some characters.
    return 0 < len(some_id) <= ID_LENGTH_MAX and some_id.isprintable()
