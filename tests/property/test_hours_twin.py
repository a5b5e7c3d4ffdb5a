"""Ready times against a naive twin that walks the clock minute by minute."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from onhand.model.hours import OpeningHours, ready_by

ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def clock(minutes):
    return f"{minutes // 60:02}:{minutes % 60:02}"


@st.composite
def day_spans(draw):
    # Whole half hours, and none that the clocks skip or repeat, so that the twin can stay naive.
    edges = draw(st.lists(st.integers(8, 47), min_size=0, max_size=4, unique=True).map(sorted))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return tuple((clock(begin * 30), clock(end * 30)) for begin, end in pairs)


weeks = st.builds(OpeningHours, **{day: day_spans() for day in DAYS})


def twin(hours, zone, cutoff, now, preparation_minutes):
    local = now.astimezone(zone)
    first = local.date()
    late = cutoff is not None and local.strftime("%H:%M") >= cutoff
    left = preparation_minutes
    moment = now
    for _ in range(10 * 1440):
        here = moment.astimezone(zone)
        spans = getattr(hours, DAYS[here.weekday()])
        if any(begin <= here.strftime("%H:%M") < end for begin, end in spans) and not (
            late and here.date() <= first
        ):
            left -= 1
            if left == 0:
                return moment + timedelta(minutes=1)
        moment += timedelta(minutes=1)
    return None


@given(
    weeks,
    st.sampled_from(ZONES),
    st.none() | st.integers(0, 1439).map(clock),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1)).map(  # noqa: DTZ001 - zoned below
        lambda naive: naive.replace(second=0, microsecond=0, tzinfo=UTC)
    ),
    st.integers(1, 300),
)
def test_ready_time_equals_a_walk_of_the_clock(hours, zone, cutoff, now, minutes):
    """Counting opening minutes one by one gives the same ready time."""
    expected = twin(hours, zone, cutoff, now, minutes)
    found = ready_by(hours, zone, cutoff, now, timedelta(minutes=minutes))
    if expected is not None:
        assert found == expected
    elif found is not None:
        assert found > now + timedelta(days=9)


def test_exception_replaces_its_date():
    """An exception's spans stand in place of the weekday's."""
    hours = OpeningHours(mon=(("09:00", "18:00"),), exceptions={date(2026, 3, 2): ()})
    assert hours.spans(date(2026, 3, 2)) == ()
    assert hours.spans(date(2026, 3, 9)) == ((540, 1080),)
