"""Shortfalls: promises that a shelf cannot keep move elsewhere, the least firm first."""

import pytest

from onhand.errors import TableFull
from onhand.orders.desk import Rules
from onhand.orders.shortfalls import LOOK_AGAIN_US, Shortfalls
from tests.orders_shop import DAY_US, SECOND_US, Shop, place_at, short_of, units_of


class Short(Shop):
    """A shop whose shelves lose units, with what looks after shortfalls."""

    def __init__(self, *, rules=None, locations=None, **units):
        cells = {("a", store): count for store, count in units.items()}
        super().__init__(cells, rules=rules, locations=locations)
        self.shortfalls = Shortfalls(self.desk)
        self.moved = self.reported = 0

    def lose(self, units, location="near", sku="a"):
        """Take units off a shelf, and let the change be seen."""
        self.stock.put(sku, location, -units)
        self.see(location, sku)

    def see(self, location="near", sku="a"):
        """Let a change of a cell be seen."""
        self.shortfalls.see([(sku, location)], self.now_us)

    def settle(self, as_of_us=None):
        """Settle twice, as the writer does all the time; return (units moved, reported)."""
        total = [0, 0]
        for _ in range(2):
            as_of_us = self.now_us if as_of_us is None else as_of_us
            settled = self.shortfalls.settle(as_of_us, self.now_us)
            total[0] += settled.units_moved
            total[1] += settled.units_reported
        self.check()
        return tuple(total)

    def counts(self):
        """Return cells waiting, cells reported, and units reported."""
        each = self.shortfalls
        return each.waiting_count, each.reported_count, each.reported_units

    def later(self, seconds=1):
        """Let time pass."""
        self.now_us += seconds * SECOND_US


# ---- orders ----


def test_units_that_vanish_come_from_elsewhere():
    """The shelf loses what was promised, and the next place sends it."""
    shop = Short(near=3, mid=5)
    order_id = shop.order(("a", 3))
    shop.commit()
    shop.lose(2)
    assert shop.settle() == (2, 0)
    assert shop.allocations(order_id) == [("mid", 2), ("near", 1)]
    assert shop.told() == ["allocation.sourced_again"]
    assert shop.counts() == (0, 0, 0)


def test_a_task_of_which_everything_moved_is_cancelled():
    """Its staff have nothing left to look for."""
    shop = Short(near=3, mid=5)
    order_id = shop.order(("a", 3))
    shop.lose(3)
    shop.settle()
    assert [(each.location, each.status) for each in shop.of(order_id).tasks] == [
        ("near", "cancelled"),
        ("mid", "open"),
    ]


def test_the_newest_order_gives_way():
    """Whoever came first keeps what there is."""
    shop = Short(near=3, mid=5)
    old = shop.order(("a", 1))
    shop.later()
    middle = shop.order(("a", 1))
    shop.later()
    new = shop.order(("a", 1))
    # A later change of an order makes it no newer.
    shop.step("pick", shop.task(old), picked=units_of(("1", 1)))
    shop.lose(1)
    assert shop.settle() == (1, 0)
    places = [shop.allocations(each)[0][0] for each in (old, middle, new)]
    assert places == ["near", "near", "mid"]


def test_what_is_picked_stays():
    """It is in somebody's hands, whatever the records say; the older order gives way."""
    shop = Short(near=2, mid=5)
    old = shop.order(("a", 1))
    shop.later()
    new = shop.order(("a", 1))
    shop.step("pick", shop.task(new))
    shop.lose(1)
    assert shop.settle() == (1, 0)
    assert (shop.allocations(old), shop.allocations(new)) == ([("mid", 1)], [("near", 1)])


def test_a_shipment_gives_way_to_an_older_or_newer_pickup():
    """A pickup's customer comes to this store; a parcel may come from any."""
    shop = Short(near=2, mid=5)
    parcel = shop.order(("a", 1))
    shop.later()
    pickup = shop.order(("a", 1), pickup="near")
    shop.lose(1)
    assert shop.settle() == (1, 0)
    assert (shop.allocations(parcel), shop.allocations(pickup)) == ([("mid", 1)], [("near", 1)])


def test_every_line_of_an_order_moves():
    """Two lines of one SKU are two allocations of one cell."""
    shop = Short(near=4, mid=5)
    order_id = shop.order(("a", 2), ("a", 2))
    shop.lose(4)
    assert shop.settle() == (4, 0)
    assert shop.allocations(order_id) == [("mid", 2), ("mid", 2)]


def test_places_that_refused_are_not_asked():
    """What moves again goes past them."""
    shop = Short(near=3, mid=3, far=3)
    order_id = shop.order(("a", 3))
    shop.step("reject", shop.task(order_id))
    assert shop.allocations(order_id) == [("mid", 3)]
    shop.lose(3, "mid")
    assert shop.settle() == (3, 0)
    assert shop.allocations(order_id) == [("far", 3)]


def test_units_move_only_so_often():
    """After that they stay, and are reported."""
    stores = [place_at(f"s{number}", number) for number in range(4)]
    units = {store.id: 1 for store in stores}
    shop = Short(rules=Rules(resource_max=2), locations=stores, **units)
    order_id = shop.order(("a", 1))
    for number in range(2):
        shop.lose(1, f"s{number}")
        assert shop.settle() == (1, 0)
    shop.lose(1, "s2")
    assert shop.settle() == (0, 1)
    assert shop.allocations(order_id) == [("s2", 1)]


# ---- what cannot move ----


def test_what_nobody_has_stays_and_is_reported_once():
    """The order keeps its promise on record; customer and operator are told."""
    shop = Short(near=3, mid=1)
    order_id = shop.order(("a", 3))
    shop.commit()
    shop.lose(3)
    assert shop.settle() == (1, 2)
    assert shop.allocations(order_id) == [("mid", 1), ("near", 2)]
    assert shop.told() == ["allocation.sourced_again", "allocation.short"]
    entry = shop.of(order_id).history[-1]
    assert (entry.what, entry.location, entry.quantity) == ("shortfall", "near", 2)
    assert shop.counts() == (0, 1, 2)
    shop.commit()
    shop.later()
    assert (shop.settle(), shop.told()) == ((0, 0), [])


def test_a_reported_shortfall_ends_when_units_come_back():
    """A later one is reported anew."""
    shop = Short(near=3)
    shop.order(("a", 3))
    shop.lose(2)
    assert (shop.settle(), shop.counts()) == ((0, 2), (0, 1, 2))
    shop.lose(-2)
    assert shop.counts() == (0, 0, 0)
    shop.lose(1)
    assert (shop.settle(), shop.counts()) == ((0, 1), (0, 1, 1))


def test_only_what_is_new_of_a_shortfall_is_reported():
    """One unit more is one unit told of."""
    shop = Short(near=3)
    shop.order(("a", 3), pickup="near")
    shop.lose(1)
    assert shop.settle() == (0, 1)
    shop.lose(1)
    assert shop.settle() == (0, 1)
    assert shop.counts() == (0, 1, 2)


def test_a_reported_shortfall_is_tried_again():
    """Once there is stock elsewhere, though nothing has changed in its own cell."""
    shop = Short(near=3)
    order_id = shop.order(("a", 3))
    shop.lose(2)
    assert shop.settle() == (0, 2)
    shop.stock.put("a", "far", 9)
    shop.now_us += LOOK_AGAIN_US
    assert shop.settle() == (2, 0)
    assert shop.allocations(order_id) == [("far", 2), ("near", 1)]
    assert shop.counts() == (0, 0, 0)


def test_a_pickup_is_reported_and_stays():
    """Nothing else can be done for it before somebody has looked at the shelf."""
    shop = Short(near=3, mid=5)
    order_id = shop.order(("a", 3), pickup="near")
    shop.lose(1)
    assert shop.settle() == (0, 1)
    assert shop.allocations(order_id) == [("near", 3)]


def test_policy_may_ask_for_reports_alone():
    """Then nothing moves, and everything is told."""
    shop = Short(near=3, mid=5, rules=Rules(shortfall="report"))
    order_id = shop.order(("a", 3))
    shop.hold("a", 1, group="west")
    shop.lose(2)
    assert shop.settle() == (0, 2)
    assert shop.allocations(order_id) == [("near", 3)]


def test_a_cell_below_zero_reports_no_more_than_is_promised_there():
    """Records that are wrong by more than what was promised let nobody else down."""
    shop = Short(near=2)
    shop.order(("a", 2), pickup="near")
    shop.lose(9)
    assert (shop.settle(), shop.counts()) == ((0, 2), (0, 1, 2))


def test_a_cell_without_promises_is_nobodys_shortfall():
    """It may be below zero for as long as it likes."""
    shop = Short(near=2)
    shop.lose(9)
    assert (shop.settle(), shop.counts()) == ((0, 0), (0, 0, 0))


def test_staged_units_that_a_count_missed_let_nobody_down():
    """All that is promised is picked: it is there, whatever was counted."""
    shop = Short(near=2)
    shop.walk(shop.task(shop.order(("a", 2), pickup="near")), "pick", "ready")
    shop.lose(2)
    assert (shop.settle(), shop.counts()) == ((0, 0), (0, 0, 0))


# ---- holds ----


def test_a_hold_on_a_group_moves_within_it():
    """It is the least firm promise; the order stays where it is."""
    shop = Short(near=5, mid=4)
    hold_id = shop.hold("a", 2, group="west")
    order_id = shop.order(("a", 3))
    shop.commit()
    shop.lose(2)
    assert shop.settle() == (2, 0)
    assert [(line.location, line.quantity) for line in shop.book.holds[hold_id].lines] == [
        ("mid", 2)
    ]
    assert shop.allocations(order_id) == [("near", 3)]
    assert shop.told() == ["hold.moved"]


def test_a_hold_moves_as_far_as_it_must():
    """The rest of its units stays, on the group still; new cells are raised first."""
    shop = Short(near=5, mid=1, far=3)
    hold_id = shop.hold("a", 5, group="west")
    shop.stock.calls.clear()
    shop.lose(4)
    assert shop.settle() == (4, 0)
    held = [(line.location, line.quantity) for line in shop.book.holds[hold_id].lines]
    assert sorted(held) == [("far", 3), ("mid", 1), ("near", 1)]
    assert {line.group for line in shop.book.holds[hold_id].lines} == {"west"}
    deltas = [delta for _, _, delta in shop.stock.calls]
    assert deltas.index(-5) > max(index for index, delta in enumerate(deltas) if delta > 0)


def test_a_hold_at_a_location_is_told_and_kept():
    """It cannot move, and is no reason to move an order that is firmer."""
    shop = Short(near=5, mid=9)
    hold_id = shop.hold("a", 2, location="near")
    order_id = shop.order(("a", 3))
    shop.commit()
    shop.lose(2)
    assert shop.settle() == (0, 2)
    assert shop.book.holds[hold_id].status == "active"
    assert shop.allocations(order_id) == [("near", 3)]
    assert shop.told() == ["hold.short"]


def test_an_order_made_of_a_short_hold_is_sourced_again():
    """What could not move as a hold may move as a shipment, without any wait."""
    shop = Short(near=5, mid=9)
    hold_id = shop.hold("a", 2, location="near")
    shop.lose(4)
    assert shop.settle() == (0, 1)
    order_id = shop.order(("a", 2), hold_id=hold_id)
    assert shop.allocations(order_id) == [("near", 2)]
    assert shop.settle() == (1, 0)
    assert shop.allocations(order_id) == [("mid", 1), ("near", 1)]


def test_orders_move_for_what_holds_cannot_bear():
    """Five units are gone: a hold of two bears two, orders move for the others."""
    shop = Short(near=6, mid=9)
    shop.hold("a", 2, location="near")
    order_id = shop.order(("a", 4))
    shop.lose(5)
    assert shop.settle() == (3, 2)
    assert shop.allocations(order_id) == [("mid", 3), ("near", 1)]


def test_a_hold_whose_time_is_over_gives_way_first():
    """It expires, and nothing needs to move."""
    shop = Short(near=5, mid=9)
    shop.hold("a", 2, location="near", ttl_s=60)
    order_id = shop.order(("a", 3))
    shop.later(60)
    shop.lose(2)
    shop.settle()
    assert shop.allocations(order_id) == [("near", 3)]
    assert shop.counts() == (0, 0, 0)


# ---- when ----


def test_nothing_moves_before_every_partition_has_passed_the_cause():
    """The other half of a transfer may be on its way."""
    shop = Short(near=3, mid=5)
    order_id = shop.order(("a", 3))
    seen_us = shop.now_us
    shop.lose(2)
    shop.later()
    assert shop.settle(as_of_us=seen_us - 1) == (0, 0)
    assert shop.counts() == (1, 0, 0)
    assert shop.settle(as_of_us=seen_us) == (2, 0)
    assert shop.allocations(order_id) == [("mid", 2), ("near", 1)]


def test_a_shortfall_that_was_half_a_story_is_none():
    """What made it good came before every partition had passed."""
    shop = Short(near=3, mid=5)
    order_id = shop.order(("a", 3))
    shop.lose(2)
    shop.lose(-2)
    assert (shop.settle(), shop.counts()) == ((0, 0), (0, 0, 0))
    assert shop.allocations(order_id) == [("near", 3)]


def test_units_in_flight_are_not_missing():
    """A count saw the shelf after a hand-over that supply has not heard of yet."""
    shop = Short(near=3, mid=5)
    gone = shop.order(("a", 2))
    rest = shop.order(("a", 1))
    shop.walk(shop.task(gone), "pick", "pack", "ship")
    shop.lose(2)  # Counted: one unit is left.
    assert shop.settle() == (0, 0)
    assert shop.allocations(rest) == [("near", 1)]
    shop.stock.put("a", "near", 2)  # The sale occurred before the count, so it moves nothing.
    shop.land()
    shop.see()
    assert (shop.settle(), shop.counts()) == ((0, 0), (0, 0, 0))
    assert (shop.allocations(rest), shop.available("a", "near")) == ([("near", 1)], 0)


def test_what_is_missing_beyond_units_in_flight_moves_at_once():
    """A busy shelf is not left alone until it is quiet."""
    shop = Short(near=6, mid=9)
    gone = shop.order(("a", 2))
    rest = shop.order(("a", 4))
    shop.walk(shop.task(gone), "pick", "pack", "ship")
    shop.lose(5)
    assert shop.settle() == (3, 0)
    assert shop.allocations(rest) == [("mid", 3), ("near", 1)]
    assert shop.counts()[0] == 1
    shop.land()
    assert shop.settle() == (1, 0)
    assert shop.allocations(rest) == [("mid", 1), ("mid", 3)]


def test_a_short_pick_makes_no_shortfall():
    """Units written off leave shelf and promise together."""
    shop = Short(near=3, mid=5)
    shop.step("pick", shop.task(shop.order(("a", 3))), short=short_of(("1", 2)))
    shop.see()
    assert shop.counts() == (0, 0, 0)
    shop.land()
    shop.see()
    assert (shop.settle(), shop.counts()) == ((0, 0), (0, 0, 0))


@pytest.mark.parametrize(("before", "after", "short"), [(0, 9, 0), (-2, 3, 2), (-2, -1, 1)])
def test_raising_safety_stock_breaks_no_promise(before, after, short):
    """Units kept back were never taken from promises; only leave to oversell can be taken back."""
    shop = Short(near=3, mid=9)
    shop.stock.safety["a", "near"] = before
    order_id = shop.order(("a", 3 - min(0, before)))
    assert shop.allocations(order_id) == [("near", 3 - min(0, before))]
    shop.stock.safety["a", "near"] = after
    shop.shortfalls.see_all()
    assert shop.settle() == (short, 0)


# ---- bounds and failures ----


def test_every_promise_is_looked_at_at_a_start():
    """Cells that fell short while nobody looked are found."""
    shop = Short(near=3, mid=5)
    order_id = shop.order(("a", 3))
    shop.stock.put("a", "near", -3)
    assert shop.settle() == (0, 0)
    shop.shortfalls.see_all()
    assert shop.settle() == (3, 0)
    assert shop.allocations(order_id) == [("mid", 3)]


def test_what_there_is_no_room_for_is_found_again():
    """No shortfall is lost to the bound on how many are kept."""
    shop = Shop({(f"s{n}", at): 1 for n in range(5) for at in ("near", "mid")})
    shortfalls = Shortfalls(shop.desk, cell_count_max=2)
    for n in range(5):
        shop.order((f"s{n}", 1))
        shop.stock.put(f"s{n}", "near", -1)
    shortfalls.see([(f"s{n}", "near") for n in range(5)], shop.now_us)
    assert shortfalls.waiting_count == 2
    moved = sum(shortfalls.settle(shop.now_us, shop.now_us).units_moved for _ in range(12))
    assert (moved, shortfalls.waiting_count) == (5, 0)


def test_one_call_settles_only_so_many_cells():
    """The others follow with the next."""
    shop = Shop({(f"s{n}", at): 1 for n in range(5) for at in ("near", "mid")})
    shortfalls = Shortfalls(shop.desk)
    for n in range(5):
        shop.order((f"s{n}", 1))
        shop.stock.put(f"s{n}", "near", -1)
        shortfalls.see([(f"s{n}", "near")], shop.now_us)
    moved = [shortfalls.settle(shop.now_us, shop.now_us, 2).units_moved for _ in range(3)]
    assert moved == [2, 2, 1]


def test_what_was_undone_is_settled_again():
    """A commit that failed leaves the promise on the empty shelf."""
    shop = Short(near=3, mid=5)
    order_id = shop.order(("a", 3))
    shop.commit()
    shop.lose(3)
    shop.settle()
    shop.book.rollback()
    shop.shortfalls.forget()
    assert shop.allocations(order_id) == [("near", 3)]
    assert shop.settle() == (3, 0)
    assert shop.allocations(order_id) == [("mid", 3)]


def test_what_shared_a_failure_is_told_all_the_same():
    """One cell cannot be settled, and all that was decided with it is undone: then it is told."""
    shop = Short(near=3)
    shop.stock.put("b", "near", 3)
    shop.stock.put("b", "mid", 3)
    shop.order(("a", 3), pickup="near")
    shop.order(("b", 3))
    shop.commit()
    shop.lose(1)
    shop.lose(1, sku="b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.stock, "reserve", _no_room)
        with pytest.raises(TableFull):
            shop.settle()
    shop.book.rollback()
    assert shop.told() == []
    shop.later()
    assert shop.settle() == (1, 1)
    assert sorted(shop.told()) == ["allocation.short", "allocation.sourced_again"]


def _no_room(*_where):
    raise TableFull("the table is full", "Raise the limit")


def test_a_day_without_news_changes_nothing():
    """Looking again at what is reported tells nobody twice."""
    shop = Short(near=3)
    shop.order(("a", 3), pickup="near")
    shop.lose(1)
    shop.settle()
    shop.commit()
    for _ in range(5):
        shop.now_us += DAY_US
        assert (shop.settle(), shop.told()) == ((0, 0), [])
