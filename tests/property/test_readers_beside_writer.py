"""Readers in other processes see only states that existed, whatever happens to the writer.

The writer loops of StoreKit keep invariants of a row: units that go round cells in turn (each cell
equals the one before it, or is one lower), and units that swap between the counters of a cell
(their sum is 100, or 0 when the cell has just been made).
"""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from onhand._native.reader import Table
from onhand.table.demand import DemandReader
from tests.tables import Tables

ROUND_CELLS = 24
SWAP_ROWS = 6
SWAP_CELLS = 700

WRITER = """
import sys
from onhand._native.storekit import StoreKit
path, seed = sys.argv[1], int(sys.argv[2])
kit = StoreKit(path, capacity_bytes=1 << 28, cluster_id=bytes(16))
for n in range(700):
    kit.location(f"store-{n}")
kit.sku("round")
for n in range(6):
    kit.sku(f"swap-{n}")
print("ready", flush=True)
step = 0
while True:
    step += 1
    kit.go_round(0, 24, 200, 20)
    for n in range(6):
        kit.swap(1 + n, min(700, 3 + step), 300, seed + step * 7 + n)
    kit.add_incoming("round", "store-1", step % 50, 1)
    kit.sku(f"new-{step}")
    kit.location(f"place-{step}") if step < 500 else None
"""

READER = """
import sys, time
from tests.property.test_readers_beside_writer import check_table
from onhand._native.reader import Table
table = Table(sys.argv[1])
reads = 0
while reads <= 100:
    reads += check_table(table)
# The writer lives until every reader has said so.
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    check_table(table)
"""


def check_table(table):
    """Check the invariants of every row once; return how many rows were read."""
    location, on_hand, *_, due = table.row(0)
    assert location.tolist() == list(range(len(location)))
    steps = -np.diff(on_hand)
    assert ((steps == 0) | (steps == 1)).all(), on_hand
    assert len(on_hand) < ROUND_CELLS or on_hand[0] - on_hand[-1] <= 1, on_hand
    assert all(0 <= day < 50 and units > 0 for _, day, units in due)
    assert len({day for _, day, _ in due}) == len(due)
    for row in range(1, 1 + SWAP_ROWS):
        location, on_hand, held, in_transit, damaged, _ = table.row(row)
        units = on_hand + held + in_transit
        assert ((units == 100) | (units == 0)).all(), units
        assert not damaged.any()
        assert len(set(location.tolist())) == len(location)
        assert (location < SWAP_CELLS).all()
    count = table.sku_count
    name = table.sku_names(count - 1, count)[0]
    assert table.find_sku(name) == count - 1
    assert table.location_names(table.location_count - 1)[0]
    return 1 + SWAP_ROWS


def start(program, *arguments):
    """Run a program in a process of its own, until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    """End a process with no chance to tidy up."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def watch_and_kill(tmp_path, seconds, kills):
    """Read in two processes beside a writer that is killed, and after each of its deaths."""
    rng = random.Random(kills)
    for attempt in range(kills):
        path = tmp_path / f"{attempt}.table"
        writer = start(WRITER, path, rng.randrange(2**32))
        readers = [start(READER, path, seconds * 1.5) for _ in range(2)]
        time.sleep(seconds * rng.uniform(0.5, 1))
        kill(writer)
        table = Table(path)
        assert check_table(table) == check_table(table)
        for reader in readers:
            reader.communicate(timeout=60)
            assert reader.returncode == 0
        path.unlink()


def test_readers_see_only_states_that_existed(tmp_path):
    """Rows in place, rows that move, grow and widen, directories that grow: none is seen torn."""
    watch_and_kill(tmp_path, 0.7, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_readers_see_only_states_that_existed_through_many_kills(tmp_path):
    """The same, killed a hundred times."""
    watch_and_kill(tmp_path, 0.8, kills=100)


def test_readers_follow_generations_while_they_are_replaced(tmp_path):
    """Every read is of one generation, and generations only go up."""
    tables = Tables(tmp_path)
    tables.kit.add("a", "x", 1)
    tables.kit.add("b", "x", 1)
    tables.publish()
    reader = tables.reader()
    follower = subprocess.Popen(
        [sys.executable, "-c", REPLACE, str(tmp_path), tables.cluster_id],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    seen, switches = 1, 0
    while follower.poll() is None:
        switches += reader.refresh()
        one, two = reader.available("a", "x"), reader.available("b", "x")
        assert one == two >= seen
        assert reader.group_available("a", "all") == one
        seen = one
    assert follower.returncode == 0
    reader.refresh()
    assert reader.available("a", "x") == 60
    assert switches > 5


REPLACE = """
import sys, time
from pathlib import Path
from onhand._native.storekit import StoreKit
from onhand.table.directory import TableDirectory
from tests.tables import PARTITIONS
directory = TableDirectory(Path(sys.argv[1]), sys.argv[2])
for generation in range(2, 61):
    assert directory.next_generation(0) == generation
    kit = StoreKit(directory.table_path(0, generation), capacity_bytes=1 << 26,
                   generation=generation, cluster_id=bytes.fromhex(sys.argv[2]))
    for n in range(generation * 7 % 40):
        kit.add(f"filler-{n}", f"place-{n}", 1)
    kit.add("a", "x", generation)
    kit.add("b", "x", generation)
    directory.publish(0, generation, shard_count=1, partitions=PARTITIONS)
    time.sleep(0.005)  # Readers have a look at some of them.
"""


HAMMER = """
import sys
from onhand._native.storekit import StoreKit
kit = StoreKit(sys.argv[1], capacity_bytes=1 << 26)
kit.sku("round")
for n in range(200):
    kit.location(f"store-{n}")
kit.go_round(0, 200, 1)
print("ready", flush=True)
while True:
    kit.go_round(0, 200, 1 << 20)
"""


def test_a_row_that_changes_all_the_time_can_still_be_read(tmp_path):
    """A reader of the hottest row there can be gets through, and sees it whole."""
    writer = start(HAMMER, tmp_path / "hot.table")
    table = Table(tmp_path / "hot.table")
    sums = [200]
    while sums[-1] < 10_000_000:
        _, on_hand, *_ = table.row(0)
        assert set((-np.diff(on_hand)).tolist()) <= {0, 1}
        sums.append(int(on_hand.sum()))
    kill(writer)
    assert sums == sorted(sums)
    assert len(set(sums)) > 10


ORDER_WRITER = """
import sys
from pathlib import Path
from onhand.table.demand import Demand
demand = Demand.create(
    Path(sys.argv[1]), cluster_id=bytes(16), generation=1, capacity_bytes=1 << 28
)
places = [f"store-{n}" for n in range(int(sys.argv[2]))]
print("ready", flush=True)
step = 0
while True:
    step += 1
    for place in places[: 2 + step]:
        demand.add("round", place, 1)
    for place in places[: 2 + step] if step % 3 == 0 else ():
        demand.add("round", place, -1)
    demand.add_backorder("round", "store-1", step % 50, 1)
    demand.add_many([f"new-{step}", f"new-{step}"], ["store-0", f"place-{step % 500}"], [2, 3])
    demand.stamp(heartbeat_us=step, commit_number=step)
"""


def check_demand(reader):
    """Check that promises went round cells in turn; return the commit they were read after."""
    commit_number = reader.commit_number
    location, reserved, *_ = reader.table.row(0)
    assert location.tolist() == sorted(location.tolist())
    steps = np.diff(reserved)
    assert (np.abs(reserved[:1] - reserved) <= len(reserved) + 3).all()
    assert (np.count_nonzero(steps < -1) + np.count_nonzero(steps > 1)) <= 1, reserved
    assert (reserved >= 0).all()
    assert all(0 <= day < 50 and units > 0 for sku, _, day, units in reader.backorders())
    return commit_number


def test_a_demand_table_is_whole_after_any_death_of_its_writer(tmp_path):
    """Promises that come and go, names and backorders: readers see only what was so."""
    rng = random.Random(5)
    for attempt in range(3):
        path = tmp_path / f"demand.{attempt}.table"
        writer = start(ORDER_WRITER, path, ROUND_CELLS)
        reader = DemandReader.open(path)
        end = time.monotonic() + rng.uniform(0.5, 1)
        commits = [0]
        while time.monotonic() < end or len(commits) < 50:
            if reader.table.sku_count:
                commits.append(check_demand(reader))
        kill(writer)
        assert commits == sorted(commits)
        assert commits[-1] > commits[1]
        left = list(DemandReader.open(path).cells())
        assert sum(len(skus) for skus, _, _ in left) > 1
        assert [list(map(len, chunk)) for chunk in left] == [
            list(map(len, chunk)) for chunk in reader.cells()
        ]
        path.unlink()


HAND_OVER = """
import sys
from pathlib import Path
from onhand._native.storekit import StoreKit
from onhand.table.demand import Demand
from onhand.table.directory import TableDirectory
from tests.tables import PARTITIONS
directory = TableDirectory(Path(sys.argv[1]), sys.argv[2])
cluster_id = bytes.fromhex(sys.argv[2])
kit = StoreKit(directory.table_path(0, 2), capacity_bytes=1 << 26, generation=2,
               cluster_id=cluster_id)
demand = Demand.create(directory.demand_path(1), cluster_id=cluster_id, generation=1,
                       capacity_bytes=1 << 26)
places = [f"store-{n}" for n in range(40)]
for place in places:
    kit.add("apple", place, 10**9)
    demand.add("apple", place, 10**9)
directory.publish_demand(1)
directory.publish(0, 2, shard_count=1, partitions=PARTITIONS)
print("ready", flush=True)
while True:
    for place in places[:2]:
        kit.add("apple", place, -1)
        demand.add("apple", place, -1)
"""


def test_goods_that_are_handed_over_never_look_available(tmp_path):
    """Supply loses them before demand does, and no reader sees it the other way round."""
    tables = Tables(tmp_path)
    writer = start(HAND_OVER, tmp_path, tables.cluster_id)
    reader = tables.reader()
    end, dips = time.monotonic() + 2, 0
    while time.monotonic() < end:
        for _ in range(500):
            units = reader.promisable("apple", "store-0")
            assert units <= 0
            dips += units < 0
            assert reader.available("apple", "store-1") == 0
            assert reader.group_available("apple", "all") == 0
        assert not reader.group_cells(["apple"], "all")[1].any()
        assert reader.available_many(["apple"] * 40, ["store-0"] * 40).sum() == 0
        assert reader.read("apple", "group:all", 0).available == 0
        assert reader.read("apple", "location:store-0", 0).available == 0
    kill(writer)
    assert dips
