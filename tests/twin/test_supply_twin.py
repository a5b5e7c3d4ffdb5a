"""The native supply table against its naive twin."""

import random
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.supplies import LEDGER, MemoryLog, Shards, time_at
from tests.twin.naive import Naive

# Few of each, so that events meet: counts tie, and movements fall on the instant of a count.
SKUS = ["a", "ä" * 40, "x" * 64]
LOCATIONS = ["north", "w" * 64]
MOMENTS = [time_at(-second) for second in (0, 1, 86_400)]
SOURCES = ["till", "till-2", "Till", "ü"]

skus = st.sampled_from(SKUS)
locations = st.sampled_from(LOCATIONS)
units = st.one_of(st.integers(1, 9), st.integers(2**31 - 9, 2**31 - 1))
units_or_none = st.one_of(st.just(0), units)


@st.composite
def events(draw):
    """Draw any stock event that is right, its id not yet given."""
    kind = draw(st.sampled_from([*sorted(MAKERS), "count", "sale"]))
    event = {
        "type": kind,
        "source": draw(st.sampled_from(SOURCES)),
        "occurred_at": draw(st.sampled_from(MOMENTS)),
        **MAKERS[kind](draw),
    }
    amount = units_or_none if kind in ("count", "expected") else units
    field = "quantity"
    if kind == "adjustment":
        field, amount = "delta", st.one_of(units, units.map(lambda quantity: -quantity))
    if draw(st.booleans()):
        lines = draw(st.lists(st.tuples(skus, amount), min_size=1, max_size=4))
        if kind == "count":
            lines = list(dict(lines).items())
        event["lines"] = [{"sku": sku, field: quantity} for sku, quantity in lines]
    else:
        event["sku"], event[field] = draw(skus), draw(amount)
    return event


def at(draw):
    return {"location": draw(locations)}


def between(draw):
    one, other = draw(st.permutations(LOCATIONS))[:2]
    return {"transfer_id": "t", "from": one, "to": other}


def graded(*dispositions):
    return lambda draw: at(draw) | {"disposition": draw(st.sampled_from(dispositions))}


def ordered(draw):
    return at(draw) | {"purchase_order": draw(st.sampled_from(["po-1", "po-2", "p" * 128]))}


MAKERS = {
    "sale": at,
    "receipt": lambda draw: ordered(draw) if draw(st.booleans()) else at(draw),
    "expected": lambda draw: (
        ordered(draw) | {"expected_on": draw(st.sampled_from(["2026-04-01", "2026-04-02"]))}
    ),
    "transfer_shipped": between,
    "transfer_received": between,
    "transfer_lost": between,
    "return": graded("sellable", "inspect", "damaged"),
    "inspected": graded("sellable", "damaged"),
    "count": at,
    "adjustment": lambda draw: at(draw) | {"reason": "found"},
}


def equal(shards, twin):
    assert shards.cells() == twin.cells()
    assert shards.incoming() == twin.incoming()


@settings(max_examples=60)
@given(
    st.lists(events(), min_size=1, max_size=40),
    st.integers(1, 3),
    st.integers(1, 7),
    st.randoms(use_true_random=False),
)
def test_any_order_of_arrival_ends_in_the_twins_numbers(drawn, shard_count, batch_size, rng):
    """Events shuffled, repeated and cut into batches give what the twin works out."""
    told = [event | {"id": f"e{number}"} for number, event in enumerate(drawn)]
    arrivals = told + [event for event in told if rng.random() < 0.3]
    rng.shuffle(arrivals)
    log, twin = MemoryLog(), Naive()
    with tempfile.TemporaryDirectory() as directory:
        shards = Shards(directory, shard_count)
        for start in range(0, len(arrivals), batch_size):
            positions = [log.append(event) for event in arrivals[start : start + batch_size]]
            results = shards.apply(log.batch(positions))
            assert sum(sum(applied.by_type) for applied in results) <= len(positions)
        for event in arrivals:
            twin.add(event)
        equal(shards, twin)
        shards.close()


class SupplyMachine(RuleBasedStateMachine):
    """A deployment that is fed, repeated to, checkpointed, restarted and killed."""

    def __init__(self):
        super().__init__()
        self.log, self.twin = MemoryLog(), Naive()
        self.number = self.sequence = 0
        self.directory = tempfile.TemporaryDirectory()

    @initialize(shard_count=st.integers(1, 3))
    def begin(self, shard_count):
        self.shards = Shards(self.directory.name, shard_count)

    def apply(self, arrivals):
        positions = []
        for event, partition in arrivals:
            self.twin.add(event)
            positions.append(self.log.append(event, partition))
        self.shards.apply(self.log.batch(positions))

    @rule(drawn=st.lists(st.tuples(events(), st.integers(0, 1)), min_size=1, max_size=5))
    def new_events(self, drawn):
        arrivals = []
        for event, partition in drawn:
            self.number += 1
            arrivals.append((event | {"id": f"e{self.number}"}, partition))
        self.apply(arrivals)

    @rule(partition=st.integers(0, 1), rng=st.randoms(use_true_random=False))
    def repeated_events(self, partition, rng):
        known = [e for p in (0, 1) for _, e in self.log.partitions[p]]
        if known:
            self.apply([(rng.choice(known), partition) for _ in range(3)])

    @rule(drawn=st.lists(events(), min_size=1, max_size=3), again=st.booleans())
    def ledger_events(self, drawn, again):
        arrivals = []
        for event in drawn:
            self.sequence += 1
            named = event | {"id": f"l{self.sequence}", "sequence": self.sequence}
            arrivals += [(named, LEDGER)] * (2 if again else 1)
        self.apply(arrivals)

    @rule()
    def checkpoint(self):
        self.shards.write_checkpoints()

    @rule()
    def killed(self):
        """Throw the table away, as a kill does: checkpoint and log give it back."""
        self.shards.restart()
        self.shards.apply(self.log.tail(self.shards.starts()))

    @rule()
    def replayed(self):
        """Read the log again from its beginning, which moves nothing."""
        results = self.shards.apply(self.log.tail([0] * len(self.log.partitions)))
        assert all(applied.events == 0 for applied in results)

    @invariant()
    def numbers_are_the_twins(self):
        if hasattr(self, "shards"):
            equal(self.shards, self.twin)

    def teardown(self):
        if hasattr(self, "shards"):
            self.shards.close()
        self.directory.cleanup()


TestSupplyMachine = SupplyMachine.TestCase
TestSupplyMachine.settings = settings(max_examples=25, stateful_step_count=20)


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_of_skus_and_locations_ends_in_the_twins_numbers(tmp_path, seed):
    """Rows, indexes and rings that grow many times keep every number."""
    rng = random.Random(seed)
    log, twin = MemoryLog(), Naive()
    shards = Shards(tmp_path, 2)
    for turn in range(6):
        positions = []
        for number in range(700):
            kind = rng.choice(["sale", "receipt", "count", "adjustment"])
            field = "delta" if kind == "adjustment" else "quantity"
            event = {
                "type": kind,
                "source": f"till-{rng.randrange(50)}",
                "id": f"{turn}-{number}",
                "occurred_at": time_at(-rng.randrange(5_000)),
                "location": f"store-{rng.randrange(90)}",
                "sku": f"sku-{int(rng.paretovariate(0.4)) % 2_000}",
                field: rng.randrange(1, 50),
            }
            if kind == "adjustment":
                event["reason"] = "found"
            twin.add(event)
            positions.append(log.append(event))
        shards.apply(log.batch(positions))
        if turn == 3:
            shards.write_checkpoints()
            shards.restart()
    equal(shards, twin)
    shards.close()
