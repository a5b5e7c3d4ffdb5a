"""``onhand publish``: events from a file or standard input."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO, Protocol

import click
import msgspec

from onhand.cli.event_input import read_events
from onhand.cli.options import settings_options
from onhand.cli.progress import progress
from onhand.sending import HttpSink, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from onhand.cli.event_input import InputEvent
    from onhand.log.base import EventLog
    from onhand.settings import Settings

BATCH_COUNT_MAX = 1_000
BATCH_BYTES_MAX = 900_000
"""Of one batch; below the 1 MiB that a server takes in one body."""


class Door(Protocol):
    """Takes a batch; what it does not refuse is durable when it answers."""

    def take(self, values: Sequence[bytes]) -> list[Refusal]:
        """Publish events; answer the refused ones."""
        ...


@click.command()
@settings_options("data", "kafka", "topic_prefix", "kafka_partition_count")
@click.argument("file", type=click.File("rb"))
@click.option("--url", help="Publish through this server instead, such as http://HOST:PORT.")
@click.option("--token", envvar="ONHAND_TOKEN", help="A publisher's, with --url. [ONHAND_TOKEN]")
def publish(settings: Settings, file: BinaryIO, url: str | None, token: str | None) -> int:
    """Publish the events in FILE, or on standard input when FILE is `-`.

    FILE holds JSON objects, an array of them, or one a line. Each event is judged for itself;
    each refused one is named with its reason, and then the exit code is 1. Publishing again is
    always safe: an event that was taken before has no effect.
    """
    accepted = rejected = 0
    with _door(settings, url, token) as door, progress("Publishing") as tell:
        for batch in _batches(read_events(file)):
            rejections = door.take([event.value for event in batch])
            for each in rejections:
                click.echo(f"{batch[each.index].place}: {each}", err=True)
            rejected += len(rejections)
            accepted += len(batch) - len(rejections)
            tell(accepted + rejected, 0)
    click.echo(f"{accepted} accepted, {rejected} rejected")
    return 1 if rejected else 0


class LogDoor:
    """Judges events here and appends them to the log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def take(self, values: Sequence[bytes]) -> list[Refusal]:
        """Append what keeps the schema's rules; rules of time are left to ingest."""
        from onhand.ingest.publish import to_records  # noqa: PLC0415 - native code loads only here
        from onhand.ingest.submitted import judge_values  # noqa: PLC0415

        submission = judge_values(list(values))
        self._log.append(to_records(submission))
        return [
            Refusal(reject.record, reject.code, reject.detail, reject.pointer)
            for reject in submission.rejects
        ]


class UrlDoor:
    """Posts events to a server."""

    def __init__(self, url: str, token: str | None) -> None:
        self._sink = HttpSink(url, token)

    def take(self, values: Sequence[bytes]) -> list[Refusal]:
        """Post one body; events written over several lines are put on one."""
        answer = self._sink.post([_on_one_line(value) for value in values])
        return answer.rejected


@contextlib.contextmanager
def _door(settings: Settings, url: str | None, token: str | None) -> Iterator[Door]:
    if url is not None:
        yield UrlDoor(url, token)
        return
    from onhand.log import open_log  # noqa: PLC0415 - Kafka's client loads only here

    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(settings.kafka_partition_count)
        yield LogDoor(log)


def _batches(events: Iterable[InputEvent]) -> Iterator[list[InputEvent]]:
    batch: list[InputEvent] = []
    size_bytes = 0
    for event in events:
        if batch and (
            len(batch) == BATCH_COUNT_MAX or size_bytes + len(event.value) > BATCH_BYTES_MAX
        ):
            yield batch
            batch, size_bytes = [], 0
        batch.append(event)
        size_bytes += len(event.value) + 1
    if batch:
        yield batch


def _on_one_line(value: bytes) -> bytes:
    if b"\n" not in value:
        return value
    try:
        return msgspec.json.format(value, indent=-1)
    except msgspec.DecodeError:
        return value.replace(b"\n", b" ")
