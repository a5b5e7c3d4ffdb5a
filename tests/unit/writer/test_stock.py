"""Stock as decisions see it, beside what readers see before a batch is on disk."""

import pytest

from onhand.model.setup import Location, SafetyRule, Setup
from onhand.writer.stock import TableStock
from tests.tables import NOW_US, TODAY, tables

__all__ = ["tables"]

SETUP = Setup(
    locations={
        name: Location(id=name, name=name, type="store", groups=("shops",)) for name in ("x", "y")
    },
    safety_rules=(SafetyRule(location="y", quantity=2),),
)


@pytest.fixture
def stock(tables):
    """Give 10 apples at x of which 6 are promised, and 10 at y, 2 of them kept back."""
    tables.kit.add("apple", "x", 10)
    tables.kit.add("apple", "y", 10)
    tables.publish()
    demand = tables.publish_demand(tables.demand())
    stock = TableStock(tables.reader(SETUP), demand)
    stock.reader.refresh()
    stock.reserve("apple", "x", 6)
    stock.settle()
    return stock


def seen(stock, location="x"):
    """Read what a storefront sees as reserved."""
    return stock.demand.reserved("apple", location)


def test_reserved_units_are_seen_at_once_and_freed_ones_once_settled(stock):
    """Readers see the larger of what was and what is to be."""
    stock.reserve("apple", "x", 3)
    assert seen(stock) == 9
    stock.reserve("apple", "x", -5)
    assert seen(stock) == 6
    stock.settle()
    assert seen(stock) == 4


def test_decisions_see_what_was_freed_before_readers_do(stock):
    """Cells, groups, days and shortfalls are as if the batch were on disk."""
    stock.reserve("apple", "x", -4)
    assert stock.promisable("apple", "x") == 8
    names, cells = stock.group_cells(["apple"], "shops")
    assert dict(zip(names, cells[0], strict=True)) == {"x": 8, "y": 8}
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 8)]
    assert seen(stock) == 6
    stock.settle()
    assert stock.promisable("apple", "x") == 8
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 8)]


def test_units_that_were_freed_are_promised_again_without_being_free_in_between(stock):
    """What goes from one promise to another in a batch is never seen as available."""
    stock.reserve("apple", "x", -6)
    stock.reserve("apple", "x", 6)
    assert seen(stock) == 6
    assert stock.promisable("apple", "x") == 4
    stock.settle()
    assert seen(stock) == 6


def test_a_shortfall_is_less_by_what_was_freed(stock):
    """Who gives way in a batch is not asked twice."""
    stock.reserve("apple", "x", 7)
    stock.settle()
    assert stock.shortfall("apple", "x") == 3
    stock.reserve("apple", "x", -2)
    assert stock.shortfall("apple", "x") == 1
    stock.reserve("apple", "x", -2)
    assert stock.shortfall("apple", "x") == 0
    stock.reserve("apple", "x", 4)
    assert stock.shortfall("apple", "x") == 3


def test_what_has_left_the_place_is_lowered_at_once(stock):
    """Supply has applied it, so there is nothing to wait for."""
    stock.land("apple", "x", 2)
    assert seen(stock) == 4


def test_a_batch_that_is_undone_leaves_what_was(stock):
    """Taking back is reserving and freeing as well."""
    stock.reserve("apple", "y", 5)
    stock.reserve("apple", "x", -6)
    stock.reserve("apple", "x", 6)
    stock.reserve("apple", "y", -5)
    stock.settle()
    assert (seen(stock), seen(stock, "y")) == (6, 0)


def test_freed_units_that_are_owed_are_not_to_order(stock):
    """Before the commit as after it: those who wait have more coming to them than there is."""
    stock.reserve("apple", "x", 4)
    stock.backorder("apple", "x", TODAY + 1, 5)
    stock.settle()
    stock.reserve("apple", "x", -3)
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 0)]
    stock.settle()
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 0)]


def test_freed_units_of_a_short_shelf_leave_more_of_what_comes(tables, stock):
    """All of them count, also those that only make the shelf less short."""
    tables.kit.add_incoming("apple", "x", TODAY + 5, 6)
    stock.reserve("apple", "x", 8)
    stock.settle()
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 0), (TODAY + 5, 2)]
    stock.reserve("apple", "x", -3)
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 0), (TODAY + 5, 5)]
    stock.settle()
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 0), (TODAY + 5, 5)]


def owed(stock):
    """List what readers see as owed: (day, units)."""
    return sorted((day - TODAY, units) for _, _, day, units in stock.demand.backorders() if units)


def test_what_is_owed_no_longer_is_seen_once_settled(tables, stock):
    """Decisions see it at once, on its day; the overdue counts today, as in the table."""
    tables.kit.add_incoming("apple", "x", TODAY + 2, 6)
    stock.backorder("apple", "x", TODAY - 3, 4)
    stock.backorder("apple", "x", TODAY + 2, 5)
    stock.settle()
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 0), (TODAY + 2, 1)]
    stock.backorder("apple", "x", TODAY + 2, -3)
    assert stock.to_order("apple", "x", NOW_US) == [(TODAY, 0), (TODAY + 2, 4)]
    stock.backorder("apple", "x", TODAY - 3, -4)
    decided = stock.to_order("apple", "x", NOW_US)
    assert decided == [(TODAY, 4), (TODAY + 2, 8)]
    assert owed(stock) == [(-3, 4), (2, 5)]
    stock.settle()
    assert owed(stock) == [(2, 2)]
    assert stock.to_order("apple", "x", NOW_US) == decided


def test_a_backorder_that_is_filled_frees_nothing_before_its_commit(stock):
    """What somebody waits for becomes reserved; a commit that fails leaves both as they were."""
    stock.backorder("apple", "x", TODAY, 2)
    stock.settle()
    before = stock.to_order("apple", "x", NOW_US)
    stock.reserve("apple", "x", 2)
    stock.backorder("apple", "x", TODAY, -2)
    assert stock.to_order("apple", "x", NOW_US) == before
    stock.backorder("apple", "x", TODAY, 2)
    stock.reserve("apple", "x", -2)
    stock.settle()
    assert (seen(stock), owed(stock)) == (6, [(0, 2)])
