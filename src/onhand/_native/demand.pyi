"""The one writer of the demand table; the Python face is ``onhand.table.demand``."""

from typing import final

import numpy as np
from numpy.typing import NDArray

class DemandError(Exception):
    """A native call did not succeed: the number of ``enum oh_status``, and errno."""

    status: int
    errno: int
    def __init__(self, status: int, errno: int = 0) -> None: ...

class BelowZero(Exception):
    """More would be released than is there; how much there is, and the change asked for."""

    units: int
    delta: int
    def __init__(self, units: int, delta: int) -> None: ...

@final
class DemandTable:
    """A store of what is promised, open for writing by one thread at a time."""

    def __new__(
        cls,
        path: bytes,
        cluster_id: bytes,
        *,
        generation: int,
        capacity_bytes: int,
        change_ring_size: int,
    ) -> DemandTable: ...
    def close(self) -> None: ...
    def add(self, sku: str, location: str, delta: int) -> int: ...
    def reserved(self, sku: str, location: str) -> int: ...
    def add_many(
        self, skus: list[str], locations: list[str], deltas: NDArray[np.int64]
    ) -> None: ...
    def add_backorder(self, sku: str, location: str, day: int, delta: int) -> int: ...
    def tell(self, sku: str, location: str) -> None: ...
    def stamp(self, heartbeat_us: int, commit_number: int) -> None: ...
    def figures(self) -> dict[str, int]: ...
