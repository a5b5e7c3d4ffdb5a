"""The demand table: what its writer refuses, what readers follow, and what they are told."""

import contextlib
import json

import numpy as np
import pytest

from onhand.errors import TableFull, TableUnavailable
from onhand.model.setup import Location, SafetyRule, Setup
from onhand.table.demand import DemandReader, OverReleased
from onhand.table.reader import TableReader, UnknownScope
from tests.tables import AS_OF_US, NOW_US, TODAY, Tables, tables

__all__ = ["tables"]


@pytest.fixture
def stocked(tables):
    """Return a published table with 10 apples at x."""
    tables.kit.add("apple", "x", 10)
    tables.publish()
    return tables


@pytest.fixture
def demand(stocked):
    """Return a published, empty demand table beside it."""
    return stocked.publish_demand(stocked.demand())


# ---- writing ----


def test_releasing_more_than_is_promised_is_a_bug_and_changes_nothing(demand):
    """Neither numbers nor names are left of what was refused."""
    demand.add("apple", "x", 3)
    before = demand.statistics()
    for sku, place, delta in [("apple", "x", -4), ("apple", "y", -1), ("pear", "x", -1)]:
        with pytest.raises(OverReleased, match=f"{sku} at {place}"):
            demand.add(sku, place, delta)
    with pytest.raises(AssertionError, match="day 9"):
        demand.add_backorder("apple", "x", 9, -1)
    assert demand.statistics() == before
    assert demand.reserved("apple", "x") == 3
    assert demand.reserved("pear", "z") == 0


def test_more_than_can_be_counted_is_refused(demand):
    """A sum beyond 63 bits is no number of units."""
    demand.add("apple", "x", 2**62)
    with pytest.raises(OverReleased):
        demand.add("apple", "x", 2**62)
    with pytest.raises(OverflowError):
        demand.add("apple", "x", 2**63)
    assert demand.reserved("apple", "x") == 2**62


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_what_cannot_be_a_name_is_refused(demand, name):
    """Names are judged before they come here, so this is the caller's mistake."""
    with pytest.raises(ValueError, match="1 to 256 bytes"):
        demand.add(name, "x", 1)
    with pytest.raises(ValueError, match="1 to 256 bytes"):
        demand.add("apple", name, 1)


def test_nothing_added_leaves_no_trace(demand):
    """A change of 0 makes no cell and tells nobody."""
    assert demand.add("apple", "x", 0) == 0
    demand.add_many(["apple"], ["x"], np.zeros(1, np.int64))
    assert demand.add_backorder("apple", "x", TODAY, 0) == 0
    figures = demand.statistics()
    assert (figures.sku_count, figures.location_count, figures.change_seq) == (0, 0, 0)


def test_a_full_table_refuses_what_is_new_and_goes_on_with_what_is_there(stocked):
    """Running out of room costs no promise that stands."""
    demand = stocked.demand(capacity_bytes=6 << 20)
    demand.add("apple", "x", 2)
    n = 0
    with contextlib.suppress(TableFull):
        for n in range(100_000):
            demand.add(f"sku {n}", "x", 1)
    with pytest.raises(TableFull, match="table-bytes-max"):
        demand.add(f"sku {n}", "x", 1)
    assert demand.reserved(f"sku {n}", "x") == 0
    assert demand.reserved(f"sku {n - 1}", "x") == 1
    assert demand.add("apple", "x", -2) == 0
    assert sum(len(skus) for skus, _, _ in demand.cells()) == n


def test_many_are_added_up_to_the_first_that_fails(demand):
    """What stands before the entry is in, in the order given."""
    with pytest.raises(OverReleased):
        demand.add_many(["a", "b", "a", "c"], ["x", "x", "x", "x"], [2, 1, -3, 5])
    assert [demand.reserved(sku, "x") for sku in "abc"] == [2, 1, 0]
    with pytest.raises(ValueError, match="as many"):
        demand.add_many(["a"], [], [])


def test_a_file_is_never_written_over(stocked):
    """Another process may read it."""
    first = stocked.demand()
    first.add("apple", "x", 1)
    with pytest.raises(TableUnavailable, match="cannot be made"):
        type(first).create(
            stocked.directory.demand_path(1),
            cluster_id=bytes(16),
            generation=1,
            capacity_bytes=1 << 26,
        )
    assert first.reserved("apple", "x") == 1


def test_a_closed_table_is_not_written(demand):
    """Nothing is mapped any more, and that is an error of the caller."""
    demand.close()
    demand.close()
    for use in (lambda: demand.add("apple", "x", 1), demand.statistics):
        with pytest.raises(ValueError, match="open"):
            use()


def test_stamps_are_seen_by_readers(stocked, demand):
    """Readers learn when the writer lived and which commits are in."""
    demand.stamp(heartbeat_us=NOW_US, commit_number=41)
    beside = DemandReader.open(stocked.directory.demand_path(1))
    assert (beside.heartbeat_us, beside.commit_number, beside.generation) == (NOW_US, 41, 1)
    assert demand.statistics().commit_number == 41


def test_a_missing_demand_table_says_so(tmp_path):
    """Tools that look for one are told what to do."""
    with pytest.raises(TableUnavailable, match="order writer"):
        DemandReader.open(tmp_path / "demand.1.table")


# ---- following ----


def test_without_a_demand_table_nothing_is_promised(stocked):
    """Reads go on as if nobody had ordered."""
    reader = stocked.reader()
    assert reader.demand() is None
    assert reader.read("apple", "location:x", NOW_US).reserved == 0
    assert reader.promisable("apple", "x") == 10


def test_a_demand_table_is_followed_when_it_appears_and_when_it_is_replaced(stocked):
    """Each refresh goes to the newest one; the reader says that something is new."""
    reader = stocked.reader()
    first = stocked.demand()
    first.add("apple", "x", 3)
    assert not reader.refresh()
    stocked.publish_demand(first)
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.available("apple", "x") == 7
    second = stocked.demand()
    second.add("apple", "x", 4)
    stocked.publish_demand(second)
    assert reader.available("apple", "x") == 7
    assert reader.refresh()
    assert reader.available("apple", "x") == 6
    assert reader.demand().generation == 2


def test_promises_outlive_the_order_writer(stocked, demand):
    """When its files are gone, whoever mapped them goes on counting what they say."""
    demand.add("apple", "x", 3)
    reader = stocked.reader()
    stocked.directory.remove_demand()
    assert not reader.refresh()
    assert reader.available("apple", "x") == 7
    assert stocked.reader().available("apple", "x") == 10
    stocked.publish_demand(stocked.demand())
    assert reader.refresh()
    assert reader.available("apple", "x") == 10


def test_demand_may_be_published_before_supply(tables):
    """The order writer may start first; nothing is answered until there is stock."""
    demand = tables.publish_demand(tables.demand())
    demand.add("apple", "x", 3)
    reader = TableReader(tables.root, tables.cluster_id)
    for ask in (
        reader.refresh,
        lambda: reader.promisable("apple", "x"),
        lambda: reader.group_cells(["apple"], "all"),
        lambda: reader.cell_shortfall("apple", "x"),
        lambda: reader.to_order("apple", "x", NOW_US),
        lambda: reader.ledger_sequence_of("apple"),
    ):
        with pytest.raises(TableUnavailable):
            ask()
    tables.kit.add("apple", "x", 10)
    tables.publish()
    assert reader.refresh()
    assert reader.available("apple", "x") == 7


def test_a_demand_table_of_another_cluster_is_refused(stocked):
    """Promises of another deployment are nobody's here; and what was read stays."""
    reader = stocked.reader()
    stranger = Tables(stocked.root)
    stranger.demand().add("apple", "x", 1)
    stranger.directory.demand_path(1).rename(stocked.directory.demand_path(1))
    stocked.directory.publish_demand(1)
    with pytest.raises(TableUnavailable, match="not what its name says"):
        reader.refresh()
    assert reader.available("apple", "x") == 10


def test_a_supply_table_is_not_taken_for_a_demand_table(stocked):
    """The two look alike from outside."""
    stocked.directory.table_path(0, 1).rename(stocked.directory.demand_path(1))
    stocked.directory.publish_demand(1)
    with pytest.raises(TableUnavailable, match="not what its name says"):
        stocked.reader()


# ---- reads ----


def test_a_promise_counts_where_there_never_was_stock(stocked, demand):
    """A cell of demand alone is short, and takes nothing from the cells beside it."""
    demand.add("apple", "y", 2)
    reader = stocked.reader()
    here = reader.read("apple", "location:y", NOW_US)
    assert (here.available, here.reserved, here.shortfall) == (0, 2, 2)
    everywhere = reader.read("apple", "group:all", NOW_US)
    assert (everywhere.available, everywhere.reserved, everywhere.shortfall) == (10, 2, 2)
    detail = json.loads(reader.render_one("apple", "group:all", NOW_US, detail=True))
    assert [item["location"] for item in detail["locations"]] == ["x", "y"]
    assert reader.promisable("apple", "y") == -2


def test_what_is_promised_is_never_unknown(stocked, demand):
    """A SKU and a location that only a promise has named can be asked about."""
    reader = stocked.reader()
    assert reader.read("pear", "group:all", NOW_US) is None
    demand.add("pear", "z", 2)
    assert reader.read("pear", "group:all", NOW_US).shortfall == 2
    assert reader.available("pear", "z") == 0
    assert reader.available_many(["pear", "pear"], ["z", "q"]).tolist() == [0, -1]
    assert reader.knows_sku("pear")
    assert reader.has_scope("location:z")
    assert "z" in reader.locations()


def test_an_overdue_backorder_is_owed_today(stocked, demand):
    """What should have been sent takes the first units there are."""
    stocked.kit.add_incoming("apple", "x", TODAY + 3, 5)
    for day, units in [(TODAY - 4, 2), (TODAY + 2, 9), (TODAY + 91, 50)]:
        demand.add_backorder("apple", "x", day, units)
    assert stocked.reader().to_order("apple", "x", NOW_US) == [(TODAY, 0), (TODAY + 3, 4)]


def test_what_is_to_order_of_places_that_only_set_up_names(stocked, demand):
    """Places that nobody knows have what set-up says they have."""
    demand.add("apple", "x", 3)
    setup = Setup(safety_rules=(SafetyRule(location="q", quantity=-6),))
    reader = stocked.reader(setup)
    found = [reader.to_order("apple", place, NOW_US)[0] for place in "qxy"]
    assert found == [(TODAY, 6), (TODAY, 7), (TODAY, 0)]


def test_what_may_be_promised_of_the_unknown_is_what_set_up_says(stocked, demand):
    """Without stock there is nothing to promise, unless safety stock is negative."""
    setup = Setup(
        locations={"w": Location(id="w", name="w", type="warehouse")},
        safety_rules=(
            SafetyRule(group="all", quantity=2),
            SafetyRule(sku="made to order", quantity=-7),
        ),
    )
    reader = stocked.reader(setup)
    assert demand.reserved("apple", "w") == 0
    assert reader.promisable("apple", "w") == -2
    assert reader.promisable("nobody", "nowhere") == -2
    assert reader.promisable("made to order", "nowhere") == 7
    assert reader.promisable("made to order", "w") == 7
    assert reader.cell_shortfall("made to order", "w") == 0
    names, units = reader.group_cells(["nobody", "made to order", "apple"], "all")
    assert names == ("w", "x")
    assert units.tolist() == [[0, 0], [7, 7], [0, 8]]
    with pytest.raises(UnknownScope):
        reader.group_cells([], "west")


def test_a_group_without_members_has_no_cells(stocked):
    """Nothing is read of it."""
    closed = Location(id="x", name="x", type="store", enabled=False, groups=("west",))
    names, units = stocked.reader(Setup(locations={"x": closed})).group_cells(["apple"], "all")
    assert (names, units.shape) == ((), (1, 0))


@pytest.mark.parametrize("promised_places", [3, 30])
def test_cells_of_a_group_are_what_each_place_has(tables, promised_places):
    """Whatever order rows and members are in, with rules, promises and numbers of any size."""
    names = [f"place-{n:02d}" for n in range(41)]
    setup = Setup(
        locations={
            name: Location(id=name, name=name, type="store", groups=("west",) if n % 3 else ())
            for n, name in enumerate([*names[20:], *names[:20]])
        },
        safety_rules=(SafetyRule(group="all", quantity=2), SafetyRule(sku="kept", quantity=5)),
    )
    orders = {
        "in order": names,
        "backwards": names[::-1],
        "half": names[1::2],
        "kept": names,
        "huge": names[5:],
    }
    for name in names[:38]:
        tables.kit.location(name)
    for sku, order in orders.items():
        for at, name in enumerate(order):
            tables.kit.add(sku, name, 2**33 + at if sku == "huge" and not at else at % 11 - 1)
    tables.publish()
    demand = tables.publish_demand(tables.demand())
    reader = tables.reader(setup)
    skus = [*orders, "nobody"] * 4
    for turn in range(2):
        for group in ("all", "west"):
            members, cells = reader.group_cells(skus, group)
            assert len(members) == (41 if group == "all" else 27)
            assert cells.max() > 2**33 - 6
            expected = [[max(0, reader.promisable(sku, name)) for name in members] for sku in skus]
            assert cells.tolist() == expected
        for sku in orders if turn == 0 else ():
            for name in names[:promised_places]:
                demand.add(sku, name, 3)


def test_the_ledger_sequence_is_that_of_the_shard(tmp_path):
    """A SKU's settling waits for its own shard alone."""
    tables = Tables(tmp_path, shard_count=2)
    tables.publish()
    reader = tables.reader()
    assert reader.ledger_sequence_of("apple") == 0
    assert reader.ledger_sequences() == (0, 0)


# ---- changes ----


def test_changes_of_demand_are_told_with_those_of_supply(stocked, demand):
    """Promises and backorders are named like stock, and none of them twice."""
    reader = stocked.reader()
    cursor = reader.cursor()
    demand.add("apple", "y", 1)
    stocked.kit.add("pear", "x", 1)
    demand.add_backorder("plum", "z", TODAY, 1)
    demand.tell("quince", "x")
    changes = reader.changes(cursor)
    assert changes.complete
    assert sorted(changes.cells) == [("apple", "y"), ("pear", "x"), ("plum", "z"), ("quince", "x")]
    assert reader.changes(changes.cursor).cells == []
    assert sorted(reader.cells_of(["apple", "plum"])) == [("apple", "x"), ("apple", "y")]


def test_the_first_demand_table_makes_its_own_skus_suspect(stocked):
    """What it does not name has not changed."""
    stocked.kit.add("pear", "x", 1)
    reader = stocked.reader()
    cursor = reader.cursor()
    demand = stocked.demand()
    demand.add("apple", "x", 1)
    stocked.publish_demand(demand)
    reader.refresh()
    assert not reader.changes(cursor).complete
    assert list(reader.changed_skus(cursor)) == ["apple"]


def test_a_new_demand_table_makes_the_skus_of_both_suspect(stocked, demand):
    """What the old one alone promised is promised no longer."""
    stocked.kit.add("plum", "x", 1)
    demand.add("apple", "x", 1)
    reader = stocked.reader()
    cursor = reader.cursor()
    second = stocked.demand()
    second.add("pear", "x", 1)
    stocked.publish_demand(second)
    reader.refresh()
    assert not reader.changes(cursor).complete
    assert sorted(set(reader.changed_skus(cursor))) == ["apple", "pear"]
    stocked.publish_demand(stocked.demand())
    reader.refresh()
    assert sorted(set(reader.changed_skus(cursor))) == ["apple", "plum"]


def test_answers_stand_for_the_stock_they_were_made_from(stocked, demand):
    """Promises have no part in how old an answer is."""
    demand.stamp(heartbeat_us=NOW_US, commit_number=1)
    demand.add("apple", "x", 1)
    answer = stocked.reader().read("apple", "location:x", NOW_US)
    assert answer.age_ms == (NOW_US - AS_OF_US) // 1000
