"""What is published after a restart of ingest."""

from random import Random

import pytest

from onhand.log.base import NewRecord
from onhand.simulation.seams import seams
from onhand.simulation.world import World


def receipt(number, sku):
    return NewRecord(
        "stock.receipts",
        b'{"type":"receipt","id":"%d","source":"till","occurred_at":"2026-05-28T20:26:40Z",'
        b'"location":"near","sku":"%s","quantity":1}' % (number, sku),
    )


@pytest.fixture
def world(places):
    """Give a world with two shards, whose ingest has published both."""
    for seed in range(100):
        world = World(places, Random(seed), seed, [])
        if world.settings.shard_count == 2:
            break
        world.close()
    with seams(world.timeline, world.ledger, []):
        world.open_ingest()
        yield world
        world.close()


def advance(world, shards):
    for lane in range(world.ingest.engine.lane_count):
        world.ingest.poll(lane)
    for number in shards:
        while world.apply(number) != "nothing":
            pass


def test_a_shard_waits_for_what_its_predecessor_had_though_another_had_less(world):
    """A new generation is not published at the offsets of the slowest shard of the old one."""
    advance(world, (0, 1))
    assert [shard.is_published for shard in world.ingest.engine.shards] == [True, True]
    world.log.append([receipt(number, b"apple") for number in range(8)])
    while not world.ingest.is_idle():
        advance(world, (0,))
        if all(reader.lag_events() == 0 for reader in world.ingest._readers):
            break
    world.kill_ingest()
    world.open_ingest()
    for number in (0, 1):
        world.ingest.apply(number)
    assert not any(shard.is_published for shard in world.ingest.engine.shards)
    while not world.ingest.is_idle():
        advance(world, (0, 1))
    assert all(shard.is_published for shard in world.ingest.engine.shards)
