"""Folding SQLite's write-ahead log into the file itself, beside commits.

A commit is on disk once it is in the write-ahead log. Moving it on into the file is a checkpoint in
SQLite's words; left to SQLite, the commit that makes the log long enough does it, and everyone who
waits for that commit waits for thousands of pages and their sync as well. Here a thread moves them
as they come.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

from onhand.errors import OnhandError
from onhand.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

log = get_logger(__name__)


class FoldingThread:
    """A thread that folds whenever enough was committed.

    Parameters
    ----------
    name
        What the file is, for the thread's name and the log.
    open_file
        Opens the file and yields what folds once; asked again after a failure.
    page_count
        Pages after which they are folded, about.
    """

    def __init__(
        self,
        name: str,
        open_file: Callable[[], AbstractContextManager[Callable[[], None]]],
        page_count: int,
    ) -> None:
        self._name = name
        self._open_file = open_file
        self._page_count = page_count
        self._pages = 0
        self._due = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=f"{name}-fold", daemon=True)
        self._thread.start()

    def note_pages(self, count: int) -> None:
        """Take note of a commit that wrote so many pages; returns at once. For one thread."""
        self._pages += count
        if self._pages >= self._page_count:
            self._pages = 0
            self._due.set()

    def close(self) -> None:
        """End the thread; what it leaves is folded by whoever commits next."""
        self._is_closing = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wait():
            try:
                with self._open_file() as fold:
                    fold()
                    while self._wait():
                        fold()
            except (OnhandError, sqlite3.Error) as error:
                # Nothing is lost: commits themselves fold once the write-ahead log is very long.
                log.warning("not_folded", file=self._name, error=str(error))
            else:
                return

    def _wait(self) -> bool:
        """Wait until there is something to fold; False when the thread is to end."""
        self._due.wait()
        # Cleared before closing is looked at: whoever closes says so first and wakes then, so that
        # no closing falls between the two and is waited for for ever.
        self._due.clear()
        return not self._is_closing
