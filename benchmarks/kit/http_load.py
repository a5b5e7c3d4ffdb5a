"""A bare HTTP server, and the load of http_load.c, compiled here and now."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx

from tests.deployments import wait_until
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCE = Path(__file__).with_name("http_load.c")
SERVER_CORE, LOAD_CORE = 0, 1
BARE_PATH = "/v1/availability/apple"


class Load(NamedTuple):
    """What one run of the load came to; latencies in milliseconds."""

    rate: float
    percentiles: dict[str, float]


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """Write a request as it goes over the wire."""
    length = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nhost: bench\r\n{headers}{length}\r\n".encode() + body


def run_load(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    rate: float = 0,
    core: int | None = LOAD_CORE,
) -> Load:
    """Send requests round and round: as fast as answers come, or at a rate by the clock."""
    told = _told(port, requests, connections, seconds=seconds, rate=rate, core=core)
    count, bad, took, *latencies = map(float, told.split())
    assert bad == 0, f"{bad:.0f} answers were not 2xx"
    return _load(count, took, latencies)


def send_once(port: int, requests: Sequence[bytes], *, connections: int) -> tuple[Load, str]:
    """Send each request once and wait for every answer; those other than 2xx are answers too.

    Returns the load, and the first digit of each answer's status in the order of the requests.
    """
    told, first_digits = _told(port, requests, connections).splitlines()
    count, _bad, took, *latencies = map(float, told.split())
    assert len(first_digits) == len(requests) == count
    return _load(count, took, latencies), first_digits


def pinned(core: int | None, arguments: Sequence[str]) -> list[str]:
    """Run a command on one core, where the machine has several: load and server then share none.

    None leaves it to the system, which is fair to servers that decide and wait in other threads.
    """
    if core is None or (os.cpu_count() or 1) < 2:
        return list(arguments)
    return ["taskset", "-c", str(core), *arguments]


@contextlib.contextmanager
def bare_server(
    body: bytes,
    scratch: Path,
    *,
    application: str = "kit.bare_answer:answer",
    database: str = "",
    core: int | None = SERVER_CORE,
    workers: int = 1,
) -> Iterator[int]:
    """Run the server with no application: one function, one answer; yields its port.

    Parameters
    ----------
    body
        Of the answer.
    application
        The function, in a module of the benchmarks.
    database
        The address of the server that the function works on.
    core
        Where it runs.
    workers
        Processes that answer on the port.
    """
    answer = scratch / "answer"
    answer.write_bytes(body)
    port = free_port()
    command = [
        *(sys.executable, "-m", "granian", "--interface", "rsgi", "--loop", "auto"),
        *("--http", "1", "--no-ws", "--port", str(port), "--log-level", "error"),
        *("--workers", str(workers)),
        f"benchmarks.{application}",
    ]
    environment = os.environ | {
        "ONHAND_BENCH_ANSWER": str(answer),
        "ONHAND_BENCH_DATABASE": database,
    }
    process = subprocess.Popen(pinned(core, command), env=environment)
    try:
        wait_until(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def _told(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    *,
    seconds: float = 0,
    rate: float = 0,
    core: int | None = None,
) -> str:
    sent = b"".join(struct.pack("=I", len(each)) + each for each in requests)
    arguments = [_program(), str(port), str(connections), str(seconds), str(rate)]
    told = subprocess.run(pinned(core, arguments), input=sent, capture_output=True, check=False)
    assert told.returncode == 0, told.stderr.decode()
    return told.stdout.decode()


def _load(count: float, took_s: float, latencies_us: Sequence[float]) -> Load:
    names = ("p50", "p90", "p99", "p99.9", "max")
    spread = {name: each / 1000 for name, each in zip(names, latencies_us, strict=True)}
    return Load(count / took_s, spread)


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}{BARE_PATH}").is_success
    return False


@cache
def _program() -> str:
    directory = tempfile.mkdtemp(prefix="onhand-load-")
    built = Path(directory) / "http_load"
    flags = ["-O2", "-std=gnu17", "-D_GNU_SOURCE"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, SOURCE, "-o", built], check=True)
    return str(built)
