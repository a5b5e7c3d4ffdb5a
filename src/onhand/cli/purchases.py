"""``onhand purchases``: keep what customers buy in stores; `onhand ingest` starts it by itself."""

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
    "data",
    "kafka",
    "topic_prefix",
    "database",
    "table_dir",
    "late_window",
    "orders_keep_days",
    "purchases_keep_days",
)
def purchases(settings: Settings) -> None:
    """Keep the purchases that events tell of, for customers' histories, until told to stop.

    ``onhand ingest`` starts this by itself; one runs for a deployment.
    """
    from onhand.customers.feed import keep_purchases  # noqa: PLC0415 - keeps `--help` quick

    stopping = threading.Event()
    stop_on_signal(stopping.set)
    keep_purchases(settings, stopping)
