"""The ingest process under test: started, killed, stopped, watched; and the log it reads."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from onhand.errors import TableUnavailable
from onhand.identity import open_identity
from onhand.log import open_log
from onhand.supervise import environment_of
from onhand.table.reader import TableReader
from tests.deployments import WAIT_S, hears, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onhand.settings import Settings

CAUGHT_UP_S_MAX = 240.0
PATIENCE_S = 0.02


class IngestProcess:
    """``onhand ingest`` as an operator runs it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.started_us = 0

    def start(self) -> None:
        self.started_us = time.time_ns() // 1000
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onhand.cli", "ingest"],
            env=environment_of(self.settings),
            stderr=subprocess.PIPE,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, once it is heard; return exit code and what was said on standard error."""
        wait_until(lambda: not self.is_running or hears(self._process.pid))
        os.kill(self._process.pid, number)
        return self.wait()

    def wait(self, timeout_s: float = WAIT_S) -> tuple[int, str]:
        _, said = self._process.communicate(timeout=timeout_s)
        return self._process.returncode, said.decode()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[IngestProcess]:
    """Run ingest for a while; it is killed if the test has not ended it."""
    process = IngestProcess(settings)
    process.start()
    try:
        yield process
    finally:
        if process.is_running:
            process.kill()


def open_reader(settings: Settings) -> TableReader:
    """Make a reader of the deployment's tables; it may find none yet."""
    return TableReader(settings.table_dir, open_identity(settings.data).id)


def wait_caught_up(settings: Settings, process: IngestProcess) -> TableReader:
    """Wait until all that is in the log now is in the table that this process has published.

    Until then one that was killed before may have left its own.

    Returns
    -------
    TableReader
        A reader of it.
    """
    with contextlib.closing(open_log(settings)) as log:
        reader = open_reader(settings)
        deadline = time.monotonic() + CAUGHT_UP_S_MAX
        while True:
            assert process.is_running, process.wait()
            with contextlib.suppress(TableUnavailable):
                reader.refresh()
                progress = reader.progress()
                ends = log.end_offsets(list(progress.offsets))
                is_applied = all(progress.offsets[each] >= end for each, end in ends.items())
                if is_applied and progress.heartbeat_us >= process.started_us:
                    return reader
            assert time.monotonic() < deadline, "ingest did not catch up"
            time.sleep(PATIENCE_S)


def cells_of(reader: TableReader) -> dict[tuple[str, str], tuple[int, ...]]:
    """Read (sku, location) -> on_hand, held, in_transit, damaged, for cells not all zero."""
    found = {}
    for skus, locations, columns in reader.cells():
        rows = zip(*(columns[name].tolist() for name in ("sku", "location", *FIELDS)), strict=True)
        for sku, location, *numbers in rows:
            if any(numbers):
                found[skus[sku], locations[location]] = tuple(numbers)
    return found


FIELDS = ("on_hand", "held", "in_transit", "damaged")
