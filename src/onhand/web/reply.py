"""An answer on its way out, whichever interface of the server takes it."""

from __future__ import annotations

from typing import Final, NamedTuple

JSON_HEADERS: Final = [("content-type", "application/json")]


class Reply(NamedTuple):
    """A whole answer: status, body and headers, whose names are in lower case."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = JSON_HEADERS
