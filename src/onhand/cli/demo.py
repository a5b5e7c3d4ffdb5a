"""``onhand demo``: a retailer's year of sales, replayed into a deployment of its own."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
import msgspec

from onhand.cli.addresses import base_url, with_free_port
from onhand.cli.fetch import ServerUnreachableError, fetch
from onhand.cli.options import settings_options
from onhand.cli.progress import progress
from onhand.cli.replay import load, report, send, set_up
from onhand.errors import OnhandError
from onhand.supervise import command, environment_of, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onhand.log.base import EventLog
    from onhand.replay.year import Year
    from onhand.settings import Settings
    from onhand.table.reader import TableReader

SAFETY_RULES: Final = (
    {"group": "online", "quantity": 1},
    {"category": "SOFT DRINKS", "quantity": 2},
    {"category": "FLUID MILK PRODUCTS", "group": "online", "quantity": 3},
)
"""What the web shop keeps back, and a category that is kept back everywhere."""

DIFFERENCES_SHOWN: Final = 10
SAMPLE_STORES_MAX: Final = 20
_POLL_S: Final = 0.05
_START_S_MAX: Final = 120.0


class DemoError(OnhandError):
    """The demo did not come to its end."""

    code = "demo_failed"


@click.command()
@settings_options("port", "table_dir", "storefront_worker_count")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("onhand-demo"),
    show_default=True,
    help="Directory of the demo; one that was used before is replayed into again.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many sale lines.")
@click.option("--seed", type=int, default=0, show_default=True, help="Picks all that is derived.")
@click.option("--once", is_flag=True, help="End after the summary instead of serving on.")
@click.option("--check", is_flag=True, help="Compare every cell with what pandas makes of it.")
def demo(
    settings: Settings, data: Path, limit: int | None, seed: int, *, once: bool, check: bool
) -> int:
    """Start everything on this machine, replay a year of real sales, and keep serving.

    The sales are Complete Journey's: 1.47 million lines of 457 grocery stores, moved in time so
    that the year ends now. Nothing but the data directory and shared memory is touched.
    """
    settings = with_free_port(_for_demo(settings, data))
    with _running(settings) as process:
        year = load(None, limit, seed)
        _replay(settings, year)
        differences = _check(settings, year) if check else 0
        _summarise(settings, year)
        if not once and not differences:
            click.echo("Serving until Ctrl-C.")
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()
        return 1 if differences else 0


def _for_demo(settings: Settings, data: Path) -> Settings:
    # History is older than any window, and the embedded defaults are what the demo shows.
    return msgspec.structs.replace(
        settings,
        host="127.0.0.1",
        data=data,
        kafka=None,
        kafka_options={},
        database=None,
        late_window=None,
        no_auth=True,
        log_level="warning",
    )


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``onhand up`` as a child until the block ends."""
    environment = environment_of(settings)
    process = spawn(command("up"), environment, stdout=subprocess.DEVNULL)
    try:
        _wait_ready(settings, process)
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_ready(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _START_S_MAX
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise DemoError("onhand could not be started; the reason stands above")
        with contextlib.suppress(ServerUnreachableError):
            if fetch(base_url(settings), "/healthz")[0] == http.client.OK:
                return
        time.sleep(_POLL_S)
    raise DemoError(f"onhand did not start within {_START_S_MAX:.0f} s", "Look at its log above")


def _replay(settings: Settings, year: Year) -> None:
    """Publish the year, wait until every event is applied, and say how long it took."""
    from onhand.log import open_log  # noqa: PLC0415 - keeps `--help` quick
    from onhand.sending import LogSink  # noqa: PLC0415

    set_up(settings, year)
    _put_safety_stock(settings)
    with contextlib.closing(open_log(settings)) as event_log:
        event_log.ensure_topics(settings.kafka_partition_count)
        begun_s = time.monotonic()
        sent = send(year, LogSink(event_log))
        report(year, sent, time.monotonic() - begun_s)
        _wait_applied(settings, event_log, sent.accepted)
        seconds = time.monotonic() - begun_s
        dead_count = _end_offset(event_log, "stock.dead-letters")
    click.echo(
        f"Applied all of it {seconds:.1f} s after the first was published: "
        f"{sent.accepted / seconds:,.0f} events/s, {year.line_count / seconds:,.0f} lines/s, "
        f"{dead_count:,} refused."
    )


def _put_safety_stock(settings: Settings) -> None:
    from onhand.ledger import SetupStore, open_ledger  # noqa: PLC0415

    with contextlib.closing(open_ledger(settings)) as ledger:
        SetupStore(ledger).replace_safety_stock(list(SAFETY_RULES))


def _wait_applied(settings: Settings, event_log: EventLog, total: int) -> None:
    """Wait until the tables have passed every offset that the log had when this was called."""
    from onhand.log.topics import EVENT_TOPICS  # noqa: PLC0415

    ends = event_log.end_offsets(event_log.partitions(EVENT_TOPICS))
    reader = _reader(settings)
    with progress("Applying") as tell:
        while True:
            applied = _applied_offsets(reader)
            waiting = sum(max(0, end - applied.get(name, 0)) for name, end in ends.items())
            tell(max(0, total - waiting), total)
            if not waiting:
                return
            time.sleep(_POLL_S)


def _check(settings: Settings, year: Year) -> int:
    """Compare every cell with pandas; name the first that differ and answer how many do."""
    expected = year.expected_cells()
    wanted = dict(
        zip(
            zip(expected["sku"], expected["location"], strict=True),
            expected["on_hand"],
            strict=True,
        )
    )
    found = on_hand_of_every_cell(_reader(settings))
    differing = sorted(
        cell for cell in wanted.keys() | found.keys() if wanted.get(cell, 0) != found.get(cell, 0)
    )
    for sku, location in differing[:DIFFERENCES_SHOWN]:
        click.echo(
            f"{sku} at {location}: {found.get((sku, location), 0)} on hand, "
            f"pandas says {wanted.get((sku, location), 0)}",
            err=True,
        )
    click.echo(f"Compared {len(wanted):,} cells with pandas: {len(differing):,} differ.")
    return len(differing)


def _summarise(settings: Settings, year: Year) -> None:
    """Print one answer, how fresh it is, and where to look."""
    sku, answer = _sample(settings, year)
    location = answer["scope"].removeprefix("location:")
    path = _read_path(sku, location)
    place = next(each for each in year.places() if each.id == location)
    url = base_url(settings)
    click.echo(
        f"\nThe best-selling product, {sku}, at {location} ({place.name}): "
        f"{answer['available']:,} available of {answer['on_hand']:,} on hand, "
        f"as of {answer['age_ms']} ms ago.\n"
        f"\n  docs       {url}/docs"
        f"\n  metrics    {url}/metrics"
        f"\n  one read   curl '{url}{path}'"
        f"\n  nearby     curl '{url}/v1/availability/{quote(sku)}/nearby"
        f"?latitude={place.latitude}&longitude={place.longitude}&limit=5'"
        f"\n  changes    curl -N '{url}/v1/availability/stream?skus={quote(sku)}'"
        f"\n  the terms  onhand explain {sku} {location} --data {settings.data}"
        f"\n"
    )


def _sample(settings: Settings, year: Year) -> tuple[str, Mapping[str, Any]]:
    """Read the best seller where it sells most and is in stock."""
    sku, locations = _best_seller(year)
    answer: Mapping[str, Any] = {}
    for location in locations[:SAMPLE_STORES_MAX]:
        path = _read_path(sku, location)
        status, content = fetch(base_url(settings), path)
        if status != http.client.OK:
            raise DemoError(f"GET {path} answered {status}: {content.decode(errors='replace')}")
        answer = msgspec.json.decode(content)
        if answer["available"]:
            break
    return sku, answer


def _read_path(sku: str, location: str) -> str:
    return f"/v1/availability/{quote(sku)}?location={quote(location)}"


def on_hand_of_every_cell(reader: TableReader) -> dict[tuple[str, str], int]:
    """Read the whole table."""
    reader.refresh()
    found: dict[tuple[str, str], int] = {}
    for skus, locations, columns in reader.cells():
        cells = zip(columns["sku"], columns["location"], columns["on_hand"].tolist(), strict=True)
        found.update(
            ((skus[sku], locations[location]), on_hand) for sku, location, on_hand in cells
        )
    return found


def _best_seller(year: Year) -> tuple[str, list[str]]:
    """Pick the product in the most baskets, and the stores that sell it, the busiest first."""
    import numpy as np  # noqa: PLC0415 - keeps `--help` quick

    from onhand.replay.shelves import location_of  # noqa: PLC0415

    products, counts = np.unique(year.sales.product, return_counts=True)
    product = products[np.argmax(counts)]
    sold = year.sales.product == product
    stores, counts = np.unique(year.sales.store[sold], return_counts=True)
    return str(product), [location_of(store) for store in stores[np.argsort(-counts)].tolist()]


def _reader(settings: Settings) -> TableReader:
    from onhand.identity import open_identity  # noqa: PLC0415
    from onhand.table.reader import TableReader  # noqa: PLC0415 - native code loads only here

    return TableReader(settings.table_dir, open_identity(settings.data).id)


def _applied_offsets(reader: TableReader) -> dict[tuple[str, int], int]:
    from onhand.errors import TableUnavailable  # noqa: PLC0415

    try:
        reader.refresh()
        return reader.progress().offsets
    except TableUnavailable:
        return {}


def _end_offset(event_log: EventLog, topic: str) -> int:
    return sum(event_log.end_offsets(event_log.partitions([topic])).values())
