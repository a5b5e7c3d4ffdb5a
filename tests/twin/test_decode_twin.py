"""The native way and the Python way are twins: whatever the bytes, the same batch comes out.

A header that forces nothing sends a record the Python way, which is the definition of the rules.
"""

import json
import random
from datetime import timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onhand._native.decode import Decoder
from onhand.ingest.decode import decode_batch
from onhand.model.batch import TYPE_NUMBERS
from onhand.model.events import EVENT_STRUCTS, LedgerFields
from onhand.model.times import parse_time
from tests.stock_events import OCCURRED_AT, WINDOW, encode, event, poll

PYTHON_WAY = (("onhand-force", b""),)
LEDGER = 1


def assert_twins(values, partition=0):
    """Decode both ways and compare everything, byte for byte."""
    partitions = [partition] * len(values)
    native = decode_batch(poll(values, partitions=partitions), WINDOW, {LEDGER})
    headers = [PYTHON_WAY] * len(values)
    python = decode_batch(poll(values, partitions=partitions, headers=headers), WINDOW, {LEDGER})
    assert native.rejects == python.rejects
    assert native.claims == python.claims
    assert native.events.tobytes() == python.events.tobytes()
    assert native.lines.tobytes() == python.lines.tobytes()
    assert native.heap == python.heap
    assert native.unknown_fields == python.unknown_fields
    assert native.next_offsets == python.next_offsets


texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", "a", "sku-1", "depot", "store-1", " ", '"', "\\", "/", "\x7f", "\x00"]),
    st.sampled_from(["\xad", "é", "ÿ", "語", "🧦", "\u2028", "ё", "\u0483", "가", "\ud7a4"]),
    st.integers(60, 70).map(lambda n: n * "x"),
    st.integers(126, 130).map(lambda n: n * "y"),
    st.integers(60, 70).map(lambda n: n * "語"),
)
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31 - 1, 2**31, -(2**31) + 1, -(2**31), 10**10, 2**63, 10**25]),
    st.sampled_from([1.0, 0.5, 1e300, -0.0, 1e22]),
)
# RFC 3339 writes whole minutes; named zones of long ago have offsets in seconds.
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.one_of(
    st.datetimes(timezones=offsets).map(lambda moment: moment.isoformat()),
    st.sampled_from([
        OCCURRED_AT, "2026-03-29T12:30:00Z", "2026-03-29t12:30:00z", "2026-03-29T12:30:60Z",
        "2026-03-29T23:59:60Z", "2026-03-29T12:30:00", "2026-03-29 12:30:00Z",
        "2026-03-29T12:30:00.123456789+00:00", "2026-03-29T12:30:00.1234567891Z",
        "2026-03-29T14:30:00.9+02:00", "2026-03-29T12:30:00.-1Z", "2026-02-29T00:00:00Z",
        "2026-03-29T12:31:01.000000Z", "2026-03-29T12:31:01.000001Z", "1969-12-31T23:59:59Z",
        "2026-03-26T12:30:01Z", "2026-03-26T12:30:00.999999Z", "2026-03-28T12:30:01Z",
    ]),
)  # fmt: skip
days = st.one_of(st.dates().map(str), st.sampled_from(["2026-02-29", "2028-02-29", "2026-3-1"]))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
lines = st.lists(
    st.fixed_dictionaries(
        {}, optional={"sku": texts, "quantity": numbers, "delta": numbers, "price": anything}
    ),
    max_size=4,
)
FIELD_VALUES = {
    "type": st.sampled_from([*TYPE_NUMBERS, "sold", "SALE"]),
    "occurred_at": times,
    "expected_on": days,
    "quantity": numbers,
    "delta": numbers,
    "sequence": numbers,
    "lines": lines,
    "attributes": st.dictionaries(texts, anything, max_size=3),
    "disposition": st.sampled_from(["sellable", "inspect", "damaged", "eaten", ""]),
    "specversion": st.sampled_from(["1.0", "0.3", None]),
    "data": st.just(event()),
    "colour": anything,
    "größe": anything,
}
NAMES = sorted(
    {name for kind in EVENT_STRUCTS.values() for name in kind.__struct_encode_fields__}
    | set(LedgerFields.__struct_encode_fields__)
    | set(FIELD_VALUES)
)


@st.composite
def near_events(draw):
    """Draw an event with up to three fields changed, in any order and any style of JSON."""
    made = event(draw(st.sampled_from(sorted(TYPE_NUMBERS))))
    if draw(st.booleans()):
        amount = "delta" if made["type"] == "adjustment" else "quantity"
        skus = draw(st.lists(st.sampled_from(["a", "b", "c", "ü"]), min_size=1, max_size=4))
        made["lines"] = [{"sku": made.pop("sku", None) or sku, amount: 1} for sku in skus]
        made.pop(amount)
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
        value = draw(st.one_of(FIELD_VALUES.get(name, texts), st.just(...), st.none(), anything))
        made[name] = value
        if value is ...:
            del made[name]
    fields = draw(st.permutations(sorted(made.items())))
    return encode(
        dict(fields),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (" , ", ": "), ("\n,", "\t:")])),
    ) if not _has_surrogate(made) else json.dumps(made).encode()  # fmt: skip


def _has_surrogate(value):
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


@settings(suppress_health_check=[HealthCheck.too_slow])  # The tables of Unicode load once.
@given(st.lists(near_events(), min_size=1, max_size=3), st.sampled_from([0, LEDGER]))
def test_near_events_decode_alike(values, partition):
    """Events that are right, nearly right and oddly written give the same batch both ways."""
    assert_twins(values, partition)


TOKENS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"0", b"-", b".", b"e5",
    b"\\u0061", b"\\ud800", b"\\/", b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xc3\xa9",
    b"\xed\xa0\x80", b"\xf0\x9f\xa7\xa6", b" ", b"\n", b'"sku":"z",', b'"quantity":1,',
    b'"id":null,', b"Z", b"+01:00", b"99999999999", b'"type":"count",', b'"x":{},', b"\xff",
    b"9" * 20,
]  # fmt: skip


def mutate(rng, value):
    """Cut, copy, replace and insert at random."""
    mutated = bytearray(value)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(mutated) + 1)
        to = min(len(mutated), at + rng.choice([0, 0, 1, 1, 2, 5, 30]))
        piece = rng.choice([
            rng.choice(TOKENS), b"", bytes([rng.randrange(256)]), bytes(mutated[at:to]) * 2,
        ])  # fmt: skip
        mutated[at:to] = piece
    return bytes(mutated)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_decode_alike(seed):
    """Bytes changed at random, in the middle of a token or a character, give the same batch."""
    rng = random.Random(seed)
    made = [event(kind) for kind in TYPE_NUMBERS]
    made += [
        event(kind, lines=[{"sku": "a", "quantity": 1}, {"sku": "é", "quantity": 2}])
        for kind in ("sale", "count", "expected")
    ]
    made += [event(attributes={"a": [1.5e3, None, {"b": "\u20ac"}]}, order_id="o", sequence=4)]
    whole = [encode(one, ensure_ascii=rng.random() < 0.5) for one in made]
    values = [mutate(rng, rng.choice(whole)) for _ in range(100)]
    assert_twins(values, partition=seed % 2)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_decode_alike(values):
    """Bytes that are no event at all give the same refusals."""
    assert_twins(values)


@given(times)
def test_times_decode_alike(text):
    """The native clock reads what it accepts to the same microsecond."""
    raw = poll([encode(event(occurred_at=text))], partitions=[LEDGER])
    decoder = Decoder(raw.values, None, raw.offsets, raw.append_us, raw.partitions, (),
                      (-1, 2**62, -1, 0, 0))  # fmt: skip
    if decoder.run() == -1:
        assert decoder.finish()[0]["occurred_us"].tolist() == [parse_time(text)]


def test_every_field_of_every_type_is_known_to_native_code():
    """The native table of fields is that of the structs: none is unknown, others are."""
    for kind, struct in EVENT_STRUCTS.items():
        own = set(struct.__struct_encode_fields__)
        for name in NAMES:
            if name in {*event(kind), "lines", "sku", "attributes", "specversion", "expected_on"}:
                continue
            value = {"quantity": 1, "delta": 1, "sequence": 1, "disposition": "sellable"}
            made = event(kind, **{name: value.get(name, "x")})
            batch = decode_batch(poll([encode(made)]), WINDOW)
            assert batch.unknown_fields == (name not in own), (kind, name)
            assert_twins([encode(made)])
