"""What the policy of fewest packages answers, by trying every set of places."""

import itertools
import math

UNKNOWN = 10**12


def rank_key(request, place):
    """Cost, distance, priority and load of one place, in the whole numbers that are compared."""
    distance = request.distance_km[place]
    metres = UNKNOWN if math.isnan(distance) else math.floor(distance * 1e3 + 0.5)
    return (
        math.floor(request.cost[place] * 1e4 + 0.5),
        metres,
        int(request.priority[place]),
        math.floor(request.load[place] * 1e6 + 0.5),
    )


def given(request, places, item):
    """Units of an item that a set of places can give, up to what is wanted."""
    total = sum(max(0, int(request.available[item, place])) for place in places)
    return min(int(request.quantities[item]), total)


def units(request, places):
    return sum(given(request, places, item) for item in range(len(request.quantities)))


def is_least(request, places):
    """Whether no place can be left out without giving less."""
    whole = units(request, places)
    return all(
        units(request, [other for other in places if other != place]) < whole for place in places
    )


def covers(request):
    """List all sets of places that are options, best first, each by rank."""
    everywhere = range(len(request.cost))
    size_max = len(everywhere) if request.allow_split else 1
    sets = [
        places
        for size in range(1, size_max + 1)
        for places in itertools.combinations(everywhere, size)
    ]
    most = max((units(request, places) for places in sets), default=0)
    if most == 0 or (not request.allow_partial and most < int(request.quantities.sum())):
        return []
    found = [
        sorted(places, key=lambda place: (rank_key(request, place), place))
        for places in sets
        if units(request, places) == most and is_least(request, places)
    ]
    fewest = min(map(len, found))
    found = [places for places in found if len(places) <= fewest + 1]
    return sorted(found, key=lambda places: order_key(request, places))


def order_key(request, places):
    keys = [rank_key(request, place) for place in places]
    ranks = [(*key, place) for key, place in zip(keys, places, strict=True)]
    return len(places), tuple(map(sum, zip(*keys, strict=True))), ranks


def parts_of(request, places):
    """Share the items out over a set of places, which are given by rank."""
    taken = {}
    for item, wanted in enumerate(request.quantities):
        rest, left = int(wanted), list(places)
        while rest > 0 and left:
            here = {place: max(0, int(request.available[item, place])) for place in left}
            enough = [place for place in left if here[place] >= rest]
            place = enough[0] if enough else max(left, key=lambda place: here[place])
            if here[place] == 0:
                break
            taken[place, item] = min(rest, here[place])
            rest -= taken[place, item]
            left.remove(place)
    return tuple(
        (item, place, taken[place, item])
        for place in places
        for item in range(len(request.quantities))
        if (place, item) in taken
    )
