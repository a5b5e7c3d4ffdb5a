"""The native search for places against trying every set of them, and what holds of any answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onhand.sourcing import NearestFewest, Request
from tests.twin.sourcing_oracle import covers, is_least, order_key, parts_of, rank_key, units

UNBOUNDED = 10**12

# Few values, so that places tie in any of them and in all.
distances = st.sampled_from([0.0, 1.0, 1.0004, 2.5, 40.0, float("nan")])
costs = st.sampled_from([0.0, 1.5, 3.0])
priorities = st.sampled_from([-1, 1, 2])
loads = st.sampled_from([0.0, 0.25, 1.0])
units_there = st.sampled_from([-2, 0, 0, 1, 1, 2, 3, 9])


@st.composite
def requests(draw, places_max=7, items_max=4):
    """Draw a request small enough to try everything."""
    items = draw(st.integers(1, items_max))
    places = draw(st.integers(0, places_max))

    def of_places(values, dtype):
        return np.array(draw(st.lists(values, min_size=places, max_size=places)), dtype)

    rows = st.lists(units_there, min_size=places, max_size=places)
    available = draw(st.lists(rows, min_size=items, max_size=items))
    wanted = st.lists(st.integers(1, 6), min_size=items, max_size=items)
    return Request(
        quantities=np.array(draw(wanted), np.int64),
        available=np.array(available, np.int64).reshape(items, places),
        distance_km=of_places(distances, np.float64),
        cost=of_places(costs, np.float64),
        priority=of_places(priorities, np.int64),
        load=of_places(loads, np.float64),
        allow_split=draw(st.booleans()),
        allow_partial=draw(st.booleans()),
        options_max=draw(st.sampled_from([1, 3, 64])),
    )


def places_of(option):
    return list(dict.fromkeys(part.place for part in option.parts))


def rank(request, **settings):
    return NearestFewest(**settings).rank(request)


@settings(max_examples=600, deadline=None)
@given(requests())
def test_options_are_those_of_trying_everything(request):
    """Sets, their order, and what each place gives are the same, as far as four packages reach."""
    expected = covers(request)
    if expected and len(expected[0]) > 4:
        (only,) = rank(request, work_max=UNBOUNDED)
        assert is_least(request, places_of(only))
        return
    expected = [places for places in expected if len(places) <= 4][: request.options_max]
    options = rank(request, work_max=UNBOUNDED)
    assert [places_of(option) for option in options] == expected
    assert [option.parts for option in options] == [
        parts_of(request, places) for places in expected
    ]


@settings(max_examples=300, deadline=None)
@given(requests(places_max=12, items_max=6), st.sampled_from([0, 50, 400_000]))
def test_any_answer_keeps_the_rules(request, work_max):
    """Nothing beyond what is there or wanted, sums agree, no place is superfluous, best first."""
    options = rank(request, work_max=work_max)
    assert len(options) <= request.options_max
    assert len({option.parts for option in options}) == len(options)
    for option in options:
        places = places_of(option)
        given_units = np.zeros_like(request.available)
        for item, place, quantity in option.parts:
            assert 0 < quantity <= request.available[item, place]
            assert given_units[item, place] == 0
            given_units[item, place] = quantity
        assert (given_units.sum(axis=1) + option.short == request.quantities).all()
        assert is_least(request, places)
        assert option.packages == len(places)
        assert option.packages == 1 or request.allow_split
        assert not any(option.short) or request.allow_partial
        assert option.cost == pytest.approx(request.cost[places].sum())
        assert option.distance_km == pytest.approx(np.nansum(request.distance_km[places]))
        ranks = [(rank_key(request, place), place) for place in places]
        assert ranks == sorted(ranks)
        assert list(option.parts) == sorted(
            option.parts, key=lambda part: (places.index(part.place), part.item)
        )
        assert all(option.why)
    keys = [order_key(request, places_of(option)) for option in options]
    assert keys == sorted(keys)
    scores = [option.score for option in options]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@settings(max_examples=200, deadline=None)
@given(requests(places_max=12, items_max=6), st.sampled_from([50, 400_000]))
def test_something_is_found_whenever_there_is_something(request, work_max):
    """Running out of work loses the order, never the answer, and as much is placed as can be."""
    whole = range(len(request.cost))
    most = max((units(request, [place]) for place in whole), default=0)
    if request.allow_split:
        most = units(request, whole)
    wanted = int(request.quantities.sum())
    options = rank(request, work_max=work_max)
    if most == 0 or (most < wanted and not request.allow_partial):
        assert options == []
    else:
        assert wanted - sum(options[0].short) == most


@settings(max_examples=300, deadline=None)
@given(requests(), st.sampled_from([0, 30, 400_000]))
def test_packages_are_the_fewest_unless_the_answer_says_otherwise(request, work_max):
    """However little work was allowed, the first option has the fewest packages or admits doubt."""
    options = rank(request, work_max=work_max)
    if options and not any("ruled out" in why for why in options[0].why):
        assert options[0].packages == len(covers(request)[0])


@settings(max_examples=200, deadline=None)
@given(requests(places_max=12, items_max=6), st.randoms(), st.sampled_from([50, 400_000]))
def test_the_order_of_places_matters_only_among_equals(request, random, work_max):
    """Places that differ in rank may come in any order: the same ones are chosen."""
    count = len(request.cost)
    order = list(range(count))
    random.shuffle(order)
    distinct = np.arange(count) * 1.5
    apart = {"distance_km": distinct, "cost": np.zeros(count)}
    shuffled = {
        "available": np.ascontiguousarray(request.available[:, order]),
        "priority": request.priority[order],
        "load": request.load[order],
        "distance_km": distinct[order],
        "cost": np.zeros(count),
    }
    there = rank(replaced(request, **apart), work_max=work_max)
    here = rank(replaced(request, **shuffled), work_max=work_max)
    assert [option.why for option in here] == [option.why for option in there]
    assert [
        tuple((item, order[place], quantity) for item, place, quantity in option.parts)
        for option in here
    ] == [option.parts for option in there]


def replaced(request, **fields):
    return Request(**{name: getattr(request, name) for name in request.__struct_fields__} | fields)


@pytest.mark.parametrize("seed", range(6))
def test_many_places_fill_more_than_a_word(seed):
    """Beyond 64 places, pairs and triples are still those of trying everything."""
    random = np.random.default_rng(seed)
    places, items = 150, 5
    chance = [0.5, 0.3, 0.12][seed % 3]
    there = random.integers(1, 4, (items, places)) * (random.random((items, places)) < chance)
    request = Request(
        quantities=random.integers(1, 4, items),
        available=there,
        distance_km=np.round(random.random(places) * 30),
        cost=random.integers(0, 2, places).astype(np.float64),
        priority=random.integers(1, 3, places),
        load=np.zeros(places),
        options_max=10,
    )
    options = rank(request, work_max=UNBOUNDED)
    assert [places_of(option) for option in options] == pairs_and_triples(request)[:10]


def pairs_and_triples(request):
    """List the options of up to three places, with numpy to be quick enough."""
    wanted, there = request.quantities[:, None], request.available
    everywhere = sorted(range(there.shape[1]), key=lambda place: (rank_key(request, place), place))
    sets = [[place] for place in everywhere if (there[:, [place]] >= wanted).all()]
    singles = {place for (place,) in sets}
    others = [place for place in everywhere if place not in singles]
    pairs = set()
    for at, one in enumerate(others):
        rest = others[at + 1 :]
        enough = (there[:, [one]] + there[:, rest] >= wanted).all(axis=0)
        pairs |= {(one, rest[other]) for other in np.flatnonzero(enough)}
    sets += [list(pair) for pair in pairs]
    if not singles:
        sets += triples(wanted, there, others, pairs)
    fewest = min(map(len, sets))
    sets = [places for places in sets if len(places) <= fewest + 1]
    return sorted(sets, key=lambda places: order_key(request, places))


def triples(wanted, there, others, pairs):
    found = []
    for at, one in enumerate(others):
        for after, two in enumerate(others[at + 1 :], at + 1):
            if (one, two) in pairs:
                continue
            rest = others[after + 1 :]
            enough = (there[:, [one]] + there[:, [two]] + there[:, rest] >= wanted).all(axis=0)
            found += [
                [one, two, rest[three]]
                for three in np.flatnonzero(enough)
                if (one, rest[three]) not in pairs and (two, rest[three]) not in pairs
            ]
    return found
