"""``onhand simulate``: run the engine on simulated edges, seed after seed, and find what breaks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from onhand.logging import configure_logging

if TYPE_CHECKING:
    from onhand.simulation.run import Finding

SHOWN_LINES: Final = 20
"""Of a seed that broke, the last steps that are shown."""


@click.command()
@click.option(
    "--seeds", type=click.IntRange(min=1), default=100, show_default=True, help="How many."
)
@click.option("--first-seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--steps", type=click.IntRange(min=1), default=1_000, show_default=True, help="Of each."
)
@click.option("--processes", type=click.IntRange(min=1), help="At once; default: one a core.")
@click.option("--trace", is_flag=True, help="Print every step; for one seed.")
def simulate(*, seeds: int, first_seed: int, steps: int, processes: int | None, trace: bool) -> int:
    """Run the whole engine in simulated worlds, each decided by one seed.

    Real code on a simulated log, disk, clock and network, with processes that die at any step: see
    docs/simulation.md. The same seed takes the same steps. Exit code 1: an invariant did not hold;
    the seed is printed, and the command that runs it again.
    """
    # Other commands' settings do so; a log that nobody configured is written among the output.
    configure_logging(level="warning")
    if trace:
        return _trace(first_seed, steps)
    from onhand.cli.progress import progress  # noqa: PLC0415 - keeps `onhand --help` quick
    from onhand.simulation.run import simulate_many  # noqa: PLC0415

    chosen = range(first_seed, first_seed + seeds)
    done = broken_count = 0
    with progress("Simulating", "seeds") as advance:
        for found in simulate_many(chosen, steps, processes or os.cpu_count() or 1):
            done += 1
            advance(done, seeds)
            if found.broken is not None:
                broken_count += 1
                _report(found, steps)
    click.echo(f"{done} seeds of {steps} steps, {broken_count} broken")
    return 1 if broken_count else 0


def _trace(seed: int, steps: int) -> int:
    from onhand.simulation.run import open_places, simulate  # noqa: PLC0415

    with open_places() as places:
        found = simulate(places, seed, steps, keep_trace=True)
    click.echo("\n".join(found.lines))
    click.echo(f"seed {seed}: {found.digest}")
    if found.broken is None:
        return 0
    click.echo(found.broken, err=True)
    return 1


def _report(found: Finding, steps: int) -> None:
    click.echo(f"Seed {found.seed} broke:")
    for line in found.lines[-SHOWN_LINES:]:
        click.echo(f"    {line}")
    click.echo(found.broken)
    click.echo(f"Run it again: onhand simulate --first-seed {found.seed} --steps {steps} --trace")
