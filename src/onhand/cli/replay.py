"""``onhand replay``: a data set of real sales as stock events."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import click

from onhand.cli.options import settings_options
from onhand.cli.progress import progress
from onhand.errors import OnhandError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onhand.replay.year import Year
    from onhand.sending import Sent, Sink
    from onhand.settings import Settings

DATASETS: Final = ("completejourney",)
FRACTION: Final = click.FloatRange(0, 1)


class DatasetMissingError(OnhandError):
    """The package that holds the data is not installed."""

    code = "dataset_missing"


@click.command()
@settings_options("data", "kafka", "topic_prefix", "kafka_partition_count", "database")
@click.argument("dataset", type=click.Choice(DATASETS))
@click.option("--to", "target", type=click.Choice(("log", "http")), default="log", help="Where to.")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="For --to http.")
@click.option("--token", envvar="ONHAND_TOKEN", help="A publisher's, for --to http. [ONHAND_TOKEN]")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many sale lines.")
@click.option("--seed", type=int, default=0, show_default=True, help="Picks all that is derived.")
@click.option("--rate", type=click.FloatRange(min=0.1), help="Events a second at most.")
@click.option("--now", type=int, help="When the year ends, microseconds since 1970; default now.")
@click.option("--duplicates", type=FRACTION, default=0.0, help="Fraction of events sent twice.")
@click.option("--disorder", type=FRACTION, default=0.0, help="Fraction of events sent late.")
@click.option("--rubbish", type=FRACTION, default=0.0, help="Fraction of bad events mixed in.")
@click.option("--locations/--no-locations", default=True, help="Set up stores, groups and SKUs.")
def replay(
    settings: Settings,
    dataset: str,
    *,
    target: str,
    url: str,
    token: str | None,
    limit: int | None,
    seed: int,
    rate: float | None,
    now: int | None,
    duplicates: float,
    disorder: float,
    rubbish: float,
    locations: bool,
) -> int:
    """Publish DATASET as stock events that end now, with opening stock and deliveries.

    completejourney: 1.47 million sale lines of 457 grocery stores, a year of baskets. Its events
    are up to a year old, so ingest must run with --late-window off. The same --now and --seed
    give the same events, so an interrupted replay can be repeated. Exit code 1: the server
    refused more than the bad events that were mixed in.
    """
    del dataset
    year = load(now, limit, seed, (duplicates, disorder, rubbish))
    if locations:
        set_up(settings, year)
    begun_s = time.monotonic()
    with _sink(settings, target, url, token) as sink:
        sent = send(year, sink, rate)
    report(year, sent, time.monotonic() - begun_s)
    return 1 if sent.rejected_count > year.tally.rubbish_count else 0


def load(
    now_us: int | None,
    limit: int | None,
    seed: int,
    fractions: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Year:
    """Load the year; see :func:`onhand.replay.load_year`."""
    try:
        from onhand.replay import Disturbance, load_year  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    duplicates, disorder, rubbish = fractions
    disturbance = Disturbance(duplicates=duplicates, disorder=disorder, rubbish=rubbish)
    now_us = time.time_ns() // 1_000 if now_us is None else now_us
    try:
        return load_year(now_us, limit=limit, seed=seed, disturbance=disturbance)
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def set_up(settings: Settings, year: Year) -> None:
    """Put the year's locations and SKUs into the ledger, as the commands for it do."""
    from onhand.ledger import SetupStore, open_ledger  # noqa: PLC0415 - keeps `--help` quick

    places, skus = year.places(), year.skus()
    with contextlib.closing(open_ledger(settings)) as ledger:
        store = SetupStore(ledger)
        store.put_locations(places)
        store.put_skus(skus)
    click.echo(f"Set up {len(places)} locations and {len(skus):,} SKUs.", err=True)


def send(year: Year, sink: Sink, rate: float | None = None) -> Sent:
    """Send the year's events with progress."""
    from onhand.sending import send_all  # noqa: PLC0415

    with progress("Publishing") as tell:
        return send_all(
            year.records(), sink, rate=rate, tell=lambda count: tell(count, year.event_count)
        )


def report(year: Year, sent: Sent, seconds: float) -> None:
    """Print what was published."""
    tally = year.tally
    click.echo(
        f"Published {sent.accepted:,} events with {year.line_count:,} lines in {seconds:.1f} s: "
        f"{year.sales.line_count:,} sold, {len(year.deliveries.store):,} delivered; "
        f"{year.sales.zero_line_count:,} lines of quantity 0 left out."
    )
    if tally.duplicate_count or tally.displaced_count or tally.rubbish_count:
        click.echo(
            f"Mixed in: {tally.duplicate_count:,} duplicates, {tally.displaced_count:,} late, "
            f"{tally.rubbish_count:,} bad."
        )
    if sent.rejected_count:
        codes = ", ".join(sorted(sent.codes))
        click.echo(f"Refused by the server: {sent.rejected_count:,} ({codes}).")


@contextlib.contextmanager
def _sink(settings: Settings, target: str, url: str, token: str | None) -> Iterator[Sink]:
    from onhand.log import open_log  # noqa: PLC0415
    from onhand.sending import HttpSink, LogSink  # noqa: PLC0415

    if target == "http":
        yield HttpSink(url, token)
        return
    with contextlib.closing(open_log(settings)) as event_log:
        event_log.ensure_topics(settings.kafka_partition_count)
        yield LogSink(event_log)


def _missing(error: ModuleNotFoundError) -> DatasetMissingError:
    return DatasetMissingError(
        f"the data set needs the package {error.name}", "Install it: pip install 'onhand[demo]'"
    )
