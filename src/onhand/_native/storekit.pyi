"""A bare writer of stores, for tests and benchmarks; the real one is ``onhand.table.supply``."""

import os
from typing import final

import numpy as np
from numpy.typing import NDArray

class StoreError(Exception):
    """A status of the store: its number, and errno where that tells more."""

def plain_lookups(key_count: int, picks: NDArray[np.uint32], ahead: bool) -> tuple[float, int]: ...
def shard_of(sku: str, shard_count: int) -> int: ...

@final
class StoreKit:
    """One store, open for writing."""

    def __new__(
        cls,
        path: str | os.PathLike[str],
        *,
        capacity_bytes: int = ...,
        change_ring_size: int = ...,
        history_ring_size: int = ...,
        shard: int = 0,
        shard_count: int = 1,
        generation: int = 1,
        cluster_id: bytes = ...,
        image: bytes | None = None,
    ) -> StoreKit: ...
    def image(self) -> bytes: ...
    def stamp(self, as_of_us: int, heartbeat_us: int = 0, lag_events: int = 0) -> None: ...
    def set_applied_offset(self, partition: int, offset: int) -> None: ...
    def set_ledger_sequence(self, sequence: int) -> None: ...
    def sku(self, text: str) -> int: ...
    def location(self, text: str) -> int: ...
    def skus(self, texts: list[str]) -> NDArray[np.uint32]: ...
    def add(
        self,
        sku: str,
        location: str,
        on_hand: int = 0,
        held: int = 0,
        in_transit: int = 0,
        damaged: int = 0,
    ) -> None: ...
    def add_incoming(self, sku: str, location: str, day: int, quantity: int) -> None: ...
    def add_numbers(
        self,
        skus: NDArray[np.uint32],
        locations: NDArray[np.uint32],
        deltas: NDArray[np.int32],
        counted: bool = False,
        tell: bool = True,
    ) -> None: ...
    def go_round(self, sku: int, location_count: int, rounds: int, pause: int = 0) -> None: ...
    def swap(self, sku: int, location_count: int, steps: int, seed: int) -> None: ...
