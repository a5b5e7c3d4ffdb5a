"""Ids in a cell: beside a naive list, and read while they change."""

import threading
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from onhand.orders import members as module
from onhand.orders.members import Members

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=120)


@given(STEPS, st.integers(0, 4))
def test_holds_what_a_list_holds(steps, sweep_min):
    """Whatever comes and leaves, and whenever what has left is swept out."""
    with mock.patch.object(module, "SWEEP_MIN", sweep_min):
        members, there = Members(), []
        for comes, number in steps:
            name = f"h{number}"
            if comes and name not in there:
                members.add(name)
                there.append(name)
            elif not comes and name in there:
                members.drop(name)
                there.remove(name)
            found = list(members)
            assert sorted(found) == sorted(there)
            assert len(members) == len(there)
            assert bool(members) == bool(there)
            assert members.newest() == (found[-1] if found else None)


def test_those_that_stay_keep_their_order():
    """Sweeping changes nothing that can be seen, and gives memory back."""
    members = Members()
    names = [f"h{number:04d}" for number in range(1_000)]
    for name in names:
        members.add(name)
    for name in names[::3] + names[1::3]:
        members.drop(name)
    assert list(members) == names[2::3]
    assert len(members._ids) < 700
    assert members.newest() == "h0998"


def test_who_comes_back_has_its_old_place():
    """What a rollback brings back stands where it stood."""
    members = Members()
    for name in "abc":
        members.add(name)
    members.drop("a")
    assert list(members) == ["b", "c"]
    members.add("a")
    assert list(members) == ["a", "b", "c"]


def test_length_that_is_read_while_members_leave():
    """A list asks for it before it goes through them; it is never below nothing."""
    members = Members()
    members.add("a")
    members._left = {"a", "b"}
    assert len(members) == 0
    assert list(members) == []


def test_another_thread_may_read_meanwhile():
    """It misses what comes or leaves, and nothing that stays."""
    members = Members()
    stays = [f"s{number}" for number in range(50)]
    for name in stays:
        members.add(name)
    is_over = threading.Event()

    def write():
        for number in range(20_000):
            members.add(f"h{number}")
            members.drop(f"h{number}")
        is_over.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not is_over.is_set():
        assert list(members)[:50] == stays
    thread.join()
