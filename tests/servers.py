"""A real server process on tables that a test writes, and a client of it."""

import contextlib
import os
import subprocess
import sys
import time

import httpx

from onhand import identity
from tests.deployments import environment, wait_until
from tests.ports import free_port
from tests.tables import Tables

__all__ = ["Server", "event", "now", "pointers", "problem"]

STOP_S_MAX = 25
"""A server has 20 seconds to end in."""


class Server:
    """``onhand serve`` on a directory of its own, whose tables the test fills by ``kit``.

    ``now`` stamps the tables as written this moment, as ingest does every 100 ms.
    """

    def __init__(self, scratch, *flags, command="serve", auth=False):
        self.data = scratch / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = scratch / f"{command}-{self.port}.log"
        known = identity.read_identity(self.data)
        self.tables = Tables(scratch) if known is None else None
        if known is None:
            identity._write(self.data, identity.Identity(id=self.tables.cluster_id))
        self.argv = [
            *(sys.executable, "-m", "onhand.cli", command, "--data", str(self.data)),
            *("--table-dir", str(scratch), "--port", str(self.port), *flags),
            *(() if auth else ("--no-auth",)),
        ]
        self.process = None
        self.client = httpx.Client(base_url=self.url, timeout=20)

    @property
    def kit(self):
        return self.tables.kit

    def publish(self):
        self.tables.publish()
        self.now()

    def now(self):
        now_us = time.time_ns() // 1000
        self.kit.stamp(now_us, heartbeat_us=now_us)

    def begin(self):
        """Start it, and wait for nothing."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=subprocess.STDOUT, env=environment()
            )
        return self

    def start(self):
        self.begin()
        wait_until(self.is_alive)
        return self

    def is_alive(self):
        assert self.process.poll() is None, self.said()
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/healthz").status_code == httpx.codes.OK
        return False

    def said(self):
        return self.log_path.read_text()

    def get(self, path, **options):
        return self.client.get(path, **options)

    def post(self, path, document=None, **options):
        return self.client.post(path, json=document, **options)

    def put(self, path, document=None, **options):
        return self.client.put(path, json=document, **options)

    def counted(self, series):
        """Read one series of the metrics, 0 while it is not there."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def stop(self, wait_s=STOP_S_MAX):
        """End it; answer its exit code and how long it took."""
        begun_s = time.monotonic()
        self.process.terminate()
        code = self.process.wait(wait_s)
        return code, time.monotonic() - begun_s

    def close(self):
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def now():
    """Return this moment as publishers write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def event(**fields):
    """Return a sale of this moment, or what the fields make of it."""
    plain = {
        "type": "sale",
        "id": os.urandom(6).hex(),
        "source": "till-1",
        "occurred_at": now(),
        "sku": "apple",
        "location": "north",
        "quantity": 1,
    }
    return {name: value for name, value in (plain | fields).items() if value is not None}


def problem(response, status, code):
    """Check that an answer is a problem, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["type"] == f"urn:onhand:problem:{code}"
    assert body["title"]
    assert body["detail"]
    return body


def pointers(response, status=400, code="invalid_request"):
    """Return which fields a problem names."""
    return [error["pointer"] for error in problem(response, status, code)["errors"]]
