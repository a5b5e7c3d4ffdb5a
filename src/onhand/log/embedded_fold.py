"""Folding the write-ahead log of the embedded log, see ``onhand.folding``.

Most of it goes on beside commits; only to begin the write-ahead log anew are they kept waiting, for
the few pages that came meanwhile.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from onhand.folding import FoldingThread
from onhand.log.embedded_file import TURN_POLL_S, WAL_PAGES, WriteTurn, connect

FOLD_PAGES: Final = 1_000
"""Pages to fold at once: few, for what is synced holds up the commits that share its disk."""

PAGE_BYTES: Final = 4_096
COMMIT_PAGES: Final = 3
"""Pages that a commit writes however small it is."""

RESTART_TRIES: Final = 25
"""How often a reader in the middle of a poll is waited for; another time, then."""


class Folder(FoldingThread):
    """A thread that folds the log file whenever enough was committed.

    Parameters
    ----------
    path
        The log file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("log", lambda: _open(path), FOLD_PAGES)

    def note_commit(self, size_bytes: int) -> None:
        """Take note of what was committed; returns at once. For one thread."""
        self.note_pages(COMMIT_PAGES + size_bytes // PAGE_BYTES)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Callable[[], None]]:
    connection = connect(path, writes=True)
    with contextlib.closing(connection), contextlib.closing(WriteTurn(path)) as turn:
        connection.execute("PRAGMA busy_timeout=0")
        yield lambda: _fold(connection, turn)


def _fold(connection: sqlite3.Connection, turn: WriteTurn) -> None:
    _, page_count, _ = _checkpoint(connection, "PASSIVE")
    if page_count >= WAL_PAGES:
        _begin_anew(connection, turn)


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
