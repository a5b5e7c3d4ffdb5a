#!/usr/bin/env python3
"""Draw the dashboard from a running Prometheus: its own queries and rows, in matplotlib's lines.

Usage: python -m ci.dashboard_picture http://localhost:9090 SECONDS docs/pictures/dashboard.png
It shows what Grafana would ask for and get; it is no picture of Grafana.
"""

import sys
import time
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from ci.dashboard import ROWS, Panel

COLUMNS = 4
POINTS = 60
LEGEND_LINES_MAX = 5
PANEL_INCHES = (4.2, 2.4)


def main(arguments: list[str]) -> int:
    """Ask every query over the last seconds, and draw every panel."""
    url, seconds, path = arguments
    mpl.use("Agg")
    panels = [(row, panel) for row, panels in ROWS.items() for panel in panels]
    height = -(-len(panels) // COLUMNS)
    size = (PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * height)
    figure, axes = plt.subplots(height, COLUMNS, figsize=size, layout="constrained")
    places = list(axes.flat)
    for place, (row, panel) in zip(places, panels, strict=False):
        _draw(place, row, panel, url, float(seconds))
    for place in places[len(panels) :]:
        place.axis("off")
    figure.savefig(path, metadata={"Date": None})
    return 0


def _draw(place: Axes, row: str, panel: Panel, url: str, seconds: float) -> None:
    place.set_title(f"{row}: {panel.title} [{panel.unit}]", fontsize=7, loc="left")
    place.tick_params(labelsize=6)
    begun_s = time.time() - seconds
    drawn = 0
    for expression, legend in panel.queries:
        for series in _ask(url, expression, seconds):
            label = legend
            for name, value in series["metric"].items():
                label = label.replace("{{" + name + "}}", value)
            times = [at - begun_s for at, _ in series["values"]]
            shown = label if drawn < LEGEND_LINES_MAX else None
            place.plot(times, [float(value) for _, value in series["values"]], lw=1, label=shown)
            drawn += 1
    if panel.warn is not None:
        place.axhline(panel.warn, color="red", lw=0.5, ls="--")
    place.set_ylim(bottom=0)
    if drawn:
        place.legend(fontsize=5, loc="best", frameon=False)


def _ask(url: str, expression: str, seconds: float) -> list[dict[str, Any]]:
    now_s = time.time()
    step_s = max(1.0, seconds / POINTS)
    expression = expression.replace("$__rate_interval", f"{max(10, 4 * step_s):.0f}s")
    answer = httpx.get(
        f"{url}/api/v1/query_range",
        params={
            "query": expression.replace("$instance", ".*"),
            "start": now_s - seconds,
            "end": now_s,
            "step": step_s,
        },
        timeout=30,
    )
    found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
