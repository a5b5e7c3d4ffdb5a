"""Send events to where they go: straight into the log, or to a server over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from onhand.errors import OnhandError
from onhand.log.base import NewRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from onhand.log.base import EventLog, Position

BATCH_RECORD_COUNT_MAX: Final = 2_000
BATCH_BYTES_MAX: Final = 900_000
"""Of values; below the 1 MiB that a server takes in one body."""

IN_FLIGHT_MAX: Final = 16
"""Batches that may wait to be durable: the log is kept busy, and memory stays bounded."""

HTTP_TIMEOUT_S: Final = 60.0
RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_NDJSON: Final = "application/x-ndjson"
_ACCEPTED: Final = 202


class SendError(OnhandError):
    """Events could not be handed over."""

    code = "send_failed"


class Refusal(msgspec.Struct, frozen=True):
    """One event that was refused; ``index`` counts from 0 in what was sent."""

    index: int
    code: str
    detail: str
    pointer: str = ""

    def __str__(self) -> str:
        """Read as ``code: /field: rule``."""
        where = f"{self.pointer}: " if self.pointer else ""
        return f"{self.code}: {where}{self.detail}"


class Sent(msgspec.Struct, kw_only=True):
    """What has become of the events so far. Accepted means durable in the log."""

    accepted: int = 0
    rejected: list[Refusal] = []
    rejected_count: int = 0
    codes: set[str] = set()
    """Why events were refused; of all refusals, also of those not remembered one by one."""


class Answer(msgspec.Struct):
    """What a server says to one body."""

    accepted: int
    rejected: list[Refusal] = []


class Sink(Protocol):
    """Takes batches; what it was given is durable after :meth:`finish`."""

    sent: Sent

    def send(self, batch: Sequence[NewRecord]) -> None:
        """Hand over a batch; may return before it is durable."""
        ...

    def finish(self) -> None:
        """Wait until all that was sent is durable."""
        ...


class LogSink:
    """Appends to the log itself; whatever a record holds, the log takes it."""

    def __init__(self, log: EventLog) -> None:
        self.sent = Sent()
        self._log = log
        self._waiting: deque[Future[list[Position]]] = deque()

    def send(self, batch: Sequence[NewRecord]) -> None:
        """Append in the background, with a bounded number of batches on their way."""
        self._waiting.append(self._log.append_nowait(batch))
        while len(self._waiting) > IN_FLIGHT_MAX:
            self._settle()

    def finish(self) -> None:
        """Wait for every batch."""
        while self._waiting:
            self._settle()

    def _settle(self) -> None:
        self.sent.accepted += len(self._waiting.popleft().result())


class HttpSink:
    """Posts to ``/v1/events`` as NDJSON over one kept connection.

    Parameters
    ----------
    url
        Of the server, such as ``http://127.0.0.1:8000``.
    token
        A bearer token with the role ``publisher``; None sends none.
    refusals_max
        Refusals remembered one by one; all are counted.
    """

    def __init__(self, url: str, token: str | None = None, *, refusals_max: int = 1_000) -> None:
        self.sent = Sent()
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SendError(f"{url!r} is no address of a server", "Write it as http://HOST:PORT")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname, parts.port, timeout=HTTP_TIMEOUT_S)
        self._path = f"{parts.path.rstrip('/')}/v1/events"
        self._url = url
        self._headers = {"Content-Type": _NDJSON}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._refusals_max = refusals_max
        self._index = 0

    def send(self, batch: Sequence[NewRecord]) -> None:
        """Post one body and count its answer."""
        answer = self.post([record.value for record in batch])
        self.sent.accepted += answer.accepted
        self.sent.rejected_count += len(answer.rejected)
        self.sent.codes.update(each.code for each in answer.rejected)
        room = max(0, self._refusals_max - len(self.sent.rejected))
        self.sent.rejected += [
            msgspec.structs.replace(each, index=each.index + self._index)
            for each in answer.rejected[:room]
        ]
        self._index += len(batch)

    def finish(self) -> None:
        """Let go of the connection: every answer said durable."""
        self._connection.close()

    def post(self, values: Sequence[bytes]) -> Answer:
        """Post events, each on one line, until answered.

        Sending again is always safe, since events carry ids.

        Raises
        ------
        SendError
            The server cannot be reached or will not take the body as a whole.
        """
        body = b"\n".join(values)
        trouble = ""
        for pause_s in (0.0, *RETRY_S):
            time.sleep(pause_s)
            try:
                self._connection.request("POST", self._path, body, self._headers)
                response = self._connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                trouble = str(error) or type(error).__name__
                continue
            if response.status == _ACCEPTED:
                return msgspec.json.decode(content, type=Answer)
            trouble = f"{response.status} {_problem(content)}"
            if response.status < http.client.INTERNAL_SERVER_ERROR:
                break
        self._connection.close()
        raise SendError(
            f"{self._url} did not take the events: {trouble}",
            "Check --url and --token, and that the server is up; sending again is safe",
        )


def send_all(
    records: Iterable[NewRecord],
    sink: Sink,
    *,
    rate: float | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Sent:
    """Send every record and wait until all are durable.

    Parameters
    ----------
    rate
        Events a second at most; None sends as fast as they are taken.
    tell
        Called with the number of records sent so far.
    """
    begun_s = time.monotonic()
    count = 0
    for batch in batches(records, _batch_size(rate)):
        sink.send(batch)
        count += len(batch)
        tell(count)
        if rate is not None:
            time.sleep(max(0.0, begun_s + count / rate - time.monotonic()))
    sink.finish()
    return sink.sent


def batches(
    records: Iterable[NewRecord], record_count_max: int = BATCH_RECORD_COUNT_MAX
) -> Iterator[list[NewRecord]]:
    """Cut a stream into batches bounded in records and in bytes."""
    batch: list[NewRecord] = []
    size_bytes = 0
    for record in records:
        added_bytes = len(record.value) + 1
        if batch and (len(batch) >= record_count_max or size_bytes + added_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, size_bytes = [], 0
        batch.append(record)
        size_bytes += added_bytes
    if batch:
        yield batch


def _batch_size(rate: float | None) -> int:
    # At a given rate, batches of a twentieth of a second keep the stream even.
    return BATCH_RECORD_COUNT_MAX if rate is None else max(1, min(2_000, int(rate / 20)))


def _problem(content: bytes) -> str:
    with contextlib.suppress(msgspec.DecodeError):
        document = msgspec.json.decode(content)
        if isinstance(document, dict):
            return str(document.get("detail") or document.get("title") or "")
    return content[:200].decode(errors="replace")
