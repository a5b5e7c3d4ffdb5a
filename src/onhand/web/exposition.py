"""What ``GET /metrics`` answers: the sums of all pages, and what the tables say of themselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from onhand import __version__
from onhand.metrics import REGISTRY, Metric, Values, collect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from prometheus_client import Metric as Family

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

TABLE_GAUGES: Final = {
    "onhand_ingest_lag_events": "Records in the log that are not applied yet, about.",
    "onhand_ingest_lag_seconds": "How long ago the append time was up to which all is applied.",
    "onhand_ingest_heartbeat_seconds": "How long ago a writer last said that it lives.",
    "onhand_order_writer_heartbeat_seconds": "How long ago the order writer last spoke.",
    "onhand_checkpoint_age_seconds": "How long ago the last checkpoint was taken, of the oldest.",
    "onhand_table_skus": "SKUs that the tables know.",
    "onhand_table_locations": "Locations that the tables know.",
    "onhand_table_cells": "Cells in the tables.",
    "onhand_table_bytes": "Bytes that the tables use.",
    "onhand_table_allocated_bytes": "Bytes that the tables hold, used or not.",
    "onhand_table_row_bytes": "Bytes of rows in use.",
    "onhand_table_fill_ratio": "Of the largest size that a table may have, the fullest one.",
    "onhand_table_history_movements": "Recent movements that are kept.",
    "onhand_table_history_fill_ratio": "Of the movements that may be kept.",
}
"""What tables and checkpoints say of themselves; a number is there once they are."""


class _Families:
    """Turns sums into what the client library writes."""

    def __init__(self, directory: Path, gauges: Mapping[str, float]) -> None:
        self._directory = directory
        self._gauges = gauges

    def collect(self) -> Iterator[Family]:
        yield InfoMetricFamily("onhand_build", "This onhand.", {"version": __version__})
        for name, value in self._gauges.items():
            yield GaugeMetricFamily(name, TABLE_GAUGES[name], value)
        by_name: dict[str, dict[tuple[str, ...], Values]] = {}
        for (name, labels), values in sorted(collect(self._directory).items()):
            by_name.setdefault(name, {})[labels] = values
        for name, metric in REGISTRY.items():
            yield _family(metric, by_name.get(name, {}))
        yield _checkpoint_age(by_name.get("onhand_checkpoint_timestamp_seconds", {}))


def exposition(directory: Path, gauges: Mapping[str, float]) -> bytes:
    """Write all metrics in Prometheus' text format; takes milliseconds.

    Parameters
    ----------
    directory
        Of the pages.
    gauges
        Values of :data:`TABLE_GAUGES`.
    """
    registry = CollectorRegistry()
    registry.register(_Families(directory, gauges))
    return generate_latest(registry)


def _checkpoint_age(taken: Mapping[tuple[str, ...], Values]) -> Family:
    """Say how old the last checkpoint is, the oldest of all shards; no number before the first."""
    name = "onhand_checkpoint_age_seconds"
    family = GaugeMetricFamily(name, TABLE_GAUGES[name])
    if taken:
        oldest_s = min(values[0] for values in taken.values())
        family.add_metric((), max(0.0, time.time() - oldest_s))
    return family


def _family(metric: Metric, series: Mapping[tuple[str, ...], Values]) -> Family:
    if not series and not metric.labels:
        # A counter that nothing has raised yet is 0, not absent: rates need a start.
        series = {(): [0.0] * metric.slot_count}
    kinds: dict[str, Any] = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
    for labels, values in series.items():
        if metric.kind == "histogram":
            family.add_metric(labels, _buckets(metric, values), values[-1])
        else:
            family.add_metric(labels, values[0])
    return family  # type: ignore[no-any-return]


def _buckets(metric: Metric, values: Values) -> list[tuple[str, float]]:
    total = 0.0
    buckets = []
    for bound, count in zip((*map(str, metric.bounds), "+Inf"), values[:-1], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
