"""Opening hours, and when a pickup can be ready. Pure functions of the clock they are given."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from onhand.errors import FieldError
from onhand.model.validate import check, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

HORIZON_DAYS: Final = 60
"""How far ahead an opening is looked for; a store closed for longer has no ready time."""

ClockTime = Annotated[str, pattern(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "a local time as HH:MM")]
"""A local wall-clock time, ``HH:MM``."""

_CloseTime = Annotated[
    str,
    pattern(r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "a local time as HH:MM, at most 24:00"),
]
Span = tuple[ClockTime, _CloseTime]
Spans = Annotated[tuple[Span, ...], Meta(max_length=10)]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60


class OpeningHours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a location is open, in its own time zone.

    A day lists spans ``["09:00", "18:00"]``; a day left out is closed. A span ends after it
    begins, at the latest at ``24:00``: what runs past midnight is written as two. ``exceptions``
    replaces single dates, an empty list meaning closed.
    """

    mon: Spans = ()
    tue: Spans = ()
    wed: Spans = ()
    thu: Spans = ()
    fri: Spans = ()
    sat: Spans = ()
    sun: Spans = ()
    exceptions: Annotated[dict[date, Spans], Meta(max_length=1000)] = {}

    def __post_init__(self) -> None:
        """Check that spans are in order and do not overlap.

        Raises
        ------
        InvalidInput
            Naming the day and the span.
        """
        errors: list[FieldError] = []
        for day in _DAYS:
            errors += _span_errors(f"/{day}", getattr(self, day))
        for day_date, spans in self.exceptions.items():
            errors += _span_errors(f"/exceptions/{day_date.isoformat()}", spans)
        check("not valid opening hours", errors)

    def spans(self, day: date) -> tuple[tuple[int, int], ...]:
        """Answer the minutes since local midnight at which ``day`` opens and closes."""
        listed: Spans = self.exceptions.get(day, getattr(self, _DAYS[day.weekday()]))
        return tuple((_minutes(begin), _minutes(end)) for begin, end in listed)


def ready_by(
    hours: OpeningHours | None,
    zone: ZoneInfo,
    cutoff: str | None,
    now: datetime,
    preparation: timedelta,
) -> datetime | None:
    """Say when a pickup ordered now can be collected.

    Staff work on it only while the store is open, beginning at once or, after the day's
    ``cutoff``, with the next day's opening.

    Parameters
    ----------
    hours
        None means always open.
    cutoff
        Local ``HH:MM`` from which an order waits for the next day; None means no cutoff.
    now
        Any time with an offset.
    preparation
        Opening time needed.

    Returns
    -------
    datetime or None
        In the location's zone; None when too few openings lie ahead.
    """
    local = now.astimezone(zone)
    begin = now.timestamp()
    first_day = local.date()
    if cutoff is not None and local.hour * 60 + local.minute >= _minutes(cutoff):
        first_day += timedelta(days=1)
        begin = _instant(first_day, 0, zone)
    left_s = preparation.total_seconds()
    for opens, closes in _openings(hours, zone, first_day):
        start = max(opens, begin)
        if start >= closes:
            continue
        if start + left_s <= closes:
            return datetime.fromtimestamp(start + left_s, zone)
        left_s -= closes - start
    return None


def _openings(
    hours: OpeningHours | None, zone: ZoneInfo, first_day: date
) -> Iterator[tuple[float, float]]:
    # Instants, not wall times: across a change of the clocks a span may be an hour off its usual
    # length, and subtracting wall times would promise that hour wrongly.
    for offset in range(HORIZON_DAYS):
        day = first_day + timedelta(days=offset)
        spans = ((0, _DAY_MINUTES),) if hours is None else hours.spans(day)
        for begin, end in spans:
            yield _instant(day, begin, zone), _instant(day, end, zone)


def _instant(day: date, minutes: int, zone: ZoneInfo) -> float:
    days, minute_of_day = divmod(minutes, _DAY_MINUTES)
    clock = time(minute_of_day // 60, minute_of_day % 60, tzinfo=zone)
    return datetime.combine(day + timedelta(days=days), clock).timestamp()


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _span_errors(pointer: str, spans: Spans) -> list[FieldError]:
    errors = []
    last_end = -1
    for index, (begin, end) in enumerate(spans):
        if _minutes(end) <= _minutes(begin):
            rule = "must end after it begins; write what runs past midnight as two spans"
            errors.append(FieldError(f"{pointer}/{index}", rule))
        elif _minutes(begin) < last_end:
            errors.append(FieldError(f"{pointer}/{index}", "must begin after the span before it"))
        last_end = max(last_end, _minutes(end))
    return errors
