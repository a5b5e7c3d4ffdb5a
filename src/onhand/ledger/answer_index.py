"""Which commit wrote the answer to a key, kept in memory by the one writer.

Keys of answers are hashes: an index of them on disk would be written all over with every commit,
and cost more than everything else in it. So the answers of a commit lie together in one row, and
what finds them again is here: 8 bytes an answer, in sorted runs that merge as they grow, rebuilt
from the rows at a start. The newest answers stay as they are, for clients that ask again at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from onhand.ledger.rows import AnswerRow

    Words = NDArray[np.uint64]

YOUNG_MAX: Final = 8_192
YOUNG_BYTES_MAX: Final = 16 << 20
"""Answers, and bytes of their documents, after which the young ones become a run; up to twice as
many are kept whole."""

HASH_BYTES: Final = 8
_NUMBER_BITS: Final = 30
_NUMBER: Final = np.uint64((1 << _NUMBER_BITS) - 1)
_HASH: Final = ~_NUMBER


class AnswerIndex:
    """Finds answers by key; used by one thread at a time.

    A word is the first 34 bits of a key above the 30-bit number of its commit, counted from
    ``base``. Two keys that begin alike cost one row read in vain.

    Parameters
    ----------
    base
        Lowest number of a commit that may hold an answer.
    """

    def __init__(
        self,
        base: int = 0,
        *,
        young_max: int = YOUNG_MAX,
        young_bytes_max: int = YOUNG_BYTES_MAX,
    ) -> None:
        self._base = base
        self._horizon = base
        self._young_max = young_max
        self._young_bytes_max = young_bytes_max
        self._young_bytes = 0
        self._young: dict[bytes, AnswerRow] = {}
        self._old: dict[bytes, AnswerRow] = {}
        self._young_words: list[Words] = []
        self._runs: list[Words] = []

    def load(self, numbers: Sequence[int], hashes: Sequence[bytes]) -> None:
        """Take in the answers on disk: numbers of commits, and :func:`hashes_of` each."""
        counts = [len(each) // HASH_BYTES for each in hashes]
        if counts:
            self._make_room(max(numbers))
            relative = np.asarray(numbers, np.int64) - self._base
            self._add_run(_words(b"".join(hashes), np.repeat(relative, counts)))

    def add(self, number: int, rows: Sequence[AnswerRow]) -> None:
        """Note what a commit has written."""
        if not rows:
            return
        self._make_room(number)
        relative = np.full(len(rows), number - self._base, np.int64)
        self._young_words.append(_words(hashes_of([row.key for row in rows]), relative))
        self._young.update((row.key, row) for row in rows)
        self._young_bytes += sum(len(row.document) for row in rows)
        if len(self._young) >= self._young_max or self._young_bytes >= self._young_bytes_max:
            young = self._young
            self.settle()
            self._old = young

    def settle(self) -> None:
        """Let go of answers kept whole; their words stay."""
        words, self._young_words = self._young_words, []
        if words:
            self._add_run(np.concatenate(words))
        self._young, self._old = {}, {}
        self._young_bytes = 0

    def find(self, keys: Sequence[bytes]) -> tuple[dict[bytes, AnswerRow], list[int]]:
        """Look keys up: the answers known, and numbers of commits that may hold more, sorted.

        Notes
        -----
        O(keys x runs x log answers); there are about as many runs as doublings of ``young_max``.
        """
        known = {}
        rest = []
        for key in keys:
            row = self._young.get(key) or self._old.get(key)
            if row is None:
                rest.append(key)
            else:
                known[key] = row
        return known, self._numbers(rest) if rest else []

    def forget(self, horizon: int) -> None:
        """Let go of commits below a number, as runs merge."""
        self._horizon = max(self._horizon, horizon)

    def __len__(self) -> int:
        return len(self._young) + sum(len(run) for run in self._runs)

    def _numbers(self, keys: Sequence[bytes]) -> list[int]:
        begin = np.frombuffer(hashes_of(keys), ">u8").astype(np.uint64) & _HASH
        found: set[int] = set()
        for run in self._runs:
            first = np.searchsorted(run, begin, "left")
            last = np.searchsorted(run, begin | _NUMBER, "right")
            for at in np.flatnonzero(last > first):
                found.update((run[first[at] : last[at]] & _NUMBER).tolist())
        return sorted(self._base + each for each in found if self._base + each >= self._horizon)

    def _add_run(self, words: Words) -> None:
        run = np.sort(words)
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            # Two sorted runs in a row are what a stable sort merges in one pass.
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
            run = self._kept(run)
        self._runs.append(run)

    def _kept(self, run: Words) -> Words:
        oldest = np.uint64(self._horizon - self._base)
        return run[(run & _NUMBER) >= oldest] if oldest else run

    def _make_room(self, number: int) -> None:
        if number - self._base <= int(_NUMBER):
            return
        moved = np.uint64(self._horizon - self._base)
        self._runs = [self._kept(run) - moved for run in self._runs]
        self._young_words = [self._kept(words) - moved for words in self._young_words]
        self._base = self._horizon
        if number - self._base > int(_NUMBER):
            raise AssertionError("Invariant: answers are forgotten before numbers run out")


def hashes_of(keys: Sequence[bytes]) -> bytes:
    """Join the beginnings of keys, 8 bytes each.

    Raises
    ------
    ValueError
        When a key is shorter than that.
    """
    joined = b"".join([key[:HASH_BYTES] for key in keys])
    if len(joined) != HASH_BYTES * len(keys):
        raise ValueError("Condition failed: the key of an answer is a hash of 16 to 32 bytes")
    return joined


def _words(hashes: bytes, relative: NDArray[np.int64]) -> Words:
    return (np.frombuffer(hashes, ">u8").astype(np.uint64) & _HASH) | relative.astype(np.uint64)
