"""Logs: JSON lines off a terminal, text on one, secrets in neither."""

import io
import json
import logging

import pytest
import structlog

from onhand.logging import configure_logging, get_logger

TOKEN = "oh_0123456789abcdef_" + "s3cr3t" * 7


@pytest.fixture(autouse=True)
def restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def written(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_are_written_where_no_person_reads():
    """Off a terminal each record is one JSON object with time, level, logger and message."""
    stream = io.StringIO()
    configure_logging("auto", stream=stream)
    get_logger("onhand.x").info("table_opened", cells=3)
    (line,) = written(stream)
    assert line["message"] == "table_opened"
    assert (line["level"], line["logger"], line["cells"]) == ("info", "onhand.x", 3)
    assert line["time"].endswith("Z")


def test_text_is_written_on_a_terminal():
    """On a terminal a record is readable text."""
    stream = Terminal()
    configure_logging("auto", stream=stream)
    get_logger("onhand.x").info("table_opened", cells=3)
    assert "table_opened" in stream.getvalue()
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(stream.getvalue())


def test_library_records_take_the_same_way():
    """What libraries log through the standard library is written in the same form."""
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    logging.getLogger("library").warning("lost %s", "broker")
    assert written(stream)[0]["message"] == "lost broker"


def test_less_severe_records_are_left_out():
    """Records under the level are not written."""
    stream = io.StringIO()
    configure_logging("json", "warning", stream=stream)
    get_logger("onhand.x").info("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_secrets_are_masked_by_name_and_by_shape(log_format):
    """Passwords, tokens and addresses with passwords are masked wherever they stand."""
    stream = io.StringIO()
    configure_logging(log_format, stream=stream)
    log = get_logger("onhand.x")
    log.info(
        "started",
        password="s3cr3t",
        database="postgresql://me:s3cr3t@db/x",
        header=f"Bearer {TOKEN}",
        nested={"sasl.password": "s3cr3t", "list": [TOKEN]},
        token_id="0123456789abcdef",
    )
    logging.getLogger("library").warning("sent %s to postgresql://me:s3cr3t@db/x", TOKEN)
    assert "s3cr3t" not in stream.getvalue()
    assert "0123456789abcdef" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_traceback_shows_no_variables(log_format):
    """A logged exception has its stack, without the values of variables and without tokens."""
    stream = io.StringIO()
    configure_logging(log_format, stream=stream)

    def refuse(variable):
        raise ValueError(f"refused {TOKEN}" if variable else "")

    try:
        refuse("s3cr3t")
    except ValueError:
        get_logger("onhand.x").exception("failed")
    assert "ValueError: refused oh_" in stream.getvalue()
    assert "s3cr3ts3cr3t" not in stream.getvalue()
