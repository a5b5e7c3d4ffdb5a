"""``onhand ingest``: the dataflow from the log into the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onhand.cli.options import settings_options

if TYPE_CHECKING:
    from onhand.settings import Settings


@click.command()
@settings_options(
    "data",
    "kafka",
    "topic_prefix",
    "kafka_partition_count",
    "database",
    "table_dir",
    "table_bytes_max",
    "shard_count",
    "worker_count",
    "late_window",
    "count_window",
    "ids_max",
    "history_max",
    "purchase_orders_max",
    "checkpoint_interval_s",
    "checkpoint_archive_days",
    "log_retention_hours",
    "publish_interval_ms",
    "poll_record_count_max",
    "low_stock",
    "orders_keep_days",
    "purchases_keep_days",
    "otlp_endpoint",
)
def ingest(settings: Settings) -> None:
    """Apply stock events from the log to the tables until told to stop.

    One process writes a data directory's tables. SIGTERM and SIGINT end it with a checkpoint.
    """
    from onhand.ingest.run import run_ingest  # noqa: PLC0415 - Bytewax and NumPy load only here

    run_ingest(settings)
