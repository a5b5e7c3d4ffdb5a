"""End a connection whose database does not answer in time.

A server's own timeouts need a server that runs. One that hangs on its disk, or is frozen, keeps
the connection up for good; then only this side can end the waiting.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Deadline:
    """Watches one connection from a thread of its own; waiting for it costs no system call.

    Parameters
    ----------
    descriptor
        Of the connection's socket.
    answer_s
        How long an answer may take; a late one is noticed within another half of that.
    """

    def __init__(self, descriptor: int, answer_s: float) -> None:
        # A duplicate: the connection's own may be closed, and its number be another file's, when
        # the time is up.
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._answer_s = answer_s
        self._due_s: float | None = None
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ledger-deadline", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Cut the connection unless this ends in time; what waits on it then fails."""
        self._due_s = time.monotonic() + self._answer_s
        try:
            yield
        finally:
            self._due_s = None

    def close(self) -> None:
        """Stop watching."""
        self._is_closed.set()
        self._thread.join()
        self._socket.close()

    def _watch(self) -> None:
        while not self._is_closed.wait(self._answer_s / 2):
            due_s = self._due_s
            if due_s is not None and time.monotonic() > due_s:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                return
