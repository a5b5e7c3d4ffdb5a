"""Backorders: units promised against stock that is on its way, and given when it comes.

A backordered unit is bound to the location and the day whose incoming stock it is promised from;
goods that come on a day can be worked on from the end of that day. When stock comes, wherever it
may be given from, whoever came first is served first, before anything else is promised of the row.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

from onhand.model.commands import OrderPolicy
from onhand.model.orders import Allocation, HistoryEntry, Order, summed
from onhand.model.setup import ALL
from onhand.orders.book import backordered_by
from onhand.orders.placing import Missing, Wanted, lacking, place, unput
from onhand.orders.progress import note
from onhand.orders.sites import sites_of, start_of_day_us
from onhand.orders.views import document_of
from onhand.orders.waiting import ANYWHERE
from onhand.orders.ways import Times, is_in_time, sources_of, wish_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onhand.orders.book import Cell
    from onhand.orders.desk import Desk
    from onhand.orders.ways import Wish

UNSERVED_MAX: Final = 100
"""Orders passed over that the stock at hand does not suit, before the rest waits for more."""


class Filled(NamedTuple):
    """Units that have come for an order that waited."""

    order_id: str
    line: str
    sku: str
    quantity: int


class _Offer(NamedTuple):
    """So many units that one place can give by a day; ordered by what is taken first."""

    day: int
    distance_km: float
    location: str
    units: int
    times: Times


# ---- promising what is on its way ----


def fulfil(
    desk: Desk,
    order: Order,
    wanted: Sequence[Wanted],
    now_us: int,
    *,
    freed: Mapping[Cell, int] | None = None,
) -> list[Missing]:
    """Place units of lines into a working copy of an order; what is not there waits if it may.

    An order that may be backordered but not split is served by one place: one that has all of it
    now, else the one that has all of it first.

    Parameters
    ----------
    freed
        Units by (sku, location) that a hold of this order reserves there.

    Returns
    -------
    list of Missing
        Lines that lack units. Unless the order may be placed in part, drop the copy then.
    """
    freed = freed or {}
    if not order.policy.allow_backorder:
        return place(desk, order, wanted, now_us, freed=freed)
    only = None
    if order.method == "ship" and not order.policy.allow_split:
        whole = OrderPolicy(allow_split=False)
        if not place(desk, order, wanted, now_us, freed=freed, policy=whole):
            return []
        only = _place_for(desk, order, wanted, now_us, freed)
    missing = place(desk, order, wanted, now_us, freed=freed, only=only)
    if order.method == "ship" and not order.policy.allow_split and only is None:
        return missing
    rest = [Wanted(each.line, each.sku, each.quantity) for each in missing]
    wanted_of = {each.line: each.wanted for each in missing}
    return [
        Missing(each.line, each.sku, wanted_of[each.line], wanted_of[each.line] - each.quantity)
        for each in wait(desk, order, rest, now_us, freed=freed, only=only)
    ]


def wait(
    desk: Desk,
    order: Order,
    wanted: Sequence[Wanted],
    now_us: int,
    *,
    freed: Mapping[Cell, int] | None = None,
    only: str | None = None,
) -> list[Missing]:
    """Promise units of lines to a working copy of an order from what is on its way.

    The units of a SKU come from the place whose incoming stock covers them first, the nearer one
    when two do; when none covers them alone, from several, the earliest first.

    Parameters
    ----------
    freed
        Units by (sku, location) that a hold of this order reserves there.
    only
        The one location that may ship them.

    Returns
    -------
    list of Missing
        Lines for which not enough is on its way.
    """
    wish = wish_of(order, allow_split=order.policy.allow_split, only=only)
    missing = []
    for sku, units in summed((each.sku, each.quantity) for each in wanted).items():
        offers = _offers(desk, order, wish, sku, now_us, freed=freed or {})
        taken, short = _taken(offers, units)
        lines = [each for each in wanted if each.sku == sku]
        _bind(order, lines, taken)
        missing += lacking(lines, {sku: short})
    return missing


def _place_for(
    desk: Desk, order: Order, wanted: Sequence[Wanted], now_us: int, freed: Mapping[Cell, int]
) -> str | None:
    """Choose the one place that can give all lines first, from its shelf and what comes to it."""
    wish = wish_of(order, allow_split=False)
    latest: dict[str, tuple[int, float, str]] = {}
    units = summed((each.sku, each.quantity) for each in wanted)
    for number, (sku, quantity) in enumerate(units.items()):
        first: dict[str, tuple[int, float, str]] = {}
        for offer in sorted(_offers(desk, order, wish, sku, now_us, freed=freed)):
            if offer.units >= quantity:
                first.setdefault(offer.location, offer[:3])
        latest = {
            place: max(when, latest.get(place, when))
            for place, when in first.items()
            if number == 0 or place in latest
        }
    return min(latest.values())[2] if latest else None


def _offers(
    desk: Desk, order: Order, wish: Wish, sku: str, now_us: int, *, freed: Mapping[Cell, int]
) -> list[_Offer]:
    """List what each place can give of a SKU by which day, all that it gives before included."""
    sites = sites_of(desk)
    unput_units = unput(desk, order, freed)
    offers = []
    for location, distance_km, transit_us in sources_of(desk, wish, sku):
        more = unput_units.get((sku, location.id), 0)
        days = desk.stock.to_order(sku, location.id, now_us)
        for day, units in _less_unput(desk, order, sku, location.id, days):
            if units + more <= 0:
                continue
            ready_us = sites.ready_from(location, start_of_day_us(location, day + 1))
            times = Times(ready_us, ready_us + transit_us if wish.method == "ship" else None)
            if is_in_time(wish, times):
                offers.append(_Offer(day, distance_km, location.id, units + more, times))
    return offers


def _less_unput(
    desk: Desk, order: Order, sku: str, location: str, days: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Take off what the copy waits for there and the stock does not know of yet."""
    known = desk.book.orders.get(order.id)
    before = backordered_by(known) if known is not None else {}
    for (its_sku, its_location, due_day), units in backordered_by(order).items():
        more = units - before.get((its_sku, its_location, due_day), 0)
        if (its_sku, its_location) != (sku, location) or more <= 0:
            continue
        by_then = max((total for day, total in days if day <= due_day), default=0)
        # Units due later are promised from all that comes until then: before that day, what is
        # left is the least of both.
        days = [
            (day, total - more if day >= due_day else min(total, by_then - more))
            for day, total in days
        ]
    return days


def _taken(offers: list[_Offer], units: int) -> tuple[list[tuple[_Offer, int]], int]:
    """Choose offers for so many units; return them with what each gives, and what is short."""
    alone = min((each for each in offers if each.units >= units), default=None)
    if alone is not None:
        return [(alone, units)], 0
    taken: list[tuple[_Offer, int]] = []
    given: dict[str, int] = {}
    for offer in sorted(offers):
        more = min(units, offer.units - given.get(offer.location, 0))
        if more > 0:
            taken.append((offer, more))
            given[offer.location] = given.get(offer.location, 0) + more
            units -= more
    return taken, units


def _bind(order: Order, lines: Sequence[Wanted], taken: list[tuple[_Offer, int]]) -> None:
    """Add a backordered allocation for what each line takes of each offer, in order."""
    left = {each.line: each.quantity for each in lines}
    for offer, units in taken:
        for line, sku, _ in lines:
            quantity = min(units, left[line])
            if not quantity:
                continue
            left[line] -= quantity
            units -= quantity  # noqa: PLW2901, what the lines after it may take
            allocation = Allocation(
                id=order.next_id("a"),
                line=line,
                sku=sku,
                location=offer.location,
                quantity=quantity,
                stage="backordered",
                due_day=offer.day,
                ready_by_us=offer.times.ready_us if offer.times.deliver_us is None else None,
                deliver_by_us=offer.times.deliver_us,
                why=("waits for stock that is on its way",),
            )
            order.allocations.append(allocation)


# ---- giving what has come ----


def settle(desk: Desk, skus: Iterable[str], now_us: int) -> None:
    """Serve who waits for SKUs before anything else is decided on their rows.

    Nobody waiting costs a look-up a SKU.
    """
    for sku in skus:
        if sku in desk.book.backordered:
            fill(desk, sku, now_us)


def fill(desk: Desk, sku: str, now_us: int) -> list[Filled]:
    """Give what has come of a SKU to those who wait for it, the first come first.

    Returns
    -------
    list of Filled
        What was given; nothing when no place at which somebody waits has any.
    """
    book = desk.book
    places = _places_with_units(desk, sku, now_us)
    if not places:
        return []
    filled: list[Filled] = []
    unserved = 0
    with closing(book.waiting.oldest(sku, places)) as oldest:
        for order_id, where in oldest:
            order = book.orders[order_id].copy()
            given = _fill_order(desk, order, sku, now_us)
            if given:
                order.updated_us = now_us
                book.put_order(order)
                desk.tell("order.backorder_filled", order.id, now_us, document_of(order))
                filled += given
            if not _waits_for(order, sku):
                continue
            # What is left there does not suit this one; a later one may not be as particular.
            unserved += 1
            if unserved > UNSERVED_MAX or (given and not order.refused):
                places.discard(where)
    return filled


def _waits_for(order: Order, sku: str) -> bool:
    return any(
        each.sku == sku and each.stage == "backordered" and each.open for each in order.allocations
    )


def _places_with_units(desk: Desk, sku: str, now_us: int) -> set[str]:
    waited_at = desk.book.waiting.places(sku)
    if not waited_at:
        return set()
    members, cells = desk.stock.group_cells([sku], ALL)
    row = cells[0]
    if not row.any():
        return set()
    units = dict(zip(members, row.tolist(), strict=True))
    places = {place for place in waited_at if units.get(place, 0) > 0}
    if ANYWHERE in waited_at:
        shippers = sites_of(desk).shippers(members)
        shipping = row if shippers.columns is None else row[shippers.columns]
        if shipping[shippers.load(now_us) < 1].any():
            places.add(ANYWHERE)
    return places


def _fill_order(desk: Desk, order: Order, sku: str, now_us: int) -> list[Filled]:
    """Turn backordered units of a working copy into placed ones, as far as there are any."""
    filled = []
    waiting = [each for each in order.allocations if each.stage == "backordered" and each.open]
    policy = OrderPolicy(allow_split=order.policy.allow_split, allow_partial=True)
    for each in waiting:
        if each.sku != sku:
            continue
        count = len(order.allocations)
        missing = place(
            desk,
            order,
            [Wanted(each.line, sku, each.open)],
            now_us,
            sourced=each.sourced,
            policy=policy,
            only=None if policy.allow_split else each.location,
            late=True,
        )
        units = each.open - sum(short.quantity for short in missing)
        if units:
            _shrink(order, each, units, order.allocations[count])
            filled.append(Filled(order.id, each.line, sku, units))
            entry = HistoryEntry(
                at_us=now_us, what="backorder_filled", line=each.line, quantity=units
            )
            note(order, entry)
    return filled


def _shrink(order: Order, waiting: Allocation, units: int, first: Allocation) -> None:
    """Take units off what waits; when nothing of it is left, its id goes on with what was given."""
    waiting.quantity -= units
    if not waiting.quantity:
        order.allocations.remove(waiting)
        first.id = waiting.id
