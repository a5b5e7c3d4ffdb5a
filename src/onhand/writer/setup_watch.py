"""The set-up as of now, read beside the writer's thread: a slow database must not hold it up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from onhand.errors import LedgerUnavailable
from onhand.logging import get_logger

if TYPE_CHECKING:
    from onhand.ledger import SetupStore
    from onhand.model.setup import Setup

POLL_S: Final = 0.1
STOP_S_MAX: Final = 2.0

log = get_logger(__name__)


class SetupWatch:
    """Follows the set-up in a thread of its own."""

    def __init__(self, store: SetupStore) -> None:
        self._store = store
        self._newest: Setup | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orders-setup", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being read is waited for, a moment."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)

    def offer(self, setup: Setup) -> None:
        """Take a set-up that somebody else has read, if it is newer."""
        with self._lock:
            if self._newest is None or setup.version > self._newest.version:
                self._newest = setup

    def take(self, current: Setup) -> Setup | None:
        """Return what is newer than the set-up in use, None when nothing is. Hot."""
        newest = self._newest
        return newest if newest is not None and newest.version > current.version else None

    def _run(self) -> None:
        is_failing = False
        while not self._stopping.wait(POLL_S):
            try:
                self.follow()
                is_failing = False
            except LedgerUnavailable as error:
                if not is_failing:
                    log.warning("setup_not_read", error=str(error))
                is_failing = True

    def follow(self) -> None:
        """Read the set-up if it has changed."""
        newest = self._newest
        if newest is None or self._store.setup_version() != newest.version:
            self.offer(self._store.load_setup(newest))
