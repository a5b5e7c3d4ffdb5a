"""The stream of changes, from a real server, while the table changes."""

import json

import httpx
import pytest

from tests.deployments import wait_until
from tests.servers import Server, problem

STREAM = "/v1/availability/stream"
TWO_CLIENTS = """
from onhand.web import stream
stream.CLIENTS_MAX = 2
import onhand.cli.__main__
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("stream"))
    server.kit.add("apple", "north", on_hand=5)
    server.kit.add("pear", "north", on_hand=1)
    server.kit.add("a,b", "north", on_hand=9)
    server.publish()
    server.start()
    yield server
    server.close()


class Follower:
    """One client of the stream; ``next`` waits for its next event."""

    def __init__(self, server, last_event_id=None, **parameters):
        headers = {"last-event-id": last_event_id} if last_event_id else {}
        self._context = server.client.stream("GET", STREAM, params=parameters, headers=headers)
        self.response = self._context.__enter__()
        self._lines = self.response.iter_lines() if self.response.is_success else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.close()

    def next(self):
        fields = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "event" in fields:
                return fields["event"], json.loads(fields["data"]), fields.get("id")
            else:
                fields = {}
        return None


def test_a_stream_begins_with_a_snapshot(server):
    """The first event holds every SKU asked for, and those that nobody knows."""
    with Follower(server, skus="apple,nothing") as follower:
        assert follower.response.headers["content-type"].startswith("text/event-stream")
        assert follower.response.headers["cache-control"] == "no-cache"
        kind, snapshot, event_id = follower.next()
    assert kind == "snapshot"
    assert [item["sku"] for item in snapshot["items"]] == ["apple"]
    assert snapshot["unknown"] == ["nothing"]
    assert event_id


def test_a_change_follows_with_the_new_numbers(server):
    """A change of a SKU that is followed is sent, one of another is not."""
    with Follower(server, skus="apple") as follower:
        before = follower.next()[1]["items"][0]["on_hand"]
        server.kit.add("pear", "north", on_hand=1)
        server.kit.add("apple", "south", on_hand=2)
        kind, answer, _ = follower.next()
    assert (kind, answer["sku"], answer["on_hand"]) == ("change", "apple", before + 2)


def test_a_sku_that_holds_a_comma_can_be_followed(server):
    """``skus`` given more than once names one SKU each time; given once, commas separate."""
    with Follower(server, skus=["a,b", "apple"]) as follower:
        assert {item["sku"] for item in follower.next()[1]["items"]} == {"a,b", "apple"}
    with Follower(server, skus="a,b") as follower:
        assert sorted(follower.next()[1]["unknown"]) == ["a", "b"]


def test_a_client_that_comes_back_is_sent_what_it_missed(server):
    """``Last-Event-ID`` resumes: no snapshot, only what changed in between."""
    with Follower(server, skus="apple,pear") as follower:
        _, _, event_id = follower.next()
    server.kit.add("pear", "north", on_hand=10)
    with Follower(server, last_event_id=event_id, skus="apple,pear") as follower:
        kind, answer, later_id = follower.next()
        assert (kind, answer["sku"]) == ("change", "pear")
        server.kit.add("apple", "north", on_hand=1)
        assert follower.next()[1]["sku"] == "apple"
    assert later_id != event_id


@pytest.mark.parametrize("event_id", ["99-1", "nonsense", "1-1.1-1", "1-99999999999"])
def test_an_id_that_is_not_known_gives_a_snapshot(server, event_id):
    """Another generation or shard count, or rubbish: the client starts anew and misses nothing."""
    with Follower(server, last_event_id=event_id, skus="apple") as follower:
        assert follower.next()[0] == "snapshot"


def test_a_change_of_set_up_is_followed_by_a_snapshot(server):
    """Safety stock changes what is available though no table changes."""
    with Follower(server, skus="apple") as follower:
        before = follower.next()[1]["items"][0]["available"]
        assert server.put("/v1/safety-stock", [{"sku": "apple", "quantity": 1}]).is_success
        kind, snapshot, _ = follower.next()
    assert kind == "snapshot"
    assert snapshot["items"][0]["available"] < before


def test_clients_that_leave_are_forgotten(server):
    """The gauge of clients rises with each and falls when they have gone."""
    # Those that left before are forgotten a moment after.
    wait_until(lambda: server.counted("onhand_stream_clients") == 0)
    followers = [Follower(server, skus="apple") for _ in range(3)]
    for follower in followers:
        follower.next()
    assert server.counted("onhand_stream_clients") == 3
    for follower in followers:
        follower.response.close()
    wait_until(lambda: server.counted("onhand_stream_clients") == 0)


def test_more_clients_than_there_may_be_are_refused(tmp_path):
    """503 says how many follow; one that leaves makes room."""
    server = Server(tmp_path)
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    # On some machines a process may not open as many files as there may be clients.
    server.argv[1:3] = ["-c", TWO_CLIENTS]
    server.start()
    try:
        with Follower(server, skus="apple") as first, Follower(server, skus="apple") as second:
            for follower in (first, second):
                assert follower.next()[0] == "snapshot"
            refused = server.get(STREAM, params={"skus": "apple"})
            body = problem(refused, 503, "too_many_streams")
            assert body["detail"] == "2 clients follow already."
            second.response.close()
            wait_until(lambda: server.counted("onhand_stream_clients") == 1)
            with Follower(server, skus="apple") as third:
                assert third.next()[0] == "snapshot"
    finally:
        server.close()


def test_a_new_generation_gives_a_snapshot(tmp_path):
    """When the table is replaced, clients are sent everything anew from the new one."""
    server = Server(tmp_path)
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    server.start()
    try:
        with Follower(server, skus="apple") as follower:
            follower.next()
            second = server.tables.make(0, 2)
            second.add("apple", "north", on_hand=6)
            server.tables.kits = [second]
            server.tables.publish(2)
            kind, snapshot, event_id = follower.next()
        assert (kind, snapshot["items"][0]["on_hand"]) == ("snapshot", 6)
        assert event_id.startswith("2-")
    finally:
        server.close()


def test_a_server_that_stops_ends_its_streams(tmp_path):
    """SIGTERM ends an open stream cleanly, and does not wait for its client."""
    server = Server(tmp_path)
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    server.start()
    try:
        with Follower(server, skus="apple") as follower:
            follower.next()
            code, seconds = server.stop()
            assert follower.next() is None
    except httpx.HTTPError as error:
        pytest.fail(f"the stream was torn: {error}")
    finally:
        server.close()
    assert code == 0
    assert seconds < 4
