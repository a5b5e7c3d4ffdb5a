"""A shard at work: when it takes checkpoints, and how long applying waits for them."""

from __future__ import annotations

import threading

import msgspec
import pytest

from onhand.errors import TableFull
from onhand.ingest.metrics import IngestMetrics
from onhand.ingest.shard import RETRY_US, Checkpointer, Shard
from onhand.metrics import Page
from onhand.settings import Settings
from tests.supplies import PARTITIONS, START_US, MemoryLog, Shards, time_at

HISTORY_MAX = 1_024


def sale(number):
    """Make a sale of its own id."""
    return {
        "type": "sale",
        "id": f"s-{number}",
        "source": "till",
        "occurred_at": time_at(number),
        "sku": "a",
        "location": "store",
        "quantity": 1,
    }


class Work:
    """A shard over a real table, and the offsets of every checkpoint that was begun."""

    def __init__(self, directory):
        self.now_us = START_US
        self.begun = []
        self.failure = None
        self.log = MemoryLog()
        self._shards = Shards(directory, history_max=HISTORY_MAX)
        self._page = Page(directory / "metrics", "ingest")
        self.supply = self._shards.supply
        settings = Settings(checkpoint_interval_s=30)
        self.shard = Shard(
            self.supply,
            starts=[0] * len(PARTITIONS),
            targets={},
            lane_count=1,
            settings=msgspec.structs.replace(settings, late_window=None),
            metrics=IngestMetrics(self._page),
            clock=lambda: self.now_us,
            publish=lambda: None,
            checkpointer=Checkpointer(self.write),
        )

    def sell(self, count):
        """Write a batch of so many sales."""
        first = len(self.log.partitions[0])
        self.shard.write(
            0, self.log.batch([self.log.append(sale(first + at)) for at in range(count)])
        )

    def close(self):
        self.shard.close()
        self._page.close()

    def write(self, image, _change_seq):
        """Put a checkpoint on disk, or fail."""
        self.begun.append(sum(image.offsets))
        try:
            if self.failure is not None:
                raise self.failure
            self._shards.checkpoints[0].write(image, partitions=PARTITIONS, created_us=self.now_us)
        finally:
            image.release()


@pytest.fixture
def work(tmp_path):
    """Give a shard whose history fills after a thousand movements."""
    work = Work(tmp_path)
    yield work
    work.close()


def test_applying_waits_for_no_more_checkpoints_than_make_room(work):
    """One announces, the next lets go, and the batch is applied before a third is begun."""
    work.sell(900)
    work.sell(200)
    work.shard.finish()
    assert work.begun[:2] == [900, 900]
    assert set(work.begun[2:]) == {1_100}
    assert work.supply.applied_offset(0) == 1_100


def test_a_batch_that_no_checkpoint_makes_room_for_stops_the_shard(work):
    """Nothing of it is applied, and the shard does not try for ever."""
    with pytest.raises(TableFull, match="--history-max"):
        work.sell(HISTORY_MAX + 1)
    assert work.supply.applied_offset(0) == 0


class EndsOnceLookedAt(threading.Thread):
    """Comes to its end in the very moment after it was found to be at work."""

    is_looked_at = False

    def is_alive(self):
        self.join()
        was_looked_at, self.is_looked_at = self.is_looked_at, True
        return not was_looked_at


def test_no_outcome_of_a_checkpoint_is_lost(work):
    """The next is not begun before it is known what became of the one before."""
    work.shard._checkpointer = Checkpointer(work.write, make_thread=EndsOnceLookedAt)
    work.sell(800)
    work.sell(1)
    assert (work.begun, work.shard.checkpoint_count) == ([800], 0)
    work.sell(1)
    assert work.shard.checkpoint_count == 1


def test_a_checkpoint_that_failed_is_tried_again_after_a_while(work):
    """Applying is not paused by one attempt after the other."""
    work.failure = OSError("no room")
    work.sell(800)
    work.shard._checkpointer._thread.join()
    for _ in range(5):
        work.sell(1)
    assert work.begun == [800]
    work.now_us += RETRY_US
    work.failure = None
    work.sell(1)
    work.shard._checkpointer._thread.join()
    assert work.begun == [800, 806]
