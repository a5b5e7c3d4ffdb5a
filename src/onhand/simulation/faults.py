"""What goes wrong, and what must never be."""

from __future__ import annotations


class Killed(BaseException):
    """The process is gone at this instruction: whatever it had in memory is too."""


class Broken(Exception):
    """An invariant does not hold."""


def must(holds: bool, what: str, *details: object) -> None:  # noqa: FBT001
    """Find that an invariant is broken unless it holds; details are shown as they are."""
    if not holds:
        raise Broken(" ".join([what, *(repr(each) for each in details)]))
