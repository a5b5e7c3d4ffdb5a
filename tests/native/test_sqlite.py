"""Whole transactions in native code, against a real file and Python's own driver beside it."""

import _sqlite3
import contextlib
import os
import sqlite3
import threading
import time

import pytest

from onhand._native import sqlite as native
from onhand.ledger import sqlite_link

SCHEMA = """
CREATE TABLE fence (number INTEGER NOT NULL);
INSERT INTO fence VALUES (7);
CREATE TABLE kept (id TEXT PRIMARY KEY, number BIGINT, document BLOB);
CREATE TABLE child (kept_id TEXT REFERENCES kept (id) DEFERRABLE INITIALLY DEFERRED);
"""
FENCE = ("UPDATE fence SET number = number + ? WHERE number = ? RETURNING number, 5", (1, 7))
INSERT = "INSERT INTO kept VALUES (?, ?, ?)"


@pytest.fixture
def path(tmp_path):
    """Make a file with a write-ahead log."""
    made = tmp_path / "some.sqlite3"
    with contextlib.closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(SCHEMA)
    return str(made)


@pytest.fixture
def opened(path):
    with contextlib.closing(native.Connection(path, 50)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        yield connection


@pytest.fixture
def driver(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def kept(driver):
    return driver.execute("SELECT * FROM kept ORDER BY id").fetchall()


def fence_number(driver):
    return driver.execute("SELECT number FROM fence").fetchone()[0]


def test_file_of_any_name(tmp_path):
    """Names that are no UTF-8 are the system's own as well."""
    made = tmp_path / os.fsdecode(b"gr\xfcn \xe2\x82\xac.sqlite3")
    with contextlib.closing(sqlite3.connect(made)) as connection:
        connection.executescript(SCHEMA)
    with contextlib.closing(native.Connection(str(made), 1)) as opened:
        assert opened.transact(FENCE, []) == [(8, 5)]


def test_python_here_has_its_sqlite_within_reach():
    """Where a Python links to SQLite as ours does, transactions are native."""
    assert sqlite_link.IS_NATIVE
    assert native.find_library(_sqlite3.__file__)
    assert not native.find_library(native.__file__)
    assert not native.find_library("/no/such.so")


@pytest.mark.parametrize(
    "value",
    [0, -1, 2**63 - 1, -(2**63), True, None, "", "grün", "a\0b", b"", b"\0\xff", b"x" * 100_000],
)
def test_values_arrive_as_the_driver_would_write_them(opened, driver, value):
    """Every kind of value, with the least and most there is of it."""
    opened.transact(FENCE, [(INSERT, ("native", 1, value))])
    driver.execute(INSERT, ("driver", 1, value))
    (_, _, theirs), (_, _, ours) = kept(driver)
    assert ours == theirs
    assert type(ours) is type(theirs)


def test_all_of_a_transaction_is_there_once_it_returns(opened, driver):
    """The fence's row comes back, and another connection sees everything."""
    many = INSERT + ", (?, ?, ?)"
    statements = [(INSERT, ("a", 1, b"A")), (many, ("b", 2, b"B", "c", 3, b"C"))]
    assert opened.transact(FENCE, statements) == [(8, 5)]
    assert kept(driver) == [("a", 1, b"A"), ("b", 2, b"B"), ("c", 3, b"C")]
    assert fence_number(driver) == 8
    assert opened.transact((FENCE[0], (1, 8)), []) == [(9, 5)]


def test_nothing_is_written_behind_a_fence(opened, driver):
    """A fence that returns no row undoes the transaction, and leaves none open."""
    assert opened.transact((FENCE[0], (1, 6)), [(INSERT, ("a", 1, b"A"))]) == []
    assert kept(driver) == []
    driver.execute("BEGIN IMMEDIATE")
    driver.execute("ROLLBACK")


def test_failed_statement_undoes_all(opened, driver):
    """The error has SQLite's own code and words, and the connection goes on."""
    twice = [(INSERT, ("a", 1, b"A")), (INSERT, ("a", 2, b"B"))]
    with pytest.raises(sqlite3.OperationalError, match=r"UNIQUE constraint failed: kept\.id") as no:
        opened.transact(FENCE, twice)
    assert no.value.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
    assert not isinstance(no.value, native.CommitError)
    assert kept(driver) == []
    assert opened.transact(FENCE, twice[:1]) == [(8, 5)]


def test_failed_commit_says_so_and_can_be_undone(opened, driver):
    """What only COMMIT finds out is another error: the transaction is still open then."""
    orphan = [("INSERT INTO child VALUES (?)", ("nobody",))]
    with pytest.raises(native.CommitError, match="FOREIGN KEY constraint failed") as no:
        opened.transact(FENCE, orphan)
    assert no.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CONSTRAINT
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        opened.transact(FENCE, [])
    opened.rollback()
    opened.rollback()
    assert fence_number(driver) == 7
    assert opened.transact(FENCE, []) == [(8, 5)]


def test_waits_for_another_transaction_only_so_long(opened, driver):
    """The busy timeout counts, and nothing is written."""
    driver.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="database is locked") as no:
        opened.transact(FENCE, [])
    assert no.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
    driver.execute("ROLLBACK")
    assert opened.transact(FENCE, []) == [(8, 5)]


def test_other_threads_go_on_meanwhile(path, driver):
    """A transaction that waits holds nobody up."""
    driver.execute("BEGIN IMMEDIATE")
    with contextlib.closing(native.Connection(path, 30_000)) as patient:
        returned = []
        thread = threading.Thread(target=lambda: returned.extend(patient.transact(FENCE, [])))
        thread.start()
        time.sleep(0.05)
        assert not returned
        driver.execute("ROLLBACK")
        thread.join()
    assert returned == [(8, 5)]


@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ((INSERT, ("a", 1)), sqlite3.ProgrammingError, "takes 3 parameters, not 2"),
        ((INSERT, ("a", 1, 0.5)), sqlite3.ProgrammingError, "str, int, bytes or None, not float"),
        ((INSERT, ("a", 2**63, b"")), sqlite3.ProgrammingError, "cannot be bound"),
        ((INSERT, ("\ud800", 1, b"")), sqlite3.ProgrammingError, "surrogates"),
        (("", ()), sqlite3.ProgrammingError, "one statement"),
        (("DELETE FROM kept; DELETE FROM kept", ()), sqlite3.ProgrammingError, "one statement"),
        (("DELETE FROM kept",), ValueError, "value"),
        (("INSERT INTO nowhere VALUES (1)", ()), sqlite3.OperationalError, "no such table"),
        (("nonsense", ()), sqlite3.OperationalError, "syntax error"),
    ],
)
def test_what_cannot_be_bound_or_prepared_begins_nothing(opened, driver, statement, error, said):
    """It is found before the transaction begins, and those before it are not run either."""
    with pytest.raises(error, match=said):
        opened.transact(FENCE, [(INSERT, ("before", 1, b"")), statement])
    assert kept(driver) == []
    assert fence_number(driver) == 7
    assert opened.transact(FENCE, []) == [(8, 5)]


@pytest.mark.parametrize("returned", ["id", ", ".join(["1"] * 9)])
def test_fence_returns_a_few_integers(opened, driver, returned):
    """Anything else is an error, and undone."""
    fence = (f"{INSERT} RETURNING {returned}", ("a", 1, b""))
    with pytest.raises(sqlite3.OperationalError, match="mismatch"):
        opened.transact(fence, [])
    assert kept(driver) == []


def test_more_texts_than_are_kept_prepared(opened, driver):
    """Statements that were let go of are prepared anew."""
    for number in range(1_100):
        fence = (f"UPDATE fence SET number = {number} RETURNING number", ())
        assert opened.transact(fence, []) == [(number,)]
    assert fence_number(driver) == 1_099


def test_closed_connection_and_missing_file(opened, tmp_path):
    """Both are the driver's errors, which the ledger knows how to word."""
    opened.close()
    opened.close()
    for refused in (lambda: opened.transact(FENCE, []), opened.rollback):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            refused()
    with pytest.raises(sqlite3.OperationalError, match="unable to open") as no:
        native.Connection(str(tmp_path / "missing"), 1)
    assert no.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN
