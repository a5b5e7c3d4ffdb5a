"""Commands on their way to a decision, and how their answers get back."""

from __future__ import annotations

from concurrent.futures import Future
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from onhand.writer.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onhand.orders.engine import Asked
    from onhand.tracing import Trace


class Front(Protocol):
    """Where answers go."""

    def deliver(self, answered: Sequence[Waiting]) -> None:
        """Hand on the answers of one batch; called by the writer's thread, never for none."""
        ...


class Waiting:
    """A command and, once it is decided, its answer.

    ``ticket`` is the front's own. ``claim_offsets`` says, by partition, how far claims are decided;
    it is committed with the command. ``trace`` is what traces the command, if anything does.
    """

    __slots__ = (
        "answer", "asked", "body_sha", "claim_offsets", "front", "key", "outcome", "since_s",
        "ticket", "trace",
    )  # fmt: skip

    def __init__(
        self,
        asked: Asked,
        front: Front,
        ticket: Any,
        key: bytes | None = None,
        body_sha: bytes = b"",
        *,
        claim_offsets: dict[int, int] | None = None,
    ) -> None:
        self.asked = asked
        self.front = front
        self.ticket = ticket
        self.key = key
        self.body_sha = body_sha
        self.claim_offsets = claim_offsets
        self.trace: Trace | None = None
        self.answer: Answer | None = None
        self.outcome = ""
        self.since_s = perf_counter()


class FutureFront:
    """Answers through futures of :mod:`concurrent.futures`."""

    def deliver(self, answered: Sequence[Waiting]) -> None:
        """Resolve the futures."""
        for each in answered:
            future: Future[Answer] = each.ticket
            if future.set_running_or_notify_cancel():
                future.set_result(each.answer)  # type: ignore[arg-type]


def deliver(answered: Iterable[Waiting]) -> None:
    """Hand every answer to its front, all answers of one front at once."""
    by_front: dict[int, list[Waiting]] = {}
    for each in answered:
        gathered = by_front.get(id(each.front))
        if gathered is None:
            by_front[id(each.front)] = [each]
        else:
            gathered.append(each)
    for gathered in by_front.values():
        gathered[0].front.deliver(gathered)


def deliver_same(waiting: Iterable[Waiting], answer: Answer, outcome: str) -> None:
    """Give all of them one answer."""
    answered = list(waiting)
    for each in answered:
        each.answer = answer
        each.outcome = outcome
    deliver(answered)
