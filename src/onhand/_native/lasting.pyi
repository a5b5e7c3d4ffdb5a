"""Objects that last and can be part of no cycle; :mod:`onhand.orders.book` has such."""

from typing import Any

def untrack(*lists: list[Any]) -> None:
    """Let collections pass lists over for as long as these live; none may be part of a cycle."""
