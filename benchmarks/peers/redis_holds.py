"""Redis decides: each hold is one script that checks a number and lowers it.

The server appends every write to its file and syncs that before it answers (``appendfsync
always``), which it does once for all that it found waiting. The script is loaded beforehand and
called by its hash over bare connections of the Python client, which spares a third of what its
commands cost, and answers are parsed in C. Left out is what onhand keeps of a hold: the
hold itself, its expiry, its event, the answer to the same request sent again.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.asyncio import Connection

from benchmarks.peers.holding import Application, address
from tests.brokers import wait_port
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SCRIPT = """
    local wanted = tonumber(ARGV[1])
    if tonumber(redis.call('GET', KEYS[1]) or 0) < wanted then return 0 end
    redis.call('DECRBY', KEYS[1], wanted)
    return 1
"""
ADVICE = "no redis-server was found: install Redis (Debian: apt-get install redis-server)"
UNITS = 1_000_000
STOP_S_MAX = 30


class RedisHolds(Application):
    """Holds by script."""

    def __init__(self) -> None:
        super().__init__()
        self._sha = ""

    async def connect(self) -> Any:
        """Open a connection, and see to it that the server has the script."""
        host, _, port = address().partition(":")
        connection = Connection(host=host, port=int(port))
        await connection.connect()
        await connection.send_command("SCRIPT LOAD", SCRIPT)
        self._sha = await connection.read_response()
        return connection

    async def take(self, connection: Any, cell: int, quantity: int) -> bool:
        """Run the script on the cell's key."""
        await connection.send_command("EVALSHA", self._sha, 1, key(cell), quantity)
        return await connection.read_response() == 1


application = RedisHolds()


def key(cell: int) -> str:
    """Name a cell."""
    return f"cell:{cell}"


@contextlib.contextmanager
def server(scratch: Path, cell_count: int) -> Iterator[str]:
    """Run a Redis that syncs every write, with stock in every cell; yields its address."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip(ADVICE)
    port = free_port()
    process = subprocess.Popen(
        [
            *(program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(scratch)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        found = f"127.0.0.1:{port}"
        wait_port(found)
        stock(found, range(cell_count), UNITS)
        yield found
    finally:
        process.terminate()
        process.wait(STOP_S_MAX)


@cache
def client(found: str) -> redis.Redis:
    """Return a client that waits."""
    host, _, port = found.partition(":")
    return redis.Redis(host=host, port=int(port))


def version(found: str) -> str:
    """Name the server's release."""
    return client(found).info("server")["redis_version"]


def stock(found: str, cells: Sequence[int], units: int) -> None:
    """Give each of the cells so many units."""
    client(found).mset({key(cell): units for cell in cells})


def left(found: str, cells: Sequence[int]) -> list[int]:
    """Read back how many units of each cell are left."""
    return [int(each) for each in client(found).mget([key(cell) for cell in cells])]
