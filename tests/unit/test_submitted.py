"""What a publisher hands over in one body."""

import pytest

from onhand.errors import InvalidInput
from onhand.ingest.submitted import parse_events
from tests.stock_events import APPEND_US, WINDOW, encode, event

RIGHT = encode(event())
WRONG = encode(event(quantity=0))


def test_one_object_is_one_event():
    """The bytes are kept as they were published."""
    submission = parse_events(b" " + RIGHT + b"\n")
    assert submission.accepted() == [(RIGHT, "sale")]
    assert submission.rejects == []


def test_an_array_is_judged_one_by_one():
    """Each event of an array stands for itself; refusals carry its index."""
    body = b"[ %s ,\n%s, 17, %s]" % (RIGHT, WRONG, encode(event("count", id="2")))
    submission = parse_events(body, "application/json; charset=utf-8")
    assert submission.types == ["sale", None, None, "count"]
    assert [(one.record, one.code, one.pointer) for one in submission.rejects] == [
        (1, "out_of_range", "/quantity"),
        (2, "not_an_object", ""),
    ]
    assert submission.values[0] == RIGHT


def test_lines_of_ndjson_are_judged_one_by_one():
    """Blank lines do not count, and a broken line harms no other."""
    body = b"%s\r\n\n  \n{broken\n%s" % (RIGHT, WRONG)
    submission = parse_events(body, "application/x-ndjson")
    assert submission.types == ["sale", None, None]
    assert [one.code for one in submission.rejects] == ["malformed_json", "out_of_range"]


def test_claims_are_accepted_like_any_event():
    """A claim is published too; the order layer decides it later."""
    submission = parse_events(encode(event("return", return_id="r-1")))
    assert submission.types == ["return"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"  ", "application/json"),
        (b"{", "application/json"),
        (b"[" + RIGHT, "application/json"),
        (b"[]", "application/json"),
        (b"[1]", "application/json"),
        (b"17", "application/json"),
        (b'"event"', "application/json"),
        (b"\n\n", "application/x-ndjson"),
        (b"not\njson", "application/x-ndjson"),
    ],
)
def test_a_body_without_any_event_is_an_error(body, content_type):
    """Where nothing can be read as an object, the body as a whole is refused."""
    with pytest.raises(InvalidInput, match="no event"):
        parse_events(body, content_type)


def test_time_is_judged_when_asked():
    """A publisher learns of a late event or a clock ahead at once."""
    late = encode(event(occurred_at="2026-03-01T00:00:00Z"))
    assert parse_events(late).rejects == []
    (reject,) = parse_events(late, now_us=APPEND_US, window=WINDOW).rejects
    assert reject.code == "too_late"
