"""Which ways there are to serve what is wanted, best first. Nothing is changed by asking."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from msgspec import Struct

from onhand.model.setup import ALL
from onhand.orders.sites import NEVER_US, sites_of
from onhand.sourcing.policy import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from onhand.model.commands import Destination, Method
    from onhand.model.orders import Order
    from onhand.model.setup import Location
    from onhand.orders.book import Cell
    from onhand.orders.desk import Desk
    from onhand.orders.sites import Sites
    from onhand.sourcing.policy import Option

Part = tuple[str, str, int]
"""Units of a SKU that a location gives: (sku, location, units)."""

_NOTHING_FREED: Final[Mapping[Cell, int]] = {}


class Wish(Struct, frozen=True, kw_only=True):
    """How goods are to reach the customer, and what is ruled out.

    ``only`` is the one place that may ship, None for any. ``refused`` holds (SKU, location) pairs
    that are not asked, SKU ``*`` standing for all. ``working`` names places at which a package of
    the order is still to be picked: they take more into it, however full their day is.
    """

    method: Method
    location: str | None = None
    destination: Destination | None = None
    deliver_by_us: int | None = None
    allow_split: bool = True
    only: str | None = None
    refused: frozenset[tuple[str, str]] = frozenset()
    working: frozenset[str] = frozenset()


class Times(NamedTuple):
    """When a location has its package ready, and when that arrives; None at a pickup."""

    ready_us: int
    deliver_us: int | None


class Source(NamedTuple):
    """A place that may serve; an unknown distance is infinite, a pickup travels 0 us."""

    location: Location
    distance_km: float
    transit_us: int


class Way(Struct, frozen=True, kw_only=True):
    """One way to serve what is wanted: its parts, package by package, and what speaks for it."""

    parts: list[Part]
    times: dict[str, Times]
    packages: int
    distance_km: float
    cost: float
    score: float
    why: tuple[str, ...]
    short: dict[str, int]
    """Units of each SKU that it leaves out."""


def find_ways(
    desk: Desk,
    wish: Wish,
    units: dict[str, int],
    now_us: int,
    *,
    freed: Mapping[Cell, int] = _NOTHING_FREED,
    partial: bool = False,
    count_max: int = 1,
) -> list[Way]:
    """List ways to serve units of SKUs, best first.

    A place is left out that is disabled, does not serve the method, has refused, opens too rarely,
    would miss ``deliver_by``, or has used up its day's capacity; a pickup at a full place is
    promised from its next day on, since the customer has chosen it.

    Parameters
    ----------
    units
        What is wanted of each SKU, at least 1.
    freed
        Units that are reserved in a cell and count as available there.
    partial
        As many as possible, when not all are there.
    """
    if wish.method == "pickup":
        way = _collected(desk, wish, units, now_us, freed, partial=partial)
        return [] if way is None else [way]
    return _Shipping(desk, wish, units, now_us, freed).ways(partial, count_max)


def way_through(desk: Desk, wish: Wish, parts: list[Part], now_us: int) -> Way | None:
    """Describe the way that ships given parts; None when one of their places may not serve them."""
    members, _ = desk.stock.group_cells([parts[0][0]], ALL)
    shippers = sites_of(desk).shippers(members)
    places = dict.fromkeys(shippers.number.get(location, -1) for _, location, _ in parts)
    refused = any(_refuses(wish, sku, location) for sku, location, _ in parts)
    if -1 in places or refused or wish.destination is None:
        return None
    reach = shippers.reach(wish.destination)
    times = {}
    for place in places:
        ready_us = sites_of(desk).ready_us(shippers.locations[place], now_us)
        its = Times(ready_us, ready_us + int(reach.transit_us[place]))
        if not is_in_time(wish, its):
            return None
        times[shippers.names[place]] = its
    chosen = list(places)
    return Way(
        parts=parts,
        times=times,
        packages=len(places),
        distance_km=float(np.nansum(reach.distance_km[chosen])),
        cost=float(shippers.cost[chosen].sum()),
        score=1 / len(places),
        why=("held here for this order",),
        short={},
    )


def sources_of(desk: Desk, wish: Wish, sku: str) -> list[Source]:
    """List the places that may serve a SKU, by name, whatever they have of it."""
    sites = sites_of(desk)
    if wish.method == "pickup" or wish.destination is None:
        location = sites.location(wish.location or "")
        may_serve = location.enabled and location.pickup and not _refuses(wish, sku, location.id)
        return [Source(location, 0.0, 0)] if may_serve else []
    members, _ = desk.stock.group_cells([sku], ALL)
    shippers = sites.shippers(members)
    reach = shippers.reach(wish.destination)
    return [
        Source(location, math.inf if math.isnan(distance_km) else distance_km, transit_us)
        for location, distance_km, transit_us in zip(
            shippers.locations, reach.distance_km.tolist(), reach.transit_us.tolist(), strict=True
        )
        if wish.only in (None, location.id) and not _refuses(wish, sku, location.id)
    ]


def is_in_time(wish: Wish, times: Times) -> bool:
    """Tell whether a package comes by the time that is asked for, and at all."""
    return max(times.ready_us, times.deliver_us or 0) <= _latest_us(wish)


def wish_of(
    order: Order, *, allow_split: bool, only: str | None = None, late: bool = False
) -> Wish:
    """Describe how an order's goods are to reach its customer.

    Parameters
    ----------
    allow_split
        Several places may serve it.
    only
        The one place that may ship.
    late
        It may come after the time by which the customer wanted it.
    """
    skus = {line.id: line.sku for line in order.lines}
    return Wish(
        method=order.method,
        location=order.location,
        destination=order.destination,
        deliver_by_us=None if late else order.deliver_by_us,
        allow_split=allow_split,
        only=only,
        refused=frozenset((skus.get(line, line), location) for line, location in order.refused),
        working=frozenset(task.location for task in order.tasks if can_take_more(order, task.id)),
    )


def can_take_more(order: Order, task_id: str) -> bool:
    """Tell whether a task is open and nothing of it was picked or found missing yet."""
    task = order.task(task_id)
    return (
        task is not None
        and task.status == "open"
        and not any(each.picked or each.short for each in order.of_task(task_id))
    )


def _refuses(wish: Wish, sku: str, location: str) -> bool:
    return (sku, location) in wish.refused or ("*", location) in wish.refused


def _latest_us(wish: Wish) -> int:
    return NEVER_US - 1 if wish.deliver_by_us is None else wish.deliver_by_us


# ---- collected at one location ----


def _collected(
    desk: Desk,
    wish: Wish,
    units: dict[str, int],
    now_us: int,
    freed: Mapping[Cell, int],
    *,
    partial: bool,
) -> Way | None:
    sites = sites_of(desk)
    location = sites.location(wish.location or "")
    ready_us = pickup_ready_us(sites, location, now_us)
    if not (location.enabled and location.pickup) or ready_us >= NEVER_US:
        return None
    parts: list[Part] = []
    short: dict[str, int] = {}
    for sku, wanted in units.items():
        given = 0
        if not _refuses(wish, sku, location.id):
            there = max(0, desk.stock.promisable(sku, location.id))
            given = max(0, min(wanted, there + freed.get((sku, location.id), 0)))
        if given:
            parts.append((sku, location.id, given))
        if given < wanted:
            short[sku] = wanted - given
    if not parts or (short and not partial):
        return None
    return Way(
        parts=parts,
        times={location.id: Times(ready_us, None)},
        packages=1,
        distance_km=0.0,
        cost=location.handling_cost,
        score=1 - sum(short.values()) / sum(units.values()),
        why=("the customer collects here",),
        short=short,
    )


def pickup_ready_us(sites: Sites, location: Location, now_us: int) -> int:
    """Say when a pickup ordered now can be ready; at a full place it waits for the next day."""
    if sites.load_of(location, now_us) < 1:
        return sites.ready_us(location, now_us)
    _, tomorrow_us = sites.day_of(location, now_us)
    return sites.ready_from(location, tomorrow_us)


# ---- shipped from places that are chosen ----


class _Shipping:
    """One question about shipping: what each place could give, and what the policy makes of it."""

    def __init__(
        self,
        desk: Desk,
        wish: Wish,
        units: dict[str, int],
        now_us: int,
        freed: Mapping[Cell, int],
    ) -> None:
        self._desk, self._wish, self._units, self._now_us = desk, wish, units, now_us
        self._skus = list(units)
        members, cells = desk.stock.group_cells(self._skus, ALL)
        self._sites = sites_of(desk)
        self._shippers = self._sites.shippers(members)
        columns = self._shippers.columns
        self._available = cells if columns is None else cells.take(columns, axis=1)
        self._load = self._shippers.load(now_us)
        for (sku, location), more in freed.items():
            place = self._shippers.number.get(location)
            if place is not None and sku in units:
                self._available[self._skus.index(sku), place] += more
        self._exclude()

    def ways(self, partial: bool, count_max: int) -> list[Way]:  # noqa: FBT001, of one caller
        if not self._shippers.names or self._wish.destination is None:
            return []
        reach = self._shippers.reach(self._wish.destination)
        deadline_us = self._wish.deliver_by_us
        if deadline_us is not None:
            # No place is ready before its preparation, so whatever is too far even then is out.
            earliest_us = self._now_us + self._desk.rules.preparation_s * 1_000_000
            self._available[:, earliest_us + reach.transit_us > deadline_us] = 0
        while True:
            request = Request(
                quantities=np.array(list(self._units.values()), dtype=np.int64),
                available=self._available,
                distance_km=reach.distance_km,
                cost=self._shippers.cost,
                priority=self._shippers.priority,
                load=self._load,
                allow_split=self._wish.allow_split,
                allow_partial=partial,
                options_max=count_max,
            )
            options = self._desk.policy.rank(request)
            times = self._times(options, reach.transit_us)
            if times is not None:
                return [self._way(option, times) for option in options]
            self._exclude_late(reach.transit_us)

    def _exclude(self) -> None:
        if self._wish.only is not None:
            place = self._shippers.number.get(self._wish.only)
            others = np.arange(len(self._shippers.names)) != place
            self._available[:, others] = 0
        if self._shippers.full:
            working = {self._shippers.number.get(name) for name in self._wish.working}
            self._available[:, sorted(self._shippers.full - working)] = 0
        for sku, location in self._wish.refused:
            place = self._shippers.number.get(location)
            if place is None:
                continue
            if sku == "*":
                self._available[:, place] = 0
            elif sku in self._units:
                self._available[self._skus.index(sku), place] = 0

    def _times(
        self, options: list[Option], transit_us: NDArray[np.int64]
    ) -> dict[int, Times] | None:
        """Say when each chosen place is ready and delivers; None when one of them is too late."""
        times: dict[int, Times] = {}
        latest_us = _latest_us(self._wish)
        for option in options:
            for place in _places_of(option):
                if place in times:
                    continue
                ready_us = self._sites.ready_us(self._shippers.locations[place], self._now_us)
                deliver_us = ready_us + int(transit_us[place])
                if deliver_us > latest_us:
                    return None
                times[place] = Times(ready_us, deliver_us)
        return times

    def _exclude_late(self, transit_us: NDArray[np.int64]) -> None:
        deliver_us = self._shippers.ready_us(self._now_us) + transit_us
        self._available[:, deliver_us > _latest_us(self._wish)] = 0

    def _way(self, option: Option, times: dict[int, Times]) -> Way:
        names, skus = self._shippers.names, self._skus
        short = {}
        if any(option.short):
            short = {sku: units for sku, units in zip(skus, option.short, strict=True) if units}
        return Way(
            parts=[(skus[item], names[place], units) for item, place, units in option.parts],
            times={names[place]: times[place] for place in _places_of(option)},
            packages=option.packages,
            distance_km=option.distance_km,
            cost=option.cost,
            score=option.score,
            why=option.why,
            short=short,
        )


def _places_of(option: Option) -> list[int]:
    """List the places of an option, package by package: its parts come in that order."""
    if option.packages == 1:
        return [option.parts[0].place]
    return list(dict.fromkeys([place for _, place, _ in option.parts]))
