"""Counts of pairs bought together; the Python face is ``onhand.recommendations.pairs``."""

import numpy as np
from numpy.typing import NDArray

def add_pairs(
    neighbours: NDArray[np.uint32],
    counts: NDArray[np.float32],
    items: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    known: NDArray[np.uint32],
    weights: NDArray[np.float32],
) -> None:
    """Count the pairs that baskets add, in rows of fixed width."""
