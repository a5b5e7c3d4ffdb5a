"""One command at a time: decided whole, or refused and undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from onhand.orders import arriving, erasing, holds, onward, ordering, promising, returning, tasks
from onhand.orders.desk import SYSTEM, Actor
from onhand.orders.return_views import return_view, strays_view
from onhand.orders.views import document_of, task_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from onhand.orders.desk import Desk

_encode = msgspec.json.Encoder().encode


class Asked(Struct, frozen=True, kw_only=True):
    """A command as it reaches the order writer.

    ``what`` is a key of :data:`DECISIONS`, ``target`` the id of the hold, order or task that it is
    about, ``body`` its struct of :mod:`onhand.model.commands`.
    """

    what: str
    body: Any = None
    target: str = ""
    actor: Actor = SYSTEM


def decide(desk: Desk, asked: Asked, now_us: int) -> bytes:
    """Carry out a command.

    Returns
    -------
    bytes
        The JSON of its answer.

    Raises
    ------
    Refusal
        Nothing has changed then.
    """
    mark = desk.book.mark()
    try:
        return _encode(DECISIONS[asked.what](desk, asked, now_us))
    except BaseException:
        desk.book.rollback(mark)
        raise


def _task(decision: Callable[..., Any]) -> Callable[[Desk, Asked, int], dict[str, Any]]:
    def decided(desk: Desk, asked: Asked, now_us: int) -> dict[str, Any]:
        order, task = decision(desk, asked.target, asked.body, asked.actor, now_us)
        return task_view(order, task)

    return decided


def _receive(desk: Desk, asked: Asked, now_us: int) -> dict[str, Any]:
    body = asked.body
    return_, sellable, strays = arriving.receive(desk, asked.target, body, asked.actor, now_us)
    view = return_view(return_)
    if strays:
        view["unmatched"] = strays_view(strays)
    if transfers := onward.suggest(desk, body.location, sellable):
        view["onward"] = transfers
    return view


DECISIONS: Final[dict[str, Callable[[Desk, Asked, int], dict[str, Any] | msgspec.Raw]]] = {
    "place_hold": lambda desk, asked, now: document_of(holds.place(desk, asked.body, now)),
    "extend_hold": lambda desk, asked, now: document_of(
        holds.extend(desk, asked.target, asked.body, now)
    ),
    "release_hold": lambda desk, asked, now: document_of(holds.release(desk, asked.target, now)),
    "promise": lambda desk, asked, now: promising.answer(desk, asked.body, now),
    "place_order": lambda desk, asked, now: document_of(
        ordering.place(desk, asked.body, asked.actor, now)
    ),
    "cancel_order": lambda desk, asked, now: document_of(
        ordering.cancel(desk, asked.target, asked.body, asked.actor, now)
    ),
    "pick_task": _task(tasks.pick),
    "pack_task": _task(tasks.pack),
    "ready_task": _task(tasks.ready),
    "ship_task": _task(tasks.ship),
    "collect_task": _task(tasks.collect),
    "reject_task": _task(tasks.reject),
    "erase_customer": lambda desk, asked, now: erasing.erase(desk, asked.body, now),
    "authorise_return": lambda desk, asked, now: return_view(
        returning.authorise(desk, asked.body, asked.actor, now)
    ),
    "receive_return": _receive,
    "inspect_return": lambda desk, asked, now: return_view(
        returning.inspect(desk, asked.target, asked.body, asked.actor, now)
    ),
    "cancel_return": lambda desk, asked, now: return_view(
        returning.cancel(desk, asked.target, asked.body, asked.actor, now)
    ),
}
"""What each command does; every one is all or nothing."""
