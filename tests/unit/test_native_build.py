"""The native core that the tests run on is the one that was asked for."""

import filecmp
import os
from pathlib import Path

import onhand._native
from tests.needs import lack

ROOT = Path(__file__).parents[2]
MODE = os.environ.get("ONHAND_BUILD")


def test_every_extension_is_of_the_mode_that_was_asked_for():
    """Modes are kept apart under build/; the one that is put in place need not be the newest."""
    if MODE is None:
        lack("no build was asked for: run by make, ONHAND_BUILD is set")
    placed = sorted(Path(onhand._native.__path__[0]).glob("*.so"))
    assert placed
    for extension in placed:
        (built,) = ROOT.glob(f"build/lib.*-{MODE}/onhand/_native/{extension.name}")
        assert filecmp.cmp(extension, built, shallow=False), extension.name
