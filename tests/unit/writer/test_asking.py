"""An event loop asks the order writer: in together, out together, and never without an answer."""

import asyncio

import pytest

from onhand.writer.asking import Asking
from tests.writers import code, document, hold_of


@pytest.fixture
def database():
    """Keep to the embedded ledger: which one it is makes no difference here."""
    return


def test_what_is_asked_together_is_committed_together(shop):
    """Commands of one burst share a few commits, and each gets its own answer."""

    async def ask():
        asking = Asking(asyncio.get_running_loop(), shop.writer)
        asked = shop.asked("place_hold", hold_of())
        return await asyncio.gather(*(asking.ask(asked) for _ in range(500)))

    answers = asyncio.run(ask())
    assert len({document(answer)["id"] for answer in answers}) == 500
    assert shop.reserved() == 500
    assert shop.batches() <= 3


def test_who_stops_waiting_leaves_the_others_alone(shop):
    """A cancelled caller's command is decided; the answers of the others arrive."""

    async def ask():
        asking = Asking(asyncio.get_running_loop(), shop.writer)
        futures = [asking.ask(shop.asked("place_hold", hold_of())) for _ in range(10)]
        futures[3].cancel()
        return await asyncio.gather(*futures[:3], *futures[4:])

    assert not any(answer.refused for answer in asyncio.run(ask()))
    assert shop.reserved() == 10


def test_a_loop_that_ends_holds_nobody_up(shop):
    """Answers to a loop that is closed are dropped; the writer goes on."""

    async def ask():
        asking = Asking(asyncio.get_running_loop(), shop.writer)
        asking.ask(shop.asked("place_hold", hold_of()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert shop.hold()


def test_no_more_may_wait_than_there_is_room_for(shop, monkeypatch):
    """What is too much is refused at once, and room comes back with the answers."""
    monkeypatch.setattr("onhand.writer.asking.WAITING_COUNT_MAX", 5)

    async def ask():
        asking = Asking(asyncio.get_running_loop(), shop.writer)
        asked = shop.asked("place_hold", hold_of())
        many = await asyncio.gather(*(asking.ask(asked) for _ in range(8)))
        return many, await asking.ask(asked)

    many, later = asyncio.run(ask())
    assert [answer.refused for answer in many] == [False] * 5 + [True] * 3
    assert code(many[-1]) == "writer_unavailable"
    assert not later.refused
