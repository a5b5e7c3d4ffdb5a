"""How far a package goes, and how many days that takes: estimates, from coordinates alone."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onhand import geo

KM_PER_DAY: Final = 800.0
"""How far a package goes in a day, unless a setting says otherwise."""

DAYS_UNKNOWN: Final = 7
"""Days in transit when the distance is not known, unless a setting says otherwise."""


def transit_days(
    distance_km: float, *, km_per_day: float = KM_PER_DAY, days_unknown: int = DAYS_UNKNOWN
) -> int:
    """Estimate the days between handing a package over and its delivery, at least 1.

    Parameters
    ----------
    distance_km
        nan when unknown.
    km_per_day
        More than 0.
    days_unknown
        The answer for an unknown distance, at least 1.

    Raises
    ------
    ValueError
        A parameter breaks its rule.
    """
    if not (km_per_day > 0 and math.isfinite(km_per_day)):
        raise ValueError(f"Condition failed: km_per_day is above 0, not {km_per_day}")
    if days_unknown < 1:
        raise ValueError(f"Condition failed: days_unknown is at least 1, not {days_unknown}")
    if math.isnan(distance_km):
        return days_unknown
    if not 0 <= distance_km < math.inf:
        raise ValueError(f"Condition failed: distance_km is nan or at least 0, not {distance_km}")
    return max(1, math.ceil(distance_km / km_per_day))


def distances_km(
    latitude: float,
    longitude: float,
    latitudes: NDArray[np.float64],
    longitudes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Measure from a destination to each of N places; nan where coordinates are nan.

    Whoever measures to the same places again and again keeps their radians and asks
    :func:`onhand.geo.distances_km`, which this is for degrees.

    Parameters
    ----------
    latitude, longitude
        Of the destination, in degrees.
    latitudes, longitudes : float64[N]
        Of the places.

    Returns
    -------
    float64[N]
        Along the great circle, on a sphere of the earth's mean radius.
    """
    radians = np.radians(np.column_stack((latitudes, longitudes)))
    return geo.distances_km(geo.Point(latitude, longitude), radians)
