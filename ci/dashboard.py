#!/usr/bin/env python3
"""Write deploy/grafana/dashboards/onhand.json: rows of panels, each the queries of one question."""

import sys
from itertools import count
from pathlib import Path
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

TARGET = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboards" / "onhand.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HERE = 'job="onhand", instance=~"$instance"'
WIDTH = 24
QUANTILES = (0.5, 0.99, 0.999)


class Panel(NamedTuple):
    """One panel: ``queries`` are pairs of an expression and its legend."""

    title: str
    unit: str
    queries: list[tuple[str, str]]
    warn: float | None = None
    is_number: bool = False


def gauge(name: str, legend: str = "{{instance}}") -> list[tuple[str, str]]:
    """Show a metric as it is."""
    return [(f"{name}{{{HERE}}}", legend)]


def rate(name: str, *by: str, where: str = "") -> list[tuple[str, str]]:
    """Show how fast a counter rises, by labels."""
    grouped = f" by ({', '.join(by)})" if by else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in by) or "all"
    return [(f"sum{grouped} (rate({name}{{{HERE}{where}}}[$__rate_interval]))", legend)]


def quantiles(name: str) -> list[tuple[str, str]]:
    """Show what half, 99 and 999 in a hundred and in a thousand stay below."""
    buckets = f"sum by (le) (rate({name}_bucket{{{HERE}}}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in QUANTILES]


def burn(name: str) -> list[tuple[str, str]]:
    """Show a recorded ratio over a short and a long window."""
    return [(f'{name}_{window}{{job="onhand"}}', window) for window in ("5m", "1h", "6h")]


ROWS = {
    "At a glance": [
        Panel("Alerts firing", "none", [
            ('count(ALERTS{alertstate="firing", alertname=~"Onhand.*"}) or vector(0)', "alerts")
        ], 1, is_number=True),
        Panel("Servers up", "none", [('sum(up{job="onhand"})', "servers")], is_number=True),
        Panel("Ingest silent for", "s",
              gauge("onhand_ingest_heartbeat_seconds"), 10, is_number=True),
        Panel("Order writer silent for", "s",
              gauge("onhand_order_writer_heartbeat_seconds"), 10, is_number=True),
        Panel("Stock numbers behind by", "s",
              gauge("onhand_ingest_lag_seconds"), 5, is_number=True),
        Panel("Units without a shelf", "none", gauge("onhand_shortfall_units"), 1, is_number=True),
    ],
    "What shoppers wait for": [
        Panel("Promises, p99 with holds and orders", "s",
              [('onhand:promise_seconds:p99_5m{job="onhand"}', "p99")], 0.1),
        Panel("Promises", "s", quantiles("onhand_promise_seconds")),
        Panel("Holds and orders", "s", quantiles("onhand_reserve_seconds")),
        Panel("Reads", "s", quantiles("onhand_read_seconds")),
        Panel("Promises over 100 ms", "percentunit", burn("onhand:promise_slow:ratio"), 0.01),
        Panel("Promises that failed", "percentunit", burn("onhand:promise_failed:ratio"), 0.001),
        Panel("Other requests that failed", "percentunit",
              burn("onhand:request_failed:ratio"), 0.001),
        Panel("Requests", "reqps", rate("onhand_http_requests_total", "route", "status")),
    ],
    "Events and stock": [
        Panel("Events applied", "eps", rate("onhand_events_applied_total", "type")),
        Panel("From append to visible", "s", quantiles("onhand_event_visible_seconds"), 1),
        Panel("Until durable in the log", "s", quantiles("onhand_publish_seconds")),
        Panel("Events behind", "none", gauge("onhand_ingest_lag_events")),
        Panel("Dead letters", "eps", rate("onhand_events_dead_total", "type", "reason")),
        Panel("Duplicates", "eps", rate("onhand_events_duplicate_total")),
        Panel("Changes published", "eps", rate("onhand_changes_published_total")),
        Panel("Stream clients", "none", gauge("onhand_stream_clients")),
    ],
    "Orders": [
        Panel("Commands", "ops", rate("onhand_order_commands_total", "command", "outcome")),
        Panel("Open", "none", gauge("onhand_reservations_open", "{{kind}}")),
        Panel("Commits", "s", quantiles("onhand_ledger_commit_seconds"), 0.05),
        Panel("Age of the numbers promised by", "s", gauge("onhand_supply_age_seconds"), 5),
        Panel("Events waiting for the log", "none", gauge("onhand_outbox_pending", "{{topic}}")),
        Panel("Movements not in stock yet", "none", gauge("onhand_handovers_in_flight")),
        Panel("Ledger on disk", "bytes", gauge("onhand_ledger_bytes")),
        Panel("Old rows dropped", "rowsps",
              rate("onhand_ledger_rows_dropped_total", "table")),
    ],
    "Tables and checkpoints": [
        Panel("Fullest table", "percentunit", gauge("onhand_table_fill_ratio"), 0.8),
        Panel("Cells", "none", gauge("onhand_table_cells")),
        Panel("Table memory", "bytes", gauge("onhand_table_allocated_bytes")),
        Panel("Newest checkpoint's age", "s",
              [(f"time() - onhand_checkpoint_timestamp_seconds{{{HERE}}}", "{{shard}}")], 120),
        Panel("Checkpoint took", "s", gauge("onhand_checkpoint_seconds")),
        Panel("Checkpoints", "cps", rate("onhand_checkpoints_total", "outcome")),
    ],
    "What follows": [
        Panel("Purchases behind by", "s", gauge("onhand_purchases_lag_seconds"), 60),
        Panel("Recommendations behind by", "s", gauge("onhand_recommendation_lag_seconds"), 300),
    ],
}  # fmt: skip


def build_panel(panel: Panel, width: int) -> stat.Panel | timeseries.Panel:
    """Make a panel of the one kind or the other."""
    built = stat.Panel() if panel.is_number else _plot()
    built.title(panel.title).unit(panel.unit).datasource(SOURCE).span(width)
    built.height(4 if panel.is_number else 7)
    for number, (expression, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend)
        built.with_target(query.ref_id(chr(ord("A") + number)).range().datasource(SOURCE))
    if panel.warn is not None:
        steps = [Threshold(None, "green"), Threshold(panel.warn, "red")]
        built.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    return built


def _plot() -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    legend.placement(LegendPlacement.BOTTOM).show_legend(show_legend=True)
    return timeseries.Panel().min(0).fill_opacity(8).legend(legend)


def build() -> str:
    """Write the dashboard as Grafana reads it."""
    board = Dashboard("onhand").uid("onhand").tags(["onhand"]).editable().version(1)
    board.time("now-1h", "now").refresh("30s").timezone("browser")
    board.tooltip(DashboardCursorSync.CROSSHAIR)
    board.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    instances = QueryVariable("instance").label("Server").datasource(SOURCE)
    instances.query('label_values(up{job="onhand"}, instance)').multi(multi=True)
    board.with_variable(
        instances.include_all(include_all=True)
        .all_value(".*")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    numbers = count(1)
    for title, panels in ROWS.items():
        board.with_row(Row(title).id(next(numbers)))
        for panel in panels:
            width = WIDTH // 6 if panel.is_number else WIDTH // min(4, len(panels))
            board.with_panel(build_panel(panel, width).id(next(numbers)))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


if __name__ == "__main__":
    TARGET.write_text(build(), encoding="utf-8")
    sys.exit(0)
