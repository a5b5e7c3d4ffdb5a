"""The figures that onhand is to reach, and how a benchmark states what it measured.

::

    from benchmarks.figures import state

    def bench_apply_columns(benchmark, cell_count):
        benchmark(apply)
        state(benchmark, "apply_columns", rate, limit=bare_rate, limit_name="a plain C loop")

:func:`state` prints the figure with its ratio to a limit measured in the same run, and leaves it
in the ``extra_info`` of pytest-benchmark; :mod:`benchmarks.report` writes docs/benchmarks.md of it.
A ratio is the share of the limit that was reached: 1 is the limit itself, for rates and for times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from collections.abc import Mapping

HIGHER_IS_BETTER = ("/s", "% found")
"""What units of rates end in; of everything else less is better."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and what it has to come to: every bound that is set."""

    what: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    instead: str = ""
    """What people would pick instead, where the limit is that."""

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith(HIGHER_IS_BETTER)

    def ratio(self, value: float, limit: float) -> float:
        """Return the share of the limit that was reached."""
        return value / limit if self.is_rate else limit / value

    def is_met(self, value: float, ratio: float | None) -> bool | None:
        """Compare with every bound; None when there is none, or no ratio to compare."""
        if self.ratio_at_least is not None and ratio is None:
            return None
        pairs = [
            (value, self.at_least),
            (ratio, self.ratio_at_least),
            (-value, None if self.at_most is None else -self.at_most),
        ]
        checks = [reached >= bound for reached, bound in pairs if bound is not None]
        return all(checks) if checks else None

    def target(self) -> str:
        """Put the bounds into words."""
        words = []
        if self.at_least is not None:
            words.append(f"at least {show(self.at_least, self.unit)}")
        if self.at_most is not None:
            words.append(f"at most {show(self.at_most, self.unit)}")
        if self.ratio_at_least is not None:
            words.append(f"at least {self.ratio_at_least:g} of its limit")
        return " and ".join(words) or "none"


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """One figure as a benchmark measured it; ``percentiles`` are in the figure's unit.

    ``oversold`` counts units promised that were not there, where the last ones were fought over.
    """

    key: str
    value: float
    limit: float | None = None
    limit_name: str = ""
    percentiles: dict[str, float] = {}
    note: str = ""
    oversold: int | UnsetType = UNSET
    oversold_by_limit: int | UnsetType = UNSET


_EVENTS = "events/s"

FIGURES: dict[str, Figure] = {
    "apply_columns": Figure(
        what="Columnar apply, 1M SKUs x 10 locations, one core, ids resolved, no duplicate check",
        unit="movements/s",
        at_least=20e6,
        ratio_at_least=0.4,
    ),
    "apply_complete": Figure(
        what="The same complete: strings resolved, duplicates, history and change ring on",
        unit="movements/s",
        at_least=8e6,
    ),
    "apply_scatter": Figure(
        what="Columnar apply beside numpy's `add.at` on a plain array",
        unit="movements/s",
        instead="numpy's own scatter-add, with no names and no readers",
    ),
    "cell_bytes": Figure(
        what="Memory per stocked cell at 10M cells, directory and all", unit="bytes", at_most=64
    ),
    "point_read_hot": Figure(what="Point read from Python, hot", unit="us", at_most=0.5),
    "point_read_random": Figure(
        what="Point read from Python, random over 1M SKUs", unit="us", at_most=2.5
    ),
    "batch_read": Figure(what="Batch read", unit="cells/s", at_least=5e6),
    "group_read_hot": Figure(
        what="Group read of a 500-location row, native, hot", unit="us", at_most=0.3
    ),
    "group_read_cold": Figure(
        what="Group read of a 500-location row, native, cold", unit="us", at_most=4
    ),
    "ingest_kafka": Figure(
        what="Kafka to visible in the table, one JSON event a message",
        unit=_EVENTS,
        ratio_at_least=0.5,
        instead="A consumer loop that only touches each message",
    ),
    "ingest_quix": Figure(
        what="The same beside Quix Streams keeping the same table",
        unit=_EVENTS,
        ratio_at_least=10,
        instead="Quix Streams, a cell a key of its state",
    ),
    "ingest_kafka_100_lines": Figure(
        what="Kafka to visible in the table, 100 lines a message", unit="lines/s", at_least=3e6
    ),
    "freshness_embedded": Figure(
        what="Published to visible over HTTP at 5,000 events/s, p99, embedded log",
        unit="ms",
        at_most=20,
    ),
    "freshness_embedded_post": Figure(
        what="The same, published by `POST /v1/events`", unit="ms", at_most=20
    ),
    "freshness_kafka": Figure(
        what="Published to visible over HTTP at 5,000 events/s, p99, Kafka",
        unit="ms",
        at_most=20,
    ),
    "http_read": Figure(
        what="`GET /v1/availability/{sku}` on one worker",
        unit="requests/s",
        ratio_at_least=0.7,
        instead="The bare HTTP server for reads, one constant answer",
    ),
    "http_read_p99": Figure(what="The same at half that rate, p99", unit="ms", at_most=3),
    "http_hold": Figure(
        what="`POST /v1/holds` on 32 connections",
        unit="holds/s",
        ratio_at_least=0.4,
        instead="The bare HTTP server for holds, one constant answer",
    ),
    "http_hold_p99": Figure(what="The same at half that rate, p99", unit="ms", at_most=10),
    "http_hold_update": Figure(
        what="The same beside a server that does one conditional UPDATE in PostgreSQL",
        unit="holds/s",
        ratio_at_least=3,
        instead="A conditional UPDATE in PostgreSQL, behind the same HTTP server",
    ),
    "http_hold_redis": Figure(
        what="The same beside a server whose Redis decides in a script, every write synced",
        unit="holds/s",
        ratio_at_least=1.5,
        instead="A script in Redis that checks and lowers, behind the same HTTP server",
    ),
    "http_hold_medusa": Figure(
        what="The same beside Medusa's inventory and locking modules on PostgreSQL",
        unit="holds/s",
        ratio_at_least=50,
        instead="Medusa's inventory module under its locking module, on PostgreSQL",
    ),
    "http_hold_postgres": Figure(
        what="`POST /v1/holds` on 32 connections, the ledger in PostgreSQL",
        unit="holds/s",
        ratio_at_least=0.4,
    ),
    "http_hold_p99_postgres": Figure(what="The same at half that rate, p99", unit="ms", at_most=10),
    "http_order": Figure(
        what="`POST /v1/orders` of two lines on 32 connections", unit="orders/s", at_least=5_000
    ),
    "http_order_p99": Figure(what="The same at half that rate, p99", unit="ms", at_most=15),
    "http_order_postgres": Figure(
        what="`POST /v1/orders` of two lines on 32 connections, the ledger in PostgreSQL",
        unit="orders/s",
        at_least=5_000,
    ),
    "http_order_p99_postgres": Figure(
        what="The same at half that rate, p99", unit="ms", at_most=15
    ),
    "http_promise": Figure(
        what="`POST /v1/promises` of two lines on 32 connections",
        unit="promises/s",
        at_least=3_000,
    ),
    "http_query": Figure(
        what="`POST /v1/availability/query` with 1,000 SKUs on one worker",
        unit="SKU answers/s",
        at_least=500e3,
    ),
    "checkpoint_pause": Figure(
        what="Checkpoint of 10M cells, ids and history included: apply paused",
        unit="ms",
        at_most=100,
    ),
    "checkpoint_durable": Figure(what="The same checkpoint: on disk after", unit="s", at_most=5),
    "restart": Figure(
        what="Restart with 10M cells: `onhand ingest` started to first read", unit="s", at_most=5
    ),
    "restart_http": Figure(
        what="Restart with 10M cells: `onhand up` started to first answer over HTTP",
        unit="s",
        at_most=5,
    ),
    "promise": Figure(
        what="Three options for 10 lines over 500 places, in process, p99", unit="us", at_most=100
    ),
    "holds_sqlite": Figure(
        what="Durable holds in process, 256 in flight, SQLite",
        unit="holds/s",
        at_least=40_000,
    ),
    "holds_postgres": Figure(
        what="The same on PostgreSQL, beside single-row updates of 16 clients",
        unit="holds/s",
        ratio_at_least=1.5,
        instead="Conditional UPDATEs in PostgreSQL by pgbench, no HTTP on either side",
    ),
    "hold_beside_many": Figure(
        what="The next holds on a SKU with 1 million open, against one with 100",
        unit="times as long",
        at_most=1.05,
    ),
    "hold_beside_many_postgres": Figure(
        what="The same, the ledger in PostgreSQL", unit="times as long", at_most=1.05
    ),
    "orders_start": Figure(
        what="An order writer started on 1 million open holds, until it decides",
        unit="s",
        at_most=5,
    ),
    "orders_start_postgres": Figure(what="The same, the ledger in PostgreSQL", unit="s", at_most=5),
    "recommendation_hit_rate": Figure(
        what="Complete Journey's last four weeks: the item left out of a basket is among ten "
        "recommended, beside the ten bought most",
        unit="% found",
        ratio_at_least=1.5,
    ),
    "recommendation_hit_rate_peer": Figure(
        what="The same beside the best item-item model of `implicit`",
        unit="% found",
        ratio_at_least=1,
    ),
    "recommendation_call": Figure(
        what="Ten SKUs that can be sold now for a basket of it, in process, p99",
        unit="us",
        at_most=2_000,
    ),
    "recommendation_bytes": Figure(
        what="Memory of what goes together, learnt and published, per SKU", unit="bytes"
    ),
    "recommendation_learn": Figure(
        what="Learning from baskets, decoding and judging included", unit="baskets/s"
    ),
    # Without a target: what the figures above are made of.
    "customer_history": Figure(
        what="First page of a history of 10,000 lines, p99", unit="ms", at_most=10
    ),
    "purchases_feed": Figure(
        what="Events looked through for purchases, half of them stored",
        unit="events/s",
        at_least=5e3,
    ),
    "place_order": Figure(
        what="An order of 10 lines over 500 places decided, no commit, p99", unit="us"
    ),
    "sourcing_whole": Figure(
        what="Places for 10 lines over 500 ranked, many have everything, p99", unit="us"
    ),
    "sourcing_split": Figure(what="The same, two packages are needed, p99", unit="us"),
    "sourcing_thin": Figure(what="The same, three or four packages are needed, p99", unit="us"),
    "batch_read_numbers": Figure(what="Batch read, numbers instead of names", unit="cells/s"),
    "render_query": Figure(
        what="Query of 1,000 SKUs, names in, JSON out, no HTTP", unit="answers/s"
    ),
    "render_one": Figure(what="One SKU in a group as JSON, no HTTP", unit="answers/s"),
    "render_one_by_location": Figure(what="The same with every location", unit="answers/s"),
    "refresh": Figure(what="Looking for a new generation before a read", unit="us", at_most=2),
    "point_read_hot_promised": Figure(
        what="Point read, hot, half of the SKUs reserved at three places", unit="us"
    ),
    "point_read_random_promised": Figure(
        what="Point read, random over 1M SKUs, half of them reserved", unit="us"
    ),
    "batch_read_promised": Figure(what="Batch read, half of the SKUs reserved", unit="cells/s"),
    "batch_read_numbers_promised": Figure(
        what="Batch read by number, half of the SKUs reserved", unit="cells/s"
    ),
    "group_read_hot_promised": Figure(
        what="Group read of a 500-location row, hot, reserved at three places", unit="us"
    ),
    "group_read_cold_promised": Figure(
        what="Group read of 500-location rows, cold, half of them reserved", unit="us"
    ),
    "render_query_promised": Figure(
        what="Query of 1,000 SKUs, half of them reserved", unit="answers/s"
    ),
    "promisable": Figure(what="What may be promised of a cell, hot", unit="us", at_most=0.5),
    "group_cells": Figure(what="10 SKUs at 500 places as an array", unit="us"),
    "demand_add": Figure(what="A promise put into the demand table, hot", unit="us", at_most=0.5),
    "demand_load": Figure(
        what="Filling a demand table with 1M promises, names in", unit="cells/s", at_least=1e6
    ),
    "decode": Figure(what="Decoding and judging, one JSON event a message", unit=_EVENTS),
    "decode_100_lines": Figure(what="Decoding and judging, 100 lines a message", unit="lines/s"),
    "log_append_embedded_1": Figure(
        what="Embedded log: appends on disk, one caller, 1 record each", unit="records/s"
    ),
    "log_append_embedded_100": Figure(what="The same, 100 records each", unit="records/s"),
    "log_append_embedded_1000": Figure(what="The same, 1,000 records each", unit="records/s"),
    "log_poll_embedded": Figure(what="Embedded log: catching up", unit="records/s", at_least=1e6),
    "log_poll_kafka": Figure(what="Kafka: catching up, as columns", unit="records/s"),
    "log_latency_embedded": Figure(
        what="Embedded log: handed over in one process to polled in another, 5,000/s, p99",
        unit="ms",
    ),
    "log_latency_kafka": Figure(what="The same, Kafka", unit="ms"),
    "returns_visible": Figure(
        what="A unit taken back by the app until a read counts it, embedded log, p99",
        unit="ms",
        at_most=50,
    ),
    "ledger_commit_sqlite": Figure(
        what="Ledger on SQLite: 256 holds with their answers and events on disk, one commit, p50",
        unit="ms",
        at_most=3,
    ),
    "ledger_holds_sqlite": Figure(
        what="The same commits one after the other", unit="holds/s", at_least=40_000
    ),
    "ledger_holds_postgres": Figure(
        what="Ledger on PostgreSQL: the same, beside single-row updates of 16 clients",
        unit="holds/s",
        ratio_at_least=1.5,
    ),
    "ledger_answers_sqlite": Figure(
        what="Ledger on SQLite: looking 256 new keys up among the answers, p50", unit="ms"
    ),
    "ledger_answers_postgres": Figure(what="The same, PostgreSQL", unit="ms"),
    "ledger_open_sqlite": Figure(
        what="Ledger on SQLite: reading 1 million active holds", unit="s", at_most=1.5
    ),
    "ledger_open_postgres": Figure(what="The same, PostgreSQL", unit="s", at_most=1.5),
}
"""Every figure by its key, in the order of the report."""


def state(
    benchmark: Any,
    key: str,
    value: float,
    *,
    limit: float | None = None,
    limit_name: str = "",
    percentiles: Mapping[str, float] | None = None,
    note: str = "",
    oversold: int | UnsetType = UNSET,
    oversold_by_limit: int | UnsetType = UNSET,
) -> None:
    """Print a figure and leave it among the results; nothing when timing is off.

    A benchmark may state several. Of one with a size as its parameter the report keeps the largest.

    Parameters
    ----------
    benchmark
        The fixture of pytest-benchmark.
    key
        One of :data:`FIGURES`.
    value
        In the figure's unit.
    limit, limit_name
        What bounds it from above, measured in this run, in the same unit; and what that is.
    percentiles
        By name (``p50``), in the figure's unit.
    note
        What a reader has to know to judge the figure.
    oversold, oversold_by_limit
        Units promised that were not there, by onhand and by the limit.
    """
    stated = Stated(
        key=key,
        value=float(value),
        limit=None if limit is None else float(limit),
        limit_name=limit_name,
        percentiles={name: float(each) for name, each in (percentiles or {}).items()},
        note=note,
        oversold=oversold,
        oversold_by_limit=oversold_by_limit,
    )
    line = describe(stated)
    if benchmark.disabled:
        return
    benchmark.extra_info.setdefault("figures", []).append(msgspec.to_builtins(stated))
    print(f"\n{line}")


def describe(stated: Stated) -> str:
    """Put a figure into one line: value, ratio, target."""
    figure = FIGURES[stated.key]
    words = [f"{stated.key}: {show(stated.value, figure.unit)}"]
    ratio = ratio_of(stated)
    if ratio is not None:
        words.append(f"{ratio:.2f} of {stated.limit_name} ({show(stated.limit, figure.unit)})")
    words += [f"{name} {show(each, figure.unit)}" for name, each in stated.percentiles.items()]
    verdict = figure.is_met(stated.value, ratio)
    if verdict is not None:
        words.append(f"target {figure.target()}: {'met' if verdict else 'NOT met'}")
    return ", ".join(words)


def ratio_of(stated: Stated) -> float | None:
    """Return the share of its limit that a figure reached; None without a limit."""
    if stated.limit is None:
        return None
    return FIGURES[stated.key].ratio(stated.value, stated.limit)


def show(value: float, unit: str) -> str:
    """Write a number with its unit, three digits that count."""
    if abs(value) >= 1e6:
        return f"{_digits(value / 1e6)} million {unit}"
    return f"{_digits(value)} {unit}"


def _digits(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
