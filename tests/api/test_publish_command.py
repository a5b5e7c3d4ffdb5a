"""``onhand publish`` and ``onhand dead-letters`` on an embedded log, as a person runs them."""

import contextlib
import io
import json
import re
import sys

import pytest

from onhand import cli
from onhand.ingest.dead_letters import dead_letter
from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.settings import Settings
from tests.stock_events import encode, event, refused_as


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("ONHAND_DATA", str(tmp_path / "data"))
    return Settings(data=tmp_path / "data")


@pytest.fixture
def onhand(settings, capsys):  # noqa: ARG001 - the environment that it sets
    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def log(settings):
    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(1)
        yield log


def values(log, topic):
    return [record.value for record in log.read((topic, 0), 0, 1_000)]


def test_events_of_a_file_are_in_the_log(onhand, log, tmp_path):
    """Every event goes to the topic of its type, byte for byte."""
    sale = json.dumps(event("sale")).encode()
    count = json.dumps(event("count")).encode()
    file = tmp_path / "events.ndjson"
    file.write_bytes(sale + b"\n" + count + b"\n")
    assert onhand("publish", file)[:2] == (0, "2 accepted, 0 rejected\n")
    assert values(log, "stock.sales") == [sale]
    assert values(log, "stock.counts") == [count]


@pytest.mark.parametrize("form", ["array", "pretty", "lines"])
def test_events_come_from_standard_input_in_any_form(onhand, log, monkeypatch, form):
    """`-` reads objects, arrays and lines."""
    events = [event("sale", id=f"e-{number}") for number in range(3)]
    text = {
        "array": json.dumps(events),
        "pretty": "\n".join(json.dumps(each, indent=2) for each in events),
        "lines": "\n".join(map(json.dumps, events)),
    }[form]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert onhand("publish", "-")[:2] == (0, "3 accepted, 0 rejected\n")
    assert [json.loads(value) for value in values(log, "stock.sales")] == events


def test_each_refused_event_is_named_with_its_reason(onhand, log, tmp_path):
    """Good events beside bad ones are published, the bad ones told apart, and the code is 1."""
    file = tmp_path / "events.ndjson"
    bad = json.dumps(event("sale", quantity=0))
    file.write_text(f"{json.dumps(event('sale'))}\n{bad}\nrubbish\n")
    code, out, err = onhand("publish", file)
    assert (code, out) == (1, "1 accepted, 2 rejected\n")
    refused = [line for line in err.splitlines() if line.startswith("line ")]
    assert re.match(r"line 2: \w+: /quantity: ", refused[0])
    assert re.match(r"line 3: malformed_json: ", refused[1])
    assert len(values(log, "stock.sales")) == 1


def test_an_empty_file_is_no_failure(onhand, tmp_path):
    """Nothing to publish is nothing refused."""
    file = tmp_path / "events.ndjson"
    file.touch()
    assert onhand("publish", file)[:2] == (0, "0 accepted, 0 rejected\n")


def test_a_missing_file_is_bad_usage(onhand, tmp_path):
    """A file that is not there is named; the exit code says usage."""
    code, _, err = onhand("publish", tmp_path / "nowhere.json")
    assert code == 2
    assert "nowhere.json" in err


@pytest.fixture
def refused(log):
    """Put two sales in the log, and their dead letters: one for its age, one for its quantity."""
    for number, made in enumerate((event("sale"), event("sale", id="e-2", quantity=0))):
        value = json.dumps(made).encode()
        log.append([NewRecord(topic="stock.sales", value=value, key=b"k")])
        record = log.read(("stock.sales", 0), number, 1)[0]
        reject = refused_as(value) or refused_as(encode({**made, "quantity": 0}))
        log.append([dead_letter(record, reject)])
    return log


def test_dead_letters_are_listed_newest_first(onhand, refused):  # noqa: ARG001
    """A list names each letter with code, field, origin and whether it was sent again."""
    code, out, _ = onhand("dead-letters", "list")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert rows[0][0] == "name"
    assert [row[0] for row in rows[1:]] == ["0:1", "0:0"]
    assert rows[1][5] == "stock.sales[0]@1"
    listed = onhand("dead-letters", "list", "--json", "--limit", "1")[1]
    assert json.loads(listed)["name"] == "0:1"


def test_a_dead_letter_is_shown_whole(onhand, refused):
    """The event as published, its key, and why it was refused."""
    code, out, _ = onhand("dead-letters", "show", "0:1")
    shown = json.loads(out)
    assert code == 0
    assert json.loads(shown["value"])["id"] == "e-2"
    assert shown["key"] == "k"
    assert shown["field"] == "/quantity"
    raw = onhand("dead-letters", "show", "0:1", "--value")[1]
    assert raw.encode() == values(refused, "stock.sales")[1]


def test_a_dead_letter_is_sent_again(onhand, refused):
    """Its record is appended as it was, with the lifted rule, and the letter is marked."""
    code, out, _ = onhand("dead-letters", "resubmit", "0:0", "--force", "too_late")
    assert (code, out) == (0, "0:0 sent again as stock.sales[0]@2\n")
    again = refused.read(("stock.sales", 0), 2, 1)[0]
    assert again.value == values(refused, "stock.sales")[0]
    assert any(b"too_late" in value for _, value in again.headers)
    still_open = onhand("dead-letters", "list", "--open")[1].splitlines()
    assert [line.split("\t")[0] for line in still_open[1:]] == ["0:1"]


def test_an_unknown_dead_letter_is_said(onhand, refused):  # noqa: ARG001
    """A name that is none fails with advice."""
    code, _, err = onhand("dead-letters", "show", "0:99")
    assert code == 1
    assert "onhand dead-letters list" in err


def test_no_dead_letters_is_said_and_no_failure(onhand, log):  # noqa: ARG001
    """An empty list says so on standard error."""
    code, out, err = onhand("dead-letters", "list")
    assert (code, out) == (0, "")
    assert "No event was refused" in err
