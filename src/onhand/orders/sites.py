"""The places of a set-up as promising needs them: who may ship, how far, how full, ready when.

Everything that a set-up decides is worked out once and kept until it changes; what a destination
decides is kept for the destinations asked about lately, what a clock decides for a minute.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from onhand.geo import Places, Point, distances_km
from onhand.model.hours import ready_by
from onhand.model.setup import Location, unconfigured_location
from onhand.sourcing.travel import transit_days

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from onhand.model.commands import Destination
    from onhand.model.setup import Setup
    from onhand.orders.desk import Desk, Rules
    from onhand.orders.workload import Workload

DESTINATIONS_MAX: Final = 1_024
"""Destinations whose distances are kept: 16 KiB each for 1,000 places."""

DAY_US: Final = 86_400 * 1_000_000
MINUTE_US: Final = 60 * 1_000_000
NEVER_US: Final = 1 << 61
"""Later than anything, with room to add a transit to it."""

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class Reach(NamedTuple):
    """How far each place that ships is from a destination, and how long a parcel travels."""

    distance_km: NDArray[np.float64]
    transit_us: NDArray[np.int64]


class Sites:
    """Every location of one set-up.

    Parameters
    ----------
    workload
        The tasks given to each location so far.
    """

    def __init__(self, setup: Setup, rules: Rules, workload: Workload) -> None:
        self.setup = setup
        self.rules = rules
        self._workload = workload
        self._places = Places(setup.locations.values())
        self._shippers: Shippers | None = None
        self._days: dict[str, tuple[int, int]] = {}
        self._ready: dict[str, int] = {}
        self._ready_minute = -1
        self.find_point = lru_cache(DESTINATIONS_MAX)(self._find_point)

    def location(self, location_id: str) -> Location:
        """Return a location as set up; one that only events have named serves everything."""
        known = self.setup.locations.get(location_id)
        return known if known is not None else unconfigured_location(location_id)

    def shippers(self, names: tuple[str, ...]) -> Shippers:
        """Return the places among ``names``, the members of `all`, that ship."""
        if self._shippers is None or self._shippers.members is not names:
            self._shippers = Shippers(self, names, self._workload)
        return self._shippers

    def day_of(self, location: Location, now_us: int) -> tuple[int, int]:
        """Return when a location's local day begins and ends."""
        day = self._days.get(location.id)
        if day is None or not day[0] <= now_us < day[1]:
            local = datetime.fromtimestamp(now_us / 1e6, location.zone)
            today = local.toordinal() - _EPOCH_ORDINAL
            day = start_of_day_us(location, today), start_of_day_us(location, today + 1)
            self._days[location.id] = day
        return day

    def load_of(self, location: Location, now_us: int) -> float:
        """Return the share of the day's capacity that is used; at 1 the place is full."""
        capacity = location.daily_capacity
        if capacity is None:
            return 0.0
        used = self._workload.count(location.id, *self.day_of(location, now_us))
        return min(1.0, used / capacity) if capacity else 1.0

    def ready_us(self, location: Location, now_us: int) -> int:
        """Say when a location has something ready that it is told of now, to the next minute.

        Returns
        -------
        int
            ``NEVER_US`` when it opens too rarely.
        """
        if location.opening_hours is None and location.cutoff is None:
            return now_us + self.rules.preparation_s * 1_000_000
        minute = -(-now_us // MINUTE_US)
        if minute != self._ready_minute:
            self._ready.clear()
            self._ready_minute = minute
        ready = self._ready.get(location.id)
        if ready is None:
            ready = self._ready[location.id] = self.ready_from(location, minute * MINUTE_US)
        return ready

    def ready_from(self, location: Location, begin_us: int) -> int:
        """Say when a location has something ready that it can begin with at ``begin_us``."""
        ready = ready_by(
            location.opening_hours,
            location.zone,
            location.cutoff,
            datetime.fromtimestamp(begin_us / 1e6, UTC),
            timedelta(seconds=self.rules.preparation_s),
        )
        return NEVER_US if ready is None else instant_us(ready)

    def _find_point(self, destination: Destination) -> Point | None:
        if destination.latitude is not None and destination.longitude is not None:
            return Point(destination.latitude, destination.longitude)
        if destination.postal_code is None:
            return None
        return self._places.find_postal_code(destination.postal_code, destination.country)


class Shippers:
    """The places that ship, by number: in the order of their names.

    Parameters
    ----------
    members
        The members of `all` as the stock lists them.
    """

    def __init__(self, sites: Sites, members: tuple[str, ...], workload: Workload) -> None:
        self.members = members
        self._sites = sites
        self._workload = workload
        by_name = sorted(range(len(members)), key=members.__getitem__)
        known = [(column, sites.location(members[column])) for column in by_name]
        shipping = [(column, each) for column, each in known if each.enabled and each.ship]
        columns = [column for column, _ in shipping]
        self.columns = (
            None if columns == list(range(len(members))) else np.array(columns, dtype=np.intp)
        )
        """Where each place stands among the members; None when it is just those, in order."""
        self.locations = tuple(each for _, each in shipping)
        self.names = tuple(each.id for each in self.locations)
        self.number = {name: at for at, name in enumerate(self.names)}
        self.cost = np.array([each.handling_cost for each in self.locations], dtype=np.float64)
        # Nobody writes to what a policy may keep its sums of.
        self.cost.flags.writeable = False
        self.priority = np.array([each.priority for each in self.locations], dtype=np.int64)
        degrees = [_degrees(each) for each in self.locations]
        self._radians = np.radians(np.array(degrees, dtype=np.float64).reshape(-1, 2))
        self._load = np.zeros(len(self.locations), dtype=np.float64)
        self._limited = {
            each.id: at for at, each in enumerate(self.locations) if each.daily_capacity is not None
        }
        self.full: set[int] = set()
        """Places whose day is used up, as of the last :meth:`load`."""
        self._load_from_us = self._load_until_us = 0
        self.reach: Callable[[Destination], Reach] = lru_cache(DESTINATIONS_MAX)(self._reach)

    def load(self, now_us: int) -> NDArray[np.float64]:
        """Return the share of the day's capacity that each place has used; do not change it."""
        if not self._limited:
            return self._load
        changed = self._workload.changed
        if not self._load_from_us <= now_us < self._load_until_us:
            self._begin_day(now_us)
            changed = set(self._limited)
        if changed:
            for name in changed & self._limited.keys():
                at = self._limited[name]
                self._load[at] = load = self._sites.load_of(self.locations[at], now_us)
                if load >= 1:
                    self.full.add(at)
                else:
                    self.full.discard(at)
            self._workload.changed.clear()
        return self._load

    def ready_us(self, now_us: int) -> NDArray[np.int64]:
        """Say when each place has something ready that it is told of now."""
        ready = [self._sites.ready_us(each, now_us) for each in self.locations]
        return np.array(ready, dtype=np.int64)

    def _begin_day(self, now_us: int) -> None:
        days = [self._sites.day_of(self.locations[at], now_us) for at in self._limited.values()]
        self._load_from_us = max(begin for begin, _ in days)
        self._load_until_us = min(end for _, end in days)

    def _reach(self, destination: Destination) -> Reach:
        point = self._sites.find_point(destination)
        if point is None:
            distance_km = np.full(len(self.names), np.nan)
        else:
            distance_km = distances_km(point, self._radians)
        distance_km.flags.writeable = False
        days = transit_days(distance_km, self._sites.rules.transit_km_per_day)
        return Reach(distance_km, days * DAY_US)


def sites_of(desk: Desk) -> Sites:
    """Return the places of the desk's set-up, worked out anew when that is another."""
    sites = desk.sites
    if sites is None or sites.setup is not desk.setup or sites.rules is not desk.rules:
        sites = desk.sites = Sites(desk.setup, desk.rules, desk.book.workload)
    return sites


def instant_us(moment: datetime) -> int:
    """Write a moment as microseconds since 1970-01-01 UTC."""
    return round(moment.timestamp() * 1e6)


def start_of_day_us(location: Location, day: int) -> int:
    """Say when a day, counted from 1970-01-01, begins at a location."""
    midnight = datetime.combine(date_of(day), time(), tzinfo=location.zone)
    return instant_us(midnight)


def date_of(day: int) -> date:
    """Write a day, counted from 1970-01-01, as a date."""
    return date.fromordinal(day + _EPOCH_ORDINAL)


def _degrees(location: Location) -> tuple[float, float]:
    if location.latitude is None or location.longitude is None:
        return (np.nan, np.nan)
    return (location.latitude, location.longitude)
