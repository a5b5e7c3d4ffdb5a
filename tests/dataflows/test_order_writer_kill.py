"""Kill -9 of the order writer at any moment: what was answered stands, and stands once."""

import contextlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onhand.log.topics import CLAIMS, LEDGER, ORDER_EVENTS
from tests.dataflows import order_process
from tests.dataflows.order_process import HOLD, key_of
from tests.deployments import environment, wait_until
from tests.unit.writer.test_outbox import till_sale
from tests.writers import Deployment, document

PROJECT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def shop(request, tmp_path):
    """Give a deployment without an order writer, on either database."""
    database = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    with contextlib.closing(Deployment(tmp_path, database)) as made:
        made.set_up("north")
        made.kit.add("apple", "north", on_hand=100_000_000)
        made.publish()
        yield made


def run_until_killed(shop, first, seconds):
    """Let a process place holds, and kill it; return what it was answered, by key."""
    settings = shop.settings
    process = subprocess.Popen(
        [
            *(sys.executable, order_process.__file__),
            *(settings.data, settings.table_dir, settings.database or "-", str(first)),
        ],
        stdout=subprocess.PIPE,
        env={**environment(), "PYTHONPATH": str(PROJECT)},
        text=True,
    )
    lines = [process.stdout.readline()]
    time.sleep(seconds)
    process.kill()
    lines += process.communicate()[0].splitlines()
    # The last line may be cut by the kill.
    pairs = [line.split() for line in lines if len(line.split()) == 2]
    return {int(key): hold for key, hold in pairs if len(hold) == len(pairs[0][1])}


def kill_at_random(shop, seed, kill_count):
    chance = random.Random(seed)
    answered = {}
    claim_count = 0
    for _ in range(kill_count):
        first = max(answered, default=0) + 1
        answered |= run_until_killed(shop, first, chance.uniform(0, 0.4))
        claims = range(claim_count, claim_count + 20)
        claim_count += 20
        shop.log.append([till_sale(number) for number in claims])
    shop.open()
    last = max(answered) + order_process.CLIENT_COUNT
    keys = range(1, last + 1)
    asked = shop.asked("place_hold", HOLD)
    futures = [shop.writer.submit(asked, key=key_of(key), body_sha=b"hold") for key in keys]
    placed = {
        key: document(future.result(60))["id"] for key, future in zip(keys, futures, strict=True)
    }
    # What was answered before a kill is answered the same after it.
    assert {key: placed[key] for key in answered} == answered, f"seed {seed}"
    return placed, claim_count


def check_log(shop, placed, claim_count):
    wait_until(shop.has_sent_all)
    wait_until(lambda: shop.counted("onhand_handovers_in_flight") == claim_count)
    wait_until(shop.has_sent_all)
    events = [json.loads(record.value) for record in shop.records(ORDER_EVENTS)]
    told = {event["id"]: event["subject"] for event in events}
    assert sorted(told.values()) == sorted(placed.values())
    movements = [json.loads(record.value) for record in shop.records(LEDGER)]
    highest = 0
    claims = {}
    for movement in movements:
        # A gap would stop supply; one that comes again is known by its sequence.
        assert movement["sequence"] <= highest + 1
        highest = max(highest, movement["sequence"])
        claims[movement["sequence"]] = movement["attributes"]["claim_id"]
    assert sorted(claims) == list(range(1, claim_count + 1))
    assert len(set(claims.values())) == claim_count
    assert shop.records(CLAIMS)


def run(shop, kill_count):
    seed = random.randrange(1 << 30)
    placed, claim_count = kill_at_random(shop, seed, kill_count)
    assert len(set(placed.values())) == len(placed), f"seed {seed}"
    assert shop.reserved() == len(placed), f"seed {seed}"
    check_log(shop, placed, claim_count)


def test_a_killed_writer_keeps_what_it_answered_and_decides_nothing_twice(shop):
    """After kills at random moments every key has one hold, every claim one movement."""
    run(shop, kill_count=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_kills_change_nothing(shop):
    """The same, fifty times over."""
    run(shop, kill_count=50)
