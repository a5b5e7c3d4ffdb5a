"""What the disk itself asks for, measured as latency is: by the clock, in the same run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SYNCED_BYTES = 64 << 10
FILE_BYTES = 4 << 20
RATE = 500


def sync_ms(folder: Path, seconds: float, *, rate: int = RATE) -> NDArray[np.float64]:
    """Overwrite 64 KiB of a small file and sync it, at fixed times and doing nothing else.

    Returns
    -------
    ndarray
        Milliseconds from when each was due until it was on disk. One that comes late for a disk
        that stood still counts, as a request does.
    """
    path = folder / "synced"
    taken = np.empty(max(1, int(rate * seconds)))
    with path.open("wb", buffering=0) as file:
        descriptor = file.fileno()
        os.write(descriptor, b"\0" * FILE_BYTES)
        os.fsync(descriptor)
        begin = time.perf_counter()
        for at in range(len(taken)):
            due = begin + at / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            os.pwrite(descriptor, b"x" * SYNCED_BYTES, at * SYNCED_BYTES % FILE_BYTES)
            os.fdatasync(descriptor)
            taken[at] = time.perf_counter() - due
    path.unlink()
    return taken * 1e3
