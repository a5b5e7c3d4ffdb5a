"""Simulated worlds: nothing breaks, and a seed decides everything."""

import os
import subprocess
import sys

import pytest

from onhand.simulation.run import simulate, simulate_many

STEPS = 300
SAME_STEPS = 400
LONG_SEED_COUNT = int(os.environ.get("ONHAND_TEST_SEEDS", "100"))
SHORT_SEED_COUNT = 2_000
DIGEST = """
from onhand.simulation.run import open_places, simulate
with open_places() as places:
    print(simulate(places, {seed}, {steps}).digest)
"""


@pytest.mark.parametrize("seed", range(1, 25))
def test_nothing_breaks(places, seed):
    """Every invariant holds after each step of a seed, and everything agrees at its end."""
    found = simulate(places, seed, STEPS)
    assert found.broken is None, f"seed {seed}: {found.broken}"


def test_the_same_seed_takes_the_same_steps(places):
    """A run of a seed is like any other of it, also in a process that hashes names otherwise."""
    first = simulate(places, 7, SAME_STEPS)
    again = simulate(places, 7, SAME_STEPS)
    assert first.digest == again.digest
    for hash_seed in ("1", "2"):
        code = DIGEST.format(seed=7, steps=SAME_STEPS)
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip().splitlines()[-1] == first.digest


def test_another_seed_takes_other_steps(places):
    """The hash tells two runs apart."""
    assert simulate(places, 1, 50).digest != simulate(places, 2, 50).digest


def run_command(*arguments):
    """Run ``onhand simulate`` and return the lines of its two outputs."""
    done = subprocess.run(
        [sys.executable, "-m", "onhand.cli", "simulate", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_the_command_prints_what_came_of_the_seeds_and_nothing_else():
    """What the engine logs as it starts is no output; how far it is stands beside it."""
    out, err = run_command("--seeds", "2", "--steps", "5", "--processes", "1")
    assert out == ["2 seeds of 5 steps, 0 broken"]
    assert all(line.startswith("Simulating: ") for line in err), err


def test_the_command_prints_every_step_of_one_seed(places):
    """As the trace has them, then its hash."""
    out, err = run_command("--first-seed", "3", "--steps", "5", "--trace")
    found = simulate(places, 3, 5, keep_trace=True)
    assert out == [*found.lines, f"seed 3: {found.digest}"]
    assert not err


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    ("first", "count", "steps"),
    [
        pytest.param(10_000, LONG_SEED_COUNT, 1_000, id="long"),
        pytest.param(20_000, SHORT_SEED_COUNT, 100, id="short"),
    ],
)
def test_many_seeds_hold(first, count, steps):
    """Nothing breaks in as many long worlds as there is time for, nor in many short ones."""
    broken = [
        (found.seed, found.broken)
        for found in simulate_many(range(first, first + count), steps, os.cpu_count() or 1)
        if found.broken is not None
    ]
    assert not broken, broken[0]
