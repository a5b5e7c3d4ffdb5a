"""Folding the ledger's write-ahead log, see ``onhand.folding``.

What a thread leaves to the commit that makes the log long is what came since, after which the next
one begins the log anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

from onhand.folding import FoldingThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLD_PAGES: Final = 500
"""Pages after which they are folded, about: fewer would be synced too often."""

_COMMIT_PAGES: Final = 3
_PAGE_PARAMETERS: Final = 8
"""Parameters of statements that dirty a page, about: a row dirties one or two of its indexes too,
and many rows share them."""


class Folder(FoldingThread):
    """A thread that folds the ledger whenever enough was committed.

    Parameters
    ----------
    path
        The ledger's file, which exists and has a write-ahead log.
    """

    def __init__(self, path: str) -> None:
        super().__init__("ledger", lambda: _open(path), FOLD_PAGES)

    def note_commit(self, parameter_count: int) -> None:
        """Take note of a commit with so many parameters; returns at once. For one thread."""
        self.note_pages(_COMMIT_PAGES + parameter_count // _PAGE_PARAMETERS)


@contextlib.contextmanager
def _open(path: str) -> Iterator[Callable[[], None]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        yield lambda: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
