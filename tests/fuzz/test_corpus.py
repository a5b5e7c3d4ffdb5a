"""Every input that is kept still holds, and so do inputs like it; see docs/testing.md."""

import os
import random
import subprocess
import sys

import pytest

from tests.fuzz.corpus_files import corpus_of
from tests.fuzz.targets import TARGETS
from tests.twin.test_decode_twin import mutate

ROUNDS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_were_kept_hold(name):
    """What once failed, or led somewhere new, does as it should."""
    for content in corpus_of(name):
        TARGETS[name].check(content)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_like_those_hold(name):
    """A few hundred changes of what was kept, the same in every run."""
    rng = random.Random(name)
    kept = corpus_of(name)
    for _ in range(ROUNDS):
        TARGETS[name].check(mutate(rng, rng.choice(kept)))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzzer_finds_nothing(name):
    """Guided by coverage, from what was kept on."""
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "10", name]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert found.returncode == 0, found.stdout[-2_000:] + found.stderr[-6_000:]


def test_a_check_that_fails_is_found(monkeypatch):
    """The harness can fail: a native way that lets a sum go is another batch."""
    monkeypatch.setattr("tests.twin.test_decode_twin.PYTHON_WAY", (("onhand-force", b"too_late"),))
    late = TARGETS["poll"].seeds[0].replace(b"2026-03-29", b"2026-02-01")
    with pytest.raises(AssertionError):
        TARGETS["poll"].check(late)
