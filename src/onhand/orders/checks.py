"""What must hold of an order or a question about one before stock is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onhand.orders.refusal import refuse
from onhand.orders.sites import sites_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.model.commands import Destination, Fulfilment, OrderLine
    from onhand.orders.desk import Desk


def must_be_servable(desk: Desk, lines: Iterable[OrderLine], fulfilment: Fulfilment) -> None:
    """Refuse what could not be served however much stock there were.

    Raises
    ------
    Refusal
        ``unknown_sku``, ``unknown_location``, ``location_disabled``, ``pickup_unavailable`` or
        ``unknown_postal_code``, naming the field.
    """
    for index, line in enumerate(lines):
        desk.must_know_sku(line.sku, f"/lines/{index}/sku")
    if fulfilment.location is not None:
        _must_be_collectable(desk, fulfilment.location)
    if fulfilment.destination is not None:
        _must_be_a_place(desk, fulfilment.destination)


def _must_be_collectable(desk: Desk, location_id: str) -> None:
    pointer = "/fulfilment/location"
    known = desk.setup.locations.get(location_id)
    if known is None:
        if not desk.stock.knows_location(location_id):
            raise refuse("unknown_location", f"nobody has named {location_id!r}", pointer)
        return
    if not known.enabled:
        raise refuse("location_disabled", f"{location_id!r} is disabled", pointer)
    if not known.pickup:
        detail = f"customers cannot collect at {location_id!r}"
        raise refuse("pickup_unavailable", detail, pointer)


def _must_be_a_place(desk: Desk, destination: Destination) -> None:
    if sites_of(desk).find_point(destination) is None:
        code, country = destination.postal_code, destination.country
        where = f"{code!r} in {country}" if country else f"{code!r}"
        detail = f"no place is known for the postal code {where}; send coordinates"
        pointer = "/fulfilment/destination/postal_code"
        raise refuse("unknown_postal_code", detail, pointer)
