"""One seed, or thousands of them on all cores."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import tempfile
import traceback
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.ledger import open_ledger
from onhand.logging import configure_logging
from onhand.metrics import Page
from onhand.settings import Settings
from onhand.simulation.ending import check_end, come_to_rest
from onhand.simulation.scheduler import Scheduler
from onhand.simulation.seams import seams
from onhand.simulation.trace import Trace
from onhand.simulation.world import CLUSTER_ID, Places, World, found_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - files of a simulation are never kept
COLLECT_SEEDS: Final = 10
"""The collector runs between seeds, and not within one: a run makes objects by the thousand."""


class Finding(msgspec.Struct, frozen=True):
    """What one seed came to; ``broken`` is what did not hold, None when everything did."""

    seed: int
    digest: str
    broken: str | None
    lines: list[str]


@contextlib.contextmanager
def open_places() -> Iterator[Places]:
    """Make what simulations of this process share; gone afterwards."""
    with contextlib.ExitStack() as stack:
        root = MEMORY if MEMORY.is_dir() else None
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="onhand-simulation-", dir=root))
        )
        settings = Settings(data=folder, table_dir=folder)
        ledger = open_ledger(settings, cluster_id=CLUSTER_ID)
        stack.callback(ledger.close)
        page = Page(folder / "metrics", "simulation")
        stack.callback(page.close)
        yield Places(folder, ledger, page)


def simulate(places: Places, seed: int, steps: int, *, keep_trace: bool = False) -> Finding:
    """Run one seed to its end, or to the first invariant that does not hold."""
    trace = Trace(keep_all=keep_trace)
    broken = None
    try:
        _run(places, seed, steps, trace)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        broken = "".join(traceback.format_exception(error))
    return Finding(seed, trace.digest(), broken, trace.lines)


def simulate_many(seeds: Iterable[int], steps: int, process_count: int) -> Iterator[Finding]:
    """Run seeds on several processes, and yield what each came to as they end."""
    context = multiprocessing.get_context("spawn")
    work = ((seed, steps) for seed in seeds)
    with context.Pool(process_count, _start_process) as pool:
        yield from pool.imap_unordered(_simulate_one, work, chunksize=4)


def _run(places: Places, seed: int, steps: int, trace: Trace) -> None:
    random = Random(seed)
    failures: list[str] = []
    world = World(places, random, seed, failures)
    with contextlib.closing(world), seams(world.timeline, world.ledger, failures):
        scheduler = Scheduler(world, random, trace)
        for step in range(steps):
            with found_at(step):
                scheduler.step()
        with found_at(steps):
            come_to_rest(world)
            check_end(world)
        trace.write("end", world.promised.commit_count, len(world.promised.movements))


_stack = contextlib.ExitStack()
_places: list[Places] = []


def _start_process() -> None:
    gc.disable()
    configure_logging(level="warning")
    _places.append(_stack.enter_context(open_places()))


def _simulate_one(work: tuple[int, int]) -> Finding:
    seed, steps = work
    if seed % COLLECT_SEEDS == 0:
        gc.collect()
    return simulate(_places[0], seed, steps)
