"""Why an option stands where it does, in plain words."""

from __future__ import annotations

from typing import Final, NamedTuple

UNKNOWN_METRES: Final = 1 << 44
"""What an unknown distance adds to a key's metres; all known ones together are less."""

_COST_SCALE: Final = 10_000
_LOAD_SCALE: Final = 1_000_000
_WORDS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Key(NamedTuple):
    """What options are ordered by, the most important first: sums over the packages."""

    packages: int
    cost: int
    metres: int
    priority: int
    load: int


class Found(NamedTuple):
    """What the search learnt about the whole request."""

    whole_count: int
    """Places that have everything that can be placed."""
    nearest_metres: int
    """To the nearest of them; -1 when it is not one alone."""
    is_fewest: bool
    """Whether no way with fewer packages than the first option's exists."""
    work: int


def explain(
    key: Key, following: Key | None, found: Found, short: int, best: Key
) -> tuple[str, ...]:
    """Say what an option is, and what puts it before the one that follows.

    Parameters
    ----------
    short
        Units that it does not place.
    best
        Key of the first option.
    """
    reasons = [_headline(key, found, best)]
    if following is not None:
        reasons.append(compare(key, following))
    if short:
        reasons.append(f"{_count(short, 'unit')} short: as many as possible are placed")
    if key is best and not found.is_fewest:
        reasons.append("fewer packages were not ruled out within the bound on work")
    return tuple(reasons)


def compare(key: Key, following: Key) -> str:
    """Say in what an option is better than one that follows it."""
    if key.packages != following.packages:
        return f"{_count(key.packages, 'package')} instead of {_word(following.packages)}"
    if key.cost != following.cost:
        return f"handling cost {_cost(key)} before {_cost(following)}"
    if key.metres != following.metres:
        return _compare_metres(key.metres, following.metres)
    if key.priority != following.priority:
        return f"priority {key.priority} before {following.priority}"
    if key.load != following.load:
        return f"{_load(key)} of the day's capacity used, before {_load(following)}"
    return "equal in all else, first in the order of places"


def _headline(key: Key, found: Found, best: Key) -> str:
    if key.packages > best.packages:
        return f"{_count(key.packages, 'package')}: {_word(best.packages)} would do"
    if key.packages > 1:
        return f"{_count(key.packages, 'package')}: no place has everything"
    if found.whole_count == 0:
        return "gives more than any other place alone"
    if found.whole_count == 1:
        return "the only place that has everything"
    if key.metres == found.nearest_metres and key.metres < UNKNOWN_METRES:
        return f"nearest of {found.whole_count} places that have everything"
    return f"one of {found.whole_count} places that have everything"


def _compare_metres(metres: int, following: int) -> str:
    unknown, unknown_following = metres // UNKNOWN_METRES, following // UNKNOWN_METRES
    if unknown == 0 < unknown_following:
        return "distance known, before an unknown one"
    if unknown != unknown_following:
        return f"distance unknown of {_word(unknown)} instead of {_word(unknown_following)}"
    near, far = (_kilometres(each % UNKNOWN_METRES) for each in (metres, following))
    return f"{near} before {far}"


def _kilometres(metres: int) -> str:
    # All digits to the metre, and no zeros behind them: known distances have less than 15.
    return f"{metres / 1000:.15g} km"


def _cost(key: Key) -> str:
    return f"{key.cost / _COST_SCALE:.4f}".rstrip("0").rstrip(".")


def _load(key: Key) -> str:
    return f"{key.load * 100 / _LOAD_SCALE / key.packages:.4f}".rstrip("0").rstrip(".") + " %"


def _word(count: int) -> str:
    return _WORDS[count] if count < len(_WORDS) else f"{count:,}"


def _count(count: int, noun: str) -> str:
    return f"{_word(count)} {noun}{'' if count == 1 else 's'}"
