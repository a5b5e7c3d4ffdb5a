"""One GET of a server, for commands that show what it says."""

from __future__ import annotations

import contextlib
import http.client
from typing import Final
from urllib.parse import urlsplit

from onhand.errors import OnhandError

TIMEOUT_S: Final = 10.0


class ServerUnreachableError(OnhandError):
    """Nobody answers at the address."""

    code = "server_unreachable"


def fetch(url: str, path: str, token: str | None = None) -> tuple[int, bytes]:
    """GET a path and answer status and body.

    Raises
    ------
    ServerUnreachableError
        The address is none, or nobody answers there.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServerUnreachableError(
            f"{url!r} is no address of a server", "Write it as http://HOST:PORT"
        )
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.closing(connection):
        try:
            connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachableError(
                f"{url} does not answer: {error}", "Check --url and that the server is up"
            ) from error
