"""Folding SQLite's write-ahead log into the ledger's file, beside commits.

A commit is on disk once it is in the write-ahead log. Left to SQLite, the commit that makes the log
long enough moves all of it into the file, a checkpoint, and everyone who waits for that commit
waits for thousands of pages and their sync as well. Here a thread moves them as they come. What is
left to that commit is what came since, after which the next one begins the log anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import Final

from onhand.logging import get_logger

FOLD_PAGES: Final = 500
"""Pages after which they are folded, about: fewer would be synced too often."""

_COMMIT_PAGES: Final = 3
_PAGE_PARAMETERS: Final = 8
"""Parameters of statements that dirty a page, about: a row dirties one or two of its indexes too,
and many rows share them."""

log = get_logger(__name__)


class Folder:
    """A thread that folds whenever enough was committed.

    Parameters
    ----------
    path
        The ledger's file, which exists and has a write-ahead log.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._pages = 0
        self._due = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="ledger-fold", daemon=True)
        self._thread.start()

    def note_commit(self, parameter_count: int) -> None:
        """Take note of a commit with so many parameters; returns at once. For one thread."""
        self._pages += _COMMIT_PAGES + parameter_count // _PAGE_PARAMETERS
        if self._pages >= FOLD_PAGES:
            self._pages = 0
            self._due.set()

    def close(self) -> None:
        """End the thread; what it leaves is folded by whoever commits next."""
        self._is_closing = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._is_closing:
                return
            try:
                self._fold_while_due()
            except sqlite3.Error as error:
                # Nothing is lost: commits themselves fold once the write-ahead log is long.
                self._due.clear()
                log.warning("ledger_not_folded", path=self._path, error=str(error))

    def _fold_while_due(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            while not self._is_closing:
                self._due.clear()
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._due.wait()
