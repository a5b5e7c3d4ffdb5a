"""RFC 3339 in, integers out."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onhand.model.times import parse_day, parse_time, show_time

OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", 1_000_000),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00.1234567891Z", 123_456),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("1972-06-30T23:59:60Z", 78_796_800_000_000),
        ("1972-07-01T00:59:60.5+01:00", 78_796_800_500_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    ],
)
def test_a_time_is_read_exactly(text, same):
    """Fractions are cut to microseconds, offsets applied, a leap second is the next instant."""
    assert parse_time(text) == same


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-03-29",
        "2026-03-29T12:30:00",
        "2026-03-29 12:30:00Z",
        "2026-03-29T12:30Z",
        "2026-03-29T24:00:00Z",
        "2026-03-29T12:60:00Z",
        "2026-03-29T12:30:61Z",
        "2026-03-29T12:30:60Z",
        "2026-03-29T12:30:00.Z",
        "2026-03-29T12:30:00+24:00",
        "2026-03-29T12:30:00+01:60",
        "2026-03-29T12:30:00+0100",
        "2026-02-29T12:30:00Z",
        "0000-01-01T00:00:00Z",
        "2026-03-29T12:30:00Z\n",
        "２026-03-29T12:30:00Z",
    ],
)
def test_what_is_no_time_with_an_offset_is_refused(text):
    """Anything else is an error that says how to write it."""
    with pytest.raises(ValueError, match=r"^must "):
        parse_time(text)


@given(st.datetimes(timezones=OFFSETS))
def test_times_agree_with_the_calendar(moment):
    """What Python writes as ISO 8601 is read back to the microsecond."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_time(moment.isoformat()) == (moment - epoch) // timedelta(microseconds=1)


def test_days_and_shown_times():
    """Days count from 1970; a shown time is RFC 3339 again, and never fails."""
    assert parse_day("1970-01-02") == 1
    assert show_time(250_000) == "1970-01-01T00:00:00.250Z"
    assert show_time(2**62) == f"{2**62} us after 1970"
