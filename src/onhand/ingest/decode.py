"""Decode and judge: a poll of the log becomes a batch.

Plain events go the native way: one pass over their bytes, in ``native/onhand/_native/decode/``. It
takes an event only when it is certain of it. Every other record stops it and is decided here: what
is refused, claims, MessagePack, CloudEvents, forced records. So the rules and their words live in
Python (``onhand.model.check``), and the native way can only agree or decline.

Everything is decided from the record and its append time alone, so that live, replay and rebuild
agree.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from onhand._native.decode import Decoder
from onhand.model.batch import TYPE_NUMBERS, Batch, Reject
from onhand.model.check import CheckedEvent, Refused, check_object
from onhand.model.codes import FORCIBLE, RejectCode
from onhand.model.envelope import Headers, forced_codes, read_event
from onhand.model.times import show_time

if TYPE_CHECKING:
    from onhand.log.base import RawBatch

_HOUR_US = 3_600_000_000


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of time that a batch is judged by, in microseconds.

    ``late_us`` and ``count_us`` below 0 are off. ``ids_since_us`` and ``counts_since_us`` are the
    append time and the occurrence before which ids and movements are forgotten, 0 for none.
    """

    late_us: int
    count_us: int
    ids_since_us: int = 0
    counts_since_us: int = 0
    ahead_us: int = 60_000_000


def decode_batch(
    raw: RawBatch, window: Window, ledger_partitions: Collection[int] = frozenset()
) -> Batch:
    """Decode and judge one poll.

    Parameters
    ----------
    raw
        The poll.
    window
        The rules of time.
    ledger_partitions
        Indexes of the partitions of ``stock.ledger``. Events there carry ``sequence``, are never
        claims and are not judged by time: the order layer has decided them, and dropping one would
        stop its gapless sequence for good.

    Returns
    -------
    Batch
        Events in the order of their records; ``progress_us`` and ``lag_events`` are left to the
        caller.
    """
    decoder = Decoder(
        raw.values,
        raw.headers,
        raw.offsets,
        raw.append_us,
        raw.partitions,
        ledger_partitions,
        (
            window.late_us,
            window.ahead_us,
            window.count_us,
            window.ids_since_us,
            window.counts_since_us,
        ),
    )
    rejects: list[Reject] = []
    claims: list[int] = []
    slow: list[int] = []
    unknown_fields = 0
    while (index := decoder.run()) >= 0:
        slow.append(index)
        headers = raw.headers[index] if raw.headers else None
        try:
            event = judge_record(
                raw.values[index],
                headers or (),
                int(raw.append_us[index]),
                window,
                is_ledger=raw.partitions[index] in ledger_partitions,
            )
        except Refused as refused:
            rejects.append(_reject(index, refused))
            continue
        unknown_fields += event.unknown_fields
        if event.is_claim:
            claims.append(index)
        else:
            _append(decoder, index, event)
    events, lines, heap, next_offsets, native_unknown_fields = decoder.finish()
    batch = Batch(events, lines, heap)
    batch.next_offsets = next_offsets
    batch.ids_since_us = window.ids_since_us
    batch.counts_since_us = window.counts_since_us
    batch.rejects = rejects
    batch.claims = claims
    batch.slow = slow
    batch.unknown_fields = unknown_fields + native_unknown_fields
    return batch


def judge_record(
    value: bytes, headers: Headers, append_us: int, window: Window, *, is_ledger: bool = False
) -> CheckedEvent:
    """Read and judge one record the slow way, which defines what is right.

    Raises
    ------
    Refused
        With the first rule that it breaks.
    """
    found, pointer = read_event(value, headers)
    try:
        event = check_object(found, is_ledger=is_ledger)
        if not is_ledger:
            _judge_time(event, append_us, window, forced_codes(headers) & FORCIBLE)
    except Refused as refused:
        refused.pointer = pointer + refused.pointer
        raise
    return event


def _reject(index: int, refused: Refused) -> Reject:
    return Reject(
        record=index,
        type=refused.type,
        code=refused.code,
        pointer=refused.pointer,
        detail=refused.detail,
    )


def _append(decoder: Decoder, index: int, event: CheckedEvent) -> None:
    decoder.append(
        index,
        TYPE_NUMBERS[event.type],
        event.occurred_us,
        event.source.encode(),
        event.id.encode(),
        event.location.encode(),
        event.from_location.encode(),
        event.reference.encode(),
        event.expected_day,
        event.disposition,
        event.sequence,
        [sku.encode() for sku in event.skus],
        event.quantities,
    )


def _judge_time(
    event: CheckedEvent, append_us: int, window: Window, forced: Collection[str]
) -> None:
    for code, detail in _breaches(event, append_us, window):
        if code not in forced:
            refused = Refused(code, "/occurred_at", f"{show_time(event.occurred_us)} {detail}")
            refused.type = event.type
            raise refused


def _breaches(event: CheckedEvent, append_us: int, window: Window) -> list[tuple[RejectCode, str]]:
    """Every rule of time that the event breaks."""
    found = []
    age_us = append_us - event.occurred_us
    is_count = event.type == "count"
    if -age_us > window.ahead_us:
        found.append((RejectCode.CLOCK_AHEAD, _ahead(append_us, window)))
    if 0 <= window.late_us < age_us:
        found.append((RejectCode.TOO_LATE, _behind(append_us, window.late_us, "late_window")))
    if is_count and 0 <= window.count_us < age_us:
        detail = _behind(append_us, window.count_us, "count_window")
        found.append((RejectCode.COUNT_TOO_OLD, detail))
    if window.ids_since_us > 0 and event.occurred_us <= window.ids_since_us + window.ahead_us:
        detail = f"is older than the ids remembered, since {show_time(window.ids_since_us)}"
        found.append((RejectCode.IDS_FORGOTTEN, detail))
    if is_count and event.occurred_us < window.counts_since_us:
        since = show_time(window.counts_since_us)
        detail = f"is older than the movements remembered, since {since}"
        found.append((RejectCode.COUNTS_FORGOTTEN, detail))
    return found


def _ahead(append_us: int, window: Window) -> str:
    return (
        f"must be at most {window.ahead_us // 1_000_000} s after it was appended, at "
        f"{show_time(append_us)}: check the publisher's clock"
    )


def _behind(append_us: int, window_us: int, name: str) -> str:
    return (
        f"must be at most {window_us / _HOUR_US:g} h ({name}) before it was appended, at "
        f"{show_time(append_us)}"
    )
