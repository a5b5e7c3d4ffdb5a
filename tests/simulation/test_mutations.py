"""That the simulation can fail: every mutation of the engine is caught."""

from pathlib import Path

import pytest

from onhand.simulation.run import simulate
from tests.simulation.mutations import MUTATIONS, table

STEPS = 1_000
PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"
SOON = ("dead_letters_dropped", "counts_as_of_arrival", "answered_before_the_commit")
"""Those that the first seed finds: they are tried in every run of the tests."""


def test_the_page_lists_every_mutation():
    """docs/simulation.md has the table as ``python -m tests.simulation.mutations`` prints it."""
    assert table() in PAGE.read_text()


@pytest.mark.parametrize(
    "name",
    [name if name in SOON else pytest.param(name, marks=pytest.mark.slow) for name in MUTATIONS],
)
def test_a_wrong_engine_is_caught(places, monkeypatch, name):
    """Within the stated number of seeds something does not hold, and it is what was said."""
    mutation = MUTATIONS[name]
    mutation.apply(monkeypatch)
    for seed in range(1, mutation.seeds + 1):
        found = simulate(places, seed, STEPS)
        if found.broken is not None:
            assert mutation.is_caught_by(found.broken), (seed, found.broken)
            return
    pytest.fail(f"not caught within {mutation.seeds} seeds")
