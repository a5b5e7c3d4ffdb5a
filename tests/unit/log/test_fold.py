"""Folding the write-ahead log of the embedded log into its file."""

import sqlite3

import pytest

from onhand.log import embedded_fold
from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog
from onhand.log.embedded_file import create
from onhand.log.embedded_fold import COMMIT_PAGES, PAGE_BYTES, Folder
from tests.deployments import wait_until
from tests.threads import threads_named

SALES = ("stock.sales", 0)
COMMIT_COUNT = 2_000
"""Their pages are fewer than those after which commits fold by themselves."""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Name a log file whose write-ahead log is begun anew soon."""
    monkeypatch.setattr(embedded_fold, "WAL_PAGES", 60)
    monkeypatch.setattr(embedded_fold, "FOLD_PAGES", 20)
    return tmp_path / "log.sqlite3"


@pytest.fixture
def log(path):
    """Open a log with its topics."""
    log = EmbeddedLog(path)
    log.ensure_topics(1)
    yield log
    log.close()


def test_the_write_ahead_log_is_begun_anew_while_appends_go_on(path, log):
    """However much is appended, it stays short, and every record can be read."""
    for number in range(COMMIT_COUNT):
        log.append([NewRecord("stock.sales", b"%06d" % number * 300)])
    written_bytes = COMMIT_COUNT * COMMIT_PAGES * PAGE_BYTES
    assert path.with_name(path.name + "-wal").stat().st_size < written_bytes / 2
    found = log.read(SALES, 0, COMMIT_COUNT)
    assert [int(record.value[:6]) for record in found] == list(range(COMMIT_COUNT))


def test_a_reader_in_the_way_stops_neither_appends_nor_folding(path, log):
    """What an open reading transaction sees stays; once it ends, the rest is folded."""
    log.append([NewRecord("stock.sales", b"seen")])
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    before = reader.execute("SELECT next_offset FROM topics WHERE name = 'stock.sales'").fetchall()
    for number in range(100):
        log.append([NewRecord("stock.sales", b"%06d" % number * 300)])
    query = "SELECT next_offset FROM topics WHERE name = 'stock.sales'"
    assert reader.execute(query).fetchall() == before == [(1,)]
    reader.execute("COMMIT")
    assert reader.execute(query).fetchall() == [(101,)]
    reader.close()


def test_a_folder_ends_when_it_is_closed(path, log):
    """Also in the middle of its work, and when it never had any."""
    before = threads_named("log-fold")
    idle, busy = Folder(path), Folder(path)
    for _ in range(100):
        busy.note_commit(1 << 20)
    idle.close()
    busy.close()
    log.close()
    assert threads_named("log-fold") <= before


def test_a_file_that_cannot_be_folded_is_no_end(tmp_path):
    """It is told of, and the next turn tries again."""
    folder = Folder(tmp_path / "nowhere.sqlite3")
    folder.note_commit(1 << 30)
    wait_until(lambda: not folder._due.is_set())
    create(tmp_path / "nowhere.sqlite3")
    folder.note_commit(1 << 30)
    folder.close()
    assert not folder._thread.is_alive()
