"""Sending events: into a real embedded log, and over HTTP to a server that can be told to fail."""

from __future__ import annotations

import http.server
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from onhand import sending
from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog
from onhand.replay import load_year
from onhand.sending import HttpSink, LogSink, SendError, batches, send_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_US = 1_790_000_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "log.sqlite3")
    log.ensure_topics(1)
    yield log
    log.close()


class Door(http.server.ThreadingHTTPServer):
    """Takes events as the contract says; ``fail_count`` answers of 503 come first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.tokens: list[str | None] = []
        self.fail_count = 0
        self.refuse_all = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.fail_count:
            self.server.fail_count -= 1
            self.answer(503, {"title": "no room"})
        elif self.server.refuse_all:
            self.answer(401, {"detail": "a token is needed"})
        else:
            self.server.bodies.append(body)
            self.server.tokens.append(self.headers["Authorization"])
            lines = body.split(b"\n")
            bad = [
                {"index": index, "code": "bad_type", "detail": "no such type"}
                for index, line in enumerate(lines)
                if b"sail" in line
            ]
            self.answer(202, {"accepted": len(lines) - len(bad), "rejected": bad})

    def answer(self, status: int, document: object) -> None:
        content = msgspec.json.encode(document)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def door() -> Iterator[Door]:
    with Door() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def records(count: int, value: bytes = b'{"type":"sale"}') -> list[NewRecord]:
    return [NewRecord(topic="stock.sales", value=value) for _ in range(count)]


def test_a_year_sent_to_the_log_is_in_it(log: EmbeddedLog) -> None:
    """Every event is durable in its topic, in order, when sending has ended."""
    year = load_year(NOW_US, limit=3_000)
    told: list[int] = []
    sent = send_all(year.records(), LogSink(log), tell=told.append)
    assert sent.accepted == year.event_count == told[-1]
    found = [
        record.value
        for topic in ("stock.receipts", "stock.sales")
        for record in log.read((topic, 0), 0, 100_000)
    ]
    made = sorted(year.records(), key=lambda record: record.topic)
    assert found == [record.value for record in made]


def test_batches_are_bounded_in_records_and_bytes() -> None:
    """No batch exceeds either bound, and nothing is lost or reordered."""
    sizes = [10, 500_000, 500_000, 10, 10, 950_000, 10]
    made = [NewRecord(topic="stock.sales", value=b"x" * size) for size in sizes]
    cut = list(batches(made, record_count_max=2))
    assert [record for batch in cut for record in batch] == made
    assert all(len(batch) <= 2 for batch in cut)
    heavy = [batch for batch in cut if len(batch) > 1]
    assert all(sum(len(r.value) for r in b) <= sending.BATCH_BYTES_MAX for b in heavy)


def test_http_counts_what_was_accepted_and_names_what_was_not(door: Door) -> None:
    """Refusals keep their index in all that was sent, over several bodies."""
    sink = HttpSink(door.url, token="oh_secret")
    made = [*records(3), *records(1, b'{"type":"sail"}')]
    for batch in (made[:2], made[2:]):
        sink.send(batch)
    sink.finish()
    assert sink.sent.accepted == 3
    assert [(each.index, each.code) for each in sink.sent.rejected] == [(3, "bad_type")]
    assert set(door.tokens) == {"Bearer oh_secret"}


def test_http_tries_again_while_the_server_cannot_take_it(door: Door) -> None:
    """A 503 is not the end: the same body is sent again."""
    door.fail_count = 1
    sent = send_all(records(5), HttpSink(door.url))
    assert sent.accepted == 5


def test_http_does_not_insist_when_refused(door: Door) -> None:
    """A 401 ends it at once, with the server's words."""
    door.refuse_all = True
    with pytest.raises(SendError, match="401 a token is needed"):
        send_all(records(5), HttpSink(door.url))


def test_http_says_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server the message says what to check."""
    monkeypatch.setattr(sending, "RETRY_S", (0.0,))
    with pytest.raises(SendError, match="the server is up"):
        send_all(records(1), HttpSink("http://127.0.0.1:9"))


def test_an_address_without_a_host_is_refused() -> None:
    """A wrong --url is told apart from a server that is down."""
    with pytest.raises(SendError, match="http://HOST:PORT"):
        HttpSink("localhost:8000")


def test_a_rate_is_kept(log: EmbeddedLog) -> None:
    """Sending at a rate takes no less time than the rate allows."""
    begun_s = time.monotonic()
    send_all(records(20), LogSink(log), rate=100)
    assert time.monotonic() - begun_s >= 0.2
