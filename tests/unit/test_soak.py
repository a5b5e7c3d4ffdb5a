"""The soak's own instruments: a soak that cannot fail proves nothing."""

import itertools
from collections import Counter

import msgspec
import pytest

from benchmarks.soak.account import Account, Cell
from benchmarks.soak.check import check_orders, check_shelves
from benchmarks.soak.feed import Events
from benchmarks.soak.latencies import Latencies
from benchmarks.soak.lives import left_besides, units_in_hands
from benchmarks.soak.verdict import judge, slope_an_hour
from benchmarks.soak.watch import Process, Sample
from benchmarks.soak.world import World
from tests.twin.naive import Naive

HOUR_S = 3_600.0


def sampled(at_s, own_bytes):
    process = Process(own_bytes, 0, 0, cpu_s=0.0, descriptors=1, threads=1)
    return Sample(at_s, {"serve": process}, {}, {}, table_bytes=0, load_average=0.0)


def missed(samples, latencies):
    return [each.what for each in judge(samples, latencies, HOUR_S) if not each.is_met]


def tails(late_s):
    """Count requests of 20 ms, and of ``late_s`` in the last third of an hour."""
    latencies = Latencies(0.0)
    for due_s in range(3_600):
        latencies.observe("hold", due_s, 0.020 if due_s < 2_500 else late_s)
    return latencies


class Answers:
    """A deployment that answers what it was given."""

    def __init__(self, orders=(), items=()):
        self.orders, self.items = list(orders), list(items)

    def get(self, _path):
        return 200, {"items": self.orders, "next": None}

    def request(self, *_asked):
        return 200, {"items": self.items}


def shelf(**numbers):
    zeros = {"on_hand": 0, "held": 0, "in_transit": 0, "reserved": 0}
    return {"sku": "apple", "scope": "location:north"} | zeros | numbers


def order(order_id, **quantities):
    allocation = {"location": "north", "quantities": quantities}
    return {"id": order_id, "lines": [{"sku": "apple", "allocations": [allocation]}]}


@pytest.fixture(autouse=True)
def looks_follow_at_once(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def account():
    moved = Account()
    moved.move("apple", "north", 5)
    return moved


def test_percentiles_are_those_of_the_requests():
    """A percentile lies within a bucket's width of the request that it names."""
    latencies = Latencies(100.0)
    for number in range(1, 1_001):
        latencies.observe("read", 101.0, number / 1_000)
    intervals = latencies.intervals("read")
    assert latencies.percentile_ms("read", 0.5, intervals) == pytest.approx(500, rel=0.06)
    assert latencies.percentile_ms("read", 0.99, intervals) == pytest.approx(990, rel=0.06)


def test_latencies_of_several_processes_add_up():
    """What two processes have counted is counted together, in the intervals in which it was due."""
    one, other = Latencies(0.0), Latencies(0.0)
    one.observe("read", 5.0, 0.01)
    other.observe("read", 25.0, 0.03)
    one.add(other)
    assert one.intervals("read") == [0, 2]
    assert one.count("read", [0, 1, 2]) == 2


def test_memory_that_grows_is_seen():
    """A process that takes 100 MiB more in an hour misses the rule."""
    samples = [sampled(at, (200 << 20) + at * (100 << 20) // 3_600) for at in range(0, 3_600, 5)]
    assert missed(samples, Latencies(0.0)) == ["memory of `serve`"]


def test_memory_that_warms_up_is_flat():
    """What grew in the first half alone is no growth."""
    samples = [sampled(at, min(at, 1_500) << 16) for at in range(0, 3_600, 5)]
    assert missed(samples, Latencies(0.0)) == []


def test_a_line_is_fitted_to_noise():
    """The slope of a rise is found though every other sample is off."""
    at_s = [float(each) for each in range(100)]
    values = [each * 2 + (-1) ** each * 3 for each in range(100)]
    assert slope_an_hour(at_s, values) == pytest.approx(2 * 3_600, rel=0.01)


def test_a_tail_that_grows_is_seen():
    """A p99 of 40 ms after one of 20 ms misses the rule."""
    assert missed([], tails(0.040)) == ["p99 of hold"]


def test_a_steady_tail_is_flat():
    """A p99 a little above that of the beginning meets the rule."""
    assert missed([], tails(0.025)) == []


def test_a_lost_order_is_found():
    """An order that was acknowledged and is not listed is named."""
    wrong, _ = check_orders(Answers([order("a", shipped=1)]), {"a": 1, "b": 0})
    assert wrong == ["order b was acknowledged and is not there"]


def test_an_order_that_nobody_placed_is_found():
    """An order that no answer named is named."""
    wrong, _ = check_orders(Answers([order("a")]), {})
    assert wrong == ["order a is there, and no answer named it"]


def test_an_order_that_a_request_without_answer_placed_is_none():
    """As many orders as requests went unanswered may be there without a name, and not one more."""
    there = Answers([order("a"), order("b")])
    assert check_orders(there, {"a": 0}, unanswered_count=1)[0] == []
    assert len(check_orders(there, {}, unanswered_count=1)[0]) == 2


def test_a_lost_handover_is_found():
    """An order of which fewer units have left than were acknowledged is named."""
    wrong, reserved = check_orders(Answers([order("a", shipped=1, picked=2)]), {"a": 2})
    assert wrong == ["order a: 1 units left it, 2 were acknowledged"]
    assert reserved == {Cell("apple", "north"): 2}


@pytest.mark.parametrize("numbers", [{"on_hand": 4}, {"on_hand": 5, "reserved": 1}, {"held": 5}])
def test_a_shelf_that_differs_is_found(account, numbers):
    """A unit too few, one promised to nobody, or one in the wrong place is named with its cell."""
    (found,) = check_shelves(Answers(items=[shelf(**numbers)]), account, Counter())
    assert found.startswith("apple at north:")


def test_a_shelf_of_what_was_never_answered_is_left_to_verify(account):
    """Whether a movement without an answer was made, nobody but the server knows."""
    unsure = Account()
    unsure.move("pear", "north", 3)
    unsure.unanswered.add("pear")
    account.add(unsure)
    assert account.cells() == [Cell("apple", "north")]


def test_a_shelf_as_acknowledged_is_right(account):
    """A shelf that holds the sum of its movements is not named, nor is one that was counted."""
    account.move("pear", "north", 3)
    account.counted.add(Cell("pear", "north"))
    answers = Answers(items=[shelf(on_hand=5, reserved=2)])
    assert check_shelves(answers, account, Counter({Cell("apple", "north"): 2})) == []


def test_the_account_is_that_of_the_naive_twin(monkeypatch):
    """What the feed adds up is what the contract says of its events, where nobody counted."""
    monkeypatch.setattr("benchmarks.soak.feed.RUBBISH_SHARE", 0)
    monkeypatch.setattr("benchmarks.soak.feed.FOLLOW_UP_S", (0.0, 0.05))
    events = Events(World(sku_count=50, store_count=10), seed=5)
    records = events.records()
    twin = Naive()
    for record in itertools.chain(itertools.islice(records, 3_000), finished(events, records)):
        twin.add(msgspec.json.decode(record.value))
    numbers = {Cell(*cell): each[:3] for cell, each in twin.cells().items()}
    uncounted = events.account.cells()
    assert len(uncounted) > 100
    assert [events.account.at(cell) for cell in uncounted] == [
        numbers.get(cell, (0, 0, 0)) for cell in uncounted
    ]


def finished(events, records):
    """Let no more begin; yield what follows."""
    events.finish()
    yield from records


def test_what_a_till_has_told_of_is_taken_off_once_though_a_task_has_a_line_twice():
    """Two tellers of three apples, which came to the task one after the other."""
    lines = [("apple", 2), ("apple", 1), ("pear", 2)]
    task = {"lines": [{"sku": sku, "handed_over": units} for sku, units in lines]}
    assert left_besides(task, Counter(apple=3)) == Counter(apple=0, pear=2)
    assert left_besides(task, Counter()) == Counter(apple=3, pear=2)


def test_units_in_hands_are_those_of_one_task_that_have_not_left():
    """What is on the shelf, has left, or is another task's is not in its hands."""
    quantities = {"allocated": 4, "picked": 1, "packed": 2, "shipped": 8, "ready": 16}
    allocation = {"task": "o.t1", "quantities": quantities}
    assert units_in_hands(allocation, "o.t1") == 19
    assert units_in_hands(allocation, "o.t2") == 0
    assert units_in_hands({"quantities": quantities}, "o.t1") == 0
