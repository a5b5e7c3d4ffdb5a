"""The replayed year: what it sells, what it delivers, and what must come out."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import numpy as np
import pytest

from onhand.replay import Disturbance, Year, build_places, load_sales, load_year
from onhand.replay.disorder import RUBBISH

NOW_US = 1_790_000_000_123_456
LIMIT = 20_000


@pytest.fixture(scope="module")
def year() -> Year:
    return load_year(NOW_US, limit=LIMIT)


@pytest.fixture(scope="module")
def events(year: Year) -> list[dict]:
    return [msgspec.json.decode(record.value) for record in year.records()]


def move_all(events: list[dict]) -> Counter[tuple[str, str]]:
    """Apply sales and receipts one after the other; no shelf may be below zero on the way."""
    shelves: Counter[tuple[str, str]] = Counter()
    for event in events:
        sign = {"sale": -1, "receipt": 1}[event["type"]]
        for line in event["lines"]:
            cell = (line["sku"], event["location"])
            shelves[cell] += sign * line["quantity"]
            assert shelves[cell] >= 0
    return shelves


def test_the_whole_year_is_read() -> None:
    """Every line of the data set is a sale or is counted as having moved nothing."""
    sales = load_sales(NOW_US)
    assert sales.line_count + sales.zero_line_count == 1_469_307
    assert sales.zero_line_count == 8_869
    assert sales.quantity.min() == 1
    assert len(np.unique(sales.store)) == 457


def test_the_year_ends_now() -> None:
    """The newest sale happened in the second that was given as now, the oldest a year before."""
    sales = load_sales(NOW_US)
    assert sales.occurred_us[-1] == NOW_US // 1_000_000 * 1_000_000
    year_days = (sales.occurred_us[-1] - sales.occurred_us[0]) / 86_400e6
    assert 364 < year_days < 366


def test_events_keep_shelves_at_zero_or_above(year: Year, events: list[dict]) -> None:
    """Applied in order, events never take a shelf below zero and end as pandas says."""
    shelves = move_all(events)
    cells = year.expected_cells()
    expected = dict(
        zip(zip(cells["sku"], cells["location"], strict=True), cells["on_hand"], strict=True)
    )
    assert shelves == expected
    assert 0 < sum(on_hand == 0 for on_hand in expected.values()) < len(expected) / 4


def test_events_are_in_the_order_in_which_they_happened(events: list[dict]) -> None:
    """Times never go back, and none lies after now."""
    times = [event["occurred_at"] for event in events]
    assert times == sorted(times)
    assert times[-1] <= "2026-09-21T14:13:20Z"


def test_ids_are_unique_in_their_source(year: Year, events: list[dict]) -> None:
    """No two events share source and id, and there are as many as announced."""
    names = {(event["source"], event["id"]) for event in events}
    assert len(names) == len(events) == year.event_count
    assert sum(len(event["lines"]) for event in events) == year.line_count


def test_a_basket_is_one_sale_of_its_household(events: list[dict]) -> None:
    """A sale carries basket, household and the till's source."""
    sale = next(event for event in events if event["type"] == "sale")
    assert sale["id"] == f"basket-{sale['basket_id']}"
    assert sale["source"].removeprefix("pos-") == sale["location"].removeprefix("store-")
    assert sale["customer_id"].startswith("household-")


def test_no_event_has_more_lines_than_allowed(events: list[dict]) -> None:
    """Opening stock is split into events of at most 1,000 lines, none of them lost."""
    assert max(len(event["lines"]) for event in events) == 1_000


def test_the_same_now_and_seed_give_the_same_bytes() -> None:
    """A replay is reproducible, its disturbance included."""
    storm = Disturbance(duplicates=0.1, disorder=0.1, rubbish=0.1)
    first, second = (load_year(NOW_US, limit=2_000, seed=7, disturbance=storm) for _ in range(2))
    assert list(first.records()) == list(second.records())


def test_another_seed_gives_other_shelves() -> None:
    """The seed decides deliveries and buffers, never sales."""
    first, second = (load_year(NOW_US, limit=2_000, seed=seed) for seed in (1, 2))
    assert first.sales.line_count == second.sales.line_count
    assert list(first.records()) != list(second.records())


def test_disturbing_adds_rubbish_and_twins_and_loses_nothing() -> None:
    """Every clean event comes out, twins as often as counted, rubbish under ids of its own."""
    storm = Disturbance(duplicates=0.2, disorder=0.5, rubbish=0.3)
    clean = list(load_year(NOW_US, limit=5_000).records())
    year = load_year(NOW_US, limit=5_000, disturbance=storm)
    disturbed = list(year.records())
    tally = year.tally
    assert min(tally.duplicate_count, tally.displaced_count, tally.rubbish_count) > 0
    counts = Counter(record.value for record in disturbed)
    assert sum(counts[record.value] for record in clean) == len(clean) + tally.duplicate_count
    assert len(disturbed) == len(clean) + tally.duplicate_count + tally.rubbish_count
    known = {record.value for record in clean}
    assert [r for r in disturbed if r.value in known] != clean


def test_rubbish_keeps_to_itself() -> None:
    """No way of spoiling an event yields the event itself or its id."""
    record = next(load_year(NOW_US, limit=1).records())
    from onhand.replay.disorder import spoil  # noqa: PLC0415 - beside what it tests

    for how in RUBBISH:
        assert spoil(record, how).value != record.value


def test_places_are_real_and_each_store_has_one(year: Year) -> None:
    """Every store and warehouse is somewhere of its own in the United States, in a region."""
    places = build_places(year.sales)
    assert len({place.id for place in places}) == len(places)
    assert {place.id for place in places} == set(year.expected_cells()["location"])
    assert len({(place.latitude, place.longitude) for place in places}) == len(places)
    regions = {"west", "midwest", "south", "northeast"}
    for place in places:
        assert place.type == "warehouse" or regions & set(place.groups)
        assert place.zone.key.startswith(("America/", "Pacific/"))
        assert place.postal_code is not None
        assert len(place.postal_code) == 5
    assert {"warehouse-east", "warehouse-west"} <= {p.id for p in places if "online" in p.groups}


def test_skus_are_named(year: Year) -> None:
    """Master data covers what was sold and nothing else."""
    skus = {each.sku for each in year.skus()}
    sold = set(year.sales.product.astype(str))
    assert skus <= sold
    assert len(sold - skus) < 20


def test_limits_take_whole_baskets() -> None:
    """A limit never cuts a basket in two, and takes at least one."""
    for limit in (1, 10, 1_000):
        sales = load_sales(NOW_US, limit=limit)
        baskets = [basket for basket, _ in itertools.groupby(sales.basket.tolist())]
        assert len(baskets) == len(set(baskets)) >= 1
        if limit > 1:
            assert sales.line_count <= limit
