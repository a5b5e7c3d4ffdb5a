"""The dashboard is what its generator writes, fits Grafana's model and asks for real metrics."""

import json
from pathlib import Path

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from ci.dashboard import ROWS, TARGET, build
from onhand.metrics import REGISTRY
from onhand.web.exposition import TABLE_GAUGES
from tests.prometheus import metrics_in, rules

PANELS = [panel for panels in ROWS.values() for panel in panels]
EXPRESSIONS = [expression for panel in PANELS for expression, _ in panel.queries]


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(TARGET.read_text())


def test_the_dashboard_is_what_its_generator_writes():
    """`python -m ci.dashboard` would change nothing."""
    assert TARGET.read_text() == build()


def test_the_dashboard_is_read_by_grafanas_own_model(dashboard):
    """Read into the model of Grafana's schema and written again, it holds the same panels."""
    read = Dashboard.from_json(dashboard)
    titles = [panel.title for panel in read.panels]
    assert titles == [
        title for row, panels in ROWS.items() for title in (row, *(p.title for p in panels))
    ]
    assert read.uid == "onhand"


def test_no_panel_covers_another(dashboard):
    """Each has a number of its own and a place of its own within the width."""
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_panels_ask_for_what_there_is(panel):
    """Metrics are of the registry, and recorded ratios are recorded."""
    recorded = {rule["record"] for rule in rules("record")}
    for expression, _ in panel.queries:
        names = {
            word for word in expression.replace("{", " ").split() if word.startswith("onhand:")
        }
        assert names <= recorded
        assert metrics_in(expression) <= {*REGISTRY, *TABLE_GAUGES}


def test_provisioning_finds_the_dashboard():
    """The folder that the compose file mounts for Grafana is where the dashboard lies."""
    folder = Path(TARGET).parent
    provider = (folder.parent / "provisioning" / "dashboards" / "onhand.yml").read_text()
    assert "path: /var/lib/grafana/dashboards" in provider
    compose = (folder.parents[1] / "compose.yaml").read_text()
    assert "./grafana/dashboards:/var/lib/grafana/dashboards:ro" in compose
