"""What learners publish and readers map: the best neighbours of every item, by number.

``TABLE_DIR/onhand-<id>/recommendations.snapshot``, replaced whole. A reader finds an item by the
hash of its name among sorted hashes, so that opening costs nothing however many items there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from onhand.logging import get_logger
from onhand.recommendations.arrays_file import Arrays, ArraysInvalid, map_arrays, write_arrays
from onhand.recommendations.baskets import name_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from onhand.recommendations.pairs import Pairs
    from onhand.recommendations.ranking import Ranked

NAME: Final = "recommendations.snapshot"
_ARRAYS: Final = frozenset(
    {
        "neighbours",
        "scores",
        "bought",
        "popular",
        "hashes",
        "hashed",
        "name_ends",
        "heap",
    }
)

log = get_logger(__name__)


class SnapshotMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a snapshot as a whole; times are microseconds since 1970 UTC."""

    created_us: int
    newest_us: int
    """When the newest basket in it was bought."""
    basket_count: int
    """Baskets learnt from since the beginning, faded ones too."""


class Snapshot:
    """A mapped snapshot; read-only, and never changed.

    Attributes
    ----------
    neighbours, scores
        Shape (item_count, width): items by number, the best first; score 0 where there is none.
    bought
        Shape (item_count,), float32: baskets that held the item, faded to ``newest_us``.
    popular
        Items by number, those bought most first.
    """

    def __init__(self, mapped: Arrays[SnapshotMeta]) -> None:
        self.meta = mapped.meta
        self.size_bytes = mapped.size_bytes
        arrays = mapped.arrays
        self.neighbours: NDArray[np.uint32] = arrays["neighbours"]
        self.scores: NDArray[np.float32] = arrays["scores"]
        self.bought: NDArray[np.float32] = arrays["bought"]
        self.popular: NDArray[np.uint32] = arrays["popular"]
        self._hashes: NDArray[np.uint64] = arrays["hashes"]
        self._hashed: NDArray[np.uint32] = arrays["hashed"]
        self._name_ends: NDArray[np.uint32] = arrays["name_ends"]
        self._heap = arrays["heap"].data

    @property
    def item_count(self) -> int:
        """How many numbers there are; some may be free."""
        return len(self.bought)

    def name(self, number: int) -> str:
        """Return the SKU of an item."""
        begin = int(self._name_ends[number - 1]) if number else 0
        return str(self._heap[begin : int(self._name_ends[number])], "utf-8")

    def find(self, names: Sequence[str]) -> list[int]:
        """Return the numbers of SKUs, -1 for those never bought; 2 us each."""
        if not len(self._hashes) or not names:
            return [-1] * len(names)
        hashes = np.fromiter(map(name_hash, names), np.uint64, len(names))
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        found = np.where(self._hashes[at] == hashes, self._hashed[at].astype(np.int64), -1).tolist()
        # One in 2**64 hashes is another's: names decide.
        return [
            number if number >= 0 and self.name(number) == name else -1
            for number, name in zip(found, names, strict=True)
        ]


def write_snapshot(path: Path, pairs: Pairs, ranked: Ranked, *, created_us: int) -> int:
    """Publish what has been ranked; return the size in bytes."""
    count = len(pairs.names)
    encoded = [name.encode() for name in pairs.names]
    known = np.array([number for number, name in enumerate(pairs.names) if name], np.uint32)
    hashes = np.fromiter(
        (name_hash(pairs.names[number]) for number in known.tolist()), np.uint64, len(known)
    )
    bought = (pairs.bought[:count] * pairs.scale()).astype(np.float32)
    order = np.argsort(hashes)
    meta = SnapshotMeta(
        created_us=created_us, newest_us=pairs.newest_us, basket_count=pairs.basket_count
    )
    arrays: dict[str, NDArray[Any]] = {
        "neighbours": ranked.neighbours[:count],
        "scores": ranked.scores[:count],
        "bought": bought,
        "popular": known[np.argsort(-bought[known], kind="stable")],
        "hashes": hashes[order],
        "hashed": known[order],
        "name_ends": np.cumsum(list(map(len, encoded)), dtype=np.uint32),
        "heap": np.frombuffer(b"".join(encoded), np.uint8),
    }
    return write_arrays(path, meta, arrays, durable=False)


class SnapshotFollower:
    """The newest snapshot that is published.

    Parameters
    ----------
    path
        Where it is; there may be none yet. One that is removed stays in use until there is another.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._snapshot: Snapshot | None = None

    def current(self) -> Snapshot | None:
        """Return it, None before the first; 2 us when there is no newer one."""
        try:
            found = self._path.stat()
        except OSError:
            return self._snapshot
        seen = (found.st_ino, found.st_mtime_ns)
        if seen != self._seen:
            try:
                self._snapshot = Snapshot(map_arrays(self._path, SnapshotMeta, _ARRAYS))
            except FileNotFoundError:
                return self._snapshot
            except ArraysInvalid as error:
                log.warning("recommendations_not_read", error=str(error))
            self._seen = seen
        return self._snapshot


def names_of(snapshot: Snapshot, numbers: Iterable[int]) -> list[str]:
    """Return the SKUs of items."""
    return [snapshot.name(number) for number in numbers]
