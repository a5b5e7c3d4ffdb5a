"""Keep child processes running: start, watch, restart, end; what ``onhand up`` is made of.

A child is *started* once its own probe says so. Before that, a child that exits by itself has said
why on standard error and would say the same again, so everything ends with its message. Once it has
been started it is started again whenever it ends, a little later each time and for as long as it
takes: readers go on while a writer cannot, and what keeps it from working may be mended meanwhile.

Children stay in the parent's process group, so that a terminal's Ctrl-C reaches them too, and are
told to end when the parent dies, however it dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onhand.configuration import CONFIG_ENV, settings_fields
from onhand.errors import OnhandError
from onhand.logging import get_logger
from onhand.stop_signal import STOP_SIGNALS, readable_stop_signals
from onhand.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onhand.settings import Settings

log = get_logger(__name__)

STOP_S_MAX: Final = 18.5
"""A child that was asked to end is killed after this; all must be gone in 20 seconds."""

PERMANENT_EXIT_CODES: Final = frozenset({2, 78})
"""Bad usage, and sysexits' EX_CONFIG: another try would end the same way."""

BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before a restart; the last one repeats."""

KILLED_COUNT_MAX: Final = 8
"""How often a child may be killed before it has ever started; then it cannot run here."""

STEADY_S: Final = 30.0

PARENT_ENV: Final = "ONHAND_PARENT_PROCESS"
"""Names to a child the process that spawned it; for us alone."""

_PROBE_INTERVAL_S: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class ChildFailedError(OnhandError):
    """A child process cannot run; its own message stands above."""

    code = "child_failed"


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process to keep running.

    ``is_started`` is asked about every 50 ms until it first says yes; it must answer quickly.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    is_started: Callable[[], bool]


class _Run:
    """What has happened to one child so far."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.descriptor = -1
        self.started = False
        self.since_s = 0.0
        self.restart_at_s: float | None = None
        self.fast_failures = 0


class Supervisor:
    """Run children until a signal, or until one of them cannot run.

    Parameters
    ----------
    children
        What to run. A child that needs another waits for it by itself.
    on_started
        Called once, when every child has started.
    stop_s_max
        Seconds after which a child that was asked to end is killed.
    """

    def __init__(
        self,
        children: Sequence[Child],
        on_started: Callable[[], None],
        *,
        stop_s_max: float = STOP_S_MAX,
    ) -> None:
        self._runs = [_Run(child) for child in children]
        self._on_started = on_started
        self._stop_s_max = stop_s_max
        self._announced = False
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Watch the children in this thread, which must be the main one, until a stop signal.

        All children have ended when this returns or raises.

        Raises
        ------
        ChildFailedError
            When a child cannot be started, or keeps ending.
        """
        with readable_stop_signals() as wakeup, self._selector:
            self._selector.register(wakeup, selectors.EVENT_READ, None)
            try:
                for run in self._runs:
                    self._start(run)
                while not self._turn():
                    pass
            finally:
                self._stop_all()

    def _turn(self) -> bool:
        """Wait for the next thing to happen and deal with it; True when asked to stop."""
        for key, _ in self._selector.select(self._timeout_s()):
            if key.data is None:
                log.info("stopping")
                return True
            self._ended(key.data)
        now_s = time.monotonic()
        for run in self._runs:
            if run.restart_at_s is not None and run.restart_at_s <= now_s:
                self._start(run)
            if not run.started and run.process is not None and run.child.is_started():
                run.started = True
                log.debug("child_started", child=run.child.name, process_id=run.process.pid)
        if not self._announced and all(run.started for run in self._runs):
            self._announced = True
            self._on_started()
        return False

    def _timeout_s(self) -> float | None:
        if any(run.process is not None and not run.started for run in self._runs):
            return _PROBE_INTERVAL_S
        due_s = [run.restart_at_s for run in self._runs if run.restart_at_s is not None]
        return max(0.0, min(due_s) - time.monotonic()) if due_s else None

    def _start(self, run: _Run) -> None:
        process = spawn(run.child.argv, run.child.environment)
        run.process, run.restart_at_s, run.since_s = process, None, time.monotonic()
        run.descriptor = os.pidfd_open(process.pid)
        self._selector.register(run.descriptor, selectors.EVENT_READ, run)

    def _ended(self, run: _Run) -> None:
        code = self._reap(run)
        how = _describe_end(code)
        if code in PERMANENT_EXIT_CODES or (not run.started and code > 0):
            raise ChildFailedError(
                f"{run.child.name} cannot run: it {how}; the reason stands above"
            )
        if time.monotonic() - run.since_s >= STEADY_S:
            run.fast_failures = 0
        run.fast_failures += 1
        if not run.started and run.fast_failures > KILLED_COUNT_MAX:
            raise ChildFailedError(
                f"{run.child.name} {how} {run.fast_failures} times in a row",
                "Look for its last message above",
            )
        pause_s = BACKOFF_S[min(run.fast_failures, len(BACKOFF_S)) - 1]
        run.restart_at_s = time.monotonic() + pause_s
        log.warning("child_ended", child=run.child.name, how=how, restart_in_s=pause_s)

    def _reap(self, run: _Run) -> int:
        assert run.process is not None  # noqa: S101 - only running children are in the selector
        self._selector.unregister(run.descriptor)
        os.close(run.descriptor)
        code = run.process.wait()
        run.process = None
        return code

    def _stop_all(self) -> None:
        running = [run for run in self._runs if run.process is not None]
        for run in running:
            _signal(run, signal.SIGTERM)
        deadline_s = time.monotonic() + self._stop_s_max
        for run in running:
            if not _wait_end(run, deadline_s):
                log.error("child_killed", child=run.child.name, after_s=self._stop_s_max)
                _signal(run, signal.SIGKILL)
            self._reap(run)


def spawn(
    argv: Sequence[str], environment: Mapping[str, str], *, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Start an ``onhand`` command in our group that ends when the calling thread does.

    The child sees to that itself, in :func:`end_with_parent`: nothing of ours runs between fork
    and exec, so any thread may call this.
    """
    named = {**environment, PARENT_ENV: str(os.getpid())}
    return subprocess.Popen(argv, env=named, stdout=stdout)  # noqa: S603 - our own command line


def end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when the one that spawned it ends.

    Does nothing in a process that :func:`spawn` did not start. Call it first of all.
    """
    parent = os.environ.pop(PARENT_ENV, None)
    if parent is None:
        return
    # A parent that waits for signals has them blocked, and a mask outlives exec.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have died before the line above took effect.
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)


def command(name: str, *arguments: str) -> tuple[str, ...]:
    """Spell the command line of an ``onhand`` command under this interpreter."""
    return (sys.executable, "-m", "onhand.cli", name, *arguments)


def environment_of(settings: Settings) -> dict[str, str]:
    """Write settings as the environment of a child, which then needs no flags.

    An environment, unlike a command line, is not shown to other users of the machine.
    """
    fields = settings_fields()
    ours = {field.env for field in fields} | {CONFIG_ENV}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    for field in fields:
        value: Any = getattr(settings, field.name)
        if value is not None or field.parse == "duration":
            environment[field.env] = _text(value, field.parse)
    return environment


def _text(value: Any, parse: str | None) -> str:
    if parse == "duration":
        return format_duration(value)
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _signal(run: _Run, number: signal.Signals) -> None:
    if run.process is not None and run.process.poll() is None:
        run.process.send_signal(number)


def _wait_end(run: _Run, deadline_s: float) -> bool:
    assert run.process is not None  # noqa: S101 - only running children are waited for
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(max(0.0, deadline_s - time.monotonic()))
    return run.process.returncode is not None


def _describe_end(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
