"""One batch: what waits is decided, what changed is committed, and then everybody is answered.

Nothing is answered before its commit is on disk. What is refused is remembered like what is done,
so that a command sent again under its key is answered as it was; what failed for no fault of its
own is forgotten, and decided when it comes again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.errors import OnhandError
from onhand.ledger.rows import AnswerRow, Commit
from onhand.logging import get_logger
from onhand.orders import claims, engine
from onhand.orders.refusal import Refusal
from onhand.writer.answer import Answer, conflict, failed, refused
from onhand.writer.rows import commit_of
from onhand.writer.touched import Touched, is_promising
from onhand.writer.traced import tell_decision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onhand.ledger.order_store import OrderStore
    from onhand.orders.claims import Claim
    from onhand.orders.desk import Desk
    from onhand.orders.engine import Asked
    from onhand.tracing import Trace
    from onhand.writer.waiting import Waiting

log = get_logger(__name__)

DONE: Final = "done"
REFUSED: Final = "refused"
FAILED: Final = "failed"
REPEATED: Final = "repeated"

CLAIM: Final = "claim"
"""The command that settles a claim of a till; its body is a :class:`onhand.orders.claims.Claim`."""

NOTHING: Final = "nothing"
"""The command that changes nothing, and carries something for the commit."""

_encode = msgspec.json.Encoder().encode
_FAILED: Final = failed(
    "internal_error", "deciding this command failed; the server's log has the details"
)


class Deciding:
    """Decides batches of commands.

    Parameters
    ----------
    store
        Knows what was answered, and what is closed.
    """

    def __init__(self, desk: Desk, store: OrderStore) -> None:
        self._desk = desk
        self._store = store
        self._touched = Touched(desk, store)
        self.traces: list[Trace] = []
        """Those of the last batch's commands that are traced."""

    def decide(self, waiting: Sequence[Waiting], now_us: int, stale: Answer | None) -> Commit:
        """Give every command its answer, and gather what must be committed before it is told.

        Parameters
        ----------
        stale
            What promising commands are answered while there are no numbers to promise by.

        Raises
        ------
        LedgerUnavailable
            The ledger cannot be read; nothing was decided, and what the book had not settled
            before is still there to be rolled back.
        """
        known = self._known(waiting)
        self._touched.adopt(each.asked for each in waiting if each.key not in known)
        answers: dict[bytes, AnswerRow] = {}
        self.traces = []
        for each in waiting:
            trace = each.trace
            if trace is None:
                self._decide_one(each, now_us, stale, known, answers)
                continue
            begun_ns = time.time_ns()
            self._decide_one(each, now_us, stale, known, answers)
            tell_decision(trace, each, begun_ns)
            self.traces.append(trace)
        commit = commit_of(self._desk.book.changed(), list(answers.values()), now_us)
        for each in waiting:
            if each.claim_offsets is not None:
                commit.claim_offsets |= each.claim_offsets
        return commit

    def settle(self) -> None:
        """Keep what was decided: it is on disk."""
        self._desk.book.settle()
        self._touched.release()

    def rollback(self) -> None:
        """Undo all that was decided: it is not on disk."""
        self._desk.book.rollback()
        self._touched.release()

    def _known(self, waiting: Sequence[Waiting]) -> Mapping[bytes, AnswerRow]:
        keys = [each.key for each in waiting if each.key is not None]
        return self._store.answers(keys) if keys else {}

    def _decide_one(
        self,
        each: Waiting,
        now_us: int,
        stale: Answer | None,
        known: Mapping[bytes, AnswerRow],
        answers: dict[bytes, AnswerRow],
    ) -> None:
        key = each.key
        if key is None:
            each.answer = self._answer(each, now_us, stale)
            return
        before = known.get(key) or answers.get(key)
        if before is not None:
            each.outcome = REPEATED
            each.answer = (
                Answer(before.refused, before.document)
                if before.body_sha == each.body_sha
                else conflict()
            )
            return
        answer = each.answer = self._answer(each, now_us, stale)
        if not answer.failure:
            answers[key] = AnswerRow(key, each.body_sha, answer.refused, answer.document, now_us)

    def _answer(self, each: Waiting, now_us: int, stale: Answer | None) -> Answer:
        asked = each.asked
        if stale is not None and is_promising(asked):
            each.outcome = FAILED
            return stale
        try:
            document = self._carry_out(asked, now_us)
        except Refusal as refusal:
            each.outcome = REFUSED
            return refused(refusal)
        except OnhandError as error:
            each.outcome = FAILED
            return failed(error.code, str(error))
        except Exception:
            each.outcome = FAILED
            log.exception("decision_failed", command=asked.what, target=asked.target)
            return _FAILED
        each.outcome = DONE
        return Answer(False, document)

    def _carry_out(self, asked: Asked, now_us: int) -> bytes:
        if asked.what == CLAIM:
            return self._settle_claim(asked.body, now_us)
        if asked.what == NOTHING:
            return b"{}"
        return engine.decide(self._desk, asked, now_us)

    def _settle_claim(self, claim: Claim, now_us: int) -> bytes:
        mark = self._desk.book.mark()
        try:
            outcome = claims.decide(self._desk, claim, now_us)
        except BaseException:
            self._desk.book.rollback(mark)
            raise
        return _encode({"outcome": outcome})
