"""The reader: scopes, days, generations, changes and what it says when it cannot answer."""

import json

import pytest

from onhand.errors import TableUnavailable
from onhand.model.setup import Location, SafetyRule, Setup, Sku
from onhand.table.reader import TableReader, UnknownScope
from tests.tables import AS_OF_US, NOW_US, PARTITIONS, TODAY, Tables, tables

__all__ = ["tables"]

DAY_US = 86_400_000_000


def store(name, **fields):
    """Describe a store in a Setup's locations."""
    return {name: Location(id=name, name=name, type="store", **fields)}


def available(reader, sku, scope="group:all"):
    return reader.read(sku, scope, NOW_US).available


def test_before_a_table_is_published_there_is_no_answer(tables):
    """The reader can be made first; it says what it waits for."""
    reader = TableReader(tables.root, tables.cluster_id)
    for ask in (reader.refresh, reader.progress, lambda: reader.available("a", "x")):
        with pytest.raises(TableUnavailable, match="ngest"):
            ask()
    tables.kit.add("a", "x", 4)
    tables.publish()
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.available("a", "x") == 4


def test_some_shards_are_not_enough(tmp_path):
    """While a part of the SKUs would be unknown, all of them are."""
    tables = Tables(tmp_path, shard_count=2)
    tables.directory.publish(0, 1, shard_count=2, partitions=PARTITIONS)
    with pytest.raises(TableUnavailable, match="1 of 2 tables"):
        tables.reader()


def test_a_table_of_another_cluster_is_refused(tables):
    """A file moved into the wrong directory never answers."""
    tables.kit.add("a", "x", 4)
    tables.publish()
    stranger = Tables(tables.root)
    path = stranger.directory.table_path(0, 1)
    path.unlink()
    tables.directory.table_path(0, 1).rename(path)
    stranger.directory.publish(0, 1, shard_count=1, partitions=PARTITIONS)
    with pytest.raises(TableUnavailable, match="not what its name says"):
        stranger.reader()


def test_a_new_generation_is_followed_and_the_old_one_stays_whole(tables):
    """Whoever holds the old generation may read on; a refresh goes to the new one."""
    tables.kit.add("a", "x", 4)
    tables.publish()
    reader = tables.reader()
    old = reader.tables()[0]
    tables.kits = [tables.make(0, 2, image=tables.kit.image())]
    tables.kit.add("b", "y", 1)
    tables.kit.add("a", "x", 1)
    assert not reader.refresh()
    tables.publish(2)
    assert reader.refresh()
    assert (reader.available("a", "x"), reader.available("b", "y")) == (5, 1)
    assert reader.progress().generations == (2,)
    assert old.row(0)[1].tolist() == [4]


def test_a_new_division_into_shards_is_followed_once_it_is_whole(tmp_path):
    """Until then the old tables answer."""
    tables = Tables(tmp_path)
    tables.kit.add("a", "x", 4)
    tables.publish()
    reader = tables.reader()
    tables.shard_count = 2
    tables.kits = [tables.make(shard, 2) for shard in range(2)]
    for kit in tables.kits:
        kit.add("a", "x", 9)
    tables.directory.publish(0, 2, shard_count=2, partitions=PARTITIONS)
    assert not reader.refresh()
    assert reader.available("a", "x") == 4
    tables.publish(2)
    assert reader.refresh()
    assert reader.available("a", "x") == 9
    assert reader.progress().generations == (2, 2)
    reader.refresh()
    assert not reader.refresh()


def test_tables_that_were_freed_stay_readable_and_grow_old(tables):
    """When ingest has ended cleanly, reads go on from what it wrote."""
    tables.kit.add("a", "x", 4)
    tables.publish()
    reader = tables.reader()
    tables.directory.remove()
    assert not reader.refresh()
    assert reader.available("a", "x") == 4


def test_tables_made_after_a_clean_end_are_followed(tables):
    """What was kept of ingest that ended gives way to what ingest that started has made."""
    tables.kit.add("a", "x", 4)
    tables.publish()
    reader = tables.reader()
    tables.directory.remove_tables()
    assert not reader.refresh()
    generation = tables.directory.next_generation(0)
    tables.kits = [tables.make(0, generation)]
    tables.kit.add("a", "x", 9)
    tables.publish(generation)
    assert reader.refresh()
    assert reader.available("a", "x") == 9


def test_what_nobody_has_named_is_unknown(tables):
    """SKUs give None or a KeyError, scopes always the error that names them."""
    tables.kit.add("a", "x", 4)
    tables.publish()
    reader = tables.reader(Setup(locations=store("y"), skus={"b": Sku(sku="b")}))
    assert reader.read("z", "group:all", NOW_US) is None
    assert reader.render_one("z", "group:all", NOW_US) is None
    assert available(reader, "b", "location:x") == 0
    assert reader.available("a", "y") == 0
    assert reader.available_many(["a", "b", "z", "a"], ["x", "x", "x", "q"]).tolist() == [
        4,
        0,
        -1,
        -1,
    ]
    assert (reader.knows_sku("b"), reader.knows_sku("z")) == (True, False)
    assert (reader.has_scope("location:y"), reader.has_scope("group:y")) == (True, False)
    for scope in ("location:q", "group:q", "a", ""):
        with pytest.raises(UnknownScope):
            reader.render_one("a", scope, NOW_US)
    for sku, location in [("z", "x"), ("a", "q")]:
        with pytest.raises(KeyError):
            reader.available(sku, location)


def test_a_location_seen_for_the_first_time_is_in_all_at_once(tables):
    """Reads notice new locations by themselves, also those with a negative safety stock."""
    setup = Setup(
        locations=store("y", enabled=False),
        safety_rules=(SafetyRule(group="all", quantity=-2),),
    )
    tables.kit.add("a", "x", 4)
    tables.publish()
    reader = tables.reader(setup)
    assert available(reader, "a") == 6
    tables.kit.add("b", "new", 1)
    tables.kit.add("a", "y", 50)
    assert available(reader, "a") == 8
    assert available(reader, "b") == 5
    assert reader.available("b", "new") == 3
    assert reader.available("a", "y") == 50


def test_a_sku_seen_for_the_first_time_takes_its_categorys_rule(tables):
    """Rules reach SKUs whose first event comes after set-up."""
    setup = Setup(
        skus={"late": Sku(sku="late", category="hats")},
        safety_rules=(
            SafetyRule(category="hats", quantity=3),
            SafetyRule(sku="later", quantity=1),
        ),
    )
    tables.kit.add("a", "x", 10)
    tables.publish()
    reader = tables.reader(setup)
    assert reader.available("late", "x") == 0
    for n in range(1_500):
        tables.kit.sku(f"filler-{n}")
    for sku in ("late", "later", "plain"):
        tables.kit.add(sku, "x", 10)
    assert [reader.available(sku, "x") for sku in ("a", "late", "later", "plain")] == [10, 7, 9, 10]
    assert available(reader, "late") == 7


def test_rules_that_change_apply_to_the_next_read(tables):
    """Set-up is taken over whole."""
    tables.kit.add("a", "x", 10)
    tables.publish()
    reader = tables.reader()
    for quantity in (4, 0, -3):
        rules = (SafetyRule(sku="a", location="x", quantity=quantity),)
        reader.set_scopes(Setup(safety_rules=rules), NOW_US / 1e6)
        assert reader.available("a", "x") == 10 - quantity


def test_a_day_begins_where_the_location_is(tables):
    """What is due tomorrow is due today once it is midnight there, and overdue a day later."""
    setup = Setup(locations=store("x", timezone="Pacific/Kiritimati") | store("y"))
    tables.kit.add("a", "x", 1)
    tables.kit.add("a", "y", 1)
    for place in ("x", "y"):
        tables.kit.add_incoming("a", place, TODAY + 1, 5)
    tables.publish()
    reader = tables.reader(setup)

    def today(place, now_us):
        entry = json.loads(reader.render_one("a", f"location:{place}", now_us))
        return entry["available_to_order"][0]

    morning = TODAY * DAY_US + 9 * 3_600_000_000
    assert today("x", morning) == {"date": "2025-10-09", "quantity": 1}
    assert today("x", morning + 3_600_000_000) == {"date": "2025-10-10", "quantity": 6}
    assert today("y", morning + 3_600_000_000) == {"date": "2025-10-09", "quantity": 1}
    assert today("y", morning + DAY_US) == {"date": "2025-10-10", "quantity": 6}
    assert today("x", morning + DAY_US) == {"date": "2025-10-10", "quantity": 6}
    assert today("x", morning + 2 * DAY_US) == {"date": "2025-10-11", "quantity": 1}


@pytest.mark.parametrize("name", ['q"uote', "back\\slash", "Ωmega/𝄞", "a b", "\x7f", "tab\t"])
def test_names_of_any_script_survive_json(tables, name):
    """SKUs, locations and groups come back as they went in."""
    setup = Setup(locations=store("y", groups=("ωest",)))
    tables.kit.add(name, name, 1)
    tables.publish()
    reader = tables.reader(setup)
    answer = json.loads(reader.render_one(name, f"location:{name}", NOW_US))
    assert (answer["sku"], answer["scope"]) == (name, f"location:{name}")
    listed = json.loads(reader.render_one(name, "group:all", NOW_US, detail=True))["locations"]
    assert [item["location"] for item in listed] == [name]
    query = json.loads(reader.render_query([name, name + "?"], ["group:ωest"], NOW_US))
    assert query["items"][0]["scope"] == "group:ωest"
    assert query["unknown"] == [name + "?"]


def test_fields_stand_in_the_order_of_the_contract(tables):
    """Answers read the same, whoever made them."""
    tables.kit.add("a", "x", 1)
    tables.publish()
    answer = json.loads(tables.reader().render_one("a", "group:all", NOW_US, detail=True))
    numbers = ["available", "on_hand", "held", "in_transit", "reserved", "safety_stock"]
    numbers += ["shortfall", "band", "available_to_order"]
    assert list(answer) == ["sku", "scope", *numbers, "as_of", "age_ms", "locations"]
    assert list(answer["locations"][0]) == ["location", *numbers]
    query = json.loads(tables.reader().render_query(["a"], ["group:all"], NOW_US))
    assert list(query) == ["items", "unknown", "as_of", "age_ms"]
    assert list(query["items"][0]) == ["sku", "scope", *numbers, "as_of", "age_ms"]


def test_progress_is_that_of_the_slowest_shard(tmp_path):
    """Nobody is told more than what holds for every SKU."""
    tables = Tables(tmp_path, shard_count=2)
    tables.publish()
    tables.kits[0].set_applied_offset(0, 10)
    tables.kits[1].set_applied_offset(0, 7)
    tables.kits[1].stamp(AS_OF_US - 5, heartbeat_us=NOW_US - 9, lag_events=40)
    progress = tables.reader().progress()
    assert (progress.as_of_us, progress.heartbeat_us) == (AS_OF_US - 5, NOW_US - 9)
    assert progress.lag_events == 40
    assert progress.offsets == {("stock.sales", 0): 7, ("stock.receipts", 0): 0}


def test_changes_are_followed_from_a_cursor(tables):
    """Each change is told once, oldest first."""
    tables.kit.add("a", "x", 1)
    tables.publish()
    reader = tables.reader()
    cursor = reader.cursor()
    for sku, place in [("b", "y"), ("a", "x"), ("b", "y")]:
        tables.kit.add(sku, place, 1)
    first = reader.changes(cursor, count_max=2)
    second = reader.changes(first.cursor)
    assert first.cells == [("b", "y"), ("a", "x")]
    assert second.cells == [("b", "y")]
    assert first.complete
    assert reader.changes(second.cursor).cells == []


def test_a_ring_that_has_lapped_is_mended_by_a_scan(tmp_path):
    """When more changed than is remembered, the rows say what."""
    tables = Tables(tmp_path, change_ring_size=8)
    for sku in ("a", "b", "c"):
        tables.kit.add(sku, "x", 1)
    tables.publish()
    reader = tables.reader()
    cursor = reader.cursor()
    for _ in range(9):
        tables.kit.add("b", "x", 1)
    tables.kit.add("d", "x", 1)
    changes = reader.changes(cursor)
    assert (changes.cells, changes.complete) == ([], False)
    assert list(reader.changed_skus(cursor)) == ["b", "d"]
    assert reader.changes(changes.cursor).complete


def test_a_new_generation_makes_every_sku_suspect(tables):
    """Sequences of one generation say nothing about another."""
    tables.kit.add("a", "x", 1)
    tables.publish()
    reader = tables.reader()
    cursor = reader.cursor()
    tables.kits = [tables.make(0, 2, image=tables.kit.image())]
    tables.publish(2)
    reader.refresh()
    assert not reader.changes(cursor).complete
    assert list(reader.changed_skus(cursor)) == ["a"]


def test_all_cells_can_be_listed(tmp_path):
    """Every shard yields its cells with its names."""
    tables = Tables(tmp_path, shard_count=2)
    for shard, kit in enumerate(tables.kits):
        for n in range(700):
            kit.add(f"sku-{shard}-{n}", "x", n, held=1)
            kit.add(f"sku-{shard}-{n}", "y", -n)
    tables.publish()
    found = {}
    for skus, locations, columns in tables.reader().cells():
        rows = zip(columns["sku"], columns["location"], columns["on_hand"], strict=True)
        found |= {(skus[sku], locations[place]): units for sku, place, units in rows}
    assert len(found) == 2_800
    assert found["sku-1-699", "y"] == -699


def test_an_empty_table_lists_nothing(tables):
    """No SKU, no cell, no movement, no error."""
    tables.publish()
    reader = tables.reader()
    assert [len(columns["sku"]) for _, _, columns in reader.cells()] == [0]
    assert (reader.skus(), reader.locations(), reader.history("a", "x")) == ([], [], [])
    assert json.loads(reader.render_query([], ["group:all"], NOW_US))["items"] == []
