"""Signals that end a process, whatever its main thread is at."""

import contextlib
import subprocess
import sys
from types import SimpleNamespace

from onhand.ingest import run
from onhand.settings import Settings
from tests.signals import HASTY

SIGNALLED_TWICE = """
import os, signal, threading, time
from onhand.stop_signal import stop_on_signal

stopped = threading.Event()
stop_on_signal(stopped.set)
for _ in range(2):
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.wait(30)
    # What the thread that waits does after the first one is over by then.
    time.sleep(0.2)
"""

STOPPED = """
import sys, threading
from onhand.stop_signal import stop_on_signal

stopping = threading.Event()
stop_on_signal(stopping.set)
sys.exit(not stopping.wait(20))
"""


def test_a_signal_is_heard_however_early_it_comes():
    """One that comes as soon as it does not kill any more is not lost."""
    hasty = [sys.executable, "-c", HASTY + STOPPED]
    assert subprocess.run(hasty, timeout=60, check=False).returncode == 0


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


def test_all_companions_are_asked_to_end_before_one_is_waited_for(monkeypatch):
    """A stop takes what the slowest of them takes, and not what all of them do."""
    seen = []

    class Companion(contextlib.AbstractContextManager):
        def __init__(self, *_):
            pass

        def ask_to_end(self):
            seen.append("asked")

        def __exit__(self, *_):
            seen.append("waited for")

    monkeypatch.setattr(run, "Companion", Companion)
    monkeypatch.setattr(run, "open_engine", contextlib.nullcontext)
    monkeypatch.setattr(run, "Watch", lambda *_: SimpleNamespace(raise_failure=lambda: None))
    for name in ("stop_on_signal", "run_flow"):
        monkeypatch.setattr(run, name, lambda _: None)
    monkeypatch.setattr(run.gc, "set_threshold", lambda _: None)
    run.run_ingest(Settings())
    count = len(run.COMPANIONS)
    assert seen == ["asked"] * count + ["waited for"] * count
