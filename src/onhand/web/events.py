"""Events in over HTTP: judged, put on their topics, answered when they are durable."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import MediaType, Request, Response, post
from msgspec import Meta, Struct

from onhand.errors import InvalidInput
from onhand.ingest.decode import Window
from onhand.ingest.publish import TOPIC_OF_TYPE
from onhand.ingest.submitted import Submission, parse_events
from onhand.log.base import Headers, NewRecord
from onhand.model.events import AnyEvent
from onhand.tracing import trace_headers
from onhand.web.auth import guard, require
from onhand.web.openapi import described
from onhand.web.parameters import PublishParameters, parse_parameters
from onhand.web.problem import ProblemCode, ProblemError
from onhand.web.reply import Reply

if TYPE_CHECKING:
    from onhand.ledger import Authenticator
    from onhand.log.base import EventLog, Position
    from onhand.metrics import Page
    from onhand.settings import Settings
    from onhand.web.readside import ReadSide

ACCEPTED: Final = 202
VISIBLE_WAIT_S_MAX: Final = 10.0
VISIBLE_POLL_S: Final = 0.002

IN_THREAD_BYTES: Final = 16_384
"""Larger bodies are judged in a thread, where reads need not wait for them."""


class Rejection(Struct, frozen=True):
    """An event that breaks a rule; ``index`` is its place in the body."""

    index: int
    code: str
    detail: str
    pointer: Annotated[str, Meta(description="JSON pointer into the event.")]


class Published(Struct, frozen=True):
    """How many events are durable in the log, and which were refused."""

    accepted: int
    rejected: list[Rejection]


class _KeyFields(Struct):
    """What a record's key is taken from: whatever keeps the parts of one basket together."""

    basket_id: str | None = None
    sku: str | None = None
    id: str | None = None


_encode = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(_KeyFields).decode


class Publisher:
    """Takes posted events to the log.

    Parameters
    ----------
    settings
        For the rules of time.
    side
        Says when events are visible.
    page
        Where it counts.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        side: ReadSide,
        authenticator: Authenticator,
        page: Page,
    ) -> None:
        # What ingest will refuse by its append time is refused here by now, which is that time or
        # a moment before: the publisher hears of it at once instead of finding a dead letter.
        self._window = Window(late_us=settings.late_us, count_us=settings.count_us)
        self._log = event_log
        self._side = side
        self._authenticator = authenticator
        self._accepted = page.counter("onhand_publish_events_total", "accepted")
        self._rejected = page.counter("onhand_publish_events_total", "rejected")
        self._seconds = page.histogram("onhand_publish_seconds")

    def authorize(self, authorization: str | None) -> None:
        """Let only publishers pass.

        Raises
        ------
        ProblemError
            401 or 403.
        """
        require(self._authenticator, authorization, "publisher")

    async def publish(self, body: bytes, content_type: str | None, query_string: str) -> Reply:
        """Answer ``POST /v1/events`` once what is accepted is durable, or visible if so asked.

        Raises
        ------
        ProblemError
            ``not_an_event``; ``not_yet_visible`` when waiting took longer than
            :data:`VISIBLE_WAIT_S_MAX`.
        LogUnavailable, LogFull
            Nothing is promised then; sending again is always safe.
        """
        begun_s = time.perf_counter()
        asked = parse_parameters(PublishParameters, query_string)
        submission = await self._judge(body, content_type or "application/json")
        # All share one object: the log then writes it out once.
        headers = trace_headers()
        records = [_record(value, kind, headers) for value, kind in submission.accepted()]
        if records:
            positions = await asyncio.wrap_future(self._log.append_nowait(records))
            self._accepted.add(len(records))
            self._seconds.observe(time.perf_counter() - begun_s)
            if asked.wait == "visible":
                await self._wait_visible(positions)
        self._rejected.add(len(submission.rejects))
        rejected = [
            Rejection(each.record, each.code, each.detail, each.pointer)
            for each in submission.rejects
        ]
        return Reply(ACCEPTED, _encode(Published(len(records), rejected)))

    async def _judge(self, body: bytes, content_type: str) -> Submission:
        now_us = time.time_ns() // 1000
        arguments: dict[str, Any] = {"now_us": now_us, "window": self._window}
        try:
            if len(body) > IN_THREAD_BYTES:
                return await asyncio.to_thread(parse_events, body, content_type, **arguments)
            return parse_events(body, content_type, **arguments)
        except InvalidInput as error:
            detail = "; ".join(each.detail for each in error.errors)
            raise ProblemError(ProblemCode.NOT_AN_EVENT, detail, error.errors) from error

    async def _wait_visible(self, positions: list[Position]) -> None:
        wanted: dict[tuple[str, int], int] = {}
        for topic, partition, offset in positions:
            key = (topic, partition)
            wanted[key] = max(wanted.get(key, 0), offset + 1)
        deadline_s = time.monotonic() + VISIBLE_WAIT_S_MAX
        while not self._side.has_applied(wanted):
            if time.monotonic() > deadline_s:
                raise ProblemError(
                    ProblemCode.NOT_YET_VISIBLE,
                    f"The events are durable and were not applied within {VISIBLE_WAIT_S_MAX:g} s.",
                )
            await asyncio.sleep(VISIBLE_POLL_S)


def _record(value: bytes, kind: str, headers: Headers) -> NewRecord:
    return NewRecord(topic=TOPIC_OF_TYPE[kind], value=value, key=_key(value), headers=headers)


def _key(value: bytes) -> bytes | None:
    try:
        fields = _decode_key(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # An envelope or MessagePack: any partition is right, since events commute.
        return None
    key = fields.basket_id or fields.sku or fields.id
    return key.encode() if key else None


@post("/v1/events", guards=[guard("publisher")], status_code=ACCEPTED)
@described(
    parameters=PublishParameters,
    body=AnyEvent | list[AnyEvent],
    body_media_types=("application/json", "application/x-ndjson"),
    statuses={ACCEPTED: Published},
)
async def post_events(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Publish stock events: one object, an array, or one a line.

    Accepted means durable in the log; sending again is always safe. An event that breaks a rule is
    refused alone, and the others are accepted. With `wait=visible` the answer comes when reads see
    the events, or after 10 s as the problem `not_yet_visible`: they are durable then all the same.
    """
    publisher: Publisher = request.app.state.services.publisher
    reply = await publisher.publish(
        await request.body(),
        request.headers.get("content-type"),
        request.scope["query_string"].decode(),
    )
    return Response(reply.body, status_code=reply.status, media_type=MediaType.JSON)
