"""RFC 3339 times and dates as the integers that everything inside works with."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,32}))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_WITHOUT_OFFSET: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S: Final = 86_400


def parse_day(text: str) -> int:
    """Read ``YYYY-MM-DD`` as days since 1970-01-01.

    Raises
    ------
    ValueError
        Saying what a date must be like.
    """
    if not _DATE.fullmatch(text):
        raise ValueError("must be a date such as 2026-03-29")
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError:
        raise ValueError("must be a day of the calendar") from None


def parse_time(text: str) -> int:
    """Read an RFC 3339 time as microseconds since 1970-01-01 UTC; finer digits are cut off.

    A leap second (``:60``, at the end of a UTC day) is the first instant after it.

    Raises
    ------
    ValueError
        Saying what a time must be like.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        if _WITHOUT_OFFSET.fullmatch(text):
            raise ValueError("must have an offset, such as Z or +01:00")
        raise ValueError("must be RFC 3339, such as 2026-03-29T12:30:00+01:00")
    day, hour, minute, second, fraction, _, sign, *offset = match.groups()
    offset_hour, offset_minute = (int(part or 0) for part in offset)
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:  # noqa: PLR2004, of the clock
        raise ValueError("must be a time of the clock, at most 23:59:59")
    if offset_hour > 23 or offset_minute > 59:  # noqa: PLR2004, of the clock
        raise ValueError("must have an offset of at most 23:59")
    offset_s = (offset_hour * 3600 + offset_minute * 60) * (-1 if sign == "-" else 1)
    utc_s = parse_day(day) * _DAY_S + seconds - offset_s
    if int(second) == 60 and utc_s % _DAY_S:  # noqa: PLR2004, a leap second
        raise ValueError("must have a leap second only at the end of a UTC day")
    return utc_s * 1_000_000 + int(f"{fraction or '0':0<6}"[:6])


def show_time(time_us: int) -> str:
    """Write microseconds since 1970-01-01 UTC as RFC 3339, to the millisecond."""
    try:
        moment = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return f"{time_us} us after 1970"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
