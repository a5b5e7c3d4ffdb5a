"""Where one event ends and the next begins."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onhand.cli.event_input import read_events

EVENT = b'{"type":"sale"}'


def parted(content: bytes) -> list[tuple[str, bytes]]:
    return [(event.place, event.value) for event in read_events(io.BytesIO(content))]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b" \n\n ", []),
        (EVENT, [("line 1", EVENT)]),
        (EVENT + b"\n\n" + EVENT + b"\r\n", [("line 1", EVENT), ("line 3", EVENT)]),
        (b"\xef\xbb\xbf" + EVENT, [("line 1", EVENT)]),
        (b"[]", []),
        (b"[" + EVENT + b",\n 7]", [("item 1", EVENT), ("item 2", b"7")]),
        (b"\n [\n" + EVENT + b"]", [("item 1", EVENT)]),
        (b'{\n"a": 1\n}\n{"b": 2}{"c":\n3}', [
            ("line 1", b'{\n"a": 1\n}'),
            ("line 4", b'{"b": 2}'),
            ("line 4", b'{"c":\n3}'),
        ]),
        (EVENT + b"\nrubbish\n" + EVENT, [
            ("line 1", EVENT),
            ("line 2", b"rubbish"),
            ("line 3", EVENT),
        ]),
        (b"rubbish\n" + EVENT, [("line 1", b"rubbish"), ("line 2", EVENT)]),
        (b"\xff\xfe\n" + EVENT, [("line 1", b"\xff\xfe"), ("line 2", EVENT)]),
        (b"[" + EVENT, [("item 1", b"[" + EVENT)]),
    ],
)  # fmt: skip
def test_each_event_keeps_its_bytes_and_says_where_it_stood(
    content: bytes, expected: list[tuple[str, bytes]]
) -> None:
    """Objects, arrays and lines are parted; what is no JSON comes out to be refused."""
    assert parted(content) == expected


OBJECTS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(), min_size=1)
DOCUMENTS = st.lists(OBJECTS, max_size=5)


@given(DOCUMENTS, st.sampled_from(["lines", "array", "pretty"]))
def test_any_objects_survive_in_any_form(documents: list[dict], form: str) -> None:
    """Whichever way objects are written down, the same objects come out."""
    encoded = [msgspec.json.encode(each) for each in documents]
    content = {
        "lines": b"\n".join(encoded),
        "array": b"[" + b",".join(encoded) + b"]",
        "pretty": b"\n".join(msgspec.json.format(each) for each in encoded),
    }[form]
    assert [msgspec.json.decode(value) for _, value in parted(content)] == documents
