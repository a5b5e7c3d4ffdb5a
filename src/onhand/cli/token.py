"""``onhand token``: create, list and revoke access tokens."""

from __future__ import annotations

import contextlib
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from onhand.cli.options import settings_options
from onhand.cli.tables import print_table
from onhand.errors import OnhandError
from onhand.ledger import SetupStore, TokenStore, open_ledger
from onhand.ledger.authenticator import VISIBLE_S
from onhand.model.access import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.ledger import Ledger
    from onhand.settings import Settings


@click.group()
def token() -> None:
    """Create, list and revoke access tokens."""


@token.command()
@settings_options("data", "database")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What it may do.")
@click.option(
    "--location",
    "locations",
    multiple=True,
    help="A location that an associate works at; may be repeated.",
)
@click.option("--label", default="", help="A note on who has it.")
def create(settings: Settings, role: str, locations: tuple[str, ...], label: str) -> None:
    """Create a token and print it. It cannot be shown again.

    Running servers accept it by the time this command ends.
    """
    if role == "associate" and not locations:
        raise click.UsageError("--role associate needs at least one --location")
    if role != "associate" and locations:
        raise click.UsageError("--location goes with --role associate only")
    with contextlib.closing(open_ledger(settings)) as ledger:
        _warn_of_unknown(ledger, locations)
        made = TokenStore(ledger).create(role, locations, label=label)
    time.sleep(VISIBLE_S)
    if sys.stdout.isatty():
        click.echo("Send it as `Authorization: Bearer TOKEN`. It is not shown again.", err=True)
    click.echo(made)


@token.command("list")
@settings_options("data", "database")
def list_tokens(settings: Settings) -> None:
    """List every token ever created, without its secret."""
    with contextlib.closing(open_ledger(settings)) as ledger:
        found = TokenStore(ledger).list_tokens()
    header = ("id", "role", "locations", "label", "created", "revoked")
    rows = [
        (
            each.id,
            each.role,
            ", ".join(each.locations),
            each.label,
            _written(each.created_us),
            _written(each.revoked_us),
        )
        for each in found
    ]
    print_table(header, rows, empty="There is no token. Create one: onhand token create --role ...")


@token.command()
@settings_options("data", "database")
@click.argument("token_id", metavar="ID")
def revoke(settings: Settings, token_id: str) -> None:
    """End the token with this ID for good (or a whole token, of which the ID is read).

    Running servers refuse it by the time this command ends.
    """
    wanted = token_id.split("_")[1] if token_id.startswith("oh_") else token_id
    with contextlib.closing(open_ledger(settings)) as ledger:
        ended = TokenStore(ledger).revoke(wanted)
    if not ended:
        raise OnhandError(
            f"there is no valid token {wanted}", "See `onhand token list` for their ids"
        )
    time.sleep(VISIBLE_S)
    click.echo(f"Revoked {wanted}.")


def _written(time_us: int | None) -> str:
    if time_us is None:
        return ""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).isoformat()


def _warn_of_unknown(ledger: Ledger, locations: Iterable[str]) -> None:
    known = SetupStore(ledger).load_setup().locations if locations else {}
    for location in locations:
        if location not in known:
            click.echo(f"onhand: warning: location {location} is not set up yet.", err=True)
