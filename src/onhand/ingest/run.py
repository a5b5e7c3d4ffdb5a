"""The ingest process: run the availability flow until told to stop."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import structlog
from bytewax._bytewax import cluster_main

from onhand.dataflows.availability import get_flow

if TYPE_CHECKING:
    from collections.abc import Callable

    from onhand.ingest.engine import Engine

log = structlog.get_logger(__name__)

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
STOP_S_MAX = 18.0
"""A clean stop writes a checkpoint; past this the process ends without, which loses only time."""


def stop_on_signal(stop: Callable[[], None]) -> None:
    """Call ``stop`` at SIGTERM or SIGINT, from a thread that waits for nothing else.

    Call it before any other thread starts. A Python signal handler would run only when the main
    thread runs bytecode, and Bytewax keeps that thread in native code.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def wait() -> None:
        number = signal.sigwait(STOP_SIGNALS)
        log.info("stopping", signal=signal.Signals(number).name)
        stop()
        timer = threading.Timer(STOP_S_MAX, _give_up)
        timer.daemon = True
        timer.start()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def run_flow(engine: Engine) -> None:
    """Run the flow in this thread until the engine is stopped.

    Raises
    ------
    OnhandError
        What made a step stop; Bytewax wraps it, this unwraps it.
    """
    flow = get_flow(engine)
    cluster_main(flow, [], 0, worker_count_per_proc=engine.settings.worker_count)


def _give_up() -> None:
    log.error("stop_timed_out", seconds=STOP_S_MAX)
    os._exit(1)
