"""What the default policy means, one rule at a time, and how long packages travel."""

import weakref

import msgspec
import numpy as np
import pytest

from onhand.sourcing import NearestFewest, Request
from onhand.sourcing.travel import transit_days

UNKNOWN = float("nan")
# Half of six items at each of six places, and no two places that complete each other.
THREE_NEEDED = np.array(
    [[(place - item) % 6 in (0, 1, 3) for place in range(6)] for item in range(6)]
)


def ask(wanted, *rows, **fields):
    """Make a request; each row is an item's units at every place."""
    there = np.array(rows, np.int64)
    places = there.shape[1]
    own = {
        "distance_km": np.array(fields.pop("distance_km", range(places)), np.float64),
        "cost": np.array(fields.pop("cost", [0] * places), np.float64),
        "priority": np.array(fields.pop("priority", [1] * places), np.int64),
        "load": np.array(fields.pop("load", [0] * places), np.float64),
    }
    return Request(quantities=np.array(wanted, np.int64), available=there, **own, **fields)


def places(options):
    """List the places of each option, by rank."""
    return [tuple(dict.fromkeys(part.place for part in option.parts)) for option in options]


def rank(*arguments, **fields):
    return NearestFewest().rank(ask(*arguments, **fields))


def test_one_package_goes_before_two_nearer_ones():
    """A far place that has everything ranks before two near ones, and says why."""
    first, second = rank([1, 1], [1, 0, 1], [0, 1, 1], distance_km=[1, 1, 900])
    assert first.parts == ((0, 2, 1), (1, 2, 1))
    assert (first.packages, first.distance_km) == (1, 900)
    assert first.why == ("the only place that has everything", "one package instead of two")
    assert (second.packages, second.distance_km) == (2, 2)
    assert second.why == ("two packages: one would do",)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"cost": [2, 1.5], "distance_km": [1, 9]}, "handling cost 1.5 before 2"),
        ({"distance_km": [9, 1.25], "priority": [1, 2]}, "1.25 km before 9 km"),
        ({"distance_km": [UNKNOWN, 9_000]}, "distance known, before an unknown one"),
        ({"distance_km": [5, 5], "priority": [2, 1], "load": [0, 1]}, "priority 1 before 2"),
        (
            {"distance_km": [5, 5], "load": [0.5, 0.25]},
            "25 % of the day's capacity used, before 50 %",
        ),
    ],
)
def test_places_are_compared_field_by_field(fields, why):
    """Cost, then distance, then priority, then load: the first that differs decides."""
    options = rank([1], [1, 1], **fields)
    assert places(options) == [(1,), (0,)]
    assert options[0].why[1] == why


def test_equal_places_stay_in_the_order_of_the_caller():
    """What ties in everything goes to the lower number, also when less than a metre apart."""
    options = rank([1], [1, 1, 1], distance_km=[2.0004, 2.0001, 2])
    assert places(options) == [(0,), (1,), (2,)]
    assert options[0].why == (
        "one of 3 places that have everything",
        "equal in all else, first in the order of places",
    )


def test_equal_sums_go_to_the_set_with_the_best_place():
    """1 + 4 km goes before 2 + 3 km, however many of those are found first."""
    there = [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]
    options = rank([1] * 4, *there, distance_km=[1, 2, 3, 4, 3], options_max=1)
    assert places(options) == [(0, 3)]


def test_the_nearest_of_many_says_so():
    """The headline counts the places that have everything."""
    options = rank([1], [1] * 12, distance_km=range(12, 0, -1), options_max=1)
    assert places(options) == [(11,)]
    assert options[0].why == ("nearest of 12 places that have everything", "1 km before 2 km")


def test_an_item_comes_from_as_few_places_as_can_give_it():
    """Place 0 is needed for item 0 only: item 1 comes whole from place 1."""
    (option,) = rank([1, 3], [1, 0], [1, 3])
    assert option.parts == ((0, 0, 1), (1, 1, 3))


def test_quantities_of_one_item_are_split_when_they_must():
    """Five units from places with three each take two, the nearest ones."""
    first, *_ = rank([5], [3, 3, 3])
    assert first.parts == ((0, 0, 3), (0, 1, 2))
    assert first.why[0] == "two packages: no place has everything"


def test_without_split_one_place_gives_everything_or_nothing_is_offered():
    """Two places are no option; a place alone is one."""
    assert rank([2], [1, 1], allow_split=False) == []
    assert places(rank([2], [1, 2], allow_split=False)) == [(1,)]


def test_partial_without_split_takes_the_place_that_gives_most():
    """The place with most units goes first however far, and what is short is told."""
    (option,) = rank([2, 5], [2, 0], [1, 4], allow_split=False, allow_partial=True)
    assert option.parts == ((1, 1, 4),)
    assert option.short == (2, 1)
    assert option.score == pytest.approx(4 / 7)
    assert option.why == (
        "gives more than any other place alone",
        "three units short: as many as possible are placed",
    )


def test_partial_with_split_places_all_there_is():
    """Everything available is placed, in the fewest packages that hold it."""
    (option,) = rank([2, 5], [0, 0, 0], [1, 3, 0], allow_partial=True)
    assert option.parts == ((1, 0, 1), (1, 1, 3))
    assert option.short == (2, 1)


@pytest.mark.parametrize("allow_partial", [False, True])
def test_nothing_available_is_no_option(allow_partial):
    """Neither zeros nor records below zero, nor no places at all, make an option."""
    assert rank([1], [0, -4], allow_partial=allow_partial) == []
    assert rank([1], [], allow_partial=allow_partial) == []


def test_beyond_four_packages_a_bound_may_prove_the_greedy_way():
    """Six places with one item each are all needed, as no place gives more than a sixth."""
    (option,) = rank([1] * 6, *np.eye(6, dtype=np.int64))
    assert option.packages == 6
    assert option.why == ("six packages: no place has everything",)


def test_what_is_not_proven_is_said():
    """Without work no search can rule out pairs, with work it does; both find three packages."""
    request = ask([1] * 6, *THREE_NEEDED)
    (greedy,) = NearestFewest(work_max=0).rank(request)
    assert greedy.packages == 3
    assert greedy.why[1] == "fewer packages were not ruled out within the bound on work"
    first, *_ = NearestFewest().rank(request)
    assert first.packages == 3
    assert first.why[0] == "three packages: no place has everything"
    assert not any("ruled out" in why for why in first.why)


def test_any_handling_cost_can_be_compared():
    """Costs too large to be added up count alike, and rank after all that is less."""
    options = rank([1], [1, 1, 1], cost=[1e300, float("inf"), 1e8])
    assert places(options) == [(2,), (0,), (1,)]


def test_greedy_drops_what_turned_out_superfluous():
    """The place that adds most first is not needed once the others are there."""
    halves = [[0, 1, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1], [0, 0, 1]]
    request = ask([1] * 6, *([*row] for row in halves), distance_km=[9, 1, 1])
    (option,) = NearestFewest(work_max=0).rank(request)
    assert places([option]) == [(1, 2)]


def test_more_items_than_the_search_takes_are_served_too():
    """100 items at two places that complete each other: two packages, proven by the bound."""
    at = np.arange(100) % 2
    (option,) = rank([2] * 100, *np.stack([2 * at, 2 - 2 * at], axis=1))
    assert option.packages == 2
    assert len(option.parts) == 100
    assert option.why == ("two packages: no place has everything",)


def test_very_large_quantities_are_exact():
    """Quantities beyond 32 bits are added up without rounding."""
    most = 2**42
    first, *_ = rank([most], [most - 1, 1, 2])
    assert first.parts == ((0, 0, most - 1), (0, 1, 1))
    assert rank([most], [most - 3, 1, 1]) == []


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"wanted": [0]}, "quantities are 1 to"),
        ({"wanted": []}, "quantities has 1 to 1,000 items"),
        ({"wanted": [1, 1]}, "available has a row for each"),
        ({"distance_km": [-1, 0]}, "distance_km is nan or 0 to"),
        ({"distance_km": [float("inf"), 0]}, "distance_km is nan or 0 to"),
        ({"distance_km": [1]}, "distance_km is as long as cost"),
        ({"cost": [UNKNOWN, 0]}, "cost is at least 0"),
        ({"cost": [0, -0.5]}, "cost is at least 0"),
        ({"cost": [0]}, "available has a row for each"),
        ({"priority": [0, 2**31]}, "priority is -2"),
        ({"priority": [0]}, "priority is as long as cost"),
        ({"load": [0, -0.01]}, "load is at least 0"),
        ({"load": [0, UNKNOWN]}, "load is at least 0"),
        ({"load": [0, 0, 0]}, "load is as long as cost"),
        ({"options_max": 0}, "options_max is 1 to 64"),
        ({"options_max": 65}, "options_max is 1 to 64"),
    ],
)
def test_bad_requests_are_refused_by_field_and_rule(fields, rule):
    """Each field outside its rule raises an error that names both."""
    wanted = fields.pop("wanted", [1])
    with pytest.raises(ValueError, match=rule):
        rank(wanted, [1, 1], **fields)


def test_a_bound_below_zero_is_refused():
    """The bound on work is at least 0."""
    with pytest.raises(ValueError, match="work_max is at least 0, not -1"):
        NearestFewest(work_max=-1)


def test_one_policy_answers_requests_of_any_size_in_turn():
    """Its memory grows and is used again without a trace of the request before."""
    policy = NearestFewest()
    small = ask([1, 1], [1, 0], [0, 1])
    expected = policy.rank(small)
    large = ask([1] * 20, *np.ones((20, 3_000), np.int64))
    assert len(policy.rank(large)) == 3
    assert policy.rank(small) == expected


@pytest.mark.parametrize("steps", [1, 3, 1_000])
def test_what_is_kept_of_columns_that_nobody_writes_to_changes_no_answer(steps):
    """Neither the first nor a later answer differs, however many destinations come between."""
    random = np.random.default_rng(5)
    policy = NearestFewest()
    cost = random.integers(0, 2, 70) * 1.0
    destinations = [np.floor(random.random(70) * steps) for _ in range(4)]
    destinations[0][3] = UNKNOWN
    expected = []
    for turn in range(3):
        for number, far in enumerate(destinations):
            own = {"distance_km": far, "cost": cost, "load": random.random(70)}
            rows = np.where(random.random((6, 70)) < 0.5, random.integers(0, 5, (6, 70)), 0)
            request = ask([1, 2, 3, 1, 2, 3], *rows, **own)
            expected.append(NearestFewest().rank(request))
            cost.flags.writeable = far.flags.writeable = False
            request = msgspec.structs.replace(request, distance_km=far, cost=cost)
            assert policy.rank(request) == expected[-1], (turn, number)
            cost.flags.writeable = far.flags.writeable = True


def test_ranks_of_destinations_long_ago_are_forgotten():
    """More columns than are kept come by, and come again, without another answer."""
    policy = NearestFewest()
    requests = []
    for number in range(900):
        request = ask([1, 1], *np.eye(2, 1_000, dtype=np.int64), options_max=1)
        request.distance_km[:] = np.arange(1_000) * number % 1_000
        for column in (request.distance_km, request.cost):
            column.flags.writeable = False
        requests.append(request)
    first = [policy.rank(request) for request in requests]
    assert [policy.rank(request) for request in requests] == first
    assert [option.distance_km for (option,) in first] == [number % 1_000 for number in range(900)]


def test_ranks_of_a_few_places_are_kept_for_a_few_destinations_too():
    """Customers who say where they live to the metre hardly ever come again."""
    policy = NearestFewest()
    distances = []
    for number in range(1_100):
        request = ask([1], [1, 1], distance_km=[number, 5], options_max=1)
        for column in (request.distance_km, request.cost):
            column.flags.writeable = False
        policy.rank(request)
        distances.append(weakref.ref(request.distance_km))
    del request, column
    assert sum(each() is not None for each in distances) <= 1_024


def test_a_package_goes_so_far_a_day_and_never_arrives_at_once():
    """Days are rounded up, at least one; an unknown distance takes a week."""
    distances = np.array([0, 799.9, 800, 800.1, 3_940, UNKNOWN])
    assert transit_days(distances, 800).tolist() == [1, 1, 1, 2, 5, 7]
    assert transit_days(distances, 250).tolist() == [1, 4, 4, 4, 16, 7]
