"""Bytes of publishers: the native way and the Python way agree, in every envelope."""

import msgspec

from onhand.errors import InvalidInput
from onhand.ingest.decode import judge_record
from onhand.ingest.submitted import NDJSON_TYPES, TIMELESS, judge_values, parse_events
from onhand.model.check import Refused
from onhand.model.codes import RejectCode
from onhand.model.events import EVENT_DEPTH_MAX
from tests.stock_events import APPEND_US, OCCURRED_AT, WINDOW, encode, event
from tests.twin.test_decode_twin import LEDGER, assert_twins

BETWEEN = b"\x1e"
"""Parts the records of a poll: neither JSON nor a string in it holds it as it is."""

MODEL = [event(kind) for kind in ("sale", "expected", "transfer_shipped", "return", "adjustment")]
LINES = [{"sku": "a", "quantity": 1}, {"sku": "é", "quantity": 2}]
SEEDS = [
    *map(encode, MODEL),
    encode(event("count", lines=LINES)),
    encode(event(attributes={"a": [1.5e3, None, {"b": "€"}]}, order_id="o", sequence=4), indent=1),
    BETWEEN.join(encode(event(id=str(number))) for number in range(3)),
    msgspec.msgpack.encode(event("count", lines=LINES)),
    encode({
        "specversion": "1.0", "id": "1", "source": "/till", "type": "sale", "data": event(),
    }),
    b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"e30="}',
]  # fmt: skip
BODIES = [
    *SEEDS[:2],
    encode(MODEL),
    b"\n".join(map(encode, MODEL)),
]
DICTIONARY = [
    *(f'"{name}"'.encode() for name in sorted({name for made in MODEL for name in made})),
    *(f'"{made["type"]}"'.encode() for made in MODEL),
    b'"lines":[{', b'"specversion":"1.0"', b'"data":{', b'"data_base64":"', b"\\u0061", b"\\ud800",
    b"null", b"true", b"1e5", b"-1", b"2147483647", b"2147483648", b"\xe2\x82\xac", b"\xed\xa0\x80",
    OCCURRED_AT.encode(), b"+01:00", b":60Z", b"\x1e", b"\xde\x00\x01", b"\xa4type",
]  # fmt: skip


def check_poll(data):
    """Hold a poll of records alike both ways, on a topic of stock and on the ledger's."""
    values = data.split(BETWEEN)
    assert_twins(values)
    assert_twins(values, LEDGER)


def check_envelopes(data):
    """Let an event mean the same as JSON, as MessagePack and inside a CloudEvent."""
    try:
        found = msgspec.json.decode(data)
        packed = msgspec.msgpack.encode(found)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return  # No JSON, or a number that MessagePack has no form for.
    if not isinstance(found, dict) or found.get("specversion") is not None:
        return
    judged = _judged(data)
    if judged[0] in {RejectCode.REPEATED_FIELD, RejectCode.TOO_DEEP, RejectCode.TOO_LARGE}:
        return  # Packed they come once; and an envelope is a level, and bytes, of its own.
    assert _judged(packed) == judged
    cloud = {"specversion": "1.0", "id": "1", "source": "/till", "type": "stock", "data": found}
    if _depth(found) < EVENT_DEPTH_MAX:
        assert _judged(msgspec.json.encode(cloud)) == _inside(judged, "/data")
        assert _judged(msgspec.msgpack.encode(cloud)) == _inside(judged, "/data")
    del cloud["data"]
    cloud["data_base64"] = packed  # JSON writes bytes as base64.
    assert _judged(msgspec.json.encode(cloud)) == _inside(judged, "/data_base64")


def check_body(data):
    """Refuse a body of POST /v1/events whole, or judge each of its events by itself."""
    for content_type in ("application/json", min(NDJSON_TYPES)):
        try:
            submission = parse_events(data, content_type, now_us=APPEND_US, window=WINDOW)
        except InvalidInput:
            continue
        refusals = {reject.record: reject for reject in submission.rejects}
        for index, (value, kind) in enumerate(
            zip(submission.values, submission.types, strict=True)
        ):
            alone = judge_values([value], now_us=APPEND_US, window=WINDOW)
            assert alone.types == [kind]
            assert [(one.code, one.pointer, one.detail) for one in alone.rejects] == (
                [(one.code, one.pointer, one.detail)] if (one := refusals.get(index)) else []
            )


def _judged(value):
    """Return the refusal of one record, or the event in the form that columns hold."""
    try:
        return None, judge_record(value, (), APPEND_US, TIMELESS)
    except Refused as refused:
        return refused.code, refused.pointer, refused.detail


def _inside(judged, pointer):
    return judged if judged[0] is None else (judged[0], pointer + judged[1], judged[2])


def _depth(found):
    within = found.values() if isinstance(found, dict) else found
    return 1 + max(map(_depth, within), default=0) if isinstance(found, dict | list) else 0
