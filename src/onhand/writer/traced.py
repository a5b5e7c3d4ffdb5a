"""What a trace tells of a command: how it was decided, and the commit that it shared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.writer.answer import code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.tracing import Trace
    from onhand.writer.waiting import Waiting

MAKES: Final = frozenset({"place_hold", "place_order", "authorise_return"})
"""Commands whose answer says the id of what they are about."""


ID_LENGTH_MAX: Final = 192
"""Of an id in a path, which may be of any length."""


class _Made(msgspec.Struct):
    id: str = ""


_decode_made = msgspec.json.Decoder(_Made).decode


def tell_decision(trace: Trace, each: Waiting, begun_ns: int) -> None:
    """Tell a command's trace of its decision, which is made."""
    answer = each.answer
    if answer is None:
        raise AssertionError("Invariant: what is told is decided")
    told = {"onhand.command": each.asked.what, "onhand.outcome": each.outcome}
    if each.asked.target:
        told["onhand.id"] = each.asked.target[:ID_LENGTH_MAX]
    error = None
    if answer.refused:
        told["onhand.code"] = code_of(answer)
        error = told["onhand.code"] if answer.failure else None
    elif each.asked.what in MAKES:
        told["onhand.id"] = _decode_made(answer.document).id
    trace.span("orders.decide", begun_ns, time.time_ns(), told, error=error)


class CommitTrace:
    """A commit on its way, for the commands in it that are traced; it begins when this is made.

    Parameters
    ----------
    traces
        Theirs.
    command_count
        How many commands share the commit.
    """

    def __init__(self, traces: Sequence[Trace], command_count: int) -> None:
        self._traces = traces
        self._command_count = command_count
        self._begun_ns = time.time_ns()
        self._ended_ns = 0

    def end(self) -> None:
        """Note that it is over; telling of it can wait until everybody is answered."""
        self._ended_ns = time.time_ns()

    def tell(self, commit_number: int | None, error: str | None = None) -> None:
        """Tell every trace of it: under which number it was made, or why it was not."""
        told = {"onhand.commands": self._command_count}
        if commit_number is not None:
            told["onhand.commit_number"] = commit_number
        for trace in self._traces:
            trace.span("orders.commit", self._begun_ns, self._ended_ns, told, error=error)
