"""The reader against a naive twin: every number of every scope, whatever the set-up."""

import json
import random
import tempfile
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onhand._native.storekit import shard_of
from onhand.model.setup import Location, SafetyRule, Setup, Sku
from tests.tables import (
    AS_OF_US,
    NOW_US,
    SUMMED,
    TODAY,
    Cell,
    Tables,
    Twin,
    numbers_of,
)

EPOCH = date(1970, 1, 1)
GROUPS = ["east", "west", "online"]
ZONES = ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"]
CATEGORIES = ["shoes", "hats"]
QUANTITIES = [0, 1, 2, 3, 7, 100, -1, -5, 2_147_483_647, -2_147_483_647]


def random_setup(rng):
    """Return locations in overlapping groups, some closed, and rules of every kind."""
    locations = {
        f"store {n}": Location(
            id=f"store {n}",
            name="x",
            type="store",
            enabled=rng.random() < 0.85,
            groups=tuple(rng.sample(GROUPS, rng.randrange(len(GROUPS) + 1))),
            timezone=rng.choice(ZONES),
        )
        for n in range(rng.randrange(12))
    }
    skus = {
        f"sku {n}": Sku(sku=f"sku {n}", category=rng.choice([None, *CATEGORIES]))
        for n in range(rng.randrange(8))
    }
    rules = {}
    for _ in range(rng.choice([0, 1, 3, 12])):
        about = rng.choice(
            [{}, {"sku": f"sku {rng.randrange(10)}"}, {"category": rng.choice(CATEGORIES)}]
        )
        where = rng.choice(
            [
                {},
                {"location": f"store {rng.randrange(14)}"},
                {"group": rng.choice([*GROUPS, "all"])},
            ]
        )
        if about or where:
            rule = SafetyRule(**about, **where, quantity=rng.choice(QUANTITIES))
            rules[rule.scope] = rule
    return Setup(locations=locations, skus=skus, safety_rules=tuple(rules.values()))


def random_cells(rng, kits, cells, known):
    """Fill tables and the twin alike; known grows by every location a table knows."""
    large = rng.random() < 0.2
    for _ in range(rng.randrange(150)):
        sku, location = f"sku {rng.randrange(10)}", f"store {rng.randrange(16)}"
        cell = cells.setdefault((sku, location), Cell())
        known.add(location)
        kit = kits[shard_of(sku, len(kits))]
        if rng.random() < 0.2:
            day, quantity = TODAY + rng.choice([-3, -1, 0, 1, 2, 30, 90, 91]), rng.randrange(1, 9)
            cell.due[day] = cell.due.get(day, 0) + quantity
            kit.add_incoming(sku, location, day, quantity)
            continue
        deltas = [rng.randrange(-4, 9), *(rng.choice([0, 0, rng.randrange(5)]) for _ in range(3))]
        deltas[0] *= 10**9 if large else 1
        kit.add(sku, location, *deltas)
        for name, delta in zip(("on_hand", "held", "in_transit", "damaged"), deltas, strict=True):
            setattr(cell, name, getattr(cell, name) + delta)


def random_demand(rng, demand, cells, known):
    """Promise, release and owe, in the demand table and the twin alike."""
    busy = rng.random() < 0.3  # A few SKUs promised nearly everywhere.
    for _ in range(rng.choice([0, 1, 20, 200])):
        sku = f"sku {rng.randrange(2 if busy else 11)}"
        location = f"store {rng.randrange(25 if busy else 18)}"
        cell = cells.setdefault((sku, location), Cell())
        if rng.random() < 0.2:
            day = TODAY + rng.choice([-2, -1, 0, 1, 3, 30, 90, 91])
            delta = rng.choice([rng.randrange(1, 5), -cell.owed.get(day, 0)])
            cell.owed[day] = demand.add_backorder(sku, location, day, delta)
        else:
            delta = rng.choice([rng.randrange(1, 6), rng.randrange(1, 6), 10**10, -cell.reserved])
            before, cell.reserved = cell.reserved, demand.add(sku, location, delta)
            assert cell.reserved == before + delta
        if delta:
            known.add(location)


def refilled(tables, cells):
    """Return a new generation of the demand table, filled at once, as at a start."""
    demand = tables.demand()
    promised = [(sku, place, cell.reserved) for (sku, place), cell in cells.items()]
    demand.add_many(*map(list, zip(*promised, strict=True)) if promised else ([], [], []))
    for (sku, place), cell in cells.items():
        for day, units in cell.owed.items():
            demand.add_backorder(sku, place, day, units)
    return demand


def scopes_of(setup, known):
    """Return every scope that can be asked about."""
    locations = [f"location:{name}" for name in sorted({*setup.locations, *known})]
    return [*(f"group:{group}" for group in setup.groups()), *locations]


@pytest.mark.parametrize("shard_count", [1, 3])
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_every_number_equals_the_naive_twins(shard_count, seed):
    """Read, rendered, queried and listed by location, all numbers are those of the contract."""
    check_seed(shard_count, seed)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("shard_count", [1, 2, 5])
def test_every_number_equals_the_naive_twins_for_many_set_ups(shard_count):
    """The same holds for hundreds of set-ups."""
    for seed in range(100):
        check_seed(shard_count, seed)


def check_seed(shard_count, seed):
    """Compare everything in tables of its own; hundreds of them would fill a disk, so they go."""
    with tempfile.TemporaryDirectory() as root:
        check_tables(Path(root), shard_count, seed)


def check_tables(root, shard_count, seed):
    """Fill tables at random, a part at a time, and compare everything after each part."""
    rng = random.Random(seed)
    tables = Tables(root, shard_count)
    setup = random_setup(rng)
    cells, known = {}, set()
    random_cells(rng, tables.kits, cells, known)
    tables.publish()
    reader = tables.reader(setup)
    check_all(reader, setup, cells, known)
    demand = tables.publish_demand(tables.demand())
    random_demand(rng, demand, cells, known)
    reader.refresh()
    check_all(reader, setup, cells, known)
    random_cells(rng, tables.kits, cells, known)
    random_demand(rng, demand, cells, known)
    check_all(reader, setup, cells, known)
    events_named = {name for kit in reader.tables() for name in kit.location_names()}
    tables.kits = [tables.make(n, 2, image=kit.image()) for n, kit in enumerate(tables.kits)]
    tables.publish(2)
    check_all(reader, setup, cells, known)
    assert reader.refresh()
    demand = tables.publish_demand(refilled(tables, cells))
    # A place that only promises had named is forgotten with the last of them.
    open_at = {
        place for (_, place), cell in cells.items() if cell.reserved or any(cell.owed.values())
    }
    known = {*events_named, *open_at}
    random_demand(rng, demand, cells, known)
    random_cells(rng, tables.kits, cells, known)
    assert reader.refresh()
    check_all(reader, setup, cells, known)
    check_listed(demand, reader.demand(), cells)


def check_all(reader, setup, cells, known):
    """Compare everything that can be asked."""
    twin = Twin(setup, cells, known)
    skus = sorted({*setup.skus, *(sku for sku, _ in cells)} & set(known_skus(reader, setup)))
    scopes = scopes_of(setup, known)
    for scope in scopes:
        for sku in skus:
            expected = twin.answer(sku, scope)
            assert numbers_of(reader.read(sku, scope, NOW_US)) == expected
            rendered = json.loads(reader.render_one(sku, scope, NOW_US, detail=True))
            assert numbers_of(rendered) == expected
            check_detail(twin, sku, scope, rendered)
            check_available(reader, sku, scope, expected)
        check_promisable(reader, twin, [*skus, "nobody"], scope)
    query = json.loads(reader.render_query([*skus, "nobody"], scopes, NOW_US))
    assert query["unknown"] == ["nobody"]
    assert [(item["sku"], item["scope"]) for item in query["items"]] == [
        (sku, scope) for sku in skus for scope in scopes
    ]
    for item in query["items"]:
        assert numbers_of(item) == twin.answer(item["sku"], item["scope"])


def known_skus(reader, setup):
    """Return the SKUs that events, promises or set-up have named."""
    return [sku for sku in [*setup.skus, *(f"sku {n}" for n in range(12))] if reader.knows_sku(sku)]


def check_promisable(reader, twin, skus, scope):
    """Compare what the order writer asks."""
    kind, _, name = scope.partition(":")
    if kind == "group":
        names, units = reader.group_cells(skus, name)
        assert sorted(names) == sorted(twin.members(scope))
        assert reader.group_cells(skus, name)[0] is names
        assert units.tolist() == [
            [twin.cell_numbers(sku, member)[0]["available"] for member in names] for sku in skus
        ]
        return
    for sku in skus:
        expected = twin.answer(sku, scope)
        assert reader.promisable(sku, name) == twin.cell_numbers(sku, name)[1]
        assert reader.cell_shortfall(sku, name) == expected["shortfall"]
        days = reader.to_order(sku, name, NOW_US)
        shown = [{"date": str(EPOCH + timedelta(days=day)), "quantity": q} for day, q in days]
        assert shown == expected["available_to_order"]


def check_listed(demand, beside, cells):
    """Compare what the writer and a reader list as promised and owed."""
    for lists in (demand, beside):
        listed = [
            (sku, place, units)
            for chunk in lists.cells()
            for sku, place, units in zip(*chunk, strict=True)
        ]
        assert sorted(listed) == sorted(
            (*key, cell.reserved) for key, cell in cells.items() if cell.reserved
        )
        assert sorted(lists.backorders()) == sorted(
            (*key, day, units)
            for key, cell in cells.items()
            for day, units in cell.owed.items()
            if units
        )
        for (sku, place), cell in cells.items():
            assert lists.reserved(sku, place) == cell.reserved


def check_detail(twin, sku, scope, rendered):
    """Cells add up to their group, and only cells of all zeros are left out."""
    listed = {item["location"]: item for item in rendered["locations"]}
    for field in SUMMED:
        assert sum(item[field] for item in listed.values()) == rendered[field]
    for location, item in listed.items():
        assert numbers_of(item) == twin.answer(sku, f"location:{location}")
    for location in set(twin.members(scope)) - set(listed):
        alone = twin.answer(sku, f"location:{location}")
        assert not any(value for value in alone.values() if isinstance(value, int))


def check_available(reader, sku, scope, expected):
    """Compare the short ways to the one number that matters most with the long one."""
    kind, _, name = scope.partition(":")
    if kind == "location":
        assert reader.available(sku, name) == expected["available"]
        assert reader.available_many([sku], [name]).tolist() == [expected["available"]]
    else:
        assert reader.group_available(sku, name) == expected["available"]


def test_answers_say_when_they_were_true(tmp_path):
    """Every answer carries the append time it stands for and how long ago that was."""
    tables = Tables(tmp_path)
    tables.kit.add("a", "x", 1)
    tables.publish()
    rendered = json.loads(tables.reader().render_one("a", "group:all", NOW_US))
    assert rendered["as_of"] == "2025-10-09T08:53:18.623Z"
    assert rendered["age_ms"] == (NOW_US - AS_OF_US) // 1000
