"""Files of locations: three forms, judged whole, every bad line named."""

import json

import pytest

from onhand.errors import InvalidInput
from onhand.model.location_file import BadLocationFile, parse_location_file
from onhand.model.setup import location_document

CSV = b"""\
\xef\xbb\xbfid,name,type,latitude,longitude,groups,pickup,opening_hours,priority

s1, Store 1 ,store,40.1,-73,online; west,true,"{""mon"":[[""09:00"",""18:00""]]}",3
s2,"Depot, main",warehouse,,,,false
"""


def bad_lines(content, suffix):
    with pytest.raises(BadLocationFile) as caught:
        parse_location_file(content, suffix)
    return [str(line) for line in caught.value.lines]


def test_csv_is_read_by_the_types_of_the_fields():
    """Cells become numbers, booleans, lists and opening hours; empty ones are left out."""
    first, second = parse_location_file(CSV, ".CSV")
    assert (first.id, first.name, first.latitude, first.priority) == ("s1", "Store 1", 40.1, 3)
    assert first.groups == ("online", "west")
    assert first.opening_hours.mon == (("09:00", "18:00"),)
    assert (second.name, second.type, second.pickup) == ("Depot, main", "warehouse", False)
    assert (second.latitude, second.groups) == (None, ())


@pytest.mark.parametrize(
    "wrap", [lambda items: items, lambda items: {"items": items, "next": None}]
)
def test_json_is_an_array_or_what_the_server_lists(wrap):
    """A JSON array is read, and so is the answer of the server that lists locations."""
    locations = parse_location_file(CSV, ".csv")
    content = json.dumps(wrap([location_document(each) for each in locations])).encode()
    assert parse_location_file(content, ".json") == locations


def test_json_lines_are_read():
    """One JSON object a line is read; empty lines are nothing."""
    content = b'{"id":"a","name":"A","type":"store"}\n\n{"id":"b","name":"B","type":"store"}'
    assert [each.id for each in parse_location_file(content, ".ndjson")] == ["a", "b"]


def test_every_bad_line_of_csv_is_named():
    """Each bad line is named with the line it begins on, its fields and their rules."""
    content = (
        b"id,name,type,latitude,priority\n"
        b'a,"two\nlines",store,1,1\n'
        b"a,A,store,,\n"
        b"b,B,shop,99,x\n"
        b",C,store\n"
        b"d,D,store,1,2,3\n"
    )
    assert bad_lines(content, ".csv") == [
        (
            "line 2: /longitude: is required when the other coordinate is given; "
            "/name: must hold printable characters only"
        ),
        (
            "line 5: /latitude: must be number <= 90.0; /priority: must be integer, got string; "
            "/type: must be one of store, warehouse, supplier"
        ),
        "line 6: /id: is required, as text",
        "line 7: /: has 6 cells under 5 columns",
    ]


def test_place_in_the_file_twice_is_refused():
    """A location that stands in a file twice would leave the result to chance."""
    content = b"id,name,type\na,A,store\na,B,store\n"
    assert bad_lines(content, ".csv") == ["line 3: /id: stands in this file before"]


def test_unknown_column_is_named_once():
    """A wrong header is one error, not one a row."""
    assert bad_lines(b"id,name,type,colour,id\na,A,store,red,a\n", ".csv") == [
        "line 1: /colour: is no known field; /id: stands in the header twice"
    ]


def test_every_bad_item_of_json_is_named():
    """Items of a JSON array are named by their place, lines of JSON by their number."""
    good = '{"id":"a","name":"A","type":"store"}'
    assert bad_lines(f'[{good}, 3, {{"id":"b"}}]'.encode(), ".json") == [
        "item 2: /: must be an object",
        "item 3: /name: is required; /type: is required",
    ]
    assert bad_lines(f"{good}\n{{\n[]".encode(), ".jsonl")[0].startswith("line 2: /: is not valid")


@pytest.mark.parametrize(
    ("content", "suffix", "said"),
    [
        (b"", ".txt", "cannot end in '.txt'"),
        (b"id\n\xff\n", ".csv", "line 2 is not UTF-8"),
        (b"{", ".json", "not valid JSON"),
        (b"3", ".json", "no array of locations"),
        (b"{}", ".json", "no array of locations"),
    ],
)
def test_file_that_cannot_be_read_is_told(content, suffix, said):
    """A file of another kind, encoding or shape is told as a whole."""
    with pytest.raises(InvalidInput, match=said):
        parse_location_file(content, suffix)


def test_empty_file_holds_nothing():
    """A header alone, or nothing at all, holds no locations."""
    assert parse_location_file(b"", ".csv") == []
    assert parse_location_file(b"id,name,type\n", ".csv") == []
    assert parse_location_file(b"[]", ".json") == []


def test_naming_bad_lines_ends_early():
    """A file that is wrong everywhere is not judged to its end."""
    content = b"id,name,type\n" + b",,\nx,,\n" * 1_000
    assert len(bad_lines(content, ".csv")) == 100
