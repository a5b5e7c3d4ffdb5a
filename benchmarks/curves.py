"""The curves of the report: what one number does not show, and how a benchmark states one.

::

    from benchmarks.curves import Point, state_curve

    def bench_curve_point_read(benchmark, cell_count_max):
        points = benchmark.pedantic(measure, rounds=1)
        state_curve(benchmark, "curve_point_read", points)

A curve is a list of points. Each has one x, such as an offered load, and one value for each line of
the curve, such as p50 and p99, all of the curve's units. Where several servers are on the same axes
a point says whose it is. A curve has no target: what has one is a figure, see
:mod:`benchmarks.figures`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.figures import FIGURES, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PERCENTILES = ("p50", "p99", "p99.9")
PLAIN_LOOP = "a plain C loop"


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn against what, and in which units."""

    what: str
    x: str
    x_unit: str
    unit: str
    lines: tuple[str, ...]
    """What every point has a value of, in the order of the report."""

    is_x_log: bool = False
    is_y_log: bool = False


class Point(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One x and a value for each line; ``of`` says whose, where several are on the same axes."""

    x: float
    values: dict[str, float]
    of: str = ""
    note: str = ""
    """What a reader has to know to judge this point."""


class StatedCurve(msgspec.Struct, frozen=True, kw_only=True):
    """One curve as a benchmark measured it, with its units."""

    key: str
    x_unit: str
    unit: str
    points: list[Point]
    note: str = ""


def _latencies(what: str) -> Curve:
    return Curve(
        what=what,
        x="offered load",
        x_unit="requests/s",
        unit="ms",
        lines=PERCENTILES,
        is_y_log=True,
    )


CURVES: dict[str, Curve] = {
    "curve_http_read": _latencies("`GET /v1/availability/{sku}`: latency against offered load"),
    "curve_http_hold": _latencies(
        "`POST /v1/holds`, beside one conditional UPDATE in PostgreSQL: latency against offered "
        "load"
    ),
    "curve_http_order": _latencies("`POST /v1/orders` of two lines: latency against offered load"),
    "curve_http_workers": Curve(
        what="`GET /v1/availability/{sku}` from storefront workers: rate against workers",
        x="workers",
        x_unit="workers",
        unit="requests/s",
        lines=("onhand", "the bare server"),
    ),
    "curve_point_read": Curve(
        what="Point read from Python: time against the cells of the table",
        x="cells",
        x_unit="cells",
        unit="us",
        lines=("hot", "random", PLAIN_LOOP),
        is_x_log=True,
        is_y_log=True,
    ),
    "curve_apply": Curve(
        what="Columnar apply, random over all cells: rate against the cells of the table",
        x="cells",
        x_unit="cells",
        unit="movements/s",
        lines=("onhand", PLAIN_LOOP),
        is_x_log=True,
    ),
    "curve_group_read": Curve(
        what="Group read, native: time against the places that stock a SKU",
        x="stocking places",
        x_unit="places",
        unit="us",
        lines=("hot", "random"),
        is_x_log=True,
        is_y_log=True,
    ),
    "curve_holds_open": Curve(
        what="A hold in process, decided and committed by 256: time against holds open before",
        x="open holds",
        x_unit="holds",
        unit="us",
        lines=("p50", "p90"),
        is_x_log=True,
    ),
}
"""Every curve by its key, in the order of the report."""

if not CURVES.keys().isdisjoint(FIGURES):
    raise RuntimeError("Invariant: a key names a figure or a curve, and never both.")


def state_curve(benchmark: Any, key: str, points: Sequence[Point], *, note: str = "") -> None:
    """Print a curve and leave it among the results; nothing when timing is off.

    Parameters
    ----------
    benchmark
        The fixture of pytest-benchmark.
    key
        One of :data:`CURVES`.
    points
        In the curve's units; x ascends among the points of one server.
    note
        What a reader has to know to judge the curve.

    Raises
    ------
    ValueError
        If a point has other values than the curve has lines, or x does not ascend.
    """
    curve = CURVES[key]
    check_points(curve, points)
    plain = [
        msgspec.structs.replace(
            point,
            x=float(point.x),
            values={name: float(each) for name, each in point.values.items()},
        )
        for point in points
    ]
    stated = StatedCurve(key=key, x_unit=curve.x_unit, unit=curve.unit, points=plain, note=note)
    if benchmark.disabled:
        return
    benchmark.extra_info.setdefault("curves", []).append(msgspec.to_builtins(stated))
    print("\n" + "\n".join(describe_curve(stated)))


def check_points(curve: Curve, points: Sequence[Point]) -> None:
    """Refuse points that do not make the curve."""
    if not points:
        raise ValueError("Condition failed: a curve has points.")
    for point in points:
        if set(point.values) != set(curve.lines):
            raise ValueError(f"Condition failed: {point} has a value for each of {curve.lines}.")
    for of in owners(points):
        xs = [point.x for point in points if point.of == of]
        if any(before >= after for before, after in itertools.pairwise(xs)):
            raise ValueError(f"Condition failed: x ascends, and here it is {xs}.")


def is_current(stated: StatedCurve) -> bool:
    """Whether what was measured once is still a curve of these lines and units."""
    curve = CURVES[stated.key]
    is_whole = all(set(point.values) == set(curve.lines) for point in stated.points)
    return is_whole and (stated.x_unit, stated.unit) == (curve.x_unit, curve.unit)


def owners(points: Sequence[Point]) -> list[str]:
    """List whose the points are, in the order in which they appear."""
    return list(dict.fromkeys(point.of for point in points))


def describe_curve(stated: StatedCurve) -> Iterator[str]:
    """Put a curve into words, a line a point."""
    yield f"{stated.key}:" + (f" {stated.note}" if stated.note else "")
    for point in stated.points:
        values = [f"{name} {show(each, stated.unit)}" for name, each in point.values.items()]
        words = [point.of, show(point.x, stated.x_unit), *values, point.note]
        yield "  " + ", ".join(filter(None, words))
