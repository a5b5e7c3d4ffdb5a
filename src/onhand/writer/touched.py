"""What a command is about: the holds, orders and returns that must be in the book before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.orders.book import decode_hold, decode_order, decode_return

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onhand.ledger.order_store import OrderStore
    from onhand.ledger.rows import ReturnRow
    from onhand.orders.desk import Desk
    from onhand.orders.engine import Asked

ID_LENGTH_MAX: Final = 128

ABOUT_HOLD: Final = frozenset({"extend_hold", "release_hold"})
PROMISING: Final = frozenset({"place_hold", "place_order", "promise"})
"""Commands that promise units, which needs stock numbers of now."""

ERASE: Final = "erase_customer"
ORDER_FIELDS: Final = {"place_order": "id", "claim": "about", "authorise_return": "order_id"}
"""Where the bodies of commands name an order."""

ABOUT_RETURN: Final = frozenset({"receive_return", "inspect_return", "cancel_return"})


class Touched:
    """The closed holds, orders and returns that one batch adopts, and lets go of again.

    Parameters
    ----------
    desk
        Everything that is open is in its book; what is not must be looked up.
    """

    def __init__(self, desk: Desk, store: OrderStore) -> None:
        self._desk = desk
        self._book = desk.book
        self._store = store
        self._return_ids: list[str] = []
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
        about_returns: list[Asked] = []
        for asked in commands:
            if asked.what == "place_hold":
                continue
            if is_about_return(asked):
                about_returns.append(asked)
            elif asked.what == ERASE:
                self._load_returns(asked.body.returns)
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
        if about_returns:
            self._adopt_returns(about_returns)

    def release(self) -> None:
        """Let go of what was adopted and is still closed."""
        if self._hold_ids or self._order_ids or self._return_ids:
            self._book.forget_closed(self._hold_ids, self._order_ids, self._return_ids)
            self._hold_ids, self._order_ids, self._return_ids = [], [], []
        if self._desk.purchases:
            self._desk.purchases = {}

    def _adopt_holds(self, hold_ids: Sequence[str]) -> None:
        for row in self._store.load_holds(hold_ids).values():
            hold = decode_hold(row.document)
            self._hold_ids.append(hold.id)
            self._book.adopt_hold(hold)

    def _adopt_orders(self, order_ids: Sequence[str]) -> None:
        if not order_ids:
            return
        for row in self._store.load_orders(order_ids).values():
            order = decode_order(row.document)
            self._order_ids.append(order.id)
            self._book.adopt_order(order)

    def _adopt_returns(self, commands: Sequence[Asked]) -> None:
        """Take the returns that commands are about, their orders, and all returns of those."""
        book = self._book
        named = list(filter(None, map(_return_id_of, commands)))
        self._load_returns(named)
        known = [book.returns[each] for each in named if each in book.returns]
        orders = dict.fromkeys(each.order_id for each in known if each.order_id is not None)
        self._adopt_orders([each for each in orders if each not in book.orders])
        orders |= dict.fromkeys(each for asked in commands for each in order_ids_of(asked))
        self._load_returns(
            [
                return_id
                for order_id in orders
                if order_id in book.orders
                for return_id in book.orders[order_id].returns
            ]
        )
        receipts = {each.receipt for each in known if each.receipt is not None}
        receipts |= {
            asked.body.receipt
            for asked in commands
            if asked.what == "authorise_return" and asked.body.receipt is not None
        }
        if receipts:
            self._adopt_receipts(sorted(receipts))

    def _adopt_receipts(self, receipts: Sequence[str]) -> None:
        self._desk.purchases = self._desk.history.find(receipts)
        for row in self._store.returns_of_receipts(receipts):
            self._adopt_return(row)

    def _load_returns(self, return_ids: Sequence[str]) -> None:
        missing = [
            each
            for each in dict.fromkeys(return_ids)
            if each not in self._book.returns and _may_exist(each)
        ]
        if missing:
            for row in self._store.load_returns(missing).values():
                self._adopt_return(row)

    def _adopt_return(self, row: ReturnRow) -> None:
        if row.id not in self._book.returns:
            self._return_ids.append(row.id)
            self._book.adopt_return(decode_return(row.document))


def is_about_return(asked: Asked) -> bool:
    """Tell whether a command is about returns."""
    if asked.what == "claim":
        return bool(asked.body.type == "return")
    return asked.what == "authorise_return" or asked.what in ABOUT_RETURN


def is_promising(asked: Asked) -> bool:
    """Tell whether a command promises units; of returns, those with an exchange do."""
    if asked.what in PROMISING:
        return True
    return asked.what == "authorise_return" and bool(asked.body.exchange)


def _return_id_of(asked: Asked) -> str | None:
    if asked.what == "claim":
        return_id: str | None = asked.body.return_id
        return return_id
    return asked.target if asked.what in ABOUT_RETURN else None


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
    if asked.what in ORDER_FIELDS:
        order_id = getattr(asked.body, ORDER_FIELDS[asked.what])
        return [] if order_id is None else [order_id]
    if asked.what == ERASE:
        return list(asked.body.orders)
    if asked.what.endswith("_task"):
        return [owner_of(asked.target)]
    return []


def owner_of(part_id: str) -> str:
    """Name the order that a task or an allocation is part of: ids say it."""
    return part_id.rpartition(".")[0]


def _may_exist(some_id: str) -> bool:
    # What was never accepted as an id is not asked for: databases refuse some characters.
    return 0 < len(some_id) <= ID_LENGTH_MAX and some_id.isprintable()
