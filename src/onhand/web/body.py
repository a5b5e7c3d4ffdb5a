"""Read a request's body, and never more of it than is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from onhand.web.rsgi import HTTPProtocol, Scope


async def read_body(scope: Scope, protocol: HTTPProtocol, bytes_max: int) -> bytes:
    """Read the whole body.

    Raises
    ------
    ProblemError
        ``body_too_large``, before it is in memory.
    """
    length = scope.headers.get("content-length")
    if length is not None:
        # The server lets no other characters pass, and delivers exactly this many bytes.
        if int(length) > bytes_max:
            raise too_large(bytes_max)
        return await protocol()
    if scope.headers.get("transfer-encoding") is None and scope.http_version in ("1.0", "1.1"):
        return b""
    received = bytearray()
    async for chunk in protocol:
        received += chunk
        if len(received) > bytes_max:
            raise too_large(bytes_max)
    return bytes(received)


def too_large(bytes_max: int) -> ProblemError:
    """Refuse a body by its size."""
    return ProblemError(ProblemCode.BODY_TOO_LARGE, f"A body may have at most {bytes_max:,} bytes.")
