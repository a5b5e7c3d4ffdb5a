"""The one writer of a supply table; the Python face is ``onhand.table.supply``."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

class StatusError(Exception):
    """A native call did not succeed; ``onhand.table.status`` puts it into words."""

    status: int
    errno: int
    event: int
    expected: int
    found: int
    def __init__(
        self, status: int, errno: int = 0, event: int = -1, expected: int = 0, found: int = 0
    ) -> None: ...

@final
class SupplyTable:
    """A store with its private state; one thread at a time."""

    def configure(
        self,
        cluster_id: bytes,
        *,
        shard: int,
        shard_count: int,
        generation: int,
        capacity_bytes: int,
        change_ring_size: int,
        history_max: int,
        ids_max: int,
        orders_max: int,
    ) -> None: ...
    def create(self, path: bytes) -> None: ...
    def adopt(self, path: bytes, lengths: list[int]) -> list[memoryview]: ...
    def adopted(self) -> None: ...
    def close(self) -> None: ...
    def apply(
        self,
        events: NDArray[Any],
        lines: NDArray[Any],
        heap: bytes | bytearray,
        next_offsets: dict[int, int],
        ids_since_us: int,
        counts_since_us: int,
        expired_us: int,
    ) -> tuple[int, int, int, int, tuple[int, ...]]: ...
    def apply_columns(
        self,
        sku: NDArray[np.uint32],
        location: NDArray[np.uint32],
        delta: NDArray[np.int32],
    ) -> None: ...
    def resolve_skus(self, skus: list[str]) -> NDArray[np.uint32]: ...
    def resolve_locations(self, locations: list[str]) -> NDArray[np.uint32]: ...
    def stamp(self, heartbeat_us: int, as_of_us: int, lag_events: int) -> None: ...
    def needs_checkpoint(self) -> bool: ...
    def freeze(self, ids_expired_us: int) -> list[list[memoryview]]: ...
    def release(self) -> None: ...
    def forget(self) -> None: ...
    def applied_offset(self, partition: int) -> int: ...
    @property
    def announced(self) -> tuple[int, int]: ...
    @property
    def in_force(self) -> tuple[int, int]: ...
    def figures(self) -> dict[str, int]: ...
    def changes(
        self, since: int, count_max: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32], int, bool]: ...
