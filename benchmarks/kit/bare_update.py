"""What the bare server runs beside a database: each request is one conditional UPDATE, on disk.

It is the least that a hold can cost when the database decides: one statement, prepared, in a
transaction of its own, on as many connections as clients have.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import psycopg

CONNECTION_COUNT = 32
CELL_COUNT = 100_000
CREATE = """
    CREATE TABLE cell (
        id integer PRIMARY KEY, on_hand integer NOT NULL, reserved integer NOT NULL
    ) WITH (fillfactor = 50);
    INSERT INTO cell SELECT number, 1000000, 0 FROM generate_series(1, 100000) AS number;
    ANALYZE cell;
"""
UPDATE = """
    UPDATE cell SET reserved = reserved + 1
    WHERE id = %s AND on_hand - reserved >= 1 RETURNING reserved
"""
_BODY = Path(os.environ.get("ONHAND_BENCH_ANSWER", os.devnull)).read_bytes()
_HEADERS = [("content-type", "application/json")]


class _Application:
    """Answers once its update is committed."""

    def __init__(self) -> None:
        self._connections: asyncio.Queue[Any] = asyncio.Queue()
        self._opened = 0

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.method == "GET":
            protocol.response_bytes(200, _HEADERS, _BODY)
            return
        await protocol()
        connection = await self._take()
        try:
            cell = random.randrange(CELL_COUNT) + 1
            cursor = await connection.execute(UPDATE, (cell,), prepare=True)
            found = await cursor.fetchone()
        finally:
            self._connections.put_nowait(connection)
        protocol.response_bytes(201 if found else 409, _HEADERS, _BODY)

    async def _take(self) -> Any:
        if self._connections.empty() and self._opened < CONNECTION_COUNT:
            self._opened += 1
            return await psycopg.AsyncConnection.connect(
                os.environ["ONHAND_BENCH_DATABASE"], autocommit=True
            )
        return await self._connections.get()


application = _Application()
