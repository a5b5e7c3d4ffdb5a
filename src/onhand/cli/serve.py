"""``onhand serve``: publishing, orders, set-up and all reads over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onhand.cli.addresses import with_free_port
from onhand.cli.options import settings_options

if TYPE_CHECKING:
    from onhand.settings import Settings

SERVER_SETTINGS = (
    "data",
    "host",
    "port",
    "no_auth",
    "kafka",
    "topic_prefix",
    "database",
    "table_dir",
    "low_stock",
    "pickup_ready_minutes",
    "body_bytes_max",
    "otlp_endpoint",
    "trace_sample_ratio",
)


@click.command()
@settings_options(
    *SERVER_SETTINGS,
    "kafka_partition_count",
    "late_window",
    "count_window",
    "max_supply_age_ms",
    "table_bytes_max",
    "transit_km_per_day",
    "shortfall_policy",
    "resource_max",
    "open_reservations_max",
    "orders_keep_days",
    "purchases_keep_days",
    "rate_limit_per_s",
)
def serve(settings: Settings) -> None:
    """Serve publishing, orders, set-up and all reads over HTTP until told to stop.

    It answers from the tables that `onhand ingest` writes on this machine.
    """
    from onhand.web.server import serve as serve_http  # noqa: PLC0415 - keeps `--help` quick

    serve_http(with_free_port(settings), reads_only=False, workers=1)
