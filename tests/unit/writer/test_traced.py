"""What traces tell of commands whose commit does not go as it should."""

import contextlib
import time
from concurrent.futures import Future

import pytest

from onhand.tracing import Tracing
from onhand.writer.waiting import FutureFront, Waiting
from tests.collectors import Caller, carried
from tests.writers import ANSWER_S_MAX, code, fail_commit, hold_of, lose_answer

KEY = b"k" * 16


class Shop:
    """A deployment whose commands are traced, each by a caller of its own."""

    def __init__(self, deployment, store, collector):
        self.deployment = deployment
        self.store = store
        self.collector = collector
        self.tracing = Tracing(collector.url, 0.0, {}, deployment.page)

    def place_hold(self, key=None):
        """Answer the caller, and the answer."""
        caller, waiting = self._asked(key)
        self.deployment.writer.enter([waiting])
        return caller, waiting.ticket.result(ANSWER_S_MAX)

    def place_holds(self, count):
        """Place holds that are asked for at once; answer their callers."""
        asked = [self._asked() for _ in range(count)]
        self.deployment.writer.enter([waiting for _, waiting in asked])
        for _, waiting in asked:
            assert not waiting.ticket.result(ANSWER_S_MAX).refused
        return [caller for caller, _ in asked]

    def _asked(self, key=None):
        caller = Caller()
        asked = self.deployment.asked("place_hold", hold_of())
        waiting = Waiting(asked, FutureFront(), Future(), key)
        waiting.trace = self.tracing.sampled(carried(caller))
        return caller, waiting

    def told(self, caller, *names):
        return self.collector.wait_spans(caller.trace, *names)


@pytest.fixture
def shop(faulty, collector):
    shop = Shop(*faulty, collector)
    with contextlib.closing(shop.tracing):
        yield shop


def test_a_commit_that_failed_is_told_as_failed(shop):
    """The decision was made, and its trace says why nothing came of it."""
    shop.store.commits.append(fail_commit)
    caller, answer = shop.place_hold()
    assert code(answer) == "ledger_unavailable"
    decided, committed = shop.told(caller, "orders.decide", "orders.commit")
    assert not decided.is_failed
    assert committed.is_failed
    assert "onhand.commit_number" not in committed.attributes
    assert decided.parent == committed.parent == caller.id


def test_a_commit_of_unknown_outcome_takes_until_it_is_settled(shop):
    """One that turns out to be made is told once, as made."""
    shop.store.commits.append(lose_answer)

    def settle(_store):
        settled_ns.append(time.time_ns())
        return True

    settled_ns = []
    shop.store.settlements.append(settle)
    caller, answer = shop.place_hold()
    assert not answer.refused
    (committed,) = shop.told(caller, "orders.commit")
    assert not committed.is_failed
    assert committed.attributes["onhand.commit_number"] >= 1
    assert committed.ended_ns >= settled_ns[0]
    shop.tracing.close()
    names = [span.name for span in shop.collector.spans(caller.trace)]
    assert sorted(names) == ["orders.commit", "orders.decide"]


def test_commands_that_share_a_commit_are_each_told_of_it(shop):
    """By one number, and how many they are."""
    callers = shop.place_holds(3)
    told = [shop.told(caller, "orders.commit")[0].attributes for caller in callers]
    assert [each["onhand.commands"] for each in told] == [3] * 3
    assert len({each["onhand.commit_number"] for each in told}) == 1


def test_a_repeated_command_commits_nothing(shop):
    """Its trace has the answer it was given before, and no commit."""
    shop.place_hold(KEY)
    caller, answer = shop.place_hold(KEY)
    assert not answer.refused
    (decided,) = shop.told(caller, "orders.decide")
    assert decided.attributes["onhand.outcome"] == "repeated"
    assert decided.attributes["onhand.id"]
    shop.tracing.close()
    assert [span.name for span in shop.collector.spans(caller.trace)] == ["orders.decide"]
