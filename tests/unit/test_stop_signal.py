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

HASTY = """
import os, signal, sys, threading
from onhand.ingest.run import stop_on_signal
install = signal.signal

def install_and_be_told(number, handler):
    install(number, handler)
    signal.signal = install
    os.kill(os.getpid(), number)

signal.signal = install_and_be_told
stopping = threading.Event()
stop_on_signal(stopping.set)
sys.exit(not stopping.wait(20))
"""
"""Is sent a signal the moment it has a handler of its own."""


def test_a_signal_is_heard_however_early_it_comes():
    """One that comes as soon as it does not kill any more is not lost."""
    assert subprocess.run([sys.executable, "-c", HASTY], timeout=60, check=False).returncode == 0


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
