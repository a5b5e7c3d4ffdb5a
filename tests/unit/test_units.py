"""Durations and sizes as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onhand.units import format_duration, format_size_bytes, parse_duration, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("72h", timedelta(hours=72)),
        ("30s", timedelta(seconds=30)),
        ("250ms", timedelta(milliseconds=250)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5d", timedelta(hours=36)),
        ("off", None),
    ],
)
def test_duration_is_read_with_its_unit(text, duration):
    """A duration is read in any unit and combination, and off is none."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "72", "h", "72 h", "-1h", "1h x", "72H", "OFF", "1e3s"])
def test_duration_without_a_plain_meaning_is_refused(text):
    """A number without a unit or anything else unclear is no duration."""
    with pytest.raises(ValueError, match="72h"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)))
def test_duration_survives_being_written_and_read(duration):
    """Writing a duration and reading it back gives the same duration."""
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("16GiB", 16 << 30), ("1.5 MB", 1_500_000), ("1024", 1024), ("1mib", 1 << 20), ("0", 0)],
)
def test_size_is_read_in_binary_and_decimal_units(text, size_bytes):
    """A size is read in bytes, binary units and decimal units."""
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GiB", "16G", "-1", "1,5MB"])
def test_size_without_a_plain_meaning_is_refused(text):
    """An unknown unit or no number is no size."""
    with pytest.raises(ValueError, match="16GiB"):
        parse_size_bytes(text)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_size_survives_being_written_and_read(size_bytes):
    """Writing a size and reading it back gives the same size."""
    assert parse_size_bytes(format_size_bytes(size_bytes)) == size_bytes
