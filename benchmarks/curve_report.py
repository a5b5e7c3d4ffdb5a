"""The report's section of curves: of each one small table and one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import pictures
from benchmarks.curves import CURVES, owners
from benchmarks.figures import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from benchmarks.curves import Curve, StatedCurve

_HEAD = """\

## Curves

What one number does not show: how latency grows as a server fills up, and what becomes of a figure
as there is more of everything. An offered load is open loop, requests fall due by the clock; a
latency counts from then, and each load is a share of the rate that the same server reached closed
loop in the same run. `make bench ARGS="-k curve"` measures them all.
"""
_STYLES = ("-", "--", ":", "-.")


def section(
    stated: Mapping[str, StatedCurve],
    origin: Callable[[str], str],
    row: Callable[[Iterable[str]], str],
) -> Iterator[str]:
    """Write the section.

    Parameters
    ----------
    stated
        What was measured, by key.
    origin
        Says in words how and when a curve was measured.
    row
        Writes a row of a table.
    """
    yield _HEAD
    for key, curve in CURVES.items():
        yield f"\n### {curve.what}\n\n"
        if key not in stated:
            yield f"`{key}`: not measured yet.\n"
            continue
        note = f" {stated[key].note}." if stated[key].note else ""
        yield f"`{key}`: {origin(key)}.{note}\n\n"
        yield from map(row, _cells(curve, stated[key]))
        yield f"\n![{key}](pictures/{key}.svg)\n"


def draw(stated: Mapping[str, StatedCurve], directory: Path) -> None:
    """Draw every curve that was measured."""
    for key, curve in CURVES.items():
        if key in stated:
            _draw(curve, stated[key], directory / f"{key}.svg")


def _cells(curve: Curve, stated: StatedCurve) -> Iterator[list[str]]:
    """Head, rule, and a row a point; columns that say nothing are left out."""
    has_owners = any(point.of for point in stated.points)
    has_notes = any(point.note for point in stated.points)

    def row(of: str, x: str, values: list[str], note: str) -> list[str]:
        return [*([of] if has_owners else []), x, *values, *([note] if has_notes else [])]

    values = [f"{name}, {stated.unit}" for name in curve.lines]
    head = row("", _label(curve.x, stated.x_unit), values, "")
    yield head
    yield ["---"] * len(head)
    for point in stated.points:
        numbers = [_number(point.values[name]) for name in curve.lines]
        yield row(point.of, _number(point.x), numbers, point.note)


def _label(what: str, unit: str) -> str:
    return what if what.endswith(unit) else f"{what}, {unit}"


def _number(value: float) -> str:
    return show(value, "").strip()


def _draw(curve: Curve, stated: StatedCurve, path: Path) -> None:
    """Draw every line; servers differ by colour and lines of one by style, or by both for one."""
    picture, axes = pictures.new_axes(3.5)
    whose = owners(stated.points)
    for of_at, of in enumerate(whose):
        points = [point for point in stated.points if point.of == of]
        for at, name in enumerate(curve.lines):
            axes.plot(
                [point.x for point in points],
                [point.values[name] for point in points],
                _STYLES[at],
                color=f"C{of_at if len(whose) > 1 else at}",
                marker="o",
                markersize=4,
                label=", ".join(filter(None, (of, name))),
            )
    if curve.is_x_log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    if curve.is_y_log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(_label(curve.x, stated.x_unit))
    axes.set_ylabel(stated.unit)
    # A column a server, or all in a row.
    columns = len(whose) if len(whose) > 1 else len(curve.lines)
    picture.legend(loc="outside lower center", ncols=columns, frameon=False)
    axes.grid(visible=True, alpha=0.3)
    pictures.save(picture, path)
