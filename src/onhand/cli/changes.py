"""``onhand changes``: tell of every change of available; `onhand ingest` starts it by itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click

from onhand.cli.options import settings_options
from onhand.stop_signal import stop_on_signal

if TYPE_CHECKING:
    from onhand.settings import Settings


@click.command()
@settings_options(
    "data", "kafka", "topic_prefix", "database", "table_dir", "publish_interval_ms", "low_stock"
)
def changes(settings: Settings) -> None:
    """Publish changes of available on stock.availability until told to stop.

    ``onhand ingest`` starts this by itself; one runs beside each set of tables.
    """
    from onhand.ingest.changes import publish_changes  # noqa: PLC0415 - keeps `--help` quick

    stopping = threading.Event()
    stop_on_signal(stopping.set)
    publish_changes(settings, stopping)
