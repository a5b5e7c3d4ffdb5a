"""Where units that have come back should go on to: a suggestion, which moves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from onhand.geo import Point, distances_km
from onhand.model.setup import ALL
from onhand.orders.return_rules import send_to
from onhand.orders.sites import sites_of

if TYPE_CHECKING:
    from onhand.orders.desk import Desk
    from onhand.orders.handover import Units


def suggest(desk: Desk, location: str, units: Units) -> list[dict[str, Any]]:
    """Suggest transfers of sellable units from a place that should not keep them.

    A place keeps what it sells already. What it does not, or may not sell, goes where the return
    policy says, else to the nearest place that has some.
    """
    found = []
    for sku, quantity in units.items():
        to, why = _onward(desk, location, sku)
        if to is not None:
            found.append({"sku": sku, "quantity": quantity, "from": location, "to": to, "why": why})
    return found


def _onward(desk: Desk, location: str, sku: str) -> tuple[str | None, str]:
    belongs = send_to(desk, sku)
    if belongs is not None:
        return (None if belongs == location else belongs), "the return policy sends it there"
    here = sites_of(desk).location(location)
    sells = here.enabled and here.type != "supplier" and (here.pickup or here.ship)
    if sells and desk.stock.promisable(sku, location) > 0:
        return None, ""
    nearest = _nearest(desk, location, sku)
    if nearest is None:
        return None, ""
    reason = "does not carry it" if sells else "is not open to orders"
    return nearest, f"{location} {reason}, {nearest} does"


def _nearest(desk: Desk, location: str, sku: str) -> str | None:
    sites = sites_of(desk)
    names, available = desk.stock.group_cells([sku], ALL)
    carriers = [
        sites.location(name)
        for name, units in zip(names, available[0].tolist(), strict=True)
        if units > 0 and name != location
    ]
    carriers = [each for each in carriers if each.type != "supplier"]
    if not carriers:
        return None
    here = sites.location(location)
    if here.latitude is None or here.longitude is None:
        return min(each.id for each in carriers)
    degrees = [
        (each.latitude, each.longitude) if each.latitude is not None else (np.nan, np.nan)
        for each in carriers
    ]
    radians = np.radians(np.array(degrees, dtype=np.float64))
    kilometres = distances_km(Point(here.latitude, here.longitude), radians)
    distances = np.where(np.isnan(kilometres), np.inf, kilometres).tolist()
    return min(zip(distances, (each.id for each in carriers), strict=True))[1]
