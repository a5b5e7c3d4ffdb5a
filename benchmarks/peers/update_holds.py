"""PostgreSQL decides: each hold is one conditional UPDATE of one row, prepared, its commit on disk.

It is the least that a hold can cost when the database decides. Left out is what onhand keeps of
one: the hold itself, its expiry, its event, the answer to the same request sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.peers.holding import Application, address

if TYPE_CHECKING:
    from collections.abc import Sequence

CREATE = """
    CREATE TABLE cell (
        id integer PRIMARY KEY, on_hand integer NOT NULL, reserved integer NOT NULL
    ) WITH (fillfactor = 50);
    INSERT INTO cell SELECT number, 1000000, 0 FROM generate_series(0, 99999) AS number;
    ANALYZE cell;
"""
UPDATE = """
    UPDATE cell SET reserved = reserved + %s WHERE id = %s AND on_hand - reserved >= %s
"""


class UpdateHolds(Application):
    """Holds by UPDATE."""

    async def connect(self) -> Any:
        """Open a connection whose statements commit by themselves."""
        return await psycopg.AsyncConnection.connect(address(), autocommit=True)

    async def take(self, connection: Any, cell: int, quantity: int) -> bool:
        """Update the row where enough is left."""
        wanted = (quantity, cell, quantity)
        cursor = await connection.execute(UPDATE, wanted, prepare=True)
        return cursor.rowcount == 1


application = UpdateHolds()


def stock(url: str, cells: Sequence[int], units: int) -> None:
    """Give each of the cells so many units."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE cell SET on_hand = %s, reserved = 0 WHERE id = ANY(%s)", (units, list(cells))
        )


def left(url: str, cells: Sequence[int]) -> list[int]:
    """Read back how many units of each cell are left."""
    select = "SELECT id, on_hand - reserved FROM cell WHERE id = ANY(%s)"
    with psycopg.connect(url) as connection:
        found = dict(connection.execute(select, (list(cells),)).fetchall())
    return [found[cell] for cell in cells]
