"""How many days packages are on their way: estimates, from distances alone."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

DAYS_UNKNOWN: Final = 7
"""Days in transit when the distance is not known."""


def transit_days(distance_km: NDArray[np.float64], km_per_day: float) -> NDArray[np.int64]:
    """Estimate the days between handing packages over and their delivery, each at least 1.

    Parameters
    ----------
    distance_km : float64[N]
        nan where unknown.
    km_per_day
        How far a package goes in a day, more than 0.
    """
    days = np.maximum(1, np.ceil(distance_km / km_per_day))
    return np.where(np.isnan(days), DAYS_UNKNOWN, days).astype(np.int64)
