"""The store under ThreadSanitizer: a writer and its readers as threads of one process.

What the sanitizer cannot see, the order that fences make between relaxed loads and stores, is
checked by the model beside this file; see docs/testing.md.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORE = ROOT / "native" / "onhand" / "_native" / "store"
HARNESS = Path(__file__).with_name("store_race.c")


def unsanitized():
    """Return this process's environment without the libraries of its own sanitizers."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def build(folder, mode, change=("", "", "")):
    """Compile the harness with the store's own sources, one of them changed."""
    name, old, new = change
    sources = []
    for source in sorted(STORE.glob("*.c")):
        content = source.read_text()
        if source.name == name:
            assert old in content, f"{name} no longer has the line that this test changes"
            source = folder / name  # noqa: PLW2901 - the changed copy
            source.write_text(content.replace(old, new))
        sources.append(str(source))
    compiler = shutil.which("gcc") or "cc"
    program = folder / "store_race"
    subprocess.run(
        [
            *(compiler, "-std=gnu17", "-D_GNU_SOURCE=1", "-O1", "-g", "-DONHAND_DEBUG"),
            *(f"-fsanitize={mode}", "-Wno-tsan", "-pthread"),
            *("-I", str(ROOT / "native" / "include"), "-I", str(STORE.parent)),
            *("-o", str(program), str(HARNESS), *sources),
        ],
        check=True,
        env=unsanitized(),
    )
    return program


def run(program, milliseconds, readers=2):
    table = program.with_name("race.table")
    environment = unsanitized()
    environment |= {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66", "ASAN_OPTIONS": ""}
    try:
        return subprocess.run(
            [program, table, str(milliseconds), str(readers)],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
    finally:
        table.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "milliseconds", [1_500, pytest.param(30_000, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_threads_of_one_store_do_not_race(tmp_path, milliseconds):
    """Rows that grow and widen, names that come, blocks used again: no race and no torn read."""
    found = run(build(tmp_path, "thread"), milliseconds)
    assert found.returncode == 0, found.stderr[:6_000]
    done = json.loads(found.stdout)
    assert min(done["writes"], done["reads"], done["changes"]) > 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("names.c", "slot, memory_order_release", "slot, memory_order_relaxed"),
            "WARNING: ThreadSanitizer: data race",
        ),
        (("rows.c", "if (changed > 1 || !fits)", "if (!fits)"), "breach: on_hand + in_transit"),
    ],
    ids=["a name shown before it is written", "a movement of two counters in two steps"],
)
def test_a_broken_store_is_found(tmp_path, change, says):
    """The harness can fail: an order or a copy that is left out is told of at once."""
    found = run(build(tmp_path, "thread", change), 60_000)
    assert found.returncode != 0
    assert says in found.stderr
