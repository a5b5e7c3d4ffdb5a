"""Where real code reaches for the machine by itself, for as long as one simulation runs.

Nearly everything takes its clock, log, ledger and disk as arguments. What is left is listed here:
stopwatches, the writer's own connection, and the garbage collector.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from onhand.ledger import order_store
from onhand.writer import outbox, recovery, turns

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from onhand.simulation.ledger import SimulatedLedger
    from onhand.simulation.timeline import Timeline

FAILURES: Final = frozenset(
    {
        "decision_failed",
        "background_failed",
        "outbox_failed",
        "claims_failed",
        "outputs_failed",
        "retention_failed",
    }
)
"""Log lines about errors that the engine lives on with, and that it must not make."""


@contextlib.contextmanager
def seams(timeline: Timeline, ledger: SimulatedLedger, failures: list[str]) -> Iterator[None]:
    """Put simulated parts where real code would reach for the machine.

    Parameters
    ----------
    failures
        Is given what the engine logs about errors of its own.
    """
    was = structlog.get_config()
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: structlog.configure(**was))
        structlog.configure(processors=[_Collect(failures)], cache_logger_on_first_use=False)
        for module, name, instead in (
            (turns, "time", timeline),
            (outbox, "time", timeline),
            (order_store, "open_link", ledger.open_link),
            # Freezing all memory is for a process that opens once; a simulation opens often.
            (recovery, "_uncollected", contextlib.nullcontext),
        ):
            stack.enter_context(_instead(module, name, instead))
        yield


@contextlib.contextmanager
def _instead(module: Any, name: str, instead: Any) -> Iterator[None]:
    was = getattr(module, name)
    setattr(module, name, instead)
    try:
        yield
    finally:
        setattr(module, name, was)


class _Collect:
    """Keeps what the engine says of its own errors, and drops all else."""

    def __init__(self, failures: list[str]) -> None:
        self._failures = failures

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        if event.get("event") in FAILURES:
            self._failures.append(f"{event} {sys.exc_info()[1]!r}")
        raise structlog.DropEvent
