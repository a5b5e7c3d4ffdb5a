"""Kafka alone: brokers that go away, topics that others made, options and their secrets."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from onhand.errors import LogUnavailable, OffsetOutOfRange, SettingsError
from onhand.log import kafka
from onhand.log.base import NewRecord, now_us
from onhand.log.kafka import KafkaLog
from onhand.log.kafka_options import KafkaOptions
from onhand.log.kafka_topics import FRAMING_BYTES, warnings
from onhand.log.topics import BY_NAME
from tests.ports import free_port

NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._WAIT_COORD,
)
SALES = "stock.sales"
LEDGER_0 = ("stock.ledger", 0)
PATIENCE_S = 20
APPEND_S_MAX = 6.0
REQUEST_S_MAX = 4.0

pytestmark = pytest.mark.kafka


def options(broker, **changes):
    return broker.options(append_timeout_s=APPEND_S_MAX, request_timeout_s=REQUEST_S_MAX, **changes)


@pytest.fixture
def mortal(own_broker):
    """Open a log on a broker that the test may stop."""
    log = KafkaLog(options(own_broker))
    log.ensure_topics(1)
    yield own_broker, log
    log.close()


def wait_until(condition, reader):
    deadline = time.monotonic() + PATIENCE_S
    values = []
    while not condition():
        values += reader.poll(10, 0.02).values
        assert time.monotonic() < deadline, "the condition did not come to hold"
    return values


def test_progress_stands_still_while_the_broker_hangs(mortal):
    """An idle partition whose broker answers nothing is not taken for one without records."""
    broker, log = mortal
    log.append([NewRecord("stock.ledger", b"before")])
    reader = log.reader({LEDGER_0: 0})
    wait_until(lambda: reader.lag_events() == 0 and reader.next_offsets()[LEDGER_0] == 1, reader)
    start_us = now_us()
    wait_until(lambda: reader.progress_us() > start_us, reader)
    broker.pause()
    paused_us = now_us()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        assert not len(reader.poll(10, 0.01))
        assert reader.progress_us() <= paused_us
    wait_until(lambda: reader.error() is not None, reader)
    assert "Check that the brokers run" in reader.error()
    assert reader.progress_us() <= paused_us
    broker.resume()
    resumed_us = now_us()
    wait_until(lambda: reader.progress_us() > resumed_us, reader)
    assert reader.error() is None
    log.append([NewRecord("stock.ledger", b"after")])
    assert wait_until(lambda: reader.next_offsets()[LEDGER_0] == 2, reader) == [b"after"]
    reader.close()


def test_error_that_keeps_nothing_from_being_read_is_over_once_all_is_read(kafka_log):
    """Without the right to the group, say, and without records that would show it to be over."""
    reader = kafka_log.reader({LEDGER_0: 0})
    reader._note(None, -1, -1, KafkaError.GROUP_AUTHORIZATION_FAILED, "Group authorization failed")
    assert reader.error() == "Group authorization failed"
    wait_until(lambda: reader.error() is None, reader)
    reader.close()


def test_append_fails_in_bounded_time_while_the_broker_is_down(mortal):
    """An append to a broker that died fails with advice soon, and works once one is there."""
    broker, log = mortal
    log.append([NewRecord(SALES, b"before")])
    broker.stop()
    started = time.monotonic()
    with pytest.raises(LogUnavailable, match="Check that the brokers run"):
        log.append([NewRecord(SALES, b"lost")])
    assert time.monotonic() - started < PATIENCE_S
    broker.start()
    deadline = time.monotonic() + 3 * PATIENCE_S
    while True:
        try:
            log.ensure_topics(1)
            log.append([NewRecord(SALES, b"after")])
        except LogUnavailable:
            assert time.monotonic() < deadline
        else:
            break
    assert log.read((SALES, 0), 0, 10)[-1].value == b"after"


def test_append_nowait_returns_at_once_while_the_broker_hangs(mortal):
    """Handing records over does not wait for the broker; only the future does."""
    broker, log = mortal
    log.append([NewRecord(SALES, b"before")])
    broker.pause()
    started = time.monotonic()
    future = log.append_nowait([NewRecord(SALES, b"x")])
    assert time.monotonic() - started < APPEND_S_MAX / 2
    assert not future.done()
    broker.resume()
    # Either is right: the record may arrive just in time.
    assert future.exception(PATIENCE_S) is None or isinstance(future.exception(), LogUnavailable)


def test_too_much_that_waits_is_refused(own_broker):
    """While a broker hangs, appends beyond what may wait fail at once."""
    log = KafkaLog(options(own_broker, waiting_bytes_max=10_000))
    log.ensure_topics(1)
    log.append([NewRecord(SALES, b"before")])
    own_broker.pause()
    log.append_nowait([NewRecord(SALES, b"x" * 5_000)])
    refused = log.append_nowait([NewRecord(SALES, b"x" * 5_000)])
    with pytest.raises(LogUnavailable, match="Send more slowly"):
        refused.result(0)
    own_broker.resume()
    log.close()


def test_unreachable_broker_is_told():
    """Brokers that are not there are named, with what to check."""
    address = f"127.0.0.1:{free_port()}"
    log = KafkaLog(KafkaOptions(brokers=address, request_timeout_s=0.3, append_timeout_s=0.3))
    for call in (
        log.identity,
        lambda: log.partitions([SALES]),
        lambda: log.ensure_topics(1),
        lambda: log.end_offsets([(SALES, 0)]),
        lambda: log.append([NewRecord(SALES, b"x")]),
    ):
        with pytest.raises(LogUnavailable, match=f"Kafka at {address} .* --kafka names them"):
            call()
    log.close()


def test_prefix_keeps_deployments_apart(broker):
    """Two prefixes on one cluster share no topic and have identities of their own."""
    logs = [KafkaLog(broker.options()) for _ in range(2)]
    for log in logs:
        log.ensure_topics(1)
    logs[0].append([NewRecord(SALES, b"x")])
    assert logs[0].identity() != logs[1].identity()
    assert [log.end_offsets([(SALES, 0)])[SALES, 0] for log in logs] == [1, 0]
    for log in logs:
        log.close()


def committed_offset(tool, where):
    """Ask for a group's offset; None while a broker that has just started has no coordinator."""
    try:
        return tool.committed(where, timeout=PATIENCE_S)[0].offset
    except KafkaException as error:
        if error.args[0].code() not in NO_COORDINATOR_YET:
            raise
        return None


def test_committed_offsets_are_those_of_the_group(kafka_log):
    """Tools find the offsets that were committed under the group's name."""
    kafka_log.append([NewRecord("stock.ledger", b"x")] * 3)
    reader = kafka_log.reader({LEDGER_0: 0})
    options = kafka_log._options
    tool = Consumer(options.consumer())
    where = [TopicPartition(options.topic_prefix + LEDGER_0[0], 0)]
    deadline = time.monotonic() + PATIENCE_S
    while committed_offset(tool, where) != 2:
        assert time.monotonic() < deadline
        # As after every checkpoint: a coordinator that is not there yet is not waited for.
        reader.commit({LEDGER_0: 2})
        reader.poll(10, 0.05)
    assert options.consumer()["group.id"].endswith("onhand-ingest")
    tool.close()
    reader.close()


def test_unfit_topics_are_warned_of(broker):
    """Topics that others made are compared with what onhand needs, and each fault named once."""
    log = KafkaLog(broker.options())
    prefix = log._options.topic_prefix
    made = {"message.timestamp.type": "CreateTime", "max.message.bytes": "100000"}
    new = [NewTopic(prefix + name, 2, 1, config=made) for name in (SALES, "stock.ledger")]
    for future in log._admin.create_topics(new).values():
        future.result(10)
    told = log.ensure_topics(1)
    clock = next(text for text in told if "LogAppendTime" in text)
    assert clock.startswith("stock.sales, stock.ledger: records carry their publishers' clocks")
    assert any(text.startswith("stock.sales, stock.ledger: the largest events") for text in told)
    assert any("order needs 1" in text and text.startswith("stock.ledger:") for text in told)
    assert sum("replicas, and a lost disk" in text for text in told) == 1
    assert log.record_bytes_max(SALES) == 100_000 - FRAMING_BYTES
    log.close()


def test_fit_topic_is_not_warned_of():
    """A topic made as onhand makes it, on three brokers, has no faults; unknowns are no faults."""
    config = {"message.timestamp.type": "LogAppendTime", "min.insync.replicas": "2"}
    assert list(warnings(BY_NAME[SALES], config, 4, 3)) == []
    assert list(warnings(BY_NAME["stock.availability"], {}, 4, 3)) == []
    broken = list(warnings(BY_NAME["stock.availability"], {"cleanup.policy": "delete"}, 4, 3))
    assert broken == ["what has not changed lately is forgotten. Set cleanup.policy=compact"]


def test_partitions_far_ahead_wait_for_the_slowest(broker):
    """Catching up, no partition runs days ahead of another, and in the end all is handed out."""
    log = KafkaLog(broker.options())
    options = log._options
    # Only publishers' clocks can be days apart in a test.
    clock = {"message.timestamp.type": "CreateTime"}
    topics = ["stock.ledger", "stock.dead-letters"]
    new = [NewTopic(options.topic_prefix + name, 1, 1, config=clock) for name in topics]
    for future in log._admin.create_topics(new).values():
        future.result(10)
    log.ensure_topics(1)
    hour_ms = 3_600_000
    start_ms = now_us() // 1_000 - 100 * hour_ms
    producer = Producer({"bootstrap.servers": options.brokers})
    for topic, count in zip(topics, (1_000, 100), strict=True):
        for n in range(count):
            stamp = start_ms + n * 100 * hour_ms // count
            producer.produce(options.topic_prefix + topic, b"%d" % n, timestamp=stamp)
    assert producer.flush(PATIENCE_S) == 0
    reader = log.reader({(topic, 0): 0 for topic in topics})
    seen = {topic: [] for topic in topics}
    deadline = time.monotonic() + PATIENCE_S
    was_held = False
    while sum(map(len, seen.values())) < 1_100:
        batch = reader.poll(5, 0.05)
        for index in range(len(batch)):
            record = batch.record(index)
            seen[record.topic].append(int(record.value))
        was_held = was_held or bool(reader._held)
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert was_held
    assert seen == {"stock.ledger": list(range(1_000)), "stock.dead-letters": list(range(100))}
    wait_until(lambda: not reader._held and not reader.lag_events(), reader)
    reader.close()
    log.close()


@pytest.mark.parametrize("name", ["enable.auto.commit", "acks", "auto.offset.reset", "group.id"])
def test_options_that_correctness_rests_on_are_refused(name):
    """Options for librdkafka may not undo what onhand promises."""
    with pytest.raises(SettingsError, match=f"kafka_options sets {name}"):
        KafkaOptions(brokers="127.0.0.1:9", options={name: "x"})


def test_unknown_option_is_refused():
    """A misspelt option for librdkafka is an error of settings that names it."""
    with pytest.raises(SettingsError, match=r"no\.such\.option"):
        KafkaLog(KafkaOptions(brokers="127.0.0.1:9", options={"no.such.option": 1}))


def test_secrets_are_not_shown():
    """Options may hold passwords, so that nothing printed shows them."""
    options = KafkaOptions(
        brokers="127.0.0.1:9", options={"sasl.password": "hunter2", "sasl.username": "till"}
    )
    assert "hunter2" not in f"{options} {options!r} {options.unavailable('hangs')}"
    assert options.producer()["sasl.password"] == "hunter2"


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    ],
)
def test_offsets_are_asked_for_again_while_a_leader_moves(kafka_log, monkeypatch, code):
    """A topic that was just created has none yet, or one that not all brokers know of."""
    answers = [KafkaException(KafkaError(code))]
    wait_offsets = kafka.wait_offsets

    def wait_or_fail(*asked):
        if answers:
            raise answers.pop()
        return wait_offsets(*asked)

    monkeypatch.setattr(kafka, "wait_offsets", wait_or_fail)
    assert kafka_log.end_offsets([LEDGER_0]) == {LEDGER_0: 0}
    assert not answers


@pytest.mark.kafka(real=True)
def test_reader_is_told_what_retention_dropped(kafka_log):
    """A reader below the first record kept is refused, at its start and on its way."""
    kafka_log.append([NewRecord("stock.ledger", b"x")] * 5)
    options = KafkaOptions(
        brokers=kafka_log._options.brokers,
        topic_prefix=kafka_log._options.topic_prefix,
        prefetch_bytes_max=1 << 20,
    )
    log = KafkaLog(options)
    reader = log.reader({LEDGER_0: 5})
    kafka_log.append([NewRecord("stock.ledger", b"x")] * 5)
    topic = options.topic_prefix + LEDGER_0[0]
    kafka_log._admin.delete_records([TopicPartition(topic, 0, 8)])
    deadline = time.monotonic() + PATIENCE_S
    while kafka_log.begin_offsets([LEDGER_0])[LEDGER_0] != 8:
        assert time.monotonic() < deadline
    with pytest.raises(OffsetOutOfRange, match="dropped 2 records"):
        log.reader({LEDGER_0: 6})
    reader._consumer.assign([(topic, 0, 6)])
    with pytest.raises(OffsetOutOfRange, match=r"no longer has the next record of stock\.ledger"):
        wait_until(lambda: False, reader)
    reader.close()
    log.close()


@pytest.mark.kafka(real=True)
def test_transactions_of_publishers_leave_gaps_and_no_lag(kafka_log):
    """Aborted records are never handed out, and the marks of transactions hold nothing back."""
    options = kafka_log._options
    producer = Producer({"bootstrap.servers": options.brokers, "transactional.id": "till"})
    producer.init_transactions(PATIENCE_S)
    for end, value in ((producer.abort_transaction, b"no"), (producer.commit_transaction, b"yes")):
        producer.begin_transaction()
        producer.produce(options.topic_prefix + LEDGER_0[0], value)
        producer.flush(PATIENCE_S)
        end(PATIENCE_S)
    reader = kafka_log.reader({LEDGER_0: 0})
    start_us = now_us()
    values = wait_until(lambda: reader.progress_us() > start_us, reader)
    assert values == [b"yes"]
    assert reader.lag_events() == 0
    assert [record.value for record in kafka_log.read(LEDGER_0, 0, 100)] == [b"yes"]
    reader.close()
