"""Which holds are in a cell, for as many as there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand._native.lasting import untrack

if TYPE_CHECKING:
    from collections.abc import Iterator

SWEEP_MIN: Final = 8
"""Ids that have left and are not worth a sweep yet; most cells hold a few and turn over often."""

_NOBODY: Final[set[str]] = set()


class Members:
    """Ids in the order in which they came first.

    One more touches the end of a list, whether there are a hundred or a million: a dict of a
    million is touched all over. What has left is remembered, and swept out when it is most of all.
    Written by one thread; another may go through it meanwhile, and miss what comes or leaves.
    """

    __slots__ = ("_ids", "_left")

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._left = _NOBODY  # a set of its own would be most of a small cell
        untrack(self._ids)

    def add(self, member: str) -> None:
        """Add an id that is not in; O(1). One that has left takes its old place."""
        if member in self._left:
            self._left.remove(member)
        else:
            self._ids.append(member)

    def drop(self, member: str) -> None:
        """Take out an id that is in; O(1) but for a sweep now and then."""
        if self._left is _NOBODY:
            self._left = set()
        self._left.add(member)
        if len(self._left) > SWEEP_MIN and 2 * len(self._left) > len(self._ids):
            self._ids, self._left = list(self), _NOBODY
            untrack(self._ids)

    def newest(self) -> str | None:
        """Return the id that came last of those that are in."""
        return next((each for each in reversed(self._ids) if each not in self._left), None)

    def __iter__(self) -> Iterator[str]:
        left = self._left
        return (each for each in self._ids if each not in left)

    def __len__(self) -> int:
        # A list made of it asks first, and what is read in two steps may change in between.
        return max(0, len(self._ids) - len(self._left))
