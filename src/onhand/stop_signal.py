"""SIGTERM and SIGINT as something to read, whatever the main thread is at.

A handler in Python runs only when the main thread runs bytecode, and it may run within another one.
The wakeup descriptor is written to at once, by C that takes no lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Final

from onhand.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

log = get_logger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
STOP_S_MAX: Final = 18.0
"""A clean stop writes a checkpoint; past this the process ends without, which loses only time."""


def open_wakeup() -> tuple[socket.socket, socket.socket, int]:
    """Have the number of every signal that Python handles written where it can be read.

    Call it before the handlers are set: a signal between them would be noted and told nobody.

    Returns
    -------
    reader, writer
        Keep both for as long as it may be written to: their descriptors would be another file's.
    before
        The descriptor that was written to before, -1 for none.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    return reader, writer, signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)


def stop_on_signal(stop: Callable[[], None]) -> None:
    """Call ``stop`` at the first stop signal, from a thread that waits for nothing else.

    The process is ended when it takes longer than :data:`STOP_S_MAX` to end by itself.
    """
    reader, writer, _ = open_wakeup()
    for number in STOP_SIGNALS:
        signal.signal(number, _note)

    def wait() -> None:
        number = reader.recv(1)[0]
        log.info("stopping", signal=signal.Signals(number).name)
        stop()
        timer = threading.Timer(STOP_S_MAX, _give_up)
        timer.daemon = True
        timer.start()
        # Both ends are held open until the process ends, as this thread is.
        with writer:
            while True:
                reader.recv(1)

    threading.Thread(target=wait, name="signals", daemon=True).start()


@contextlib.contextmanager
def readable_stop_signals() -> Iterator[socket.socket]:
    """Turn stop signals into a readable socket, and put things back afterwards."""
    reader, writer, before = open_wakeup()
    reader.setblocking(False)
    previous = {number: signal.signal(number, _note) for number in STOP_SIGNALS}
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in previous.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()


def _give_up() -> None:
    log.error("stop_timed_out", seconds=STOP_S_MAX)
    os._exit(1)


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wakeup descriptor tells."""
