"""The ingest process: run the availability flow until told to stop."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import threading
from typing import TYPE_CHECKING, Final, Self

from bytewax._bytewax import cluster_main

from onhand.dataflows.availability import get_flow
from onhand.errors import LogUnavailable, PartitionsAdded
from onhand.ingest.opening import open_engine
from onhand.log.base import partition_name
from onhand.logging import get_logger
from onhand.stop_signal import stop_on_signal
from onhand.structs import make_structs_ready
from onhand.supervise import command, environment_of, spawn

if TYPE_CHECKING:
    from onhand.ingest.engine import Engine
    from onhand.log.base import TopicPartition
    from onhand.settings import Settings

log = get_logger(__name__)

COMPANIONS: Final = ("changes", "recommendations", "purchases")
COMPANION_STOP_S_MAX: Final = 5.0
PARTITIONS_POLL_S: Final = 10.0
GC_THRESHOLD: Final = 50_000
RESTART_S: Final = 1.0


def run_ingest(settings: Settings) -> None:
    """Run the flow, and the processes beside it, until SIGTERM or SIGINT.

    Raises
    ------
    OnhandError
        Ingest cannot start, or cannot go on; nothing that was acknowledged is lost.
    """
    make_structs_ready()
    stopping = threading.Event()
    stop_on_signal(stopping.set)
    # A poll makes objects by the thousand and drops them at once: collecting among them is waste.
    gc.set_threshold(GC_THRESHOLD)
    with open_engine(settings) as engine, contextlib.ExitStack() as stack:
        companions = [stack.enter_context(Companion(name, settings)) for name in COMPANIONS]
        # All are asked before the first is waited for, or a stop would take what each takes.
        for each in companions:
            stack.callback(each.ask_to_end)
        watch = Watch(engine, stopping)
        run_flow(engine)
        watch.raise_failure()


class Watch:
    """Stops the engine when told to, or when the log has partitions that it does not read.

    It also prunes the log, which may take a while and is none of the flow's concern.

    Parameters
    ----------
    engine
        Running.
    stopping
        Set when the process is told to stop.
    """

    def __init__(self, engine: Engine, stopping: threading.Event) -> None:
        self._engine = engine
        self._stopping = stopping
        self._added: list[TopicPartition] = []
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def raise_failure(self) -> None:
        """Say why the engine was stopped when nobody asked for it.

        Raises
        ------
        PartitionsAdded
            A new start reads the new partitions; who supervises the process sees to it.
        """
        if self._added:
            names = ", ".join(partition_name(each) for each in self._added)
            raise PartitionsAdded(
                f"The log has new partitions: {names}", "Start ingest again; it then reads them"
            )

    def _run(self) -> None:
        while not self._stopping.wait(PARTITIONS_POLL_S) and not self._added:
            with contextlib.suppress(LogUnavailable):
                self._added = self._engine.added_partitions()
                self._engine.prune()
        self._engine.stop()


class Companion:
    """An ``onhand`` command that runs beside this process, is started again, and ends with it.

    Parameters
    ----------
    name
        The command.
    settings
        What it is told.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._argv = command(name)
        self._environment = environment_of(settings)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # One thread starts it every time: it is told to end when that thread does.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, politely at first."""
        self.ask_to_end()
        self._thread.join(COMPANION_STOP_S_MAX)
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()

    def ask_to_end(self) -> None:
        """Let it end, and not be started again; again is harmless."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._process = spawn(self._argv, self._environment)
            if self._stopping.is_set():
                self._process.terminate()
            code = self._process.wait()
            if not self._stopping.wait(RESTART_S):
                log.warning("companion_ended", command=self._argv[-1], exit_code=code)


def run_flow(engine: Engine) -> None:
    """Run the flow in this thread until the engine is stopped.

    Raises
    ------
    OnhandError
        What made a step stop; Bytewax wraps it, this unwraps it.
    """
    flow = get_flow(engine)
    cluster_main(  # type: ignore[no-untyped-call]
        flow, [], 0, worker_count_per_proc=engine.settings.worker_count
    )
