"""The table directory: what is published, and what goes."""

import os

import pytest

from onhand.errors import TableUnavailable
from onhand.table.directory import DemandPublished, Published, TableDirectory

PARTITIONS = (("stock.sales", 0), ("stock.sales", 1))


@pytest.fixture
def directory(tmp_path):
    directory = TableDirectory(tmp_path, "ab" * 16)
    directory.prepare()
    return directory


def make(directory, shard, generation):
    path = directory.table_path(shard, generation)
    path.write_bytes(b"table")
    return path


def test_publishing_a_generation_drops_those_before_it(directory):
    """Readers are told of the newest, and its predecessors' files are unlinked."""
    first, other = make(directory, 0, 1), make(directory, 1, 1)
    directory.publish(0, 1, shard_count=2, partitions=PARTITIONS)
    second = make(directory, 0, directory.next_generation(0))
    assert first.exists()
    directory.publish(0, 2, shard_count=2, partitions=PARTITIONS)
    assert directory.published(0) == Published(2, second.name, 2, PARTITIONS)
    assert (first.exists(), second.exists(), other.exists()) == (False, True, True)


def test_generations_are_never_numbered_twice(directory):
    """Neither a file left behind nor one published before gives its number away again."""
    assert directory.next_generation(0) == 1
    make(directory, 0, 7)
    assert directory.next_generation(0) == 8
    make(directory, 0, 9)
    directory.publish(0, 9, shard_count=1, partitions=PARTITIONS)
    directory.table_path(0, 9).unlink()
    assert directory.next_generation(0) == 10


def test_cleaning_keeps_what_is_published_alone(directory):
    """What killed writers left is dropped, also of shards that are no more."""
    for shard, generation in [(0, 1), (0, 2), (0, 3), (3, 1)]:
        make(directory, shard, generation)
    directory.publish(0, 2, shard_count=1, partitions=PARTITIONS)
    directory.publish(3, 1, shard_count=4, partitions=PARTITIONS)
    make(directory, 0, 3)
    directory.clean_all(1)
    left = sorted(path.name for path in directory.path.iterdir())
    assert left == ["shard-000.2.table", "shard-000.json"]


def test_nothing_is_published_at_first(directory):
    """Before ingest has caught up there is no answer, and that is no error."""
    assert directory.published(0) is None


def test_a_damaged_publication_says_what_to_do(directory):
    """Rubbish in place of the file is told apart from its absence."""
    directory.published_path(0).write_text("{")
    with pytest.raises(TableUnavailable, match="remove the file"):
        directory.published(0)


def test_a_missing_root_names_the_setting(tmp_path):
    """Who sees the message knows which setting to correct."""
    with pytest.raises(TableUnavailable, match="--table-dir"):
        TableDirectory(tmp_path / "nowhere", "ab" * 16).prepare()


def test_removing_frees_everything_and_may_be_repeated(directory):
    """A clean end leaves nothing in shared memory."""
    make(directory, 0, 1)
    assert directory.table_path(0, 1).exists()
    directory.remove()
    directory.remove()
    assert not directory.path.exists()


@pytest.mark.parametrize("step", ["unlink", "rmdir"])
def test_removing_frees_everything_beside_processes_that_are_ending(directory, monkeypatch, step):
    """A file that is gone already, or has come since one looked, leaves nothing behind."""
    removing = getattr(os, step)

    def meanwhile(path, **options):
        monkeypatch.setattr(os, step, removing)
        if step == "unlink":
            os.unlink(path, **options)
        else:
            make(directory, 0, 3)
        removing(path, **options)

    for generation in (1, 2):
        make(directory, 0, generation)
    monkeypatch.setattr(os, step, meanwhile)
    directory.remove()
    assert not directory.path.exists()


def make_demand(directory):
    generation = directory.next_demand_generation()
    directory.demand_path(generation).write_bytes(b"table")
    return generation


def test_publishing_a_demand_table_drops_those_before_it(directory):
    """The demand table has generations of its own, and shards are left alone."""
    shard = make(directory, 0, 1)
    directory.publish(0, 1, shard_count=1, partitions=PARTITIONS)
    assert directory.published_demand() is None
    for generation in (1, 2):
        assert make_demand(directory) == generation
        directory.publish_demand(generation)
    assert directory.published_demand() == DemandPublished(2, "demand.2.table")
    assert not directory.demand_path(1).exists()
    assert shard.exists()
    assert directory.next_demand_generation() == 3


def test_what_a_killed_order_writer_left_is_dropped(directory):
    """A generation that was never published goes; the published one stays."""
    directory.publish_demand(make_demand(directory))
    left = directory.demand_path(make_demand(directory))
    assert directory.clean_demand() == [left]
    assert not left.exists()
    assert directory.demand_path(1).exists()


def test_supply_and_demand_are_freed_apart(directory):
    """Ingest and the order writer end on their own, each with its own files."""
    make(directory, 0, 1)
    directory.publish(0, 1, shard_count=1, partitions=PARTITIONS)
    directory.publish_demand(make_demand(directory))
    directory.remove_tables()
    assert not directory.table_path(0, 1).exists()
    assert directory.demand_path(1).exists()
    assert directory.published_demand() is not None
    directory.remove_demand()
    directory.remove_demand()
    assert not list(directory.path.glob("*.table"))


def test_generations_that_were_removed_are_not_numbered_again(directory):
    """Readers that keep a removed table must be able to tell the next one from it."""
    for shard in (0, 1):
        make(directory, shard, 4 + shard)
    directory.publish_demand(make_demand(directory))
    for _ in range(2):
        directory.remove_tables()
        directory.remove_demand()
    assert directory.next_generation(0) == 6
    assert directory.next_demand_generation() == 2


def test_a_damaged_publication_of_demand_says_what_to_do(directory):
    """Rubbish is not taken for nothing promised."""
    directory.demand_published_path().write_text("[]")
    with pytest.raises(TableUnavailable, match="remove the file"):
        directory.published_demand()
