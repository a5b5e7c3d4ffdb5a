"""When holds expire: in the order of their times, however they were noted."""

from hypothesis import given
from hypothesis import strategies as st

from onhand.orders import book
from onhand.orders.expiries import Expiries
from tests.orders_shop import Shop

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


def taken(expiries, now_us):
    """Take out all that has expired."""
    return list(iter(lambda: expiries.take(now_us), None))


def test_nothing_is_taken_before_its_time():
    """To the microsecond, and at its time at once."""
    expiries = Expiries()
    expiries.note(5 * SECOND_US, "a")
    assert expiries.take(5 * SECOND_US - 1) is None
    assert expiries.take(5 * SECOND_US) == (5 * SECOND_US, "a")
    assert expiries.take(DAY_US) is None


def test_what_expired_already_is_taken_too():
    """A clock that was set back, or an expiry that was undone, notes times that have passed."""
    expiries = Expiries()
    expiries.note(9 * SECOND_US, "late")
    assert expiries.take(8 * SECOND_US) is None
    expiries.note(2 * SECOND_US, "early")
    assert expiries.take(3 * SECOND_US) == (2 * SECOND_US, "early")
    assert taken(expiries, DAY_US) == [(9 * SECOND_US, "late")]


times = st.integers(0, 8 * SECOND_US)


@given(st.lists(st.one_of(st.tuples(st.just("note"), times), st.tuples(st.just("look"), times))))
def test_expiries_come_as_from_a_sorted_list(steps):
    """Whatever is noted and looked for in whatever order, the same is taken as from a list."""
    expiries, naive = Expiries(), []
    for number, (what, at_us) in enumerate(steps):
        if what == "note":
            expiries.note(at_us, f"hold-{number}")
            naive.append((at_us, f"hold-{number}"))
            continue
        due = sorted(each for each in naive if each[0] <= at_us)
        naive = [each for each in naive if each[0] > at_us]
        assert taken(expiries, at_us) == due
    assert taken(expiries, DAY_US) == sorted(naive)


@given(st.lists(times, max_size=20), st.integers(0, 8 * SECOND_US))
def test_what_is_thinned_out_is_not_taken(noted, now_us):
    """Every list has its turn; what is wanted comes as ever, and what has begun is left alone."""
    expiries = Expiries()
    for number, at_us in enumerate(noted):
        expiries.note(at_us, str(number % 2))
    early = taken(expiries, now_us)
    for _ in noted:
        expiries.thin(lambda entry: entry[1] == "0")
    late = taken(expiries, DAY_US)
    assert len(expiries) == 0
    assert [each for each in early + late if each[1] == "0"] == sorted(
        (at_us, "0") for number, at_us in enumerate(noted) if number % 2 == 0
    )
    begun_us = (now_us // 2**20 + 1) * 2**20
    assert all(at_us < begun_us for at_us, name in late if name == "1")


def test_holds_that_are_released_are_not_noted_for_hours(monkeypatch):
    """However many carts come and go, what is kept of them is bounded by those that are open."""
    monkeypatch.setattr(book, "ENDED_NOTED_MAX", 10)
    shop = Shop({("a", "near"): 5})
    kept = shop.hold("a", 1, location="near", ttl_s=14_400)
    for turn in range(200):
        shop.do("release_hold", shop.hold("a", 1, location="near", ttl_s=14_400 - turn))
        shop.commit()
        assert shop.book.due_holds(shop.now_us, 10) == []
    assert len(shop.book._expiries) < 50
    (due,) = shop.book.due_holds(shop.now_us + DAY_US, 10)
    assert due.id == kept
