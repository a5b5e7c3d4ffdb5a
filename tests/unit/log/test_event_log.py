"""What every event log keeps: the embedded one and Kafka, by the same tests."""

import threading
import time

import pytest

from onhand.errors import LogUnavailable, OffsetOutOfRange, RecordTooLarge
from onhand.log.base import NewRecord, now_us
from onhand.log.topics import DEAD_LETTERS, EVENT_TOPICS, LEDGER

SALES = "stock.sales"
RECEIPTS = "stock.receipts"

NEW = [
    NewRecord(SALES, b'{"type":"sale"}', b"4006381333931"),
    NewRecord(SALES, b"\x00\xff no text", None, (("ce_type", b"sale"), ("empty", b""))),
    NewRecord(SALES, b"", b"\xff"),
    NewRecord(RECEIPTS, b"r", b"\x00", (("a", b"1"), ("a", b"2"))),
]


def contents(record):
    return record.topic, record.key, record.value, record.headers


def by_contents(records):
    return sorted((contents(record) for record in records), key=repr)


def read_all(log, topics=(SALES, RECEIPTS)):
    return [record for where in log.partitions(topics) for record in log.read(where, 0, 100_000)]


def open_reader(log, topics=(SALES, RECEIPTS), **options):
    return log.reader(log.begin_offsets(log.partitions(topics)), **options)


def drain(reader, record_count, record_count_max=1_000, timeout_s=20.0):
    """Poll until so many records came; return them whole."""
    records = []
    deadline = time.monotonic() + timeout_s
    while len(records) < record_count and time.monotonic() < deadline:
        batch = reader.poll(record_count_max, 0.1)
        assert len(batch) <= record_count_max
        records += [batch.record(index) for index in range(len(batch))]
    assert len(records) == record_count
    return records


def wait_until(condition, reader, timeout_s=20.0):
    """Poll until a condition holds; no records may come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert not len(reader.poll(10, 0.01))
        assert time.monotonic() < deadline, "the condition did not come to hold"


def test_read_returns_bytes_keys_and_headers_untouched(event_log):
    """What is read is what was appended, whatever the bytes."""
    event_log.append(NEW)
    assert by_contents(read_all(event_log)) == by_contents(NEW)


def test_poll_hands_out_bytes_keys_and_headers_untouched(event_log):
    """What is polled is what was appended, in columns and as whole records."""
    event_log.append(NEW)
    reader = open_reader(event_log)
    polled = drain(reader, len(NEW))
    assert by_contents(polled) == by_contents(NEW)
    assert sorted(polled, key=repr) == sorted(read_all(event_log), key=repr)
    reader.close()


def test_columns_agree_with_whole_records(event_log):
    """Every column of a poll says what the whole record says."""
    event_log.append(NEW)
    partitions = event_log.partitions([SALES, RECEIPTS])
    indexes = {partition: 7 + 2 * place for place, partition in enumerate(partitions)}
    reader = open_reader(event_log, indexes=indexes)
    seen = 0
    while seen < len(NEW):
        batch = reader.poll(3, 1.0)
        seen += len(batch)
        for index in range(len(batch)):
            record = batch.record(index)
            assert batch.values[index] == record.value
            assert batch.offsets[index] == record.offset
            assert batch.append_us[index] == record.append_us
            assert batch.partitions[index] == indexes[record.topic, record.partition]
            headers = batch.headers[index] if batch.headers else None
            assert (headers or ()) == record.headers
    reader.close()


def test_append_returns_where_each_record_is(event_log):
    """The positions that an append returns lead to its records."""
    positions = event_log.append(NEW)
    for new, (topic, partition, offset) in zip(NEW, positions, strict=True):
        found = event_log.read((topic, partition), offset, 1)[0]
        assert (found.partition, found.offset) == (partition, offset)
        assert contents(found) == contents(new)


def test_offsets_have_no_gaps(event_log):
    """The records of a partition are numbered one by one, over many appends."""
    for size in (1, 7, 100, 1):
        event_log.append([NewRecord(SALES, b"x", b"%d" % n) for n in range(size)])
    for partition, end in event_log.end_offsets(event_log.partitions([SALES])).items():
        offsets = [record.offset for record in event_log.read(partition, 0, 1_000)]
        assert offsets == list(range(end))


def test_records_of_one_key_keep_their_order(event_log):
    """Appends of one key come back in the order of the appends."""
    futures = [event_log.append_nowait([NewRecord(SALES, b"%d" % n, b"key")]) for n in range(300)]
    for future in futures:
        future.result(20)
    reader = open_reader(event_log)
    assert [int(record.value) for record in drain(reader, 300, 50)] == list(range(300))
    reader.close()


def test_append_time_is_now_and_never_goes_back(event_log):
    """Append times lie between the calls and grow with the offset."""
    before_us = now_us() // 1_000 * 1_000
    for _ in range(20):
        event_log.append([NewRecord(SALES, b"x", b"key")])
    times = [record.append_us for record in read_all(event_log)]
    assert times == sorted(times)
    assert before_us <= times[0] <= times[-1] <= now_us()


def test_reader_starts_where_it_is_told(event_log):
    """A reader hands out the records from its offsets on and says where it stands."""
    event_log.append([NewRecord(LEDGER, b"%d" % n) for n in range(10)])
    reader = event_log.reader({(LEDGER, 0): 4})
    assert [int(record.value) for record in drain(reader, 6, 2)] == [4, 5, 6, 7, 8, 9]
    assert reader.next_offsets() == {(LEDGER, 0): 10}
    reader.close()


def test_readers_do_not_disturb_each_other(event_log):
    """Two readers get everything, each at its own pace."""
    event_log.append([NewRecord(LEDGER, b"%d" % n) for n in range(10)])
    one, other = event_log.reader({(LEDGER, 0): 0}), event_log.reader({(LEDGER, 0): 5})
    assert len(drain(one, 10, 3)) == 10
    assert len(drain(other, 5, 1)) == 5
    one.close()
    other.close()


def test_poll_of_nothing_ends_at_its_timeout(event_log):
    """A poll waits as long as it is told, no longer, and may not wait at all."""
    reader = open_reader(event_log)
    started = time.monotonic()
    assert not len(reader.poll(10, 0.3))
    waited_s = time.monotonic() - started
    assert not len(reader.poll(10, 0.0))
    assert 0.25 < waited_s < 10
    reader.close()


def test_waiting_poll_is_woken_by_an_append(event_log):
    """A record appended while a poll waits ends the wait."""
    event_log.append([NewRecord(SALES, b"first")])
    reader = open_reader(event_log)
    drain(reader, 1)
    timer = threading.Timer(0.2, event_log.append_nowait, [[NewRecord(SALES, b"x")]])
    timer.start()
    started = time.monotonic()
    batch = reader.poll(10, 60.0)
    assert batch.values == [b"x"]
    assert time.monotonic() - started < 30
    timer.join()
    reader.close()


def test_idle_reader_keeps_up_with_the_clock(event_log):
    """When nothing is left to read, progress moves on with the clock, and never ahead of it."""
    event_log.append(NEW)
    reader = open_reader(event_log)
    drain(reader, len(NEW))
    start_us = now_us()
    wait_until(lambda: reader.progress_us() > start_us + 200_000, reader)
    assert reader.progress_us() <= now_us()
    assert reader.lag_events() == 0
    reader.close()


def test_progress_stays_before_what_is_not_handed_out(event_log):
    """While records wait, progress stays below the append time of the first of them."""
    for n in range(6):
        event_log.append([NewRecord(LEDGER, b"%d" % n)])
        time.sleep(0.005)
    times = [record.append_us for record in event_log.read((LEDGER, 0), 0, 10)]
    reader = event_log.reader({(LEDGER, 0): 0})
    handed_out = 0
    while handed_out < 6:
        assert reader.progress_us() < times[handed_out]
        handed_out += len(reader.poll(1, 1.0))
    wait_until(lambda: reader.progress_us() >= times[-1], reader)
    reader.close()


def test_progress_covers_every_partition(event_log):
    """One partition that waits holds progress back, however far the others are."""
    event_log.append([NewRecord(LEDGER, b"%d" % n) for n in range(5)])
    time.sleep(0.01)
    event_log.append([NewRecord(DEAD_LETTERS, b"d")])
    start = {(LEDGER, 0): 4, (DEAD_LETTERS, 0): 0}
    waiting = {
        where[0]: event_log.read(where, offset, 1)[0].append_us for where, offset in start.items()
    }
    reader = event_log.reader(start)
    while waiting:
        assert reader.progress_us() < min(waiting.values())
        batch = reader.poll(1, 1.0)
        for index in range(len(batch)):
            del waiting[batch.record(index).topic]
    start_us = now_us()
    wait_until(lambda: reader.progress_us() > start_us, reader)
    reader.close()


def test_lag_counts_what_waits(event_log):
    """Lag is the number of records not handed out, and 0 at the end."""
    event_log.append([NewRecord(LEDGER, b"%d" % n) for n in range(50)])
    reader = event_log.reader({(LEDGER, 0): 10})
    taken = 0
    while not taken:
        taken = len(reader.poll(5, 1.0))
    deadline = time.monotonic() + 20
    while reader.lag_events() != 40 - taken and time.monotonic() < deadline:
        taken += len(reader.poll(1, 0.05))
    assert reader.lag_events() == 40 - taken
    drain(reader, 40 - taken)
    wait_until(lambda: reader.lag_events() == 0, reader)
    reader.close()


@pytest.mark.parametrize("offset", [4, 1_000_000])
def test_offset_beyond_the_end_is_refused(event_log, offset):
    """An offset that the log does not have yet means that it is another log."""
    event_log.append([NewRecord(LEDGER, b"x")] * 3)
    with pytest.raises(OffsetOutOfRange, match=r"log ends at 3\. Use the log"):
        event_log.reader({(LEDGER, 0): offset})
    event_log.reader({(LEDGER, 0): 3}).close()


def test_identity_belongs_to_the_log(event_log):
    """The identity is the same at every call and names the kind of log."""
    assert event_log.identity() == event_log.identity()
    assert event_log.identity().split(":")[0] in {"embedded", "kafka"}


def test_topics_are_created_once(event_log):
    """Creating topics again changes nothing; topics that do not exist have no partitions."""
    event_log.append([NewRecord(SALES, b"x")])
    event_log.ensure_topics(9)
    assert len(read_all(event_log)) == 1
    found = event_log.partitions([*EVENT_TOPICS, LEDGER, "no.such.topic"])
    assert {topic for topic, _ in found} == {*EVENT_TOPICS, LEDGER}
    assert found == sorted(found)
    assert [number for topic, number in found if topic == LEDGER] == [0]


def test_too_large_record_is_refused_and_others_go_on(event_log):
    """A record over its topic's limit fails alone, with advice; one of exactly the limit fits."""
    limit = event_log.record_bytes_max(SALES)
    large = event_log.append_nowait([NewRecord(SALES, b"x" * (limit + 1))])
    fits = event_log.append_nowait([NewRecord(SALES, b"y" * limit)])
    with pytest.raises(RecordTooLarge, match="smaller events"):
        large.result(20)
    assert len(fits.result(20)) == 1
    assert [len(record.value) for record in read_all(event_log)] == [limit]


def test_dead_letters_take_every_event_whole(event_log):
    """The largest event fits into the dead letters with its reason and origin besides."""
    assert event_log.record_bytes_max(DEAD_LETTERS) > event_log.record_bytes_max(SALES) + 100_000


def test_append_of_nothing_is_done_at_once(event_log):
    """An append without records succeeds and adds none."""
    assert event_log.append([]) == []
    assert event_log.append_nowait([]).result(5) == []


def test_bulk_append_takes_more_than_may_wait(event_log):
    """A blocking append of more than may wait at once goes through in pieces."""
    new = [NewRecord(SALES, b"%d" % n * 1_000, b"%d" % (n % 50)) for n in range(30_000)]
    positions = event_log.append(new)
    assert len(set(positions)) == len(new)
    assert sum(event_log.end_offsets(event_log.partitions([SALES])).values()) == len(new)


def test_close_finishes_what_was_appended(event_log):
    """What was handed over before close is durable after it; later appends are refused."""
    future = event_log.append_nowait([NewRecord(SALES, b"x")])
    event_log.close()
    assert len(future.result(0)) == 1


def test_appends_from_many_threads_all_arrive(event_log):
    """Threads that append at once lose nothing and share no position."""
    positions = []

    def work(name):
        for n in range(20):
            positions.extend(event_log.append([NewRecord(SALES, b"%d-%d" % (name, n), b"k")]))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(positions)) == 160
    values = {record.value for record in read_all(event_log)}
    assert values == {b"%d-%d" % (name, n) for name in range(8) for n in range(20)}


def test_missing_topic_is_told(embedded_log):
    """An append to a topic that does not exist fails alone and says what to do."""
    lost = embedded_log.append_nowait([NewRecord("no.such", b"x"), NewRecord(SALES, b"x")])
    kept = embedded_log.append_nowait([NewRecord(SALES, b"y")])
    with pytest.raises(LogUnavailable, match=r"no topic 'no\.such'"):
        lost.result(20)
    kept.result(20)
    assert [record.value for record in read_all(embedded_log)] == [b"y"]
