"""The door for an event loop: commands go in together, answers come out together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from onhand.tracing import current_trace
from onhand.writer.answer import Answer, failed
from onhand.writer.waiting import Waiting

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from onhand.orders.engine import Asked
    from onhand.writer.writer import OrderWriter

WAITING_COUNT_MAX: Final = 20_000
"""Commands of one loop that may wait; a database that hangs must not fill the memory."""

GATHER_TURN_COUNT_MAX: Final = 16
"""Turns of the loop that commands are gathered for, while each brings more of them."""

_TOO_MANY: Final = failed("writer_unavailable", f"{WAITING_COUNT_MAX:,} commands wait already")


class Asking:
    """Asks the order writer from one event loop; used by that loop's thread alone.

    What is asked in turns of the loop that follow each other reaches the writer together, so that
    it shares a commit; a batch of answers costs the loop one wake-up.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, writer: OrderWriter) -> None:
        self._loop = loop
        self._writer = writer
        self._gathered: list[Waiting] = []
        self._seen_count = 0
        self._gather_count = 0
        self._waiting_count = 0

    def ask(
        self, asked: Asked, *, key: bytes | None = None, body_sha: bytes = b""
    ) -> asyncio.Future[Answer]:
        """Put a command to the writer; await what is returned.

        Parameters
        ----------
        key
            Who asks what under which Idempotency-Key, as a hash of 16 to 32 bytes; None for none.
        body_sha
            A hash of the body: the same key with another one is a conflict.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self._waiting_count >= WAITING_COUNT_MAX:
            future.set_result(_TOO_MANY)
            return future
        self._waiting_count += 1
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        waiting = Waiting(asked, self, future, key, body_sha)
        waiting.trace = current_trace()
        self._gathered.append(waiting)
        return future

    def deliver(self, answered: Sequence[Waiting]) -> None:
        """Hand on the answers of one batch."""
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, answered)

    def _hand_over(self) -> None:
        # A server's requests come a few a turn. The writer would begin with the first of them, and
        # then both threads would fight for the interpreter while the others wait for a turn more.
        if len(self._gathered) > self._seen_count and self._gather_count < GATHER_TURN_COUNT_MAX:
            self._seen_count = len(self._gathered)
            self._gather_count += 1
            self._loop.call_soon(self._hand_over)
            return
        gathered, self._gathered = self._gathered, []
        self._seen_count = self._gather_count = 0
        self._writer.enter(gathered)

    def _resolve(self, answered: Sequence[Waiting]) -> None:
        self._waiting_count -= len(answered)
        for each in answered:
            future = each.ticket
            if not future.done():
                future.set_result(each.answer)
