"""Forgetting a customer on request, everywhere that onhand keeps anything of one.

The order of the steps makes it whole however it ends: the erasure is noted first, so that what the
log still brings of the time before is stored under the token; orders and returns are the order
writer's; what quotes them is rewritten last. Begun again, it goes on with the same token.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import Struct

from onhand.customers.scrubbing import Scrubber
from onhand.ledger.order_store import ANSWERS_KEEP_US
from onhand.orders.engine import Asked
from onhand.orders.erasing import TOKEN, EraseCustomer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from onhand.customers.store import CustomerStore
    from onhand.ledger.engine import Ledger
    from onhand.writer.answer import Answer

STEP_COUNT: Final = 50
"""Orders and returns that one command changes."""


class Refused(Exception):
    """The order writer did not carry a step out; ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Ask(Protocol):
    """The door to the order writer."""

    def __call__(self, asked: Asked) -> Awaitable[Answer]:
        """Put a command to the writer; await what it answers."""


class Erased(Struct, kw_only=True):
    """What an erasure has changed; ``id`` is what now stands in place of the customer's.

    Orders that are still open keep where they go to: erase ``id`` once they are closed.
    """

    id: str
    orders: int = 0
    open_orders: int = 0
    returns: int = 0
    purchases: int = 0


class Eraser:
    """Erases customers, from an event loop.

    Parameters
    ----------
    ask
        Puts a command to the order writer.
    read_again
        Tells the order writer that what it keeps in memory of answers and events has changed.
    """

    def __init__(
        self, store: CustomerStore, ledger: Ledger, ask: Ask, read_again: Callable[[], None]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._ask = ask
        self._read_again = read_again

    async def erase(self, customer: str) -> Erased:
        """Erase a customer; all of it is on disk when this returns.

        Raises
        ------
        Refused, LedgerUnavailable
            It is not complete; asked for again it goes on.
        """
        token = await asyncio.to_thread(self._begin, customer)
        done = Erased(id=token)
        scrubber = Scrubber(self._ledger, customer, token)
        await self._erase_promises(done, scrubber)
        if customer != token:
            done.purchases = await asyncio.to_thread(self._erase_purchases, customer, token)
            await asyncio.to_thread(_scrub, scrubber)
            self._read_again()
        return done

    def _begin(self, customer: str) -> str:
        if TOKEN.fullmatch(customer):
            return customer
        token = f"erased-{secrets.token_hex(16)}"
        return self._store.begin_erasure(customer, token, time.time_ns() // 1000).token

    async def _erase_promises(self, done: Erased, scrubber: Scrubber) -> None:
        after = None
        while found := await asyncio.to_thread(scrubber.order_ids, STEP_COUNT, after):
            await self._step(done, scrubber, orders=tuple(order_id for _, order_id in found))
            after = found[-1]
        return_ids = await asyncio.to_thread(scrubber.return_ids)
        for begin in range(0, len(return_ids), STEP_COUNT):
            some = tuple(return_ids[begin : begin + STEP_COUNT])
            await self._step(done, scrubber, returns=some)

    async def _step(
        self,
        done: Erased,
        scrubber: Scrubber,
        *,
        orders: tuple[str, ...] = (),
        returns: tuple[str, ...] = (),
    ) -> None:
        body = EraseCustomer(
            customer=scrubber.customer, token=scrubber.token, orders=orders, returns=returns
        )
        answer = await self._ask(Asked(what="erase_customer", body=body))
        if answer.refused:
            raise Refused(answer)
        counts = msgspec.json.decode(answer.document, type=_Counts)
        done.orders += counts.orders
        done.open_orders += counts.open_orders
        done.returns += counts.returns

    def _erase_purchases(self, customer: str, token: str) -> int:
        count = 0
        while some := self._store.erase_some(customer, token):
            count += some
        return count


class _Counts(Struct):
    orders: int
    open_orders: int
    returns: int


def _scrub(scrubber: Scrubber) -> None:
    scrubber.scrub_events()
    times = scrubber.times()
    if times is not None:
        oldest_us = time.time_ns() // 1000 - ANSWERS_KEEP_US
        scrubber.scrub_answers(max(times[0], oldest_us), times[1])
