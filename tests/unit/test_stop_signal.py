"""Signals that end a process, whatever its main thread is at."""

import subprocess
import sys

SIGNALLED_TWICE = """
import os, signal, threading, time
from onhand.ingest.run import stop_on_signal

stopped = threading.Event()
stop_on_signal(stopped.set)
for _ in range(2):
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.wait(30)
    # What the thread that waits does after the first one is over by then.
    time.sleep(0.2)
"""


def test_a_second_signal_disturbs_nothing():
    """A supervisor may send one more: nothing is said of it, and the stop goes on."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_TWICE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "descriptor" not in done.stderr, done.stderr
