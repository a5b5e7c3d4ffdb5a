"""Publishing when the log or the tables are not what they should be."""

import asyncio

import msgspec
import pytest

from onhand.errors import LogUnavailable
from onhand.ledger import Authenticator
from onhand.log.embedded import EmbeddedLog
from onhand.metrics import Page
from onhand.settings import Settings
from onhand.web import events
from onhand.web.problem import ProblemError, problem_of
from onhand.web.readside import ReadSide
from tests.servers import event
from tests.tables import Tables


@pytest.fixture
def log(tmp_path):
    log = EmbeddedLog(tmp_path / "log.sqlite3")
    log.ensure_topics(1)
    yield log
    log.close()


@pytest.fixture
def publish(tmp_path, log):
    """Return a function that publishes one event, on tables that apply nothing."""
    tables = Tables(tmp_path)
    tables.publish()

    def publish(query_string=""):
        async def run():
            side = ReadSide(tables.reader(), None)
            page = Page(tmp_path / "metrics", "test")
            publisher = events.Publisher(Settings(), log, side, Authenticator(None), page)
            return await publisher.publish(
                msgspec.json.encode(event()), "application/json", query_string
            )

        return asyncio.run(run())

    return publish


def test_an_event_that_does_not_become_visible_is_durable_all_the_same(publish, log, monkeypatch):
    """Waiting is bounded; the problem says that nothing is lost, and the event is in the log."""
    monkeypatch.setattr(events, "VISIBLE_WAIT_S_MAX", 0.05)
    with pytest.raises(ProblemError) as raised:
        publish("wait=visible")
    assert (raised.value.code, raised.value.status) == ("not_yet_visible", 504)
    assert log.end_offsets([("stock.sales", 0)])["stock.sales", 0] == 1


def test_a_log_that_is_gone_is_a_503_that_says_to_try_again(publish, log):
    """Nothing is said to be accepted when the log takes nothing."""
    log.close()
    with pytest.raises(LogUnavailable) as raised:
        publish()
    reply = problem_of(raised.value).reply()
    assert reply.status == 503
    assert dict(reply.headers)["retry-after"]
