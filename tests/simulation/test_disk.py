"""The simulated disk keeps what is synced, and nothing else for certain."""

from random import Random

import pytest

from onhand.simulation.disk import SimulatedDisk
from onhand.simulation.faults import Killed


def write(disk, path, content, *, sync=True):
    with disk.create(path) as file:
        file.write(content)
        if sync:
            disk.sync(file)


def test_what_is_synced_survives_every_power_failure(tmp_path):
    """A file whose content and name are synced is there, whole, whatever happens."""
    for seed in range(50):
        disk, path = SimulatedDisk(), tmp_path / f"{seed}.new"
        write(disk, path, b"whole")
        disk.rename(path, tmp_path / f"{seed}")
        disk.sync_directory(tmp_path)
        disk.lose_power(Random(seed))
        assert (tmp_path / f"{seed}").read_bytes() == b"whole"
        assert not path.exists()


def test_what_is_not_synced_is_lost_or_torn_or_kept(tmp_path):
    """Of unsynced content and unsynced names every outcome comes up."""
    outcomes = set()
    for seed in range(200):
        disk, path = SimulatedDisk(), tmp_path / f"{seed}"
        write(disk, path, b"content", sync=False)
        disk.lose_power(Random(seed))
        outcomes.add(path.read_bytes() if path.exists() else None)
    assert {None, b"", b"content"} <= outcomes
    assert any(each and b"\0" in each for each in outcomes)


def test_a_dead_process_does_nothing_more(tmp_path):
    """Once killed, not even the cleaning up of an exception handler happens."""
    disk, path = SimulatedDisk(), tmp_path / "draft"
    disk.kill_after = 1
    with pytest.raises(Killed), disk.create(path) as file:
        file.write(b"some")
    with pytest.raises(Killed):
        disk.remove(path)
    assert path.exists()


def test_a_full_disk_takes_a_part_and_then_nothing(tmp_path):
    """A write is cut to the room there is, and the next one fails."""
    disk = SimulatedDisk()
    disk.full_after = 3
    with disk.create(tmp_path / "draft") as file:
        assert file.write(b"longer") == 3
        with pytest.raises(OSError, match="space"):
            file.write(b"ger")
