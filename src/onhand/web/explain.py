"""Why a number is what it is: the terms of one cell, and the events behind them, newest first."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

import msgspec
from litestar import Request, get
from litestar.params import FromPath
from msgspec import Meta, Struct

from onhand.errors import OnhandError
from onhand.logging import get_logger
from onhand.model.availability import Answer, Movement
from onhand.model.check import Refused
from onhand.model.envelope import read_event
from onhand.model.times import show_time
from onhand.web.auth import guard
from onhand.web.availability import unknown_sku
from onhand.web.explain_promises import Promises, promises_in_book
from onhand.web.openapi import described
from onhand.web.parameters import ExplainParameters, parse_parameters
from onhand.web.problem import invalid_parameter

if TYPE_CHECKING:
    from onhand.log.base import EventLog
    from onhand.web.services import Services

log = get_logger(__name__)


class ExplainedEvent(Struct, frozen=True, kw_only=True):
    """An event that moved the cell, or would have.

    What the publisher wrote (from ``source`` on) is null once the log no longer holds the event.
    """

    type: str
    quantity: int
    effects: Annotated[
        tuple[str, ...],
        Meta(description="What it changed; `superseded`: a newer count had already taken it in."),
    ]
    occurred_at: str
    appended_at: str
    topic: str
    partition: int
    offset: int
    source: str | None = None
    id: str | None = None
    order_id: str | None = None
    reference: str | None = None


class Explanation(Struct, frozen=True):
    """The terms of a cell, and a page each of what is behind them: events, and promises."""

    terms: Answer
    items: list[ExplainedEvent]
    next: str | None
    promises: Annotated[
        Promises | None,
        Meta(description="What is behind `reserved`; null from a server that takes no orders."),
    ] = None


class _Told(Struct, frozen=True):
    """What an event says of itself."""

    source: str | None = None
    id: str | None = None
    order_id: str | None = None
    reference: str | None = None


@get("/v1/availability/{sku:str}/explain", guards=[guard("storefront")])
@described(parameters=ExplainParameters, answer=Explanation)
async def explain_availability(request: Request[Any, Any, Any], sku: FromPath[str]) -> Explanation:
    """Explain one cell: its terms, and the events, holds and allocations behind them.

    Newest first; events and promises have a page each, and a cursor each.
    """
    services: Services = request.app.state.services
    asked = parse_parameters(ExplainParameters, request.scope["query_string"].decode())
    sku = unquote(sku)
    terms = services.side.answer(sku, f"location:{asked.location}")
    if terms is None:
        raise unknown_sku(sku)
    movements = services.side.tables(time.time_ns() // 1000).history(
        sku, asked.location, limit=asked.limit + 1, before=_position(asked.cursor)
    )
    shown = movements[: asked.limit]
    items = await asyncio.to_thread(explain_movements, services.log, shown)
    more = len(movements) > len(shown)
    promises = await asyncio.to_thread(_promises, services, sku, asked)
    return Explanation(terms, items, str(shown[-1].position) if more else None, promises)


def explain_movements(event_log: EventLog, movements: list[Movement]) -> list[ExplainedEvent]:
    """Look up in the log what the events behind movements say; blocks while it reads.

    A log that cannot be reached costs what publishers wrote and nothing else.
    """
    return [
        ExplainedEvent(
            type=each.type,
            quantity=each.quantity,
            effects=each.effects,
            occurred_at=show_time(each.occurred_us),
            appended_at=show_time(each.append_us),
            topic=each.topic,
            partition=each.partition,
            offset=each.offset,
            **msgspec.structs.asdict(_look_up(event_log, each)),
        )
        for each in movements
    ]


def _promises(services: Services, sku: str, asked: ExplainParameters) -> Promises | None:
    book = services.writer.book() if services.writer is not None else None
    if book is None:
        return None
    limit, cursor = asked.limit, asked.promises_cursor
    return promises_in_book(book, sku, asked.location, limit=limit, cursor=cursor)


def _look_up(event_log: EventLog, movement: Movement) -> _Told:
    place = (movement.topic, movement.partition)
    try:
        records = event_log.read(place, movement.offset, 1)
        if not records or records[0].offset != movement.offset:
            return _Told()
        event, _ = read_event(records[0].value, records[0].headers)
        return msgspec.convert(event, _Told)
    except (OnhandError, Refused, msgspec.ValidationError) as error:
        log.debug("event_not_looked_up", place=place, offset=movement.offset, error=str(error))
        return _Told()


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isdecimal():
        raise invalid_parameter("cursor", "must be `next` of the page before")
    return int(cursor)
