"""``onhand recommendations``: learn what is bought together; `onhand ingest` starts it."""

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
    "table_dir",
    "late_window",
    "recommendation_items_max",
    "recommendation_pairs_max",
    "recommendation_half_life",
    "recommendation_basket_window",
    "recommendation_baskets_max",
)
def recommendations(settings: Settings) -> None:
    """Learn what is bought together, for recommendations, until told to stop.

    ``onhand ingest`` starts this by itself; one runs beside each set of tables.
    """
    from onhand.recommendations.run import learn_recommendations  # noqa: PLC0415 - keeps `--help` quick

    stopping = threading.Event()
    stop_on_signal(stopping.set)
    learn_recommendations(settings, stopping)
