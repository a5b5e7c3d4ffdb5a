"""The sum of all units, made from events alone, is what the native table has them lie."""

import tempfile

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onhand.ingest.conservation import Seen, Tally
from tests.supplies import LEDGER, MemoryLog, Shards, time_at
from tests.twin.test_supply_twin import events


def lying(shards):
    """Sum the cells of a table by SKU."""
    found = {}
    for (sku, _), numbers in shards.cells().items():
        found[sku] = tuple(map(sum, zip(found.get(sku, (0,) * 4), numbers, strict=True)))
    return found


@settings(max_examples=80)
@given(
    drawn=st.lists(st.tuples(events(), st.booleans()), min_size=1, max_size=40),
    shard_count=st.integers(1, 2),
    batch_size=st.integers(1, 7),
    rng=st.randoms(use_true_random=False),
)
def test_whatever_happens_units_are_conserved(drawn, shard_count, batch_size, rng):
    """Events of every kind, shuffled and repeated, of tills and of the ledger: no unit is lost."""
    told = [event | {"id": f"e{number}"} for number, (event, _) in enumerate(drawn)]
    arrivals = [(event, 0) for event in told] + [(each, 1) for each in told if rng.random() < 0.3]
    rng.shuffle(arrivals)
    moved = [event for event, by_ledger in drawn if by_ledger]
    for sequence, event in enumerate(moved, 1):
        named = event | {"id": f"l{sequence}", "sequence": sequence}
        arrivals += [(named, LEDGER)] * rng.randint(1, 2)
    log, tally = MemoryLog(), Tally()
    with tempfile.TemporaryDirectory() as directory:
        shards = Shards(directory, shard_count)
        for start in range(0, len(arrivals), batch_size):
            positions = [log.append(*each) for each in arrivals[start : start + batch_size]]
            batch = log.batch(positions)
            shards.apply(batch)
            tally.add(batch)
        there = lying(shards)
        shards.close()
    assert tally.against(there).differences == []
    # One unit more anywhere is found, and so is a SKU that nobody ever moved.
    sku = rng.choice(sorted({line[0] for event in told for line in _lines(event)}))
    on_hand, *others = there.get(sku, (0, 0, 0, 0))
    altered = there | {sku: (on_hand + 1, *others), "from nowhere": (0, 0, 0, 5)}
    found = tally.against(altered).differences
    assert [(each.sku, each.lying - each.moved) for each in found] == sorted(
        [(sku, 1), ("from nowhere", 5)]
    )


def _lines(event):
    return [(line["sku"],) for line in event["lines"]] if "lines" in event else [(event["sku"],)]


def told(tally, log, *events):
    tally.add(log.batch([log.append(event) for event in events]))


def event(kind, quantity, *, at=0, **fields):
    place = {} if "from" in fields else {"location": "north"}
    made = {"type": kind, "id": f"{kind}-{at}", "source": "till", "occurred_at": time_at(at)}
    return made | {"sku": "apple", "quantity": quantity} | place | fields


def test_every_unit_is_named_by_what_happened_to_it():
    """Received, handed over, returned and counted stand beside where units lie, in one line."""
    log, tally = MemoryLog(), Tally()
    told(
        tally,
        log,
        event("receipt", 20),
        event("sale", 7, at=1),
        event("count", 12, at=2),
        event("sale", 1, at=3),
        event("return", 2, at=4, disposition="damaged"),
        event("return", 1, at=5, disposition="inspect"),
        event("transfer_shipped", 4, at=6, **{"from": "north", "to": "south"}, transfer_id="t"),
        event("transfer_lost", 1, at=7, **{"from": "north", "to": "south"}, transfer_id="t"),
    )
    conserved = tally.against({"apple": (7, 1, 3, 2)})
    assert conserved.words() == (
        "20 received - 8 handed over + 3 returned + 0 adjusted - 1 found by counts "
        "- 1 lost on the way = 7 on hand + 1 held + 2 damaged + 3 in transit"
    )
    assert (conserved.sku_count, conserved.differences) == (1, [])


@given(st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=12))
def test_each_key_is_met_once(batches):
    """A key is fresh the first time and never again, in one batch or over many."""
    seen, known = Seen(), set()
    for batch in batches:
        fresh = seen.fresh(np.array(batch, np.uint64)).tolist()
        for key, is_fresh in zip(batch, fresh, strict=True):
            assert is_fresh == (key not in known)
            known.add(key)


def test_counts_at_the_end_of_a_large_batch_are_named_in_full():
    """Of two counts of one time the greater id rules, also where a batch's texts pass 64 KiB."""
    log, tally = MemoryLog(), Tally()
    long = "x" * 120
    filling = [event("receipt", 1, at=at, id=f"{at}-{long}", sku="pear") for at in range(700)]
    counts = [event("count", units, at=800, id=name) for name, units in [("a", 3), ("b", 8)]]
    told(tally, log, *filling, *reversed(counts))
    assert tally.against({"apple": (8, 0, 0, 0), "pear": (700, 0, 0, 0)}).differences == []
