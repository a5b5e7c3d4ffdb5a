"""Progress of long work: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Tell = Callable[[int, int], None]
    """Called with how much is done and how much there is; 0 when that is not known."""

LINE_INTERVAL_S: Final = 5.0
"""Between two plain lines."""

_REDRAW_INTERVAL_S: Final = 0.1


@contextlib.contextmanager
def progress(title: str, unit: str = "events") -> Iterator[Tell]:
    """Show how far work has come while the block runs.

    Everything goes to standard error, so that a command's output stays its own.

    Yields
    ------
    Tell
        Call it with (done, total) as often as you like; it draws ten times a second at most.
    """
    if sys.stderr.isatty():
        with _bar(title, unit) as tell:
            yield _at_most_every(_REDRAW_INTERVAL_S, tell)
    else:
        yield _at_most_every(LINE_INTERVAL_S, lambda done, total: _line(title, unit, done, total))


def _at_most_every(interval_s: float, tell: Tell) -> Tell:
    due_s = time.monotonic()

    def sometimes(done: int, total: int) -> None:
        nonlocal due_s
        now_s = time.monotonic()
        if now_s >= due_s or done == total:
            due_s = now_s + interval_s
            tell(done, total)

    return sometimes


def _line(title: str, unit: str, done: int, total: int) -> None:
    of = f" of {total:,}" if total else ""
    click.echo(f"{title}: {done:,}{of} {unit}", err=True)


@contextlib.contextmanager
def _bar(title: str, unit: str) -> Iterator[Tell]:
    # Imported here: programs that read our output should not wait for it.
    from rich import progress as rich_progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn(unit),
        rich_progress.TimeElapsedColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)
