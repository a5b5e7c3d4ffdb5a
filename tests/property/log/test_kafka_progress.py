"""How far a Kafka partition is said to be handed out, against a partition that knows all."""

from hypothesis import given
from hypothesis import strategies as st

from onhand.log.kafka_ends import PartitionProgress

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("tick"), st.integers(1, 5_000)),
        st.tuples(st.just("ask"), st.just(0)),
        st.tuples(st.just("answer"), st.just(0)),
        st.tuples(st.just("hand out"), st.integers(1, 6)),
        st.tuples(st.just("gap"), st.integers(1, 2)),
    ),
    max_size=200,
)


class Partition:
    """Append time by offset, None where a transaction's end leaves a gap; and a reader of it."""

    def __init__(self):
        self.now_us = 1_000_000
        self.times = []
        self.progress = PartitionProgress(0)
        self.asked = []

    def append(self, count):
        # A broker's stamps have whole milliseconds.
        self.times += [self.now_us // 1_000 * 1_000] * count

    def gap(self, count):
        self.times += [None] * count

    def tick(self, ticks_us):
        self.now_us += ticks_us

    def ask(self, _):
        self.asked.append((self.now_us, len(self.times)))

    def answer(self, _):
        if self.asked:
            self.progress.mark(*self.asked.pop(0))

    def hand_out(self, count):
        start = self.progress.next_offset
        for offset in range(start, min(start + count, len(self.times))):
            if self.times[offset] is None:
                self.progress.pass_to(offset + 1)
            else:
                self.progress.hand_out(offset + 1, self.times[offset])


@given(STEPS)
def test_progress_never_covers_a_record_that_waits(steps):
    """No record at or after the position was appended before the time that is claimed."""
    partition = Partition()
    claimed_us = 0
    for name, number in steps:
        getattr(partition, name.replace(" ", "_"))(number)
        progress = partition.progress
        assert progress.read_us >= claimed_us
        claimed_us = progress.read_us
        assert claimed_us <= partition.now_us
        waiting = [us for us in partition.times[progress.next_offset :] if us is not None]
        # A stamp of a whole millisecond may be of any moment in it.
        assert all(claimed_us < us + 1_000 for us in waiting)


@given(STEPS)
def test_progress_arrives_once_all_is_handed_out(steps):
    """With everything handed out, the next answer brings progress to the time it was asked."""
    partition = Partition()
    for name, number in steps:
        getattr(partition, name.replace(" ", "_"))(number)
    partition.hand_out(len(partition.times))
    partition.asked.clear()
    partition.ask(0)
    partition.answer(0)
    assert partition.progress.read_us == partition.now_us
    assert partition.progress.lag_events() == 0
    assert not partition.progress.marks
