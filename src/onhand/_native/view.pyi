"""Answers over all shards; the Python face is ``onhand.table.reader``."""

from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import NDArray

from onhand._native.reader import Table
from onhand.table.scopes import ShardScopes

@final
class View:
    """All shards of one cluster as of one compilation of scopes."""

    def __new__(
        cls,
        tables: tuple[Table, ...],
        compiled: tuple[ShardScopes, ...],
        ordinals: dict[str, int],
        judge: Callable[[int, str, bool], int | None],
        low_stock: int,
        demand: Table | None = None,
    ) -> View: ...
    def is_stale(self) -> bool: ...
    def keys(self, skus: list[str]) -> NDArray[np.uint64]: ...
    def available(self, sku: str, location: str, current: bool = False) -> int: ...
    def group_available(self, sku: str, group: int) -> int: ...
    def available_many(self, skus: list[str], locations: list[str]) -> NDArray[np.int64]: ...
    def available_numbers(
        self, shard: int, skus: NDArray[np.uint32], ordinals: NDArray[np.uint32]
    ) -> NDArray[np.int64]: ...
    def group_available_numbers(
        self, shard: int, skus: NDArray[np.uint32], group: int
    ) -> NDArray[np.int64]: ...
    def numbers(
        self, sku: str, group: bool, index: int
    ) -> tuple[int, int, int, int, int, int, int, int, list[tuple[int, int]]] | None: ...
    def render(
        self, sku: str, group: bool, index: int, now_us: int, detail: bool
    ) -> bytes | None: ...
    def render_query(
        self, skus: list[str], scopes: list[tuple[bool, int]], now_us: int
    ) -> bytes: ...
