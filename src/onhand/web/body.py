"""Read a request's body, and never more of it than is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from onhand.web.rsgi import HTTPProtocol, Scope


DISCARD_BYTES_MAX: Final = 16 << 20
"""Of a body that is too large: read and dropped, so that its sender gets to read the answer."""

_CLOSE: Final = [("connection", "close")]


async def read_body(scope: Scope, protocol: HTTPProtocol, bytes_max: int) -> bytes:
    """Read the whole body.

    Raises
    ------
    ProblemError
        ``body_too_large``; no more than ``bytes_max`` of it is ever kept.
    """
    length = scope.headers.get("content-length")
    # The server lets only digits pass here, and delivers exactly this many bytes.
    if length is not None and int(length) <= bytes_max:
        return await protocol()
    if length is None and scope.headers.get("transfer-encoding") is None:
        return b""
    received = bytearray()
    byte_count = 0
    async for chunk in protocol:
        byte_count += len(chunk)
        if byte_count <= bytes_max:
            received += chunk
        elif byte_count > DISCARD_BYTES_MAX:
            break
        else:
            received.clear()
    if byte_count > bytes_max:
        raise ProblemError(
            ProblemCode.BODY_TOO_LARGE,
            f"A body may have at most {bytes_max:,} bytes.",
            # What is left of the body cannot be told from a next request.
            headers=_CLOSE,
        )
    return bytes(received)
