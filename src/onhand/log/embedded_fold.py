"""Folding the write-ahead log into the file, beside appends.

A commit is on disk once it is in the write-ahead log. Moving it on into the file is a checkpoint in
SQLite's words; left to SQLite, the commit that makes the write-ahead log long enough does it, and
everyone who waits for that commit waits for the sync of thousands of pages too. Here a thread does
it. Most of it goes on beside commits; only to begin the write-ahead log anew are they kept waiting,
for the few pages that came meanwhile.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

from onhand.errors import OnhandError
from onhand.log.embedded_file import TURN_POLL_S, WAL_PAGES, WriteTurn, connect
from onhand.logging import get_logger

FOLD_PAGES: Final = 1_000
"""Pages to fold at once: few, for what is synced holds up the commits that share its disk."""

PAGE_BYTES: Final = 4_096
COMMIT_PAGES: Final = 3
"""Pages that a commit writes however small it is."""

RESTART_TRIES: Final = 25
"""How often a reader in the middle of a poll is waited for; another time, then."""

log = get_logger(__name__)


class Folder:
    """A thread that folds whenever enough was committed.

    Parameters
    ----------
    path
        The log file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pages = 0
        self._due = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="log-fold", daemon=True)
        self._thread.start()

    def note_commit(self, size_bytes: int) -> None:
        """Take note of what was committed; returns at once. For one thread."""
        self._pages += COMMIT_PAGES + size_bytes // PAGE_BYTES
        if self._pages >= FOLD_PAGES:
            self._pages = 0
            self._due.set()

    def close(self) -> None:
        """End the thread; what it leaves is folded by whoever writes next."""
        self._is_closing = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._is_closing:
                return
            try:
                self._fold_while_due()
            except (OnhandError, sqlite3.Error) as error:
                # Nothing is lost: commits themselves fold once the write-ahead log is very long.
                log.warning("log_not_folded", path=str(self._path), error=str(error))

    def _fold_while_due(self) -> None:
        connection = connect(self._path, writes=True)
        with contextlib.closing(connection), contextlib.closing(WriteTurn(self._path)) as turn:
            connection.execute("PRAGMA busy_timeout=0")
            while not self._is_closing:
                self._due.clear()
                _, page_count, _ = _checkpoint(connection, "PASSIVE")
                if page_count >= WAL_PAGES:
                    _begin_anew(connection, turn)
                self._due.wait()


def _begin_anew(connection: sqlite3.Connection, turn: WriteTurn) -> None:
    """Fold the rest while nobody commits, so that the next commit starts the file over."""
    _checkpoint(connection, "PASSIVE")
    with turn.queued():
        for _ in range(RESTART_TRIES):
            is_busy, _, _ = _checkpoint(connection, "RESTART")
            if not is_busy:
                return
            time.sleep(TURN_POLL_S)


def _checkpoint(connection: sqlite3.Connection, how: str) -> tuple[int, int, int]:
    """Fold; return whether something was in the way, pages in all, and pages folded so far."""
    found: tuple[int, int, int] = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
    return found
