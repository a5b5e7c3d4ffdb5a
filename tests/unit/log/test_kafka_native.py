"""The native consumer, beside confluent-kafka's own over the same library."""

import contextlib
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, cimpl
from confluent_kafka.admin import AdminClient, NewTopic

from onhand._native import kafka as native
from onhand.errors import LogUnavailable
from onhand.log import kafka_options
from onhand.log.base import now_us
from onhand.log.kafka import KafkaLog
from onhand.log.kafka_options import COORDINATOR_WAIT_MS, REPEAT_S, KafkaOptions, log_line
from onhand.log.kafka_read import BATCH_BYTES_MAX, KafkaReader, to_record
from tests.deployments import wait_until
from tests.ports import free_port

SALES = "stock.sales"
PATIENCE_S = 20
VERSION_MIN = 0x020000FF
CHUNK_COUNT = 256

pytestmark = pytest.mark.kafka

HEADERS = [("a", b"1"), ("b", None), ("a", b""), ("ä", b"\x00")]
MESSAGES = [
    {"key": b"k", "value": b"plain"},
    {"key": None, "value": b"no key"},
    {"key": b"", "value": b"an empty key"},
    {"key": b"tombstone", "value": None},
    {"key": b"empty", "value": b""},
    {"key": b"\x00\xff" * 500, "value": b"\x00" * 70_000},
    {"key": b"h", "value": b"headers", "headers": HEADERS},
    {"key": b"k", "value": b"after headers"},
    {"key": b"old", "value": b"long ago", "timestamp": 1_000},
]  # fmt: skip


@pytest.fixture
def made(broker):
    """Make a topic of each kind of append time, of two partitions; give its log and their names."""
    log = KafkaLog(broker.options())
    prefix = log._options.topic_prefix
    clocks = {"stock.counts": "CreateTime", "stock.ledger": "LogAppendTime"}
    new = [
        NewTopic(prefix + name, 2, 1, config={"message.timestamp.type": clock})
        for name, clock in clocks.items()
    ]
    for future in log._admin.create_topics(new).values():
        future.result(PATIENCE_S)
    log.ensure_topics(1)
    yield log, list(clocks)
    log.close()


@pytest.fixture
def consumer(kafka_log):
    """Open a consumer of the first partition of sales."""
    opened = open_consumer(kafka_log, {SALES: 0})
    yield opened
    opened.close()


def open_consumer(log, indexes_by_topic):
    prefix = log._options.topic_prefix
    indexes = {(prefix + topic, 0): index for topic, index in indexes_by_topic.items()}
    opened = native.NativeConsumer(log._options.native_consumer(), indexes)
    opened.assign([(prefix + topic, 0, 0) for topic in indexes_by_topic])
    return opened


def fill(log, count, value=b"v"):
    """Put records into the first partition of sales, past the log, which chooses partitions."""
    producer = Producer(log._options.producer())
    for _ in range(count):
        producer.produce(log._options.topic_prefix + SALES, value, partition=0)
    assert producer.flush(PATIENCE_S) == 0


def take_until(condition, consumer, count_max=1_000):
    """Take until a condition holds of what was taken so far."""
    deadline = time.monotonic() + PATIENCE_S
    taken = []
    while not condition(taken):
        taken.append(consumer.take(count_max, BATCH_BYTES_MAX, 20))
        assert time.monotonic() < deadline, "the condition did not come to hold"
    return taken


def read_by_confluent(log, partitions, count):
    consumer = Consumer(log._options.consumer())
    prefix = log._options.topic_prefix
    consumer.assign([TopicPartition(prefix + topic, number, 0) for topic, number in partitions])
    found = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline:
        found += [m for m in consumer.consume(100, 0.05) if m.error() is None]
    consumer.close()
    return sorted((to_record(m, prefix) for m in found), key=place)


def place(record):
    return record.topic, record.partition, record.offset


def test_library_is_the_one_of_confluent_kafka():
    """What is found by way of confluent-kafka is its own library, and new enough."""
    version = native.find_library(cimpl.__file__)
    assert version == confluent_kafka.libversion()[1]
    assert version >= VERSION_MIN


def test_library_without_what_is_needed_is_refused(kafka_log):
    """Which function is missing is said, with what to install, and nothing found before is lost."""
    with pytest.raises(LogUnavailable, match=r"no rd_kafka_version.*pip install"):
        native.find_library(native.__file__)
    with pytest.raises(LogUnavailable, match=r"no/such\.so.*pip install"):
        native.find_library("/no/such.so")
    open_consumer(kafka_log, {SALES: 0}).close()


def test_records_are_those_that_confluent_kafka_reads(made):
    """Keys, values, headers and both kinds of time come out alike, of every odd record."""
    log, topics = made
    partitions = [(topic, number) for topic in topics for number in range(2)]
    producer = Producer(log._options.producer())
    for topic, number in partitions:
        for message in MESSAGES:
            producer.produce(log._options.topic_prefix + topic, partition=number, **message)
    assert producer.flush(PATIENCE_S) == 0
    count = len(MESSAGES) * len(partitions)
    expected = read_by_confluent(log, partitions, count)
    reader = log.reader(dict.fromkeys(partitions, 0))
    found = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline:
        batch = reader.poll(1_000, 0.05)
        found += [batch.record(index) for index in range(len(batch))]
    reader.close()
    assert sorted(found, key=place) == expected
    assert len(expected) == count
    assert {record.append_us for record in expected} > {1_000_000}


def test_columns_line_up(kafka_log, consumer):
    """Every column has an element a record, and the last of each partition is told."""
    fill(kafka_log, 300)
    polls = take_until(lambda polls: sum(map(len, polls)) == 300, consumer, count_max=70)
    offsets = [int(offset) for columns in polls for offset in columns.offsets]
    assert offsets == list(range(300))
    for columns in filter(len, polls):
        count = len(columns)
        assert count <= 70
        assert [columns.partitions.dtype, columns.offsets.dtype] == ["uint16", "int64"]
        assert len(columns.values) == len(columns.append_us) == len(columns.partitions) == count
        assert columns.headers is None
        assert columns.lasts == {0: (columns.offsets[-1], columns.append_us[-1])}


def test_end_of_a_partition_is_reported_beside_its_records(kafka_log, consumer):
    """The end's offset and code are told, and take no place among the records."""
    fill(kafka_log, 3)
    topic = kafka_log._options.topic_prefix + SALES
    end = (topic, 0, 3, KafkaError._PARTITION_EOF)
    # A broker may tell of an earlier end before readers may see the records.
    taken = take_until(
        lambda polls: polls and end in [error[:4] for error in polls[-1].errors], consumer
    )
    assert [value for columns in taken for value in columns.values] == [b"v"] * 3
    assert {error[3] for columns in taken for error in columns.errors} == {end[3]}
    assert consumer.fetched_end(topic, 0) == 3


def test_bytes_of_a_poll_are_bounded(kafka_log, consumer):
    """Once values come to the bound, no more than a chunk is taken; the rest comes later."""
    fill(kafka_log, 1_000, b"v" * 1_000)
    topic = kafka_log._options.topic_prefix + SALES
    take_until(lambda _: consumer.fetched_end(topic, 0) == 1_000, consumer, count_max=1)
    deadline = time.monotonic() + PATIENCE_S
    offset = -1
    while offset < 999:
        columns = consumer.take(1_000, 1, 20)
        assert len(columns) <= CHUNK_COUNT
        offset = int(columns.offsets[-1]) if len(columns) else offset
        assert time.monotonic() < deadline


def test_waiting_ends_with_the_first_record(kafka_log, consumer):
    """A record that arrives ends the wait, however many more were asked for."""
    take_until(lambda polls: polls and polls[-1].errors, consumer)
    fill(kafka_log, 1)
    started = time.monotonic()
    deadline = started + PATIENCE_S
    while not len(consumer.take(1_000, BATCH_BYTES_MAX, PATIENCE_S * 1_000)):
        assert time.monotonic() < deadline
    assert time.monotonic() - started < PATIENCE_S / 2


def test_record_of_a_strange_partition_is_refused(kafka_log):
    """The index of a partition is never guessed, and what was taken is given back."""
    fill(kafka_log, 10)
    consumer = native.NativeConsumer(kafka_log._options.native_consumer(), {})
    consumer.assign([(kafka_log._options.topic_prefix + SALES, 0, 0)])
    with pytest.raises(KeyError):
        take_until(lambda _: False, consumer)
    consumer.close()


def test_paused_partition_is_left_alone(kafka_log, consumer):
    """Nothing is fetched of a paused partition until it is resumed."""
    topic = kafka_log._options.topic_prefix + SALES
    take_until(lambda polls: polls and polls[-1].errors, consumer)
    consumer.pause(topic, 0)
    fill(kafka_log, 5)
    assert not any(len(consumer.take(10, BATCH_BYTES_MAX, 50)) for _ in range(10))
    consumer.resume(topic, 0)
    taken = take_until(lambda polls: sum(map(len, polls)) == 5, consumer)
    assert [int(offset) for columns in taken for offset in columns.offsets] == list(range(5))


@pytest.mark.parametrize("option", [{"no.such.option": "1"}, {"fetch.wait.max.ms": "soon"}])
def test_options_that_the_library_refuses_are_named(option):
    """A misspelt option or value is told by name."""
    with pytest.raises(KafkaException, match=next(iter(option))):
        native.NativeConsumer(option, {})


def test_options_reach_the_library_as_text():
    """Numbers and truth values are written as librdkafka reads them, loggers left out."""
    options = KafkaOptions(
        brokers="127.0.0.1:9", options={"enable.ssl.certificate.verification": False}
    )
    told = options.native_consumer()
    assert told["enable.ssl.certificate.verification"] == "false"
    assert told["enable.partition.eof"] == "true"
    assert told["fetch.wait.max.ms"] == str(options.fetch_wait_ms)
    assert "logger" not in told
    native.NativeConsumer(told, {}).close()


def test_what_the_library_logs_goes_to_its_logger(kafka_log, caplog):
    """A broker that cannot be reached is told by the logger onhand.kafka, at its own level."""
    options = kafka_log._options.native_consumer()
    consumer = native.NativeConsumer(
        options | {"bootstrap.servers": f"127.0.0.1:{free_port()}"}, {}
    )
    reader = kafka_log.reader({(SALES, 0): 0})
    reader._consumer.close()
    reader._consumer = consumer
    deadline = time.monotonic() + PATIENCE_S
    with caplog.at_level(logging.DEBUG, "onhand.kafka"):
        while not any("Connection refused" in record.message for record in caplog.records):
            reader._log()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    told = next(record for record in caplog.records if "Connection refused" in record.message)
    assert (told.name, told.levelno) == ("onhand.kafka", logging.ERROR)
    reader.close()


def test_what_the_library_logs_is_told_while_no_broker_answers(caplog):
    """Why a broker cannot be reached is told when it is of use, and does not pile up unread."""
    options = KafkaOptions(brokers=f"127.0.0.1:{free_port()}", request_timeout_s=0.3)
    # Without a logger: its lines are not those that are looked for.
    admin = AdminClient({"bootstrap.servers": options.brokers, "log_level": 0})
    reader = KafkaReader(options, admin, {(SALES, 0): 0}, {(SALES, 0): 0}, now_us)
    deadline = time.monotonic() + PATIENCE_S
    with caplog.at_level(logging.DEBUG, "onhand.kafka"):
        while not any("Connection refused" in record.message for record in caplog.records):
            assert not len(reader.poll(10, 0.02))
            assert time.monotonic() < deadline
    reader.close()


def test_a_line_that_is_repeated_is_told_once_in_a_while(caplog, monkeypatch):
    """However often a client says it, and again when it still says so later."""
    line = f"no broker at {free_port()}"
    with caplog.at_level(logging.DEBUG, "onhand.kafka"):
        for text in (line, line, f"{line} either", line):
            log_line(3, "FAIL", text)
        later_s = time.monotonic() + REPEAT_S
        monkeypatch.setattr(kafka_options, "time", SimpleNamespace(monotonic=lambda: later_s))
        log_line(3, "FAIL", line)
    told = [record.message for record in caplog.records if line in record.message]
    assert told == [f"FAIL {line}", f"FAIL {line} either", f"FAIL {line}"]


def test_closed_consumer_is_of_no_use(kafka_log):
    """After closing, calls are refused instead of touching what is gone; closing again is fine."""
    consumer = open_consumer(kafka_log, {SALES: 0})
    consumer.close()
    consumer.close()
    for call in (
        lambda: consumer.take(1, 1, 0),
        lambda: consumer.assign([]),
        lambda: consumer.commit([]),
        lambda: consumer.pause(SALES, 0),
        lambda: consumer.resume(SALES, 0),
        lambda: consumer.fetched_end(SALES, 0),
        consumer.logged,
    ):
        with pytest.raises(ValueError, match="consumer is open"):
            call()


def test_closing_waits_for_no_coordinator():
    """Without one, as without the right to the group, a commit waits; the process may end."""
    options = KafkaOptions(brokers=f"127.0.0.1:{free_port()}")
    consumer = native.NativeConsumer(options.native_consumer(), {(SALES, 0): 0})
    consumer.assign([(SALES, 0, 0)])
    consumer.commit([(SALES, 0, 0)])
    started = time.monotonic()
    consumer.close()
    assert time.monotonic() - started < COORDINATOR_WAIT_MS / 1_000 + 15


def threads_of_clients():
    """Return the ids of all threads of librdkafka in this process."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it may end meanwhile
            if (task / "comm").read_text().startswith("rdk:"):
                found.add(task.name)
    return found


def test_consumer_that_is_let_go_ends_its_threads():
    """A consumer that nobody closed takes its threads with it."""
    before = threads_of_clients()
    options = KafkaOptions(brokers=f"127.0.0.1:{free_port()}")
    consumer = native.NativeConsumer(options.native_consumer(), {})
    of_consumer = threads_of_clients() - before
    assert of_consumer
    del consumer
    # A thread that was waited for leaves the list of them a moment later.
    wait_until(lambda: not of_consumer & threads_of_clients())
