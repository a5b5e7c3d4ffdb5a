"""Lists that collections of garbage pass over."""

import gc

import pytest

from onhand._native.lasting import untrack


def test_a_list_is_no_longer_looked_at_and_works_as_before():
    """It leaves the collector's sight, more than once if need be, and takes and gives elements."""
    kept, other = ["a"], []
    assert gc.is_tracked(kept)
    untrack(kept, other)
    untrack(kept)
    assert not gc.is_tracked(kept)
    assert not gc.is_tracked(other)
    kept += ["b"] * 1_000
    gc.collect()
    assert kept == ["a"] + ["b"] * 1_000


def test_a_list_out_of_sight_is_freed_with_its_last_reference():
    """What it holds goes when it goes, though no collection comes."""
    freed = []

    class Noting:
        def __del__(self):
            freed.append(True)

    kept = [Noting()]
    untrack(kept)
    assert not freed
    del kept
    assert freed


@pytest.mark.parametrize("other", [(), {}, "text", None])
def test_nothing_but_lists_is_taken_out_of_sight(other):
    """Whatever else there is may be part of a cycle, or is none of the collector's anyway."""
    with pytest.raises(TypeError, match="is a list"):
        untrack(other)
