"""What the order writer asks of a View; the Python face is ``onhand.table.reader``."""

import numpy as np
from numpy.typing import NDArray

from onhand._native.view import View

def cell(view: View, sku: str, ordinal: int) -> tuple[int, int, int]: ...
def promisable(view: View, sku: str, location: str) -> int | None: ...
def ledger_sequence_of(view: View, sku: str) -> int: ...
def group_cells(view: View, skus: list[str], group: int) -> NDArray[np.int64]: ...
def to_order(
    view: View,
    sku: str,
    ordinals: NDArray[np.uint32],
    freed: int = 0,
    waived: dict[int, int] | None = None,
) -> list[list[tuple[int, int]]]: ...
