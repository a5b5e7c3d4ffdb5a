"""What a lane reads ahead of its worker, over a real log and with nobody applying."""

from __future__ import annotations

import contextlib
import time

import msgspec
import pytest

from onhand.errors import OffsetOutOfRange
from onhand.ingest.ahead import AHEAD_COUNT_MAX
from onhand.ingest.opening import open_engine
from tests.dataflows.draining import a_log, publish, sale
from tests.threads import threads_named

TAKE_S = 60.0
POLL_RECORD_COUNT = 100
POLL_COUNT = 5


@pytest.fixture
def filled(settings):
    """Give settings of a log with five polls' worth of events."""
    publish(settings, [sale(number) for number in range(POLL_COUNT * POLL_RECORD_COUNT)])
    return msgspec.structs.replace(settings, poll_record_count_max=POLL_RECORD_COUNT)


def wait_until_ahead(ahead):
    """Wait until the lane rests."""
    deadline = time.monotonic() + TAKE_S
    while len(ahead._polls) < AHEAD_COUNT_MAX:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def take_records(ahead, count):
    """Take polls until they hold so many records; return those polls that hold any."""
    found = []
    while sum(len(poll.raw) for poll in found) < count:
        poll = ahead.take(TAKE_S)
        assert poll is not None
        if poll.raw.values:
            found.append(poll)
    return found


def test_polls_come_whole_and_in_order(filled):
    """Nothing is skipped or told twice, and each poll says how far the lane is after it."""
    with open_engine(filled) as engine:
        polls = take_records(engine.open_lane(0), POLL_COUNT * POLL_RECORD_COUNT)
        places = [
            place
            for poll in polls
            for place in zip(poll.raw.partitions.tolist(), poll.raw.offsets.tolist(), strict=True)
        ]
        following = {}
        for partition, offset in places:
            assert offset == following.get(partition, 0)
            following[partition] = offset + 1
        assert following.items() <= polls[-1].next_offsets.items()
        assert all(len(poll.raw) <= POLL_RECORD_COUNT for poll in polls)


def test_a_lane_reads_no_further_ahead_than_its_bound(filled):
    """A worker that takes nothing leaves the rest in the log."""
    with open_engine(filled) as engine:
        ahead = engine.open_lane(0)
        wait_until_ahead(ahead)
        time.sleep(0.05)
        assert len(ahead._polls) == AHEAD_COUNT_MAX


def test_an_idle_lane_says_how_far_it_has_read(settings):
    """Polls without records come too, and what they vouch for advances."""
    with open_engine(settings) as engine:
        ahead = engine.open_lane(0)
        told = [ahead.take(TAKE_S) for _ in range(5)]
        while told[-1].progress_us <= told[0].progress_us:
            told.append(ahead.take(TAKE_S))
        assert not any(poll.raw.values for poll in told)


# Kafka's client has fetched it all before.
@pytest.mark.parametrize("settings", ["embedded"], indirect=True)
def test_a_reader_that_fails_is_heard_after_what_it_had_read(filled):
    """Polls made before the failure are handed over; then it is raised, again and again."""
    with open_engine(filled) as engine, a_log(filled) as log:
        ahead = engine.open_lane(0)
        wait_until_ahead(ahead)
        assert log.prune(time.time_ns() // 1000 + 1, {}) == POLL_COUNT * POLL_RECORD_COUNT
        assert len(take_records(ahead, AHEAD_COUNT_MAX * POLL_RECORD_COUNT)) == AHEAD_COUNT_MAX
        for _ in range(2):
            with pytest.raises(OffsetOutOfRange):
                ahead.take(TAKE_S)


def test_lanes_end_with_their_engine(filled):
    """However the flow ended, no thread reads on."""
    with contextlib.suppress(RuntimeError), open_engine(filled) as engine:
        wait_until_ahead(engine.open_lane(0))
        assert threads_named("lane-0")
        raise RuntimeError
    assert not threads_named("lane-0")
