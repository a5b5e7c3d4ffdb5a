"""A whole deployment for tests: ``onhand up`` in a directory of its own, and a client of it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from onhand.identity import read_identity
from tests.ports import free_port

WAIT_S = 60.0
HELD_UP_MS = "120000"
"""Of supply's age at most: a machine held up for seconds must not have promises refused."""
HELD_UP = ("--max-supply-age-ms", HELD_UP_MS)


def wait_until(condition, wait_s=WAIT_S):
    """Wait for a condition that must come true, and return what it came to."""
    deadline_s = time.monotonic() + wait_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "the condition did not come true"
        time.sleep(0.02)
    return found


def is_alive(pid):
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    """List the direct children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def hears(pid):
    """Tell whether a process can be asked to stop; before that SIGTERM would kill it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def environment():
    """Return this process's environment without settings of onhand."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")}


class Deployment:
    """One ``onhand up``; ``flags`` are added to its command line."""

    def __init__(self, scratch, *flags, data="data", port=None):
        self.data = scratch / data
        self.port = port or free_port()
        self.log_path = scratch / f"up-{self.port}.log"
        self.flags = flags
        self.process = None
        self._said_before = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "onhand.cli", "up", "--no-auth", "--data", str(self.data)]
        # What the one before said is not taken for news.
        self._said_before = len(self.said()) if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), *self.flags],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        return self

    def wait_started(self):
        def started():
            assert self.process.poll() is None, self.said()
            return "onhand is up" in self.said()[self._said_before :]

        wait_until(started)
        return self

    def wait_ready(self):
        self.wait_started()
        wait_until(lambda: self.get("/readyz")[0] == http.client.OK)
        return self

    def said(self):
        return self.log_path.read_text()

    def get(self, path):
        return self.request("GET", path)

    def request(self, method, path, document=None, headers=None):
        """Answer status and decoded body; (0, None) when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        body = None if document is None else json.dumps(document).encode()
        headers = {"content-type": "application/json", **(headers or {})}
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                return 0, None
        with contextlib.suppress(ValueError):
            return response.status, json.loads(content)
        return response.status, content.decode()

    def publish(self, *events, wait="visible", headers=None):
        """Post events; while they are not visible in time, post them again: it changes nothing."""

        def answered():
            answer = self.request("POST", f"/v1/events?wait={wait}", list(events), headers)
            return answer if answer[0] != http.client.GATEWAY_TIMEOUT else None

        return wait_until(answered)

    def on_hand(self, sku, location):
        status, answer = self.get(f"/v1/availability/{sku}?location={location}")
        return answer["on_hand"] if status == http.client.OK else None

    def table_path(self):
        return Path("/dev/shm") / f"onhand-{read_identity(self.data).id}"

    def ingest_pid(self):
        # A writer that takes the lock empties the file and then names itself.
        return int(wait_until((self.data / "ingest.lock").read_text))

    def stop(self, number=signal.SIGTERM):
        """End it and answer its exit code.

        What a killed one leaves behind ends a moment later, and would take connections meant for
        the next one on the same port.
        """
        self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        wait_until(lambda: not self._listens())
        return code

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
