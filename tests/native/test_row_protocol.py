"""The protocol of rows, checked by Spin in every interleaving that its fences leave open."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.needs import need_program

MODEL = Path(__file__).with_name("row_protocol.pml")


def check(folder, *definitions):
    """Search the model's states; answer what the checker says."""
    options = [f"-D{each}" for each in definitions]
    spin = need_program("spin", "install spin (Debian: apt-get install spin)")
    subprocess.run([spin, "-a", *options, MODEL], cwd=folder, check=True)
    compiler = shutil.which("gcc") or "cc"
    checker = ["-O2", "-w", "-DSAFETY", "-DMEMLIM=4096", "-o", "pan", "pan.c"]
    subprocess.run([compiler, *checker], cwd=folder, check=True)
    searched = subprocess.run(
        ["./pan", "-m1000000"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert "error: max search depth" not in searched
    return searched


@pytest.mark.slow
def test_every_confirmed_read_saw_a_row_that_was(tmp_path):
    """In any order of stores and loads, and wherever the writer was killed."""
    searched = check(tmp_path, "MOVEMENTS=2", "READS=1")
    assert "errors: 0" in searched, searched
    assert "Search not completed" not in searched
    assert int(re.search(r"(\d+) states, stored", searched)[1]) > 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "without",
    [
        "WITHOUT_FENCE_BEFORE_STORE",
        "WITHOUT_FENCE_BEFORE_FREE",
        "WITHOUT_ACQUIRE_FENCE",
        "WITHOUT_RELEASE",
        "WITHOUT_COPY",
        "WITH_FREE_FIRST",
    ],
)
def test_nothing_of_the_protocol_can_be_left_out(tmp_path, without):
    """The model can fail: without each of its parts a reader confirms a row that never was."""
    assert "assertion violated" in check(tmp_path, "MOVEMENTS=3", without)
