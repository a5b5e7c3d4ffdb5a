"""What servers that hold a unit have in common, for the same bare HTTP server that limits use.

One function of the fastest interface, no framework, no tokens, one constant answer: whatever it
costs beyond a bare answer is what the decision costs. A request takes the first line's SKU, as a
number, and its quantity; it waits for one of as many connections as the load has.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

CONNECTION_COUNT = 32
FIRST_SKU = 4_000_000_000_000
_BODY = Path(os.environ.get("ONHAND_BENCH_ANSWER", os.devnull)).read_bytes()
_HEADERS = [("content-type", "application/json")]


class _Line(msgspec.Struct):
    sku: str
    quantity: int


class _Hold(msgspec.Struct):
    lines: list[_Line]


_decode = msgspec.json.Decoder(_Hold).decode


class Application:
    """Answers once the hold is decided and on disk: 201, or 409 when there is not enough."""

    def __init__(self) -> None:
        self._connections: asyncio.Queue[Any] = asyncio.Queue()
        self._opened = 0

    async def connect(self) -> Any:
        """Open a connection to whoever decides."""
        raise NotImplementedError

    async def take(self, connection: Any, cell: int, quantity: int) -> bool:
        """Take units of a cell if it has them; true once that is on disk."""
        raise NotImplementedError

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.method == "GET":
            protocol.response_bytes(200, _HEADERS, _BODY)
            return
        line = _decode(await protocol()).lines[0]
        connection = await self._free()
        try:
            taken = await self.take(connection, int(line.sku) - FIRST_SKU, line.quantity)
        finally:
            self._connections.put_nowait(connection)
        protocol.response_bytes(201 if taken else 409, _HEADERS, _BODY)

    async def _free(self) -> Any:
        if self._connections.empty() and self._opened < CONNECTION_COUNT:
            self._opened += 1
            return await self.connect()
        return await self._connections.get()


def address() -> str:
    """Return where whoever decides listens."""
    return os.environ["ONHAND_BENCH_DATABASE"]
