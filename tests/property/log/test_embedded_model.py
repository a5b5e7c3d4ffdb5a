"""The embedded log against a list: any order of appends, reads, prunes and reopenings."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog

TOPICS = ("stock.sales", "stock.counts", "stock.dead-letters")
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3).map(tuple)
NEW = st.builds(
    NewRecord,
    topic=st.sampled_from(TOPICS),
    value=st.binary(max_size=40),
    key=st.none() | st.binary(max_size=8),
    headers=HEADERS,
)


class EmbeddedLogMachine(RuleBasedStateMachine):
    """The model: every record ever appended, per topic, and the first offset that is kept."""

    @initialize()
    def open(self):
        self.directory = Path(tempfile.mkdtemp())
        self.clock_us = 1_000_000
        self.log = self.open_log()
        self.log.ensure_topics(1)
        self.appended = {topic: [] for topic in TOPICS}
        self.begin = dict.fromkeys(TOPICS, 0)
        self.reader = None
        self.handed_out = {}

    def open_log(self):
        return EmbeddedLog(self.directory / "log.sqlite3", now_us=lambda: self.clock_us)

    @rule(ticks_us=st.integers(-50, 200))
    def turn_clock(self, ticks_us):
        self.clock_us += ticks_us

    @rule(new=st.lists(NEW, max_size=8))
    def append(self, new):
        positions = self.log.append(new)
        for record, (topic, partition, offset) in zip(new, positions, strict=True):
            assert (topic, partition, offset) == (record.topic, 0, len(self.appended[topic]))
            self.appended[topic].append(record)

    @rule(data=st.data())
    def open_reader(self, data):
        self.close_reader()
        chosen = data.draw(st.lists(st.sampled_from(TOPICS), min_size=1, unique=True))
        start = {
            (topic, 0): data.draw(st.integers(self.begin[topic], len(self.appended[topic])))
            for topic in chosen
        }
        self.reader = self.log.reader(start)
        self.handed_out = {topic: offset for (topic, _), offset in start.items()}

    @rule(record_count_max=st.integers(1, 5))
    def poll(self, record_count_max):
        if self.reader is None:
            return
        before_us = self.reader.progress_us()
        batch = self.reader.poll(record_count_max, 0.0)
        assert len(batch) <= record_count_max
        assert self.reader.progress_us() >= before_us
        for index in range(len(batch)):
            record = batch.record(index)
            new = self.appended[record.topic][self.handed_out[record.topic]]
            assert record.offset == self.handed_out[record.topic]
            assert (record.key, record.value, record.headers) == (new.key, new.value, new.headers)
            assert (batch.values[index], batch.append_us[index]) == (new.value, record.append_us)
            self.handed_out[record.topic] += 1

    @rule()
    def poll_says_how_far_it_is(self):
        if self.reader is None:
            return
        self.poll(1)
        left = {t: len(self.appended[t]) - offset for t, offset in self.handed_out.items()}
        assert self.reader.lag_events() == sum(left.values())
        assert self.reader.next_offsets() == {(t, 0): o for t, o in self.handed_out.items()}
        for topic, count in left.items():
            if count:
                head = self.log.read((topic, 0), self.handed_out[topic], 1)[0]
                assert self.reader.progress_us() < max(head.append_us, self.clock_us + 1)

    @rule(age_us=st.integers(-100, 300), data=st.data())
    def prune(self, age_us, data):
        keep = {(topic, 0): offset for topic, offset in self.handed_out.items()}
        keep |= {
            (topic, 0): data.draw(st.integers(0, len(self.appended[topic])))
            for topic in TOPICS
            if topic not in self.handed_out
        }
        dropped = self.log.prune(self.clock_us - age_us, keep)
        begins = self.log.begin_offsets([(topic, 0) for topic in TOPICS])
        assert dropped == sum(begins[topic, 0] - self.begin[topic] for topic in TOPICS)
        for topic in TOPICS:
            assert self.begin[topic] <= begins[topic, 0]
            assert begins[topic, 0] == self.begin[topic] or begins[topic, 0] <= keep[topic, 0]
            self.begin[topic] = begins[topic, 0]

    @rule()
    def reopen(self):
        self.close_reader()
        identity = self.log.identity()
        self.log.close()
        self.log = self.open_log()
        assert self.log.identity() == identity

    @invariant()
    def what_is_kept_reads_back(self):
        if not hasattr(self, "appended"):
            return
        for topic, appended in self.appended.items():
            found = self.log.read((topic, 0), 0, 10_000)
            assert [record.offset for record in found] == list(
                range(self.begin[topic], len(appended))
            )
            assert [record.value for record in found] == [
                new.value for new in appended[self.begin[topic] :]
            ]
            times = [record.append_us for record in found]
            assert times == sorted(times)

    def close_reader(self):
        if self.reader is not None:
            self.reader.close()
        self.reader = None
        self.handed_out = {}

    def teardown(self):
        if hasattr(self, "log"):
            self.close_reader()
            self.log.close()
            shutil.rmtree(self.directory)


TestEmbeddedLog = EmbeddedLogMachine.TestCase
TestEmbeddedLog.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
