"""A poll of the log becomes a batch."""

import base64

import msgspec
import pytest

from onhand._native.decode import Decoder
from onhand.ingest.decode import Window, decode_batch
from onhand.model.batch import EVENT, LINE, TYPE_NUMBERS
from onhand.model.codes import RejectCode
from tests.stock_events import APPEND_US, HOUR_US, WINDOW, encode, event, poll, rows, text

MINUTE_US = 60_000_000
CONTENT_TYPE = "content-type"


def refused(value, *, headers=None, window=WINDOW, append_us=APPEND_US):
    """Return the one refusal of a poll of one value."""
    batch = decode_batch(poll([value], headers=headers and [headers], append_us=append_us), window)
    assert len(batch.events) == 0
    (reject,) = batch.rejects
    return reject


def accepted(value, **options):
    """Return the rows of a poll of one value, none of which is refused."""
    headers = options.pop("headers", None)
    batch = decode_batch(poll([value], headers=headers and [headers], **options), WINDOW)
    assert batch.rejects == []
    return rows(batch)


def test_columns_have_the_sizes_of_the_c_structs():
    """Numpy lays the rows out as C does."""
    assert EVENT.itemsize == 96
    assert LINE.itemsize == 24


def test_every_column_comes_back_as_it_went_in():
    """Each field of the C structs is where the dtype says, told apart by its value."""
    raw = poll([b"not json"], append_us=77, partitions=[9])
    rules = (WINDOW.late_us, WINDOW.ahead_us, WINDOW.count_us, 0, 0)
    decoder = Decoder(raw.values, None, raw.offsets, raw.append_us, raw.partitions, (), rules)
    assert decoder.run() == 0
    decoder.append(
        0, 3, -5, b"source", b"id", b"place", b"origin", b"order", 20_000, 2, 11,
        [b"one", b"two"], [4, -4],
    )  # fmt: skip
    assert decoder.run() == -1
    events, lines, heap, next_offsets, unknown_fields = decoder.finish()
    (row,) = events
    names = ("offset", "append_us", "occurred_us", "sequence", "first_line", "line_count")
    assert [int(row[name]) for name in names] == [100, 77, -5, 11, 0, 2]
    names = ("expected_day", "partition", "type", "disposition")
    assert [int(row[name]) for name in names] == [20_000, 9, 3, 2]
    assert not row["reserved"].any()
    assert heap[row["source_off"] :][: row["source_len"] + row["id_len"]] == b"sourceid"
    assert heap[row["location_off"] :][: row["location_len"]] == b"place"
    assert heap[row["from_off"] :][: row["from_len"]] == b"origin"
    assert heap[row["reference_off"] :][: row["reference_len"]] == b"order"
    assert [heap[line["sku_off"] :][: line["sku_len"]] for line in lines] == [b"one", b"two"]
    assert lines["quantity"].tolist() == [4, -4]
    assert lines["event"].tolist() == [0, 0]
    assert lines["reserved"].tolist() == [0, 0]
    assert (next_offsets, unknown_fields) == ({9: 101}, 0)


@pytest.mark.parametrize("kind", TYPE_NUMBERS)
def test_a_plain_event_of_each_type_never_leaves_native_code(kind):
    """The native way takes every type by itself."""
    raw = poll([encode(event(kind))] * 3)
    rules = (WINDOW.late_us, WINDOW.ahead_us, WINDOW.count_us, 0, 0)
    decoder = Decoder(raw.values, None, raw.offsets, raw.append_us, raw.partitions, (), rules)
    assert decoder.run() == -1
    assert decoder.finish()[0]["type"].tolist() == [TYPE_NUMBERS[kind]] * 3


def test_events_keep_the_order_of_their_records():
    """Native and Python rows interleave by record, refusals and claims leave no row."""
    values = [
        encode(event(id="0")),
        b"rubbish",
        encode(event(id="2", sku="\U0001f9e6")),
        encode(event(id="3", allocation_id="a-1")),
        encode(event("count", id="4", quantity=0)),
        b"",
    ]
    batch = decode_batch(poll(values, partitions=[0, 1, 0, 0, 1, 3]), WINDOW)
    assert [row["id"] for row in rows(batch)] == ["0", "2", "4"]
    assert batch.events["offset"].tolist() == [100, 102, 104]
    assert batch.lines["event"].tolist() == [0, 1, 2]
    assert batch.claims == [3]
    assert [(one.record, one.code) for one in batch.rejects] == [
        (1, RejectCode.MALFORMED_JSON),
        (5, RejectCode.EMPTY_VALUE),
    ]
    assert batch.next_offsets == {0: 104, 1: 105, 3: 106}


def test_an_empty_poll_is_an_empty_batch():
    """Nothing in, nothing out."""
    batch = decode_batch(poll([]), WINDOW)
    assert (len(batch.events), len(batch.lines), batch.heap) == (0, 0, b"")
    assert (batch.next_offsets, batch.rejects, batch.claims) == ({}, [], [])


def test_ids_are_told_apart_by_where_the_source_ends():
    """The fingerprint of (source, id) is not that of their concatenation."""
    values = [encode(event(source=s, id=i)) for s, i in [("a", "bc"), ("ab", "c"), ("a", "bc")]]
    batch = decode_batch(poll(values), WINDOW)
    first, second, again = zip(batch.events["id_hi"], batch.events["id_lo"], strict=True)
    assert first == again
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize("value", [event(), event("adjustment", delta=-7), event("return")])
def test_messagepack_and_cloudevents_carry_the_same_event(value):
    """However an event is wrapped, the same row comes out."""
    plain = accepted(encode(value))
    envelope = {"specversion": "1.0", "id": "x", "source": "/tills", "type": "shop.stock"}
    structured = ((CONTENT_TYPE, b"application/cloudevents+json; charset=utf-8"),)
    binary = (("ce_specversion", b"1.0"), ("ce_id", b"x"), (CONTENT_TYPE, b"application/json"))
    packed = msgspec.msgpack.encode(value)
    encoded = base64.b64encode(packed).decode()
    assert accepted(packed) == plain
    assert accepted(packed, headers=((CONTENT_TYPE, b"application/msgpack"),)) == plain
    assert accepted(encode(value), headers=binary) == plain
    assert accepted(encode(envelope | {"data": value})) == plain
    assert accepted(encode(envelope | {"data": value}), headers=structured) == plain
    assert accepted(encode(envelope | {"data_base64": encoded})) == plain
    assert accepted(msgspec.msgpack.encode(envelope | {"data": value})) == plain


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"specversion": "0.3"}, "/specversion"),
        ({"source": ""}, "/source"),
        ({"id": 7}, "/id"),
        ({"data": ...}, "/data"),
        ({"data": ..., "data_base64": "?"}, "/data_base64"),
        ({"data": ..., "data_base64": ""}, "/data_base64"),
        ({"data": ..., "data_base64": 5}, "/data_base64"),
    ],
)
def test_a_broken_envelope_is_refused(change, pointer):
    """A CloudEvent must be one by its own specification."""
    envelope = {"specversion": "1.0", "id": "x", "source": "s", "type": "t", "data": event()}
    changed = {name: value for name, value in (envelope | change).items() if value is not ...}
    headers = ((CONTENT_TYPE, b"application/cloudevents+json"),)
    reject = refused(encode(changed), headers=headers)
    assert (reject.code, reject.pointer) == (RejectCode.BAD_CLOUDEVENT, pointer)


def test_a_field_within_an_envelope_is_pointed_at_from_the_outside():
    """The pointer leads from the root of the value that was published."""
    data = event(lines=[{"sku": "a", "quantity": 0}])
    envelope = {"specversion": "1.0", "id": "x", "source": "s", "type": "t", "data": data}
    assert refused(encode(envelope)).pointer == "/data/lines/0/quantity"


def test_a_binary_cloudevent_of_another_version_is_refused():
    """Only CloudEvents 1.0 is known."""
    reject = refused(encode(event()), headers=(("ce_specversion", b"0.3"),))
    assert reject.code is RejectCode.BAD_CLOUDEVENT


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", RejectCode.EMPTY_VALUE),
        (b"\x00\x00\x00\x00\x01avro", RejectCode.MALFORMED_JSON),
        (b"\xef\xbb\xbf" + encode(event()), RejectCode.MALFORMED_JSON),
        (encode(event()) + b"x", RejectCode.MALFORMED_JSON),
        (encode(event())[:-1], RejectCode.MALFORMED_JSON),
        (encode(event(note="#")).replace(b"#", b"\xff"), RejectCode.MALFORMED_JSON),
        (b'{"a":' + b"[" * 100_000, RejectCode.TOO_DEEP),
        (b'{"a":' * 64 + b"[]" + b"}" * 64, RejectCode.TOO_DEEP),
        (b"\x81\xa1a" * 64 + b"\x90", RejectCode.TOO_DEEP),
        (b'{"a":' * 63 + b"[]" + b"}" * 63, RejectCode.MISSING_FIELD),
        (b"[]", RejectCode.NOT_AN_OBJECT),
        (b"17", RejectCode.NOT_AN_OBJECT),
        (b"\x93\x01\x02\x03", RejectCode.NOT_AN_OBJECT),
        (b"\x82\xa1a\x01", RejectCode.MALFORMED_MSGPACK),
        (b"\x81\xc3\x01\x02", RejectCode.MALFORMED_MSGPACK),
        (b"\x82\xa1a\x01\xa1a\x02", RejectCode.REPEATED_FIELD),
        (b'{"id":"1","\\u0069d":"2"}', RejectCode.REPEATED_FIELD),
        (encode(event(note=" " * (1 << 20))), RejectCode.TOO_LARGE),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(value, code):
    """Rubbish is refused, never an exception, and never half an event."""
    assert refused(value).code is code


def test_a_line_may_not_name_a_field_twice():
    """Two quantities in one line are refused, in JSON and in MessagePack."""
    value = encode(event(lines=[{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 2}]))
    doubled = value.replace(b'"quantity":2', b'"quantity":2,"quantity":3')
    assert refused(doubled).pointer == "/lines/1"
    packed = msgspec.msgpack.encode(event(lines=[{"sku": "a", "quantity": 1}]))
    line = b"\x82\xa3sku\xa1a\xa8quantity\x01"
    doubled = packed.replace(line, b"\x83" + line[1:] + b"\xa8quantity\x02")
    assert refused(doubled).pointer == "/lines/0"


def test_what_is_in_attributes_is_the_publishers_own():
    """A name that comes twice deep inside an event refuses nothing."""
    value = encode(event(attributes={"a": 1})).replace(b'"a":1', b'"a":1,"a":{"b":[1,{}]}')
    assert len(accepted(value)) == 1


TIMES = [
    # type, age, window, code
    ("sale", -MINUTE_US, {}, None),
    ("sale", -MINUTE_US - 1, {}, "clock_ahead"),
    ("sale", 72 * HOUR_US, {}, None),
    ("sale", 72 * HOUR_US + 1, {}, "too_late"),
    ("sale", 9000 * HOUR_US, {"late_us": -1}, None),
    ("sale", 1, {"late_us": 0}, "too_late"),
    ("sale", 0, {"late_us": 0}, None),
    ("count", 24 * HOUR_US, {}, None),
    ("count", 24 * HOUR_US + 1, {}, "count_too_old"),
    ("count", 25 * HOUR_US, {"count_us": -1}, None),
    ("sale", 25 * HOUR_US, {}, None),
    ("sale", 0, {"ids_since_us": APPEND_US - MINUTE_US}, "ids_forgotten"),
    ("sale", 0, {"ids_since_us": APPEND_US - MINUTE_US - 1}, None),
    ("count", 0, {"counts_since_us": APPEND_US + 1}, "counts_forgotten"),
    ("count", 0, {"counts_since_us": APPEND_US}, None),
    ("sale", 0, {"counts_since_us": APPEND_US + 1}, None),
]


@pytest.mark.parametrize(("kind", "age_us", "rules", "code"), TIMES)
@pytest.mark.parametrize("name", ["x-trace", "ce_type", "onhand-force"])
def test_time_is_judged_to_the_microsecond(kind, age_us, rules, code, name):
    """Both ways keep the same bounds; a header may send the event either way."""
    value = encode(event(kind, occurred_at="2026-03-29T12:30:01Z"))
    window = msgspec.structs.replace(WINDOW, **rules)
    raw = poll([value], headers=[((name, b""),)], append_us=APPEND_US + age_us)
    batch = decode_batch(raw, window)
    assert [reject.code for reject in batch.rejects] == ([code] if code else [])
    assert len(batch.events) == (0 if code else 1)


@pytest.mark.parametrize("code", ["too_late", "clock_ahead", "count_too_old"])
def test_a_header_forces_what_may_be_forced(code):
    """A dead letter that is submitted again may lift the windows of time, by name."""
    age_us = -HOUR_US if code == "clock_ahead" else 100 * HOUR_US
    kind = "count" if code == "count_too_old" else "sale"
    window = Window(late_us=-1 if kind == "count" else 72 * HOUR_US, count_us=HOUR_US)
    value = encode(event(kind))
    for text_of_header, count in [(code, 1), (f"other, {code}", 1), ("other", 0)]:
        headers = [(("onhand-force", text_of_header.encode()),)]
        raw = poll([value], headers=headers, append_us=APPEND_US + age_us)
        assert len(decode_batch(raw, window).events) == count


def test_what_is_forgotten_cannot_be_forced():
    """Nobody could know whether it is a duplicate."""
    headers = (("onhand-force", b"ids_forgotten,counts_forgotten,too_late"),)
    window = msgspec.structs.replace(WINDOW, ids_since_us=APPEND_US)
    assert refused(encode(event()), headers=headers, window=window).code == "ids_forgotten"


def test_the_ledger_is_taken_as_it_comes():
    """Events of stock.ledger carry a sequence, are never claims, and no age refuses them."""
    value = encode(event(sequence=12, allocation_id="a-1", occurred_at="2020-01-01T00:00:00Z"))
    raw = poll([value, value, encode(event())], partitions=[4, 5, 4])
    batch = decode_batch(raw, WINDOW, frozenset({4}))
    assert [row["sequence"] for row in rows(batch)] == [12]
    assert batch.claims == []
    assert [(one.record, one.code) for one in batch.rejects] == [
        (1, RejectCode.TOO_LATE),
        (2, RejectCode.MISSING_FIELD),
    ]
    slow = poll([value], partitions=[4], headers=[(("onhand-force", b""),)])
    assert [row["sequence"] for row in rows(decode_batch(slow, WINDOW, {4}))] == [12]


def test_a_refusal_says_what_the_event_was():
    """Dead letters are counted by type and reason."""
    reject = refused(encode(event("count", quantity=-1)))
    assert (reject.type, reject.code, reject.pointer) == ("count", "out_of_range", "/quantity")
    assert reject.detail == "must be from 0 to 2,147,483,647, was -1"


def test_a_thousand_lines_of_the_shortest_form_fit():
    """The room that is set aside for lines is enough for the densest event."""
    lines = [{"sku": chr(33 + n % 90), "delta": 1} for n in range(1000)]
    lines = [line for line in lines if line["sku"] not in '"\\']
    value = encode(event("adjustment", lines=lines))
    batch = decode_batch(poll([value] * 20), WINDOW)
    assert len(batch.lines) == 20 * len(lines)
    packed = msgspec.msgpack.encode(event("adjustment", lines=lines))
    batch = decode_batch(poll([packed, value] * 20), WINDOW)
    assert len(batch.lines) == 40 * len(lines)
    last = batch.lines[-1]
    assert text(batch, last["sku_off"], last["sku_len"]) == lines[-1]["sku"]


def test_columns_of_different_lengths_are_refused():
    """A caller that mixes polls up is told so."""
    raw = poll([b"{}"])
    with pytest.raises(ValueError, match="one length"):
        Decoder([b"{}"] * 2, None, raw.offsets, raw.append_us, raw.partitions, (), (0,) * 5)
    with pytest.raises(TypeError, match="bytes"):
        Decoder(["{}"], None, raw.offsets, raw.append_us, raw.partitions, (), (0,) * 5)
