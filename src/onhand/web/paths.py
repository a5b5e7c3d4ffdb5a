"""Paths whose ids may hold slashes: each id is quoted again, so that it is one step of the path.

The server decodes a path before anybody sees it, and a decoded id with a slash would be two steps.
Where a path has words after the id, those are its last step.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote


class _Place(NamedTuple):
    """Where an id stands: after ``prefix``, before one of the words of the request's method."""

    prefix: str
    words: dict[str, frozenset[str]]

    def words_of(self, method: str) -> frozenset[str]:
        # A method that nothing here takes is told so by the route that the path would have.
        return self.words.get(method, frozenset().union(*self.words.values()))


_TASK_STEPS: Final = frozenset({"pick", "pack", "ready", "ship", "collect", "reject"})
_PLACES: Final = (
    _Place("/v1/availability/", {"GET": frozenset({"nearby", "explain", "together"})}),
    _Place("/v1/orders/", {"GET": frozenset({"explain"}), "POST": frozenset({"cancel"})}),
    _Place("/v1/tasks/", {"POST": _TASK_STEPS}),
    _Place(
        "/v1/returns/",
        {
            "GET": frozenset({"slip", "explain"}),
            "POST": frozenset({"receive", "inspect", "cancel"}),
        },
    ),
    _Place("/v1/aisle/", {"GET": frozenset()}),
    _Place(
        "/v1/customers/",
        {
            "GET": frozenset({"recommendations"}),
            "PUT": frozenset({"wishlist"}),
            "DELETE": frozenset(),
        },
    ),
    _Place("/v1/holds/", {"POST": frozenset({"extend"})}),
    _Place("/v1/locations/", {"GET": frozenset({"tasks"}), "PUT": frozenset()}),
)


def one_step_an_id(method: str, path: str) -> str:
    """Quote the id within a path; a path without one stays as it is."""
    for place in _PLACES:
        if path.startswith(place.prefix):
            rest = path[len(place.prefix) :]
            some_id, slash, word = rest.rpartition("/")
            if some_id and word in place.words_of(method):
                return f"{place.prefix}{quote(some_id, safe='')}{slash}{word}"
            return place.prefix + quote(rest, safe="")
    return path
