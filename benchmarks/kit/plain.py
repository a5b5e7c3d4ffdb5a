"""The plain C loops of plain_loop.c, compiled here and now."""

import ctypes
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("plain_loop.c")
INCLUDE = Path(__file__).parents[2] / "native/include"


@cache
def library():
    """Compile the loops as the extensions are compiled, and load them."""
    with tempfile.TemporaryDirectory() as directory:
        built = Path(directory) / "plain_loop.so"
        flags = ["-O3", "-std=gnu17", "-shared", "-fPIC", f"-I{INCLUDE}"]
        subprocess.run([os.environ.get("CC", "cc"), *flags, SOURCE, "-o", built], check=True)
        return ctypes.CDLL(str(built))


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


class PlainTable:
    """A hash table from SKU hashes to rows, and an array of cells: the least a table can be."""

    def __init__(self, keys, location_count):
        self.mask = (1 << (len(keys) * 2 - 1).bit_length()) - 1
        self.width = location_count
        self.keys = keys
        self.slots = np.zeros((self.mask + 1) * 2, np.uint64)
        self.cells = np.zeros(len(keys) * location_count, np.int64)
        library().plain_fill(
            pointer(self.slots),
            ctypes.c_uint64(self.mask),
            pointer(keys),
            ctypes.c_uint64(len(keys)),
        )

    def apply(self, key, location, delta):
        """Add each delta to the cell of a key and a location number."""
        library().plain_apply(
            pointer(self.slots), ctypes.c_uint64(self.mask), pointer(self.cells),
            ctypes.c_uint64(self.width), pointer(key), pointer(location), pointer(delta),
            ctypes.c_uint64(len(key)),
        )  # fmt: skip


def name_hashes(names):
    """Hash fixed-width byte strings, dtype ``S<width>`` without padding."""
    hashes = np.empty(len(names), np.uint64)
    library().name_hashes(
        pointer(names), ctypes.c_uint64(names.itemsize), ctypes.c_uint64(len(names)),
        pointer(hashes),
    )  # fmt: skip
    return hashes
