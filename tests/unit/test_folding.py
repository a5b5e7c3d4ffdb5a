"""The thread that folds a write-ahead log, whatever happens while it is being closed."""

import contextlib
import sqlite3
import threading

import pytest

from onhand.folding import FoldingThread
from tests.deployments import wait_until

ENDED_S = 10


class ClosedMeanwhile(threading.Event):
    """Somebody closes the folder in the very moment before the thread takes its work up."""

    def __init__(self, folder):
        super().__init__()
        self._folder = folder

    def clear(self):
        self._folder._is_closing = True
        self.set()
        super().clear()


@pytest.mark.parametrize("folded_before", [0, 1])
def test_a_folder_that_is_closed_as_it_takes_up_work_ends(folded_before):
    """Whether it has the file open or not: else whoever closes would wait for ever."""
    folds = []
    folder = FoldingThread("test", lambda: contextlib.nullcontext(lambda: folds.append(1)), 1)
    if folded_before:
        folder.note_pages(1)
        wait_until(lambda: folds)
    waited_for, folder._due = folder._due, ClosedMeanwhile(folder)
    # Whichever of them the thread has come to wait for.
    waited_for.set()
    folder._due.set()
    folder._thread.join(ENDED_S)
    assert not folder._thread.is_alive()
    assert len(folds) == folded_before


def test_a_folder_that_fails_while_it_is_closed_ends():
    """A disk that refuses commits refuses folding too, and the writer drops its link then."""
    closers = []

    def refuse():
        closer = threading.Thread(target=folder.close, daemon=True)
        closer.start()
        closers.append(closer)
        wait_until(lambda: folder._is_closing and folder._due.is_set())
        raise sqlite3.OperationalError("disk I/O error")

    folder = FoldingThread("test", lambda: contextlib.nullcontext(refuse), 1)
    folder.note_pages(1)
    wait_until(lambda: closers)
    closers[0].join(ENDED_S)
    assert not folder._thread.is_alive()
