"""What happened, line by line, and one hash of it all: the same seed writes the same lines."""

from __future__ import annotations

import hashlib
from typing import Final

KEPT: Final = 40
"""Lines kept for the report of a failure when not all are."""


class Trace:
    """Lines of one run.

    Parameters
    ----------
    keep_all
        Whether every line is kept, or only the last ones.
    """

    def __init__(self, *, keep_all: bool = False) -> None:
        self.lines: list[str] = []
        self._keep_all = keep_all
        self._hash = hashlib.sha256()

    def write(self, *words: object) -> None:
        """Add a line."""
        line = " ".join(map(str, words))
        self._hash.update(line.encode() + b"\n")
        self.lines.append(line)
        if not self._keep_all and len(self.lines) > 2 * KEPT:
            del self.lines[:KEPT]

    def digest(self) -> str:
        """Return the hash of every line so far."""
        return self._hash.hexdigest()
