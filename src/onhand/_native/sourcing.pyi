"""Which places serve a request; the Python face is ``onhand.sourcing.nearest``."""

from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

OPTIONS_MAX: int
PLACES_MAX: int
ITEMS_MAX: int

_Key: TypeAlias = Any
"""Of the type that was given: packages, then sums over them of cost (1/10,000), metres (2**44 for
each unknown one), priority and load (1/1,000,000)."""

_Facts: TypeAlias = tuple[int, int, bool, int]
"""Places that have everything; metres to the nearest of them, -1 when several tie; whether no way
with fewer packages exists; work done."""

@final
class Ranks:
    """Ranks of places whose costs and distances stay as they are."""

@final
class Search:
    """Finds options, and keeps its memory from one request to the next."""

    def __init__(
        self,
        part: type[tuple[int, int, int]],
        key: type[tuple[int, int, int, int, int]],
    ) -> None: ...
    def find(
        self,
        quantities: NDArray[np.int64],
        available: NDArray[np.int64],
        distances_km: NDArray[np.float64],
        costs: NDArray[np.float64],
        priority: NDArray[np.int64],
        load: NDArray[np.float64],
        allow_split: bool,
        allow_partial: bool,
        options_max: int,
        work_max: int,
    ) -> tuple[list[tuple[tuple[Any, ...], float, float, tuple[int, ...], _Key]], _Facts]:
        """List (parts, distance_km, cost, short, key), best first, and what was found out.

        One more than ``options_max`` may be listed, to compare the last one with. The bound
        ``work_max`` counts words of bit sets. Distances and costs in arrays that may not be
        written to are taken never to change: what was worked out of them is kept. Raises
        ValueError for what breaks a rule, and RuntimeError when another thread is at work here.
        """
