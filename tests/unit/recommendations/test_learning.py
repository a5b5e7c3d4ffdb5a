"""Learning from sales: baskets, pairs, fading, forgetting, and going on from a checkpoint."""

import errno
import os
from datetime import timedelta

import numpy as np
import pytest

from onhand._native.pairs import add_pairs
from onhand.recommendations.baskets import ITEMS_MAX, Baskets, basket_key
from onhand.recommendations.checkpoint import load_checkpoint, new_learnt, write_checkpoint
from onhand.recommendations.gathering import Sale
from onhand.recommendations.learner import Learner
from onhand.recommendations.pairs import FREE, Basket, Pairs
from tests.baskets import DAY_US, NOW_US, counted, counts_of, learner, sales_of, settings

MINUTE_US = 60_000_000


def test_every_pair_of_a_basket_is_counted_from_both_sides():
    """A basket counts each of its items once, however many lines name it."""
    found = learner(sales_of([["a", "b", "a", "c"], ["a", "b"], ["d"]]))
    bought, together = counts_of(found.pairs)
    assert bought == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert together == {
        ("a", "b"): 2, ("b", "a"): 2, ("a", "c"): 1, ("c", "a"): 1, ("b", "c"): 1, ("c", "b"): 1,
    }  # fmt: skip
    assert found.pairs.basket_count == 3


def test_sales_of_one_basket_are_paired_as_a_whole():
    """Told in parts, and told again, a basket counts as if it had been one sale."""
    key = basket_key("north", "17")
    parts = [
        Sale(key, NOW_US, ["a", "b"]),
        Sale(key, NOW_US + MINUTE_US, ["c"]),
        Sale(key, NOW_US, ["a", "b"]),
        Sale(key, NOW_US + MINUTE_US, ["c", "a"]),
    ]
    assert counts_of(learner(parts).pairs) == counted([["a", "b", "c"]])


def test_a_basket_id_used_again_later_is_another_basket():
    """Tills number their baskets from 1 every day, and every store does."""
    key = basket_key("north", "1")
    sales = [Sale(key, NOW_US, ["a"]), Sale(key, NOW_US + 31 * MINUTE_US, ["b"])]
    assert counts_of(learner(sales).pairs) == counted([["a"], ["b"]])
    assert key != basket_key("south", "1")


def test_counts_fade_by_half_whatever_the_order():
    """A basket of a half-life ago counts half; telling the older one last changes nothing."""
    old, new = Sale(1, NOW_US - 90 * DAY_US, ["a", "b"]), Sale(2, NOW_US, ["a", "c"])
    for sales in ([old, new], [new, old]):
        made = Learner(new_learnt(settings(recommendation_half_life=_days(90))))
        made.learn(sales)
        bought, together = counts_of(made.pairs)
        assert bought["a"] == pytest.approx(1.5)
        assert together["a", "b"] == pytest.approx(0.5)
        assert together["a", "c"] == pytest.approx(1)


def test_counts_stay_finite_over_a_thousand_half_lives():
    """Weights that grow for ever would overflow; the landmark moves on."""
    made = Learner(new_learnt(settings(recommendation_half_life=_days(1))))
    for day in range(0, 1_000, 7):
        made.learn([Sale(day, NOW_US + day * DAY_US, ["a", "b"])])
    bought, together = counts_of(made.pairs)
    expected = sum(0.5 ** (7 * back) for back in range(143))
    assert bought["a"] == pytest.approx(expected)
    assert together["a", "b"] == pytest.approx(expected)
    assert made.pairs.counts.max() < 2.0**40


def test_a_pair_that_finds_no_place_takes_the_one_that_counts_least():
    """What is bought together often stays, and no count is more than it should be."""
    pairs = Pairs(items_max=1_000, width=8, half_life_us=None)
    items = pairs.number([f"item-{number}" for number in range(30)])
    pairs.add([Basket(NOW_US, [items[0], items[1]], 0)] * 5)
    pairs.add([Basket(NOW_US, [items[0], other], 0) for other in items[2:]])
    row = dict(zip(pairs.neighbours[0].tolist(), pairs.counts[0].tolist(), strict=True))
    assert len(row) == 8
    assert row[1] == 5
    assert sorted(row.values()) == [1] * 7 + [5]


def test_the_items_bought_least_are_forgotten_when_there_are_too_many():
    """Memory does not grow; what was forgotten is in no row, and its number means another."""
    made = learner(recommendation_items_max=1_000, recommendation_pairs_max=8)
    often = [["bread", "butter"]] * 3
    made.learn(sales_of([*often, *([f"once-{number}", "bread"] for number in range(3_000))]))
    pairs = made.pairs
    assert len(pairs.numbers) <= 1_000
    assert pairs.neighbours.shape == (1_000, 8)
    assert pairs.forgotten_count == 2 + 3_000 - len(pairs.numbers)
    assert {"bread", "butter"} <= set(pairs.numbers)
    used = pairs.neighbours[: len(pairs.names)]
    known = {*pairs.numbers.values(), FREE}
    assert set(np.unique(used).tolist()) <= known
    assert all(pairs.names[number] == name for name, number in pairs.numbers.items())


def test_forgetting_takes_an_item_out_of_baskets_too():
    """A basket that still grows must not pair with whatever gets the number next."""
    baskets = Baskets(count_max=10, window_us=MINUTE_US)
    baskets.grow(1, NOW_US, [1, 2, 3])
    baskets.forget([2])
    grown = baskets.grow(1, NOW_US, [4])
    assert grown is not None
    assert (grown.items, grown.known_count) == ([1, 3, 4], 2)


def test_only_so_many_baskets_and_items_of_one_are_remembered():
    """The oldest basket goes first; of a giant one the first items are paired."""
    baskets = Baskets(count_max=3, window_us=MINUTE_US)
    for key in range(5):
        baskets.grow(key, NOW_US, [key])
    assert len(baskets) == 3
    assert baskets.grow(4, NOW_US, [4]) is None
    assert baskets.grow(0, NOW_US, [0]) is not None
    grown = baskets.grow(9, NOW_US, range(1_000))
    assert grown is not None
    assert len(grown.items) == ITEMS_MAX


def test_going_on_from_a_checkpoint_equals_never_having_stopped(tmp_path):
    """Counts, open baskets and offsets come back, also what is told again after the restart."""
    key = basket_key("north", "9")
    first = [*sales_of([["a", "b"], ["b", "c"]]), Sale(key, NOW_US, ["a"])]
    second = [Sale(key, NOW_US + MINUTE_US, ["d"]), first[0], Sale(77, NOW_US, ["a", "c"])]
    whole = learner([*first, *second], recommendation_half_life=_days(90))
    before = learner(first, recommendation_half_life=_days(90))
    learnt = new_learnt(settings(recommendation_half_life=_days(90)))
    learnt = type(learnt)(before.pairs, before.baskets, {})
    offsets = {("stock.sales", 0): 17}
    path = tmp_path / "checkpoint"
    write_checkpoint(path, learnt, offsets, log_identity="log")
    again = load_checkpoint(path, settings(recommendation_half_life=_days(90)), log_identity="log")
    assert again.offsets == offsets
    resumed = Learner(again)
    resumed.learn(second)
    assert counts_of(resumed.pairs) == counts_of(whole.pairs)
    assert resumed.pairs.basket_count == whole.pairs.basket_count


def test_two_processes_that_write_at_once_leave_a_whole_file_each(tmp_path, monkeypatch):
    """An overtaken one may still be at it when its successor is: the one that ends last stays."""
    path = tmp_path / "checkpoint"
    nothing = new_learnt(settings())
    seen = []
    allocate = os.posix_fallocate

    def offset_at_path():
        return load_checkpoint(path, settings(), log_identity="log").offsets["stock.sales", 0]

    def write(offset):
        write_checkpoint(path, nothing, {("stock.sales", 0): offset}, log_identity="log")

    def allocate_and_be_overtaken(*asked):
        monkeypatch.setattr(os, "posix_fallocate", allocate)
        write(2)
        seen.append(offset_at_path())
        allocate(*asked)
        seen.append(offset_at_path())

    monkeypatch.setattr(os, "posix_fallocate", allocate_and_be_overtaken)
    write(1)
    assert [*seen, offset_at_path()] == [2, 2, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    """A full disk is not filled further by drafts, and what was there before stays."""
    path = tmp_path / "checkpoint"
    write_checkpoint(path, new_learnt(settings()), {("stock.sales", 0): 1}, log_identity="log")

    def fail(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(path, new_learnt(settings()), {}, log_identity="log")
    assert list(tmp_path.iterdir()) == [path]
    again = load_checkpoint(path, settings(), log_identity="log")
    assert again.offsets == {("stock.sales", 0): 1}


@pytest.mark.parametrize(
    "harm", ["torn", "other log", "other half-life", "other format", "bits", "offset"]
)
def test_a_checkpoint_that_cannot_be_used_is_begun_anew(tmp_path, monkeypatch, harm):
    """Nothing is learnt from what is damaged or means something else."""
    path = tmp_path / "checkpoint"
    made = learner(sales_of([["a", "b"]]))
    learnt = type(new_learnt(settings()))(made.pairs, made.baskets, {})
    if harm == "other format":
        monkeypatch.setattr("onhand.recommendations.checkpoint.FORMAT", 9)
    write_checkpoint(path, learnt, {("stock.sales", 0): 17}, log_identity="log")
    monkeypatch.undo()
    content = bytearray(path.read_bytes())
    if harm == "torn":
        path.write_bytes(content[:-64])
    if harm == "bits":
        content[content.rindex(b"ab")] ^= 1
        path.write_bytes(content)
    if harm == "offset":  # Still JSON, and it would learn one sale twice.
        path.write_bytes(content.replace(b'"stock.sales",0,17', b'"stock.sales",0,16'))
    fields = {"recommendation_half_life": _days(3)} if harm == "other half-life" else {}
    log_identity = "another" if harm == "other log" else "log"
    again = load_checkpoint(path, settings(**fields), log_identity=log_identity)
    assert not again.pairs.numbers
    assert len(again.baskets) == 0


def test_limits_may_change_between_starts(tmp_path):
    """A narrower row keeps what counts most; fewer items are had by forgetting on the way."""
    made = learner(sales_of([["hub", f"spoke-{n}"] for n in range(20) for _ in range(n + 1)]))
    path = tmp_path / "checkpoint"
    learnt = type(new_learnt(settings()))(made.pairs, made.baskets, {})
    write_checkpoint(path, learnt, {}, log_identity="log")
    narrow = load_checkpoint(path, settings(recommendation_pairs_max=8), log_identity="log")
    _, together = counts_of(narrow.pairs)
    kept = {other for name, other in together if name == "hub"}
    assert kept == {f"spoke-{number}" for number in range(12, 20)}
    wide = load_checkpoint(path, settings(recommendation_pairs_max=256), log_identity="log")
    assert counts_of(wide.pairs) == counts_of(made.pairs)


def test_the_native_loop_refuses_columns_that_do_not_fit():
    """A slip of ours ends in an error and never in memory that is not ours."""
    neighbours = np.full((4, 8), FREE, np.uint32)
    counts = np.zeros((4, 8), np.float32)

    def add(items, ends, known, weights, wide=counts):
        add_pairs(
            neighbours,
            wide,
            np.array(items, np.uint32),
            np.array(ends, np.uint32),
            np.array(known, np.uint32),
            np.array(weights, np.float32),
        )

    with pytest.raises(ValueError, match="item 4 has a row"):
        add([0, 4], [2], [0], [1])
    with pytest.raises(ValueError, match="inside the items"):
        add([0, 1], [3], [0], [1])
    with pytest.raises(ValueError, match="inside the items"):
        add([0, 1], [2, 1], [0, 0], [1, 1])
    with pytest.raises(ValueError, match="one of each column"):
        add([0, 1], [2], [0, 0], [1])
    with pytest.raises(ValueError, match="one shape"):
        add([0, 1], [2], [0], [1], np.zeros((4, 9), np.float32))
    assert not counts.any()


def _days(count):
    return timedelta(days=count)
