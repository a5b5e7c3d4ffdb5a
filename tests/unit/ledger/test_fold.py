"""Folding the ledger's write-ahead log into its file, beside commits."""

import contextlib

import pytest

from onhand.ledger import OrderStore, fold, open_ledger
from onhand.ledger.fold import Folder
from onhand.settings import Settings
from tests.deployments import wait_until
from tests.order_rows import batch
from tests.threads import threads_named


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Fold after every few commits."""
    monkeypatch.setattr(fold, "FOLD_PAGES", 20)
    return Settings(data=tmp_path)


def test_what_is_committed_is_moved_into_the_file_beside_commits(settings):
    """Long before a commit would do it, the file itself has what was committed."""
    before = threads_named("ledger-fold")
    with contextlib.closing(open_ledger(settings)) as ledger:
        store = OrderStore(ledger)
        store.take_over("test", 1)
        before_bytes = settings.ledger_path.stat().st_size
        for number in range(1, 40):
            store.commit(batch(number, size=16))
        wait_until(lambda: settings.ledger_path.stat().st_size > before_bytes)
        assert len(list(store.load_open())) == 39 * 16 * 2
        store.close()
    assert threads_named("ledger-fold") <= before


def test_a_folder_ends_when_it_is_closed(settings):
    """Also in the middle of its work, and when it never had any."""
    open_ledger(settings).close()
    before = threads_named("ledger-fold")
    idle, busy = Folder(str(settings.ledger_path)), Folder(str(settings.ledger_path))
    for _ in range(100):
        busy.note_commit(1_000)
    idle.close()
    busy.close()
    assert threads_named("ledger-fold") <= before


def test_a_file_that_cannot_be_folded_is_no_end(tmp_path):
    """It is told of, and the next turn tries again."""
    folder = Folder(str(tmp_path / "nowhere" / "ledger.sqlite3"))
    folder.note_commit(1_000_000)
    wait_until(lambda: not folder._due.is_set())
    folder.note_commit(1_000_000)
    folder.close()
    assert not folder._thread.is_alive()
