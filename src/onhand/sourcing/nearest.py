"""The policy by default: fewest packages, then the cheapest and nearest places.

THE ORDER OF OPTIONS, here and nowhere else:

1. units placed, more first (they differ only between requests: every option places all it can);
2. packages, fewer first;
3. handling cost, the sum over the packages, to a ten-thousandth;
4. distance, the sum over the packages, to a metre; an unknown one is longer than all known ones;
5. priority, the sum over the packages;
6. load, the sum over the packages, to a millionth of a day's capacity;
7. the places themselves, ranked by 3 to 6 and then by number: of two options the one whose best
   place ranks better, then whose second best does, and so on.

WHAT AN OPTION IS: places none of which can be left out, each giving something. An item comes from
as few of them as possible: from the best ranked that has all that is missing, and while none has,
from the one that has most. Options have as few packages as there can be, and when those are fewer
than were asked for, one package more; never two more.

WHAT IS BEST POSSIBLE, AND WHAT IS NOT:

- One place for everything: always exact, for any number of items, places and options.
- Several places, up to 4 packages and 64 items: exact by search, quantities split over places
  included, as long as the search ends within its bound on work. The packages are then the fewest
  there can be, and the options the best of all in the order above.
- The bound is ``work_max`` until a first way is found, which proves the fewest packages, and a
  tenth of it from there on, for their order. When that tenth runs out, the number of packages
  still is the fewest, and the options are the best of those met: not proven the best.
- When ``work_max`` runs out before a way is found, and beyond 4 packages or 64 items, one option is
  made greedily: the place that adds the largest share of what is missing, items counting alike,
  again and again; then places that turned out superfluous are dropped, the worst ranked first. It
  may have more packages than needed, and says so in ``why`` unless a bound proves it right.

COST: one pass over the matrix, O(items x places), when places that have everything are as many as
the options asked for. Otherwise a sort, a copy, and a search that stops after ``work_max`` words
of bit sets, about a nanosecond each; the greedy way is O(items x places x packages) at worst.
"""

from __future__ import annotations

from typing import Final

from onhand._native.sourcing import Search
from onhand.sourcing.policy import Option, Part, Request
from onhand.sourcing.reasons import Found, Key, explain

WORK_MAX: Final = 400_000
"""Bound on the exact search of one request, in words of bit sets."""

_SCORE_STEP: Final = 1 / 1_000


class NearestFewest:
    """Fewest packages, then handling cost, distance, priority and load; see the module.

    Keeps memory between requests, so use one in each thread.

    Parameters
    ----------
    work_max
        Bound on the exact search of one request, in words of bit sets, about a nanosecond each.
        Counted, not timed: the same request always ends in the same answer.
    """

    def __init__(self, *, work_max: int = WORK_MAX) -> None:
        if work_max < 0:
            raise ValueError(f"Condition failed: work_max is at least 0, not {work_max}")
        self._work_max = work_max
        self._search = Search(Part, Key)

    def rank(self, request: Request) -> list[Option]:
        """List distinct ways to serve a request, best first, at most ``options_max``.

        Returns
        -------
        list of Option
            Empty when nothing can be placed, or not everything and the request does not allow
            partial. The score is the share of the units that is placed, divided by the packages,
            and a thousandth lower for each option before.

        Raises
        ------
        ValueError
            A field of the request breaks its rule.
        """
        listed, facts = self._search.find(
            request.quantities,
            request.available,
            request.distance_km,
            request.cost,
            request.priority,
            request.load,
            request.allow_split,
            request.allow_partial,
            request.options_max,
            self._work_max,
        )
        if not listed:
            return []
        found, best = Found(*facts), listed[0][4]
        units_short = sum(listed[0][3])
        share = 1.0
        if units_short:
            share -= units_short / int(request.quantities.sum())
        following = [key for *_, key in listed[1:]]
        following.append(None)
        return [
            Option(
                parts=parts,
                packages=key.packages,
                distance_km=distance_km,
                cost=cost,
                short=short,
                score=share / key.packages * (1 - at * _SCORE_STEP),
                why=explain(key, following[at], found, units_short, best),
            )
            for at, (parts, distance_km, cost, short, key) in enumerate(
                listed[: request.options_max]
            )
        ]
