"""Events that a publisher hands over in one body: split, judged, bytes kept as they came."""

from __future__ import annotations

from typing import Final, NoReturn

import msgspec
import numpy as np

from onhand.errors import FieldError, InvalidInput
from onhand.ingest.decode import Window, decode_batch, judge_record
from onhand.log.base import RawBatch, Record
from onhand.model.batch import TYPE_NUMBERS, Reject
from onhand.model.codes import RejectCode

TIMELESS: Final = Window(late_us=-1, count_us=-1, ahead_us=2**62)
"""Judges the schema alone."""

NDJSON_TYPES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_UNREADABLE: Final = frozenset(
    {RejectCode.EMPTY_VALUE, RejectCode.MALFORMED_JSON, RejectCode.NOT_AN_OBJECT}
)
_TYPE_NAMES: Final = {number: name for name, number in TYPE_NUMBERS.items()}


class Submission(msgspec.Struct, frozen=True):
    """What one body holds.

    ``values`` are the events as published, in order; ``types`` the type of each that is accepted,
    None for those refused; ``rejects`` name the refused ones by their index (``record``).
    """

    values: list[bytes]
    types: list[str | None]
    rejects: list[Reject]

    def accepted(self) -> list[tuple[bytes, str]]:
        """Return bytes and type of each accepted event."""
        return [
            (value, kind)
            for value, kind in zip(self.values, self.types, strict=True)
            if kind is not None
        ]


def parse_events(
    body: bytes,
    content_type: str = "application/json",
    *,
    now_us: int = 0,
    window: Window = TIMELESS,
) -> Submission:
    """Split a body into events and judge each.

    Parameters
    ----------
    body
        One object, an array of them, or NDJSON.
    content_type
        The body's media type; parameters are ignored.
    now_us
        What the append time will be, about, in microseconds since 1970-01-01 UTC.
    window
        The rules of time; by default none, so that only the schema is judged.

    Raises
    ------
    InvalidInput
        The body is no event at all.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    values = _split_lines(body) if media_type in NDJSON_TYPES else _split_json(body)
    if not values:
        _no_event("must hold an event")
    submission = judge_values(values, now_us=now_us, window=window)
    unreadable = [reject for reject in submission.rejects if reject.code in _UNREADABLE]
    if len(unreadable) == len(values):
        _no_event(unreadable[0].detail)
    return submission


def judge_values(values: list[bytes], *, now_us: int = 0, window: Window = TIMELESS) -> Submission:
    """Judge events that are parted already, each given as its bytes."""
    count = len(values)
    raw = RawBatch(
        values=values,
        offsets=np.arange(count),
        append_us=np.full(count, now_us),
        partitions=np.zeros(count, np.uint16),
        headers=None,
        whole=_no_record,
    )
    batch = decode_batch(raw, window)
    types: list[str | None] = [None] * count
    # An event's offset is its index here: claims and refusals have no row among the events.
    for index, number in zip(batch.events["offset"], batch.events["type"], strict=True):
        types[index] = _TYPE_NAMES[number]
    for index in batch.claims:
        types[index] = judge_record(values[index], (), now_us, window).type
    return Submission(values=values, types=types, rejects=batch.rejects)


def _split_lines(body: bytes) -> list[bytes]:
    return [line for line in map(bytes.strip, body.split(b"\n")) if line]


def _split_json(body: bytes) -> list[bytes]:
    body = body.strip()
    if not body.startswith(b"["):
        return [body]
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _no_event(f"must be JSON: {error}")


def _no_record(index: int) -> Record:
    raise IndexError(f"Invariant: event {index} of a body is not in the log yet")


def _no_event(detail: str) -> NoReturn:
    raise InvalidInput("the body is no event", (FieldError("", detail),))
