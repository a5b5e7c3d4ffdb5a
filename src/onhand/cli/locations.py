"""``onhand locations``: load and list them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from onhand.cli.options import settings_options
from onhand.cli.tables import print_table
from onhand.ledger import SetupStore, open_ledger
from onhand.model.location_file import BadLocationFile, parse_location_file
from onhand.model.setup import location_document

if TYPE_CHECKING:
    from onhand.settings import Settings


@click.group()
def locations() -> None:
    """Load and list locations."""


@locations.command()
@settings_options("data", "database")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def load(settings: Settings, file: Path) -> None:
    """Create or replace the locations in FILE, all or none.

    FILE is CSV with a header, a JSON array, or JSON lines (.ndjson); fields are those of
    PUT /v1/locations/{id}, and id. In CSV, groups are parted by semicolons and opening_hours
    is JSON. Running servers take the change up within a second.
    """
    try:
        found = parse_location_file(file.read_bytes(), file.suffix)
    except BadLocationFile as error:
        for line in error.lines:
            click.echo(f"{file}: {line}", err=True)
        raise
    with contextlib.closing(open_ledger(settings)) as ledger:
        new_count = SetupStore(ledger).put_locations(found)
    replaced_count = len(found) - new_count
    click.echo(f"Loaded {len(found)} locations: {new_count} new, {replaced_count} replaced.")


@locations.command("list")
@settings_options("data", "database")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_locations(settings: Settings, *, as_json: bool) -> None:
    """List the locations that are set up."""
    with contextlib.closing(open_ledger(settings)) as ledger:
        found = SetupStore(ledger).list_locations()
    if as_json:
        for each in found:
            click.echo(msgspec.json.encode(location_document(each)))
        return
    header = ("id", "name", "type", "groups", "enabled", "pickup", "ship", "timezone")
    rows = [
        (
            each.id,
            each.name,
            each.type,
            ", ".join(each.groups),
            _yes(each.enabled),
            _yes(each.pickup),
            _yes(each.ship),
            each.timezone,
        )
        for each in found
    ]
    print_table(header, rows, empty="No location is set up. Load some: onhand locations load FILE")


def _yes(value: bool) -> str:  # noqa: FBT001 - formats a boolean
    return "yes" if value else "no"
