"""Run the server: worker processes that each answer on the same port.

Start reading at :class:`onhand.web.hot.Front`, which every request meets first.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels

from onhand import geo, tracing
from onhand.errors import OnhandError
from onhand.identity import open_identity
from onhand.ledger import open_ledger
from onhand.logging import configure_logging, get_logger
from onhand.stop_signal import STOP_SIGNALS, open_wakeup
from onhand.structs import make_structs_ready

if TYPE_CHECKING:
    from onhand.settings import Settings
    from onhand.web.hot import Front

CONNECTIONS_MAX: Final = 4_096
"""Of one worker; more wait to be accepted."""

BACKLOG: Final = 2_048
STOP_S_MAX: Final = 5
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

# The server's own records go where ours go; it would set up a format of its own.
_SERVER_LOGGING: Final[dict[str, Any]] = {
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}

log = get_logger(__name__)


def serve(settings: Settings, *, reads_only: bool, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread of a process with one thread.

    Workers are children in this process's group and end with it, whatever ends it. One that dies
    is replaced.

    Parameters
    ----------
    reads_only
        Serve reads alone, as storefront workers do.
    workers
        Worker processes; each takes its share of the connections.

    Raises
    ------
    OnhandError
        When the data directory or the ledger cannot be used.
    SystemExit
        When a worker cannot start, or keeps dying; it has said why.
    """
    server = _Server(
        "onhand",
        address=settings.host.strip("[]"),
        port=settings.port,
        interface=Interfaces.RSGI,
        workers=workers,
        loop=Loops.auto,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
        log_level=LogLevels.warning,
        log_dictconfig=_SERVER_LOGGING,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_S_MAX,
    )
    _check(settings)
    # Loaded before workers are forked: they share the pages, and no request waits for it.
    geo.warm()
    gc.freeze()
    log.info("serving", host=settings.host, port=settings.port, workers=workers)
    loader: Any = partial(load_front, settings, reads_only=reads_only, parent=os.getpid())
    server.serve(target_loader=loader, wrap_loader=False)


class _Server(Granian):  # type: ignore[misc, valid-type] # chosen by the interpreter's lock
    """The server's main process, which any number of signals ends.

    The library's own handler sets an event that the main thread waits on: one signal within another
    finds its lock taken, and nothing but kill -9 ends it then. So a thread is told instead.
    """

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        """Start the workers, and after them the thread: a fork copies no threads."""
        reader, writer, _ = open_wakeup()
        super().startup(spawn_target, target_loader)
        threading.Thread(
            target=self._end_on_signal, args=(reader, writer), name="signals", daemon=True
        ).start()

    def signal_handler_interrupt(self, *_: object) -> None:
        """Do nothing: the wakeup descriptor tells."""

    def _end_on_signal(self, reader: socket.socket, _held: socket.socket) -> None:
        while True:
            if reader.recv(1)[0] in STOP_SIGNALS:
                super().signal_handler_interrupt()


def _check(settings: Settings) -> None:
    """Fail here rather than in every worker, each of which would be replaced and fail again."""
    tracing.require(settings)
    cluster_id = open_identity(settings.data).id
    open_ledger(settings, cluster_id=cluster_id).close()


def load_front(settings: Settings, *, reads_only: bool, parent: int) -> Front:
    """Build the application in a worker process."""
    _end_with(parent)
    configure_logging(settings.log_format, settings.log_level)
    logging.getLogger("_granian").setLevel(logging.WARNING)
    # Imported here: the parent process needs none of it.
    from onhand.web.app import build_app  # noqa: PLC0415
    from onhand.web.hot import Front  # noqa: PLC0415
    from onhand.web.services import Services  # noqa: PLC0415
    from onhand.web.traced import TracedFront  # noqa: PLC0415

    make_structs_ready()
    try:
        services = Services(settings, reads_only=reads_only)
    except OnhandError as error:
        log.error("cannot_serve", error=str(error))  # noqa: TRY400 - it says what to do
        sys.exit(error.exit_code)
    app = build_app(services, reads_only=reads_only)
    if services.tracing is None:
        return Front(services, app)
    return TracedFront(services, app, services.tracing)


def _end_with(parent: int) -> None:
    """Have the kernel end this worker when its parent is killed."""
    # The parent's handlers came along with the fork, and only note the signal for the parent.
    signal.set_wakeup_fd(-1)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # A terminal's Ctrl-C comes to the whole group. The parent tells its workers by the other one,
    # and the server must hear of it once: see Front._terminate.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
