"""The embedded log alone: its file, its processes, its clock and its retention."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from onhand.errors import LogFull, LogUnavailable, OffsetOutOfRange
from onhand.log.base import NewRecord, now_us
from onhand.log.embedded import EmbeddedLog
from onhand.log.embedded_file import WriteTurn, connect
from onhand.log.embedded_read import BATCH_BYTES_MAX
from tests.needs import small_disk

SALES = "stock.sales"
SALES_0 = (SALES, 0)
COUNTS_0 = ("stock.counts", 0)
APPENDER = Path(__file__).with_name("appender.py")


def appender(path, name, file_bytes_max=0):
    return subprocess.Popen(
        [sys.executable, APPENDER, path, name, str(file_bytes_max)],
        stdout=subprocess.PIPE,
        text=True,
    )


def acknowledged(process):
    """Kill an appender; return what it printed: offset by number. Its last line may be torn."""
    process.kill()
    lines = process.communicate()[0].split("\n")[:-1]
    return {int(number): int(offset) for number, offset in (line.split() for line in lines)}


def values(log, partition=SALES_0):
    return [record.value for record in log.read(partition, 0, 1_000_000)]


@pytest.mark.parametrize("run_s", [0.15, 0.3, 0.6])
def test_killed_appender_loses_nothing_acknowledged(embedded_log, tmp_path, run_s):
    """After kill -9 every acknowledged record is at its offset, and offsets have no gap."""
    process = appender(tmp_path / "log.sqlite3", "a")
    first = process.stdout.readline()
    time.sleep(run_s)
    told = acknowledged(process)
    found = embedded_log.read(SALES_0, 0, 1_000_000)
    assert first == "0 0\n"
    assert [record.offset for record in found] == list(range(len(found)))
    for number, offset in told.items():
        assert found[offset].value == b"a %d" % number
    embedded_log.append([NewRecord(SALES, b"after")])
    assert values(embedded_log)[-1] == b"after"


def count_of(seen, name):
    return sum(value[0] == name for value in seen)


def test_processes_append_at_once(embedded_log, tmp_path):
    """Two processes that append without pause both get on, and a reader sees all in order."""
    reader = embedded_log.reader({SALES_0: 0})
    processes = [appender(tmp_path / "log.sqlite3", name) for name in "ab"]
    seen = []
    begun = time.monotonic()
    # For two seconds, and until each has got on: a process may take long to start.
    while time.monotonic() < begun + 2 or min(count_of(seen, name) for name in b"ab") < 50:
        assert time.monotonic() < begun + 60
        batch = reader.poll(100, 0.05)
        assert batch.offsets.tolist() == list(range(len(seen), len(seen) + len(batch)))
        seen += batch.values
    told = {process: acknowledged(process) for process in processes}
    while len(batch := reader.poll(1_000, 0.1)):
        seen += batch.values
    for name, process in zip("ab", processes, strict=True):
        assert len(told[process]) > 20
        mine = [value for value in seen if value.startswith(name.encode())]
        assert mine == [b"%s %d" % (name.encode(), number) for number in range(len(mine))]
        for number, offset in told[process].items():
            assert seen[offset] == b"%s %d" % (name.encode(), number)
    reader.close()


def test_file_size_limit_is_told_and_passes(embedded_log, tmp_path):
    """A process that may not write more is told so, loses nothing, and goes on when it may."""
    process = appender(tmp_path / "log.sqlite3", "a", 1 << 19)
    lines = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0
    assert "no room to write" in lines[-1]
    assert "writing goes on by itself" in lines[-1]
    found = values(embedded_log)
    assert found[-1] == b"room again"
    assert found[:-1][: len(lines) - 1] == [b"a %d" % number for number in range(len(lines) - 1)]


@pytest.fixture
def disk(tmp_path):
    """Mount a file system of 2 MiB."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        yield disk


def append_until_full(log):
    """Append until the disk is full; return how many records were acknowledged."""
    count = 0
    with pytest.raises(LogFull, match="Free space on the disk"):  # noqa: PT012 - the last one fails
        while count < 10_000:
            log.append([NewRecord(SALES, b"%d" % count, b"k" * 1_000)])
            count += 1
    return count


def test_full_disk_is_told_and_passes(disk):
    """On a full disk appends fail with advice, reads go on, and freeing space is enough."""
    filler = disk / "filler"
    filler.write_bytes(b"x" * (1 << 20))
    log = EmbeddedLog(disk / "log.sqlite3")
    log.ensure_topics(1)
    kept = append_until_full(log)
    assert values(log) == [b"%d" % number for number in range(kept)]
    reader = log.reader({SALES_0: 0})
    assert len(reader.poll(100_000, 1.0)) == kept
    filler.unlink()
    log.append([NewRecord(SALES, b"room again")])
    assert reader.poll(10, 5.0).values == [b"room again"]
    reader.close()
    log.close()


def test_disk_too_full_to_begin_is_told(disk):
    """A log that cannot even be made says that there is no room."""
    (disk / "filler").write_bytes(b"x" * ((2 << 20) - 8192))
    with pytest.raises(LogUnavailable, match=r"[Ff]ree space"):
        EmbeddedLog(disk / "log.sqlite3").ensure_topics(1)


@pytest.mark.usefixtures("embedded_log")
def test_lock_of_another_process_is_waited_for_and_then_told(tmp_path):
    """Who cannot write for too long learns that another process holds the file."""
    path = tmp_path / "log.sqlite3"
    holder, waiter = connect(path, writes=True), connect(path, writes=True)
    turn = WriteTurn(path, busy_s=0.1)
    with (
        turn.transaction(holder),
        pytest.raises(LogUnavailable, match=r"kept .* locked for 0\.1 s"),
        WriteTurn(path, busy_s=0.1).transaction(waiter),
    ):
        pass
    with turn.transaction(waiter):
        pass
    for thing in (holder, waiter, turn):
        thing.close()


def test_appends_wait_while_the_file_is_locked(embedded_log, tmp_path):
    """An append that meets a lock is done as soon as the lock is gone."""
    holder = connect(tmp_path / "log.sqlite3", writes=True)
    holder.execute("BEGIN IMMEDIATE")
    future = embedded_log.append_nowait([NewRecord(SALES, b"x")])
    time.sleep(0.1)
    assert not future.done()
    holder.execute("COMMIT")
    assert future.result(20) == [(SALES, 0, 0)]
    holder.close()


def test_too_much_that_waits_is_refused(tmp_path):
    """Appends beyond what may wait fail at once, and a blocking append waits for room."""
    path = tmp_path / "log.sqlite3"
    log = EmbeddedLog(path, waiting_bytes_max=10_000)
    log.ensure_topics(1)
    holder = connect(path, writes=True)
    holder.execute("BEGIN IMMEDIATE")
    new = [NewRecord(SALES, b"x" * 5_000)]
    accepted = log.append_nowait(new)
    refused = log.append_nowait(new)
    with pytest.raises(LogUnavailable, match="Send more slowly"):
        refused.result(0)
    blocked = threading.Thread(target=log.append, args=(new,))
    blocked.start()
    holder.execute("COMMIT")
    accepted.result(20)
    blocked.join(20)
    assert len(values(log)) == 2
    holder.close()
    log.close()


def test_append_time_survives_a_clock_set_back(tmp_path):
    """Append times stand still, and never go back, when the clock does; also after reopening."""
    times = iter([2_000, 1_000, 3_000, 2_500])
    path = tmp_path / "log.sqlite3"
    for _ in range(2):
        log = EmbeddedLog(path, now_us=lambda: next(times))
        log.ensure_topics(1)
        log.append([NewRecord(SALES, b"x")])
        log.append([NewRecord("stock.counts", b"x")])
        log.close()
    log = EmbeddedLog(path)
    assert [record.append_us for record in log.read(SALES_0, 0, 9)] == [2_000, 3_000]
    assert [record.append_us for record in log.read(COUNTS_0, 0, 9)] == [2_000, 3_000]
    log.close()


def test_identity_lasts_with_the_file(tmp_path):
    """Opened again the log has the same identity; another file has another."""
    identities = []
    for name in ("a", "a", "b"):
        with contextlib.closing(EmbeddedLog(tmp_path / name / "log.sqlite3")) as log:
            identities.append(log.identity())
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no database at all, only some text that is long enough" * 40, "damaged or no SQLite"),
        ("CREATE TABLE t (x)", "not an event log"),
        ("PRAGMA application_id=1869507687; PRAGMA user_version=9; CREATE TABLE t (x)", "format 9"),
    ],
)
def test_foreign_file_is_refused(tmp_path, content, says):
    """A file that is no log, or of another format, is told apart and left alone."""
    path = tmp_path / "log.sqlite3"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(content)
    before = path.read_bytes()
    with pytest.raises(LogUnavailable, match=says):
        EmbeddedLog(path)
    assert path.read_bytes() == before


def test_half_made_file_is_finished(tmp_path):
    """A file that a killed process had begun to make becomes a log."""
    path = tmp_path / "log.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    with contextlib.closing(EmbeddedLog(path)) as log:
        log.ensure_topics(1)
        assert log.append([NewRecord(SALES, b"x")]) == [(SALES, 0, 0)]


def test_directory_that_cannot_be_made_is_told(tmp_path):
    """A data directory under a file says so."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(LogUnavailable, match="cannot be made"):
        EmbeddedLog(tmp_path / "file" / "data" / "log.sqlite3")


def test_damaged_page_is_told(tmp_path):
    """Reading a page of rubbish is an error with advice, never a wrong record."""
    path = tmp_path / "log.sqlite3"
    with contextlib.closing(EmbeddedLog(path)) as log:
        log.ensure_topics(1)
        log.append([NewRecord(SALES, b"%d" % number * 100) for number in range(2_000)])
    size_bytes = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(size_bytes // 8_192, size_bytes // 4_096):
            file.seek(page * 4_096)
            file.write(b"\xee" * 4_096)
    with contextlib.closing(EmbeddedLog(path)) as log:
        reader = log.reader({SALES_0: 0})
        with pytest.raises(LogUnavailable, match="Move it away and restore"):
            reader.poll(10_000, 0.0)
        reader.close()


def test_lost_row_is_told(embedded_log, tmp_path):
    """A record missing from the middle stops the reader: it never renumbers what follows."""
    embedded_log.append([NewRecord(SALES, b"x")] * 10)
    with contextlib.closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection, connection:
        connection.execute('DELETE FROM records_1 WHERE "offset" = 5')
    reader = embedded_log.reader({SALES_0: 0})
    with pytest.raises(LogUnavailable, match=r"lacks records of stock\.sales"):
        reader.poll(100, 0.0)
    reader.close()


def test_prune_drops_old_records_that_nobody_needs(embedded_log):
    """Pruning takes what is older than its time and below what is kept, and nothing else."""
    embedded_log.append([NewRecord(SALES, b"%d" % number) for number in range(12_000)])
    embedded_log.append([NewRecord("stock.counts", b"%d" % number) for number in range(10)])
    time.sleep(0.002)
    middle_us = now_us()
    embedded_log.append([NewRecord(SALES, b"young")])
    assert embedded_log.prune(middle_us, {COUNTS_0: 4}) == 12_004
    partitions = [SALES_0, COUNTS_0]
    assert embedded_log.begin_offsets(partitions) == {SALES_0: 12_000, COUNTS_0: 4}
    assert values(embedded_log) == [b"young"]
    assert values(embedded_log, COUNTS_0) == [b"%d" % number for number in range(4, 10)]
    assert embedded_log.prune(middle_us, {COUNTS_0: 4}) == 0


def test_offsets_go_on_after_everything_was_pruned(embedded_log):
    """Pruning the last record does not start the offsets anew."""
    embedded_log.append([NewRecord(SALES, b"x")] * 3)
    assert embedded_log.prune(now_us() + 1, {}) == 3
    assert embedded_log.append([NewRecord(SALES, b"y")]) == [(SALES, 0, 3)]
    reader = embedded_log.reader({SALES_0: 3})
    assert reader.poll(9, 0.0).offsets.tolist() == [3]
    reader.close()


def test_reader_is_told_what_retention_dropped(embedded_log):
    """A reader below the first record kept is refused, at its start and on its way."""
    embedded_log.append([NewRecord(SALES, b"x")] * 3)
    reader = embedded_log.reader({SALES_0: 1})
    embedded_log.prune(now_us() + 1, {})
    for read in (lambda: reader.poll(9, 0.0), lambda: embedded_log.reader({SALES_0: 1})):
        with pytest.raises(OffsetOutOfRange, match=r"dropped 2 records .* archived checkpoint"):
            read()
    reader.close()


def test_poll_is_bounded_in_bytes(embedded_log):
    """Large records come a few at a time, all of them, in order."""
    size_bytes = embedded_log.record_bytes_max(SALES) - 10
    count = 3 * BATCH_BYTES_MAX // size_bytes
    for number in range(count):
        embedded_log.append([NewRecord(SALES, b"%03d" % number + b"x" * (size_bytes - 3))])
    reader = embedded_log.reader({SALES_0: 0})
    seen = []
    while len(batch := reader.poll(100_000, 0.0)):
        assert sum(map(len, batch.values)) < BATCH_BYTES_MAX + 513 * size_bytes
        seen += [int(value[:3]) for value in batch.values]
    assert seen == list(range(count))
    reader.close()


def test_catching_up_keeps_topics_together(embedded_log):
    """A reader far behind reads topics side by side in append time, not one after the other."""
    for number in range(20):
        embedded_log.append([NewRecord(SALES, b"%d" % number), NewRecord("stock.counts", b"c")])
        time.sleep(0.001)
    reader = embedded_log.reader({SALES_0: 0, COUNTS_0: 0})
    read = {SALES_0: 0, COUNTS_0: 0}
    while len(reader.poll(2, 0.0)):
        read = reader.next_offsets()
        assert abs(read[SALES_0] - read[COUNTS_0]) <= 3
    assert read == {SALES_0: 20, COUNTS_0: 20}
    reader.close()


def test_only_partition_0_exists(embedded_log):
    """Another partition of a topic is refused by name."""
    with pytest.raises(LogUnavailable, match="no partition 1"):
        embedded_log.reader({(SALES, 1): 0})
