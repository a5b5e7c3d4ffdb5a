"""The book when the demand table has no room: all of a change is made, or none of it."""

import pytest

from onhand.errors import TableFull
from onhand.model.commands import HoldLine, PlaceHold
from tests.orders_shop import DAY_US, START_US, Shop, short_of

ACTS = {
    "hold": lambda shop: shop.hold_all(("a", 2, "near"), ("b", 2, "near"), ("b", 1, "far")),
    "order": lambda shop: shop.order(("a", 1), ("b", 6)),
    "backorder": lambda shop: shop.order(("a", 3), ("b", 20), allow_backorder=True),
    "hold_to_order": lambda shop: shop.order(("a", 1), ("b", 1), hold_id=shop.held, pickup="near"),
    "short": lambda shop: shop.step("pick", shop.shipped, short=shop.all_short),
    "collect": lambda shop: shop.walk(shop.collected, "pick", "ready", "collect"),
}


class SmallTable(Shop):
    """A shop whose demand table takes so many raises more, and others' promises in every cell."""

    def __init__(self):
        cells = [("a", "near"), ("a", "far"), ("b", "near"), ("b", "far")]
        super().__init__(dict.fromkeys(cells, 9))
        self.stock.expect("b", "mid", START_US // DAY_US + 2, 50)
        for sku, location in cells:
            self.hold(sku, 3, location=location)
        self.held = self.hold_all(("a", 1, "near"), ("b", 1, "near"))
        self.shipped = self.task(self.order(("b", 2)))
        self.all_short = short_of(("1", 2))
        self.collected = self.task(self.order(("a", 1), ("b", 1), pickup="far"))
        self.commit()
        self.room = None
        self.stock.reserve = self._limited(self.stock.reserve)
        self.stock.backorder = self._limited(self.stock.backorder)

    def hold_all(self, *lines):
        """Hold (sku, units, location) lines at once."""
        lines = tuple(HoldLine(sku=sku, quantity=n, location=at) for sku, n, at in lines)
        return self.do("place_hold", body=PlaceHold(lines=lines, ttl_s=600))["id"]

    def _limited(self, change):
        def limited(*where):
            if where[-1] > 0 and self.room is not None:
                if not self.room:
                    raise TableFull("the table is full", "Raise the limit")
                self.room -= 1
            change(*where)

        return limited

    def state(self):
        book = self.book
        return (
            self.stock.numbers(),
            dict(book.holds),
            {order_id: order.copy() for order_id, order in book.orders.items()},
            {cell: list(ids) for cell, ids in book.held.items()},
            {cell: set(ids) for cell, ids in book.allocated.items()},
            {sku: list(ids) for sku, ids in book.backordered.items()},
            list(book.handovers),
            dict(book.in_flight),
            book.last_sequence,
        )


@pytest.mark.parametrize("act", ACTS)
def test_without_room_for_all_of_it_nothing_is_promised(act):
    """Wherever in a command the table fills up, it is as before; with room the command is done."""
    for room in range(20):
        shop = SmallTable()
        before = shop.state()
        shop.room = room
        try:
            ACTS[act](shop)
        except TableFull:
            shop.room = None
            shop.book.rollback()
            assert shop.state() == before, room
            shop.check()
            continue
        shop.check()
        assert room
        return
    raise AssertionError("it never had enough room")
