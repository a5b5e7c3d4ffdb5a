"""``onhand dead-letters``: list, show and re-submit refused events."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from onhand.cli.options import settings_options
from onhand.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onhand.ingest.dead_letters import DeadLetter
    from onhand.log.base import EventLog
    from onhand.settings import Settings

COLUMNS: Final = ("name", "refused_at", "code", "field", "detail", "origin", "sent_again_at")
LOG_SETTINGS: Final = ("data", "kafka", "topic_prefix")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show and re-submit refused events."""


@dead_letters.command("list")
@settings_options(*LOG_SETTINGS)
@click.option("--code", "codes", multiple=True, help="Only these codes; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), default=50, help="Letters; default 50.")
@click.option("--open", "only_open", is_flag=True, help="Only those never sent again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_letters(
    settings: Settings, codes: tuple[str, ...], limit: int, *, only_open: bool, as_json: bool
) -> None:
    """List refused events, newest first."""
    from onhand.ingest.dead_letters import list_dead_letters  # noqa: PLC0415 - loads the log

    with _log(settings) as event_log:
        found = list_dead_letters(event_log, codes, resubmitted=not only_open)
        letters = list(itertools.islice(found, limit))
    if as_json:
        for letter in letters:
            click.echo(msgspec.json.encode(_document(letter)))
        return
    print_table(COLUMNS, [_row(letter) for letter in letters], empty="No event was refused.")


@dead_letters.command()
@settings_options(*LOG_SETTINGS)
@click.argument("name")
@click.option("--value", "only_value", is_flag=True, help="Print the refused bytes alone.")
def show(settings: Settings, name: str, *, only_value: bool) -> None:
    """Show one refused event whole; NAME is as listed."""
    from onhand.ingest.dead_letters import find_dead_letter  # noqa: PLC0415

    with _log(settings) as event_log:
        letter = find_dead_letter(event_log, name)
    if only_value:
        click.echo(letter.value, nl=False)
        return
    document = msgspec.json.encode(_document(letter, whole=True))
    click.echo(msgspec.json.format(document, indent=2))


@dead_letters.command()
@settings_options(*LOG_SETTINGS)
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--force",
    multiple=True,
    help="A rule of time to lift, such as too_late; may be repeated.",
)
def resubmit(settings: Settings, names: tuple[str, ...], force: tuple[str, ...]) -> None:
    """Publish refused events again, as they were; NAMES are as listed.

    Sending one twice is harmless. What is still wrong is refused again.
    """
    from onhand.ingest.dead_letters import find_dead_letter  # noqa: PLC0415
    from onhand.ingest.dead_letters import resubmit as send_again  # noqa: PLC0415

    with _log(settings) as event_log:
        letters = [find_dead_letter(event_log, name) for name in names]
        for letter in letters:
            topic, partition, offset = send_again(event_log, letter, force)
            click.echo(f"{letter.name} sent again as {topic}[{partition}]@{offset}")


@contextlib.contextmanager
def _log(settings: Settings) -> Iterator[EventLog]:
    from onhand.log import open_log  # noqa: PLC0415

    with contextlib.closing(open_log(settings)) as event_log:
        yield event_log


def _row(letter: DeadLetter) -> tuple[str, ...]:
    from onhand.model.times import show_time  # noqa: PLC0415

    return (
        letter.name,
        show_time(letter.dead_us),
        letter.code,
        letter.pointer,
        letter.detail,
        f"{letter.topic}[{letter.origin_partition}]@{letter.origin_offset}",
        "" if letter.resubmitted_us is None else show_time(letter.resubmitted_us),
    )


def _document(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = dict(zip(COLUMNS, _row(letter), strict=True))
    document["size_bytes"] = letter.size_bytes
    if letter.sha256 is not None:
        document["sha256"] = letter.sha256
    if whole:
        document["key"] = _text(letter.key or b"")
        document["headers"] = {name: _text(value) for name, value in letter.headers}
        document["value"] = _text(letter.value)
    return document


def _text(value: bytes) -> str:
    # Bytes that are no text are shown by their numbers; --value prints them as they are.
    return value.decode(errors="backslashreplace")
