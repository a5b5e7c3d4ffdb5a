"""Medusa's inventory and locking modules in a server of Node's own, ``medusa_server/server.mjs``.

Their packages are those of the ``package-lock.json`` beside it. npm installs them once into
``build/peers/medusa``, without running anything that they bring along.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest

from benchmarks.bench_http_orders import UNITS, place, places_of, sku
from tests.deployments import wait_until
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SOURCE = Path(__file__).with_name("medusa_server")
INSTALLED = Path(__file__).parents[2] / "build/peers/medusa"
ADVICE = "no Node.js with npm was found: install them (Debian: apt-get install nodejs npm)"
FILES = (".npmrc", "package.json", "package-lock.json")
PUT_MAX = 500
ANSWER_S_MAX = 60
STOP_S_MAX = 15


@contextlib.contextmanager
def server(database: str, scratch: Path) -> Iterator[int]:
    """Run the server on a new database; yields its port."""
    node = _installed()
    port = free_port()
    shutil.copy(SOURCE / "server.mjs", INSTALLED)
    environment = os.environ | {"NODE_ENV": "production", "MEDUSA_DISABLE_TELEMETRY": "true"}
    log = scratch / "medusa.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [node, "server.mjs", str(port), database],
            cwd=INSTALLED,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{_url(port)}/stock?sku=none").is_success
        return False

    try:
        wait_until(is_up)
        yield port
    finally:
        process.terminate()
        process.wait(STOP_S_MAX)


def version() -> str:
    """Name the release of the modules."""
    package = msgspec.json.decode((SOURCE / "package.json").read_bytes())
    return package["dependencies"]["@medusajs/inventory"]


def stock(port: int, numbers: Iterable[int], units: int = UNITS) -> None:
    """Make items of SKUs, stocked where holds ask for them."""
    levels = [
        {"sku": sku(number), "location": place(places_of(number)[0]), "units": units}
        for number in numbers
    ]
    for start in range(0, len(levels), PUT_MAX):
        answer = httpx.put(
            f"{_url(port)}/stock", json=levels[start : start + PUT_MAX], timeout=ANSWER_S_MAX
        )
        assert answer.is_success, answer.text


def left(port: int, numbers: Sequence[int]) -> list[int]:
    """Read back how many units of each SKU are left, by the module."""
    skus = [sku(number) for number in numbers]
    found = httpx.get(f"{_url(port)}/stock", params={"sku": skus}, timeout=ANSWER_S_MAX).json()
    return [int(found[each]) for each in skus]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _installed() -> str:
    """Install the packages unless that was done; return where Node.js is."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(ADVICE)
    wanted = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in FILES)).hexdigest()
    stamp = INSTALLED / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        for name in FILES:
            shutil.copy(SOURCE / name, INSTALLED)
        command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run([*command, "--loglevel=error"], cwd=INSTALLED, check=True)
        stamp.write_text(wanted)
    return node
