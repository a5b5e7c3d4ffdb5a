"""``onhand storefront``: reads only, on as many processes as wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onhand.cli.addresses import with_free_port
from onhand.cli.options import settings_options
from onhand.cli.serve import SERVER_SETTINGS

if TYPE_CHECKING:
    from onhand.settings import Settings


@click.command()
@settings_options(
    *SERVER_SETTINGS,
    "storefront_worker_count",
    flags={"storefront_worker_count": ["--workers"]},
)
def storefront(settings: Settings) -> None:
    """Serve reads only, from the tables on this machine, until told to stop.

    Every worker answers on the same port; one is started when no number is given.
    """
    from onhand.web.server import serve as serve_http  # noqa: PLC0415 - keeps `--help` quick

    workers = max(1, settings.storefront_worker_count)
    serve_http(with_free_port(settings), reads_only=True, workers=workers)
