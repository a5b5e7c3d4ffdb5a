"""The order store when things break: processes killed, answers lost, databases gone or full."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import sqlalchemy as sa

from onhand.errors import CommitFailed, CommitUnknown, LedgerUnavailable, WriterFenced
from onhand.ledger import OrderReads, OrderStore, open_ledger, postgres_link, schema
from onhand.ledger.rows import Commit, HoldRow
from onhand.settings import Settings
from tests.needs import need_program, small_disk
from tests.order_rows import batch, hold
from tests.proxies import Proxy

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]


@pytest.fixture(scope="session")
def disk_fault(tmp_path_factory):
    """Build the library that disturbs syncs."""
    compiler = need_program("cc", "onhand is built with it")
    library = tmp_path_factory.mktemp("fault") / "disk_fault.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library]
    subprocess.run([*command, HERE / "disk_fault.c", "-ldl"], check=True)
    return library


def meet(fault, data, library):
    """Let a process meet a fault in its second commit; answer what it printed."""
    done = subprocess.run(
        [sys.executable, HERE / "committing.py", data, fault],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(PROJECT)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


def commits_in(data):
    """Open the ledger anew, check that every commit is there whole or not at all; count them."""
    with contextlib.closing(open_ledger(Settings(data=data))) as ledger:
        return whole_commits(OrderReads(ledger), ledger)


def whole_commits(reads, ledger):
    with ledger.read() as connection:
        number = connection.execute(sa.select(schema.writer.c.commit_number)).scalar_one()
    assert sorted(each.id for each in reads.load_open()) == [
        f"{kind}{each:06d}" for kind in "ho" for each in range(3, 3 + 3 * number)
    ]
    assert reads.last_sequence() == number
    assert len(reads.pending_events(1_000)) == 3 * number
    assert reads.claim_offsets() == ({0: number} if number else {})
    return number


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        ("kill_before_write", {1}),
        # Written, but never said to be on disk: both are right after the process alone has died.
        ("kill_before_sync", {1, 2}),
        ("kill_after_sync", {2}),
        ("kill_after_commit", {2}),
    ],
)
def test_killed_process_leaves_whole_commits(tmp_path, disk_fault, fault, counts):
    """Wherever in a commit a process is killed, the commit is in the ledger whole or not at all."""
    meet(fault, tmp_path, disk_fault)
    assert commits_in(tmp_path) in counts
    with contextlib.closing(open_ledger(Settings(data=tmp_path))) as ledger:
        store = OrderStore(ledger)
        store.take_over("next", 2)
        number = store.statistics().position.commit_number + 1
        store.commit(batch(number))
        assert whole_commits(store, ledger) == number
        store.close()


def test_failed_sync_is_an_unknown_outcome(tmp_path, disk_fault):
    """A disk that fails in the middle of a commit leaves it open; settling decides it for good."""
    said = meet("sync_fails", tmp_path, disk_fault)
    assert "unknown: " in said
    assert "disk I/O error" in said
    assert "settled: False" in said
    # The writer was killed right after: what was said not to be there has not come back.
    assert commits_in(tmp_path) == 1


@pytest.fixture
def proxy(postgres_url):
    """Put a proxy before the server."""
    parts = urlsplit(postgres_url)
    opened = Proxy((parts.hostname, parts.port or 5432))
    yield opened
    opened.close()


@pytest.fixture
def behind(proxy, postgres_url):
    """Open the ledger through the proxy."""
    parts = urlsplit(postgres_url)
    user = parts.netloc.rpartition("@")[0]
    through = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))
    with contextlib.closing(open_ledger(Settings(database=through))) as ledger:
        yield ledger


@pytest.fixture
def direct(postgres_url):
    """Open the same ledger past the proxy."""
    with contextlib.closing(open_ledger(Settings(database=postgres_url))) as ledger:
        yield ledger


@pytest.fixture
def writer(behind):
    """Give a store behind the proxy, with one commit made."""
    with contextlib.closing(OrderStore(behind)) as made:
        made.take_over("writer", 1)
        made.commit(batch(1))
        yield made


@pytest.mark.postgres
@pytest.mark.parametrize(("lost", "is_written"), [("lose_request", False), ("lose_answer", True)])
def test_lost_commit_is_settled(proxy, writer, direct, lost, is_written):
    """When the connection breaks at COMMIT nothing goes on until the database has said which."""
    proxy.at_commit = lost
    with pytest.raises(CommitUnknown):
        writer.commit(batch(2))
    assert not writer.statistics().is_settled
    for forbidden in (lambda: writer.commit(batch(2)), lambda: writer.answers([b"k" * 16])):
        with pytest.raises(CommitUnknown, match="Settle it first"):
            forbidden()
    assert writer.settle() is is_written
    number = 3 if is_written else 2
    writer.commit(batch(number))
    assert whole_commits(writer, direct) == number


@pytest.mark.postgres
@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
def test_settling_finds_out_that_another_took_over(proxy, writer, direct, lost):
    """A writer that was overtaken while it did not know learns that, whatever became of it."""
    proxy.at_commit = lost
    with pytest.raises(CommitUnknown):
        writer.commit(batch(2))
    with contextlib.closing(OrderStore(direct)) as other:
        other.take_over("other", 2)
        with pytest.raises(WriterFenced):
            writer.settle()
        with pytest.raises(WriterFenced):
            writer.commit(batch(2))
        number = 1 if lost == "lose_request" else 2
        assert whole_commits(other, direct) == number


@pytest.mark.postgres
def test_settling_waits_for_the_transaction_it_asks_about(proxy, direct, monkeypatch, behind):
    """While the old transaction may still end either way there is no answer, and then there is."""
    monkeypatch.setattr(postgres_link, "ANSWER_S_MAX", 2.0)
    monkeypatch.setattr(postgres_link, "LOCK_TIMEOUT_MS", 500)
    with contextlib.closing(OrderStore(behind)) as store:
        store.take_over("writer", 1)
        store.commit(batch(1))
        proxy.at_commit = "stall"
        with pytest.raises(CommitUnknown):
            store.commit(batch(2))
        with pytest.raises(LedgerUnavailable, match="lock timeout"):
            store.settle()
        assert not store.statistics().is_settled
        proxy.cut()
        # The server sees when it sees it that the old connection is gone.
        monkeypatch.undo()
        assert store.settle() is False
        store.commit(batch(2))
        assert whole_commits(store, direct) == 2


@pytest.mark.postgres
def test_dead_database_is_waited_for(proxy, writer, direct):
    """Commits fail while there is no server, an open question stays open, and then all goes on."""
    proxy.at_commit = "lose_answer"
    with pytest.raises(CommitUnknown):
        writer.commit(batch(2))
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="Start PostgreSQL"):
            writer.settle()
    proxy.listen_again()
    assert writer.settle() is True
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(CommitFailed, match="Start PostgreSQL"):
            writer.commit(batch(3))
    proxy.listen_again()
    writer.commit(batch(3))
    assert whole_commits(writer, direct) == 3


@pytest.mark.postgres
def test_connection_cut_while_idle_is_replaced(postgres_url, direct):
    """A connection that the server ended between two commits costs neither of them."""
    with contextlib.closing(OrderStore(direct)) as store:
        store.take_over("writer", 1)
        for number in (1, 2):
            end_backends(postgres_url)
            store.commit(batch(number))
        end_backends(postgres_url)
        assert len(store.load_orders(["o000003"])) == 1
        assert store.statistics().reconnects == 3
        assert whole_commits(store, direct) == 2


@pytest.mark.postgres
def test_backend_ended_within_a_transaction_writes_once(postgres_url, direct):
    """A server that ends the connection before COMMIT leaves nothing; the commit is made anew."""
    with (
        contextlib.closing(OrderStore(direct)) as store,
        psycopg.connect(postgres_url) as holding,
    ):
        store.take_over("writer", 1)
        holding.execute("SELECT * FROM writer FOR UPDATE")
        committing = threading.Thread(target=store.commit, args=(batch(1),))
        committing.start()
        end_backends(postgres_url, "wait_event_type = 'Lock'")
        holding.rollback()
        committing.join()
        assert store.statistics().reconnects == 1
        assert whole_commits(store, direct) == 1


def end_backends(url, condition="state = 'idle' AND query LIKE '%writer%' OR query = 'COMMIT'"):
    """End at least one connection of the store, waiting until there is one."""
    query = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        f"WHERE pid <> pg_backend_pid() AND datname = current_database() AND ({condition})"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute(query).fetchall():
            pass


@contextlib.contextmanager
def lock_held(settings):
    """Keep the ledger locked as another program might."""
    if settings.database is None:
        with contextlib.closing(sqlite3.connect(settings.ledger_path)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(settings.database) as other:
            other.execute("LOCK TABLE writer IN ACCESS EXCLUSIVE MODE")
            yield
            other.rollback()


def test_locked_database_fails_a_commit(settings, monkeypatch):
    """A ledger that others keep locked is not waited for endlessly; nothing is written then."""
    for module in ("engine", "sqlite_link"):
        monkeypatch.setattr(f"onhand.ledger.{module}.BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr(postgres_link, "LOCK_TIMEOUT_MS", 50)
    with contextlib.closing(open_ledger(settings)) as ledger:
        store = OrderStore(ledger)
        store.take_over("writer", 1)
        store.commit(batch(1))
        with lock_held(settings):
            for _ in range(2):
                with pytest.raises(CommitFailed, match="lock"):
                    store.commit(batch(2))
        assert store.statistics().is_settled
        assert whole_commits(store, ledger) == 1
        store.commit(batch(2))
        assert whole_commits(store, ledger) == 2
        store.close()


def test_row_that_breaks_the_schema_fails_its_commit(settings):
    """What the database refuses undoes the whole commit, and the next one goes on."""
    with contextlib.closing(open_ledger(settings)) as ledger:
        store = OrderStore(ledger)
        store.take_over("writer", 1)
        with pytest.raises(CommitFailed, match=r"(?i)not.null"):
            store.commit(Commit(holds=[hold(1), HoldRow("h2", "active", 1, None)]))
        with pytest.raises(CommitFailed, match=r"(?i)bound|out of range"):
            store.commit(Commit(holds=[hold(1), HoldRow("h2", "active", 2**63, b"{}")]))
        assert store.hold("h000001") is None
        store.commit(batch(1))
        assert whole_commits(store, ledger) == 1
        store.close()


@pytest.fixture
def disk(tmp_path):
    """Mount a file system of 4 MiB."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        yield disk


def commit_until_full(store):
    """Commit until the disk is full; return the number of the commit that failed."""
    number = 1
    with pytest.raises(CommitFailed, match="Free space on the disk"):  # noqa: PT012 - the last one fails
        while number < 10_000:
            store.commit(batch(number))
            number += 1
    return number


def test_full_disk_fails_commits_until_there_is_room(disk):
    """On a full disk commits fail whole with advice; with room they go on by themselves."""
    filler = disk / "filler"
    filler.write_bytes(b"x" * (2 << 20))
    with contextlib.closing(open_ledger(Settings(data=disk))) as ledger:
        store = OrderStore(ledger)
        store.take_over("writer", 1)
        number = commit_until_full(store)
        assert whole_commits(store, ledger) == number - 1
        with pytest.raises(CommitFailed):
            store.commit(Commit(holds=[hold(each) for each in range(10_000, 20_000)]))
        filler.unlink()
        store.commit(batch(number))
        assert whole_commits(store, ledger) == number
        store.close()
