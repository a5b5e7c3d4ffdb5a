"""Opening hours, and when a pickup is ready."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from onhand.errors import InvalidInput
from onhand.model.hours import OpeningHours, ready_by

BERLIN = ZoneInfo("Europe/Berlin")
TWO_HOURS = timedelta(hours=2)
WEEKDAYS = OpeningHours(
    mon=(("09:00", "18:00"),),
    tue=(("09:00", "12:00"), ("13:00", "18:00")),
    exceptions={date(2026, 3, 9): ()},
)
# 2026-03-02 is a Monday.


def ready(now, *, hours=WEEKDAYS, cutoff=None, preparation=TWO_HOURS, zone=BERLIN):
    local = datetime.fromisoformat(now).replace(tzinfo=zone)
    found = ready_by(hours, zone, cutoff, local, preparation)
    return None if found is None else found.strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-02 10:00", "2026-03-02 12:00"),  # open
        ("2026-03-02 07:00", "2026-03-02 11:00"),  # before opening
        ("2026-03-02 16:00", "2026-03-02 18:00"),  # just in time
        ("2026-03-02 17:00", "2026-03-03 10:00"),  # half today, half tomorrow
        ("2026-03-03 11:30", "2026-03-03 14:30"),  # over the lunch break
        ("2026-03-03 19:00", "2026-03-10 11:00"),  # closed; the next Monday is an exception
    ],
)
def test_pickup_takes_opening_time(now, expected):
    """A pickup is made ready in opening time, over breaks, nights and holidays."""
    assert ready(now) == expected


def test_cutoff_moves_the_start_to_the_next_day():
    """From the cutoff on, work begins with the next day's opening."""
    assert ready("2026-03-02 13:59", cutoff="14:00") == "2026-03-02 15:59"
    assert ready("2026-03-02 14:00", cutoff="14:00") == "2026-03-03 11:00"


def test_always_open_is_ready_after_preparation():
    """A location without opening hours works at any time, past midnight too."""
    assert ready("2026-03-02 23:30", hours=None) == "2026-03-03 01:30"
    assert ready("2026-03-02 23:30", hours=None, cutoff="20:00") == "2026-03-03 02:00"


def test_never_open_is_never_ready():
    """A location that does not open has no ready time."""
    assert ready("2026-03-02 10:00", hours=OpeningHours()) is None


def test_no_preparation_is_ready_at_once_or_at_opening():
    """Without preparation a pickup is ready now when open, else at the opening."""
    assert ready("2026-03-02 10:00", preparation=timedelta(0)) == "2026-03-02 10:00"
    assert ready("2026-03-02 18:00", preparation=timedelta(0)) == "2026-03-03 09:00"


def test_change_of_clocks_is_not_counted_as_time():
    """On the night the clocks go forward, two hours of work end three hours later on the wall."""
    assert ready("2026-03-29 01:00", hours=None) == "2026-03-29 04:00"
    assert ready("2026-10-25 01:00", hours=None) == "2026-10-25 02:00"


def test_now_may_be_in_any_zone():
    """The zone of the asking clock does not matter."""
    now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    expected = datetime(2026, 3, 2, 12, 0, tzinfo=BERLIN)
    assert ready_by(WEEKDAYS, BERLIN, None, now, TWO_HOURS) == expected


@pytest.mark.parametrize(
    ("spans", "pointer"),
    [
        ((("09:00", "09:00"),), "/mon/0"),
        ((("18:00", "02:00"),), "/mon/0"),
        ((("09:00", "12:00"), ("11:00", "13:00")), "/mon/1"),
        ((("13:00", "14:00"), ("09:00", "10:00")), "/mon/1"),
    ],
)
def test_spans_out_of_order_are_refused(spans, pointer):
    """A span that ends before it begins, or overlaps the one before, is named."""
    with pytest.raises(InvalidInput) as caught:
        OpeningHours(mon=spans)
    assert [error.pointer for error in caught.value.errors] == [pointer]
