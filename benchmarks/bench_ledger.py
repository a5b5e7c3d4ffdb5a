"""The order ledger: one commit a batch, looking answers up, and reading what is open at a start.

Bias: one writer that does nothing else, documents of about 300 bytes, keys of answers at random, as
hashes are, on a ledger that holds ``held`` active holds with their answers already. PostgreSQL runs
on the same cores as its client, with the settings it comes with, after it has written its log once
round. pgbench's rate is single-row updates of 16 clients, each on a condition, prepared, and on
disk.
"""

import contextlib
import hashlib
import itertools
import os
import re
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg
import pytest

from benchmarks.figures import state
from benchmarks.kit.postgres import age
from onhand.ledger import OrderStore, open_ledger
from onhand.ledger.rows import AnswerRow, Commit, EventRow, HoldRow
from onhand.settings import Settings
from tests.postgres import find_binaries, new_database, throwaway_server

BATCH = 256
FILL_BATCH = 1_024
ROUNDS = {"small": 3, "large": 400}
PGBENCH_S = 10
UPDATE = (
    "\\set id random(1, 100000)\n"
    "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :id AND abalance < 1000000;\n"
)
HOLD = b'{"id":"%s","status":"active","lines":[' + b"x" * 240 + b"]}"
ANSWER = b'{"id":"%s","status":"active","lines":[' + b"x" * 200 + b"]}"
EVENT = b'{"specversion":"1.0","id":"%s","data":{' + b"x" * 360 + b"}}"
SIZES = [
    pytest.param(2_048, id="small"),
    pytest.param(1_000_000, id="large", marks=pytest.mark.slow),
]
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
SUFFIXES = {"sqlite": "", "postgres": "_postgres"}
"""What the keys of figures end in, by where the ledger is."""


class Filled:
    """A ledger with that many active holds, and a store that writes to it."""

    def __init__(self, settings, held):
        self.settings = settings
        self.ledger = open_ledger(settings)
        self.store = OrderStore(self.ledger)
        self.store.take_over("benchmark", 1)
        self.numbers = itertools.count()
        for _ in range(held // FILL_BATCH):
            self.store.commit(self.next_commit(FILL_BATCH))
            self.publish()
        self.store.commit(self.next_commit(held % FILL_BATCH))
        self.publish()

    def next_commit(self, size):
        """Make the commit of a batch that creates holds."""
        made = Commit()
        for number in itertools.islice(self.numbers, size):
            hold_id = f"hold_{number:020d}"
            name = hold_id.encode()
            made.holds.append(HoldRow(hold_id, "active", number, HOLD % name))
            made.answers.append(AnswerRow(key(number), key(-number), False, ANSWER % name, number))
            made.events.append(EventRow(hold_id, EVENT % name))
        return made

    def publish(self):
        """Take the events off the ledger, as a publisher does."""
        newest = self.store.statistics().position.event_number
        self.store.commit(Commit(events_published=newest))

    def close(self):
        self.store.close()
        self.ledger.close()


def key(number):
    return hashlib.sha256(b"%d" % number).digest()


@pytest.fixture(scope="module")
def durable_server():
    """Run PostgreSQL with the guarantees it gives by default."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL was found")
    with throwaway_server(binaries, fsync=True) as url:
        age(url)
        yield url


@pytest.fixture(scope="module", params=SIZES)
def held(request):
    return request.param


@pytest.fixture(scope="module", params=DATABASES)
def filled(request, held):
    with contextlib.ExitStack() as open_things:
        # Of a gigabyte, so not left behind as the folders of tests are.
        folder = Path(open_things.enter_context(tempfile.TemporaryDirectory()))
        database = None
        if request.param == "postgres":
            server = request.getfixturevalue("durable_server")
            database = open_things.enter_context(new_database(server))
        made = Filled(Settings(data=folder, database=database), held)
        yield open_things.enter_context(contextlib.closing(made))


@pytest.fixture
def rounds(held):
    return ROUNDS["small" if held < FILL_BATCH * 4 else "large"]


def is_embedded(filled):
    return filled.settings.database is None


def timed_ms(action, each):
    """Call the action with each of them; return how long each call took."""
    taken = []
    for given in each:
        begin = time.perf_counter()
        action(given)
        taken.append((time.perf_counter() - begin) * 1e3)
    return np.array(taken)


def bench_commit(benchmark, filled, rounds, tmp_path):
    """Make holds durable in batches of 256, each with its answer and its event."""
    store = filled.store
    before = store.statistics().position
    commits = [filled.next_commit(BATCH) for _ in range(rounds)]
    taken_ms = benchmark.pedantic(timed_ms, (store.commit, commits), rounds=1)
    assert store.statistics().position.event_number == before.event_number + rounds * BATCH
    assert store.hold(commits[-1].holds[-1].id) == commits[-1].holds[-1]
    filled.publish()
    rate = rounds * BATCH / (taken_ms.sum() / 1e3)
    if is_embedded(filled):
        bare_ms = timed_ms(*bare_inserts(tmp_path, commits))
        synced = f"fdatasync of 4 KiB takes {fdatasync_ms(tmp_path, rounds):.2f} ms"
        p50, p99 = np.percentile(taken_ms, [50, 99])
        state(
            benchmark,
            "ledger_commit_sqlite",
            p50,
            limit=np.median(bare_ms),
            limit_name="one bare INSERT of the same bytes",
            percentiles={"p50": p50, "p99": p99, "max": taken_ms.max()},
            note=synced,
        )
        bare_rate = rounds * BATCH / (bare_ms.sum() / 1e3)
        state(
            benchmark,
            "ledger_holds_sqlite",
            rate,
            limit=bare_rate,
            limit_name="one bare INSERT of the same bytes",
            note=synced,
        )
    else:
        seconds = PGBENCH_S if rounds == ROUNDS["large"] else 1
        state(
            benchmark,
            "ledger_holds_postgres",
            rate,
            limit=pgbench_rate(filled.settings.database, seconds, tmp_path),
            limit_name="pgbench, updates/s",
        )


def bench_answers(benchmark, filled, rounds):
    """Look up the keys of commands that are new, as before each batch is decided."""
    first = next(filled.numbers)
    asked = [
        [key(-number - BATCH * turn - first - 1) for number in range(BATCH)]
        for turn in range(rounds)
    ]
    taken_ms = benchmark.pedantic(timed_ms, (filled.store.answers, asked), rounds=1)
    known = filled.store.answers([key(number) for number in range(BATCH)])
    assert len(known) == BATCH
    p50, p99 = np.percentile(taken_ms, [50, 99])
    name = "sqlite" if is_embedded(filled) else "postgres"
    percentiles = {"p50": p50, "p99": p99}
    state(benchmark, f"ledger_answers_{name}", p50, percentiles=percentiles)


def bench_load_open(benchmark, filled, held):
    """Read what a writer has to know before it may decide anything."""

    def load():
        begin = time.perf_counter()
        count = sum(1 for _ in filled.store.load_open())
        return count, time.perf_counter() - begin

    count, taken_s = benchmark.pedantic(load, rounds=1, warmup_rounds=1)
    assert count >= held
    name = "sqlite" if is_embedded(filled) else "postgres"
    state(benchmark, f"ledger_open_{name}", taken_s * held / count)


def bare_inserts(folder, commits):
    """Make the least that puts the same bytes on disk: one row, one INSERT, one transaction."""
    connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, key, document)")
    per_row = "(?, ?), (?, ?), (?, ?)"
    text = f"INSERT INTO row (key, document) VALUES {', '.join([per_row] * BATCH)}"
    together = [
        [
            part
            for hold, answer, event in zip(made.holds, made.answers, made.events, strict=True)
            for part in (hold.id, hold.document, answer.key, answer.document, *event)
        ]
        for made in commits
    ]
    return lambda row: connection.execute(text, row), together


def fdatasync_ms(folder, rounds):
    """Measure what the disk itself asks for."""
    with (folder / "synced").open("wb", buffering=0) as file:

        def write_and_sync(page):
            file.write(page)
            os.fdatasync(file.fileno())

        return float(np.median(timed_ms(write_and_sync, [b"x" * 4_096] * rounds)))


def pgbench_rate(database, seconds, folder):
    """Measure single-row updates of 16 clients on the same server."""
    script = folder / "update.sql"
    script.write_text(UPDATE)
    pgbench = find_binaries() / "pgbench"
    subprocess.run([pgbench, "-i", "-q", "-s", "1", database], check=True, capture_output=True)
    command = [pgbench, "-n", "-M", "prepared", "-c", "16", "-j", "1", "-T", str(seconds)]
    done = subprocess.run(
        [*command, "-f", script, database], check=True, capture_output=True, text=True
    )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE pgbench_accounts, pgbench_branches, pgbench_tellers")
        connection.execute("DROP TABLE IF EXISTS pgbench_history")
    return float(re.search(r"tps = ([\d.]+)", done.stdout).group(1))
