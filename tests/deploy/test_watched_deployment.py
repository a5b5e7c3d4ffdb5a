"""A real Prometheus watches a real deployment by the shipped rules and the shipped dashboard."""

import contextlib
import itertools
import json
import os
import shutil
import signal
from datetime import UTC, datetime
from http.client import OK

import pytest

from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog
from onhand.log.open import LOG_FILE
from tests.deploy.test_dashboard import PANELS
from tests.deployments import Deployment, wait_until
from tests.prometheus import Prometheus, shortened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WAIT_S = 240


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Return a deployment, and the Prometheus that scrapes it."""
    scratch = tmp_path_factory.mktemp("watched")
    deployment = Deployment(scratch, "--checkpoint-interval-s", "1").start()
    prometheus = Prometheus(scratch, f"127.0.0.1:{deployment.port}")
    try:
        wait_until(lambda: deployment.get("/readyz")[0] == OK, WAIT_S)
        prometheus.start()
        yield deployment, prometheus
    finally:
        prometheus.close()
        deployment.close()
        if (deployment.data / "cluster.json").exists():
            shutil.rmtree(deployment.table_path(), ignore_errors=True)


def event(kind, number, **fields):
    now = datetime.now(UTC).isoformat()
    return {
        "type": kind,
        "id": f"{kind}-{number}",
        "source": "test",
        "occurred_at": now,
        "location": "north",
        "sku": "apple",
        "quantity": 1,
    } | fields


def spoil(deployment, number):
    """Write to the log what onhand itself would have refused to publish."""
    late = event("sale", number, occurred_at="2001-01-01T00:00:00Z")
    with contextlib.closing(EmbeddedLog(deployment.data / LOG_FILE)) as log:
        log.append([NewRecord("stock.sales", json.dumps(late).encode())])


def trade(deployment, number):
    """Do once everything that a day brings: goods, sales, reads, promises, holds and orders."""
    if number == 0:
        place = {"name": "north", "type": "store", "latitude": 52.5, "longitude": 13.4}
        assert deployment.request("PUT", "/v1/locations/north", place)[0] in (200, 201, 204)
        assert deployment.publish(event("receipt", 0, quantity=100_000))[0] == 202
    sold = event("sale", number)
    assert deployment.publish(sold, sold)[0] == 202
    spoil(deployment, f"late-{number}")
    deployment.get("/v1/availability/apple")
    line = {"sku": "apple", "quantity": 1}
    pickup = {"lines": [line], "fulfilment": {"method": "pickup", "location": "north"}}
    for path, body in (
        ("/v1/promises", pickup),
        ("/v1/holds", {"lines": [line | {"location": "north"}], "ttl_s": 60}),
        ("/v1/orders", pickup),
    ):
        status, answer = deployment.request("POST", path, body)
        assert status in (200, 201), answer


def test_every_query_of_the_dashboard_returns_data(watched):
    """While shops trade, no panel is empty, and no rule is in error."""
    deployment, prometheus = watched
    numbers = itertools.count()
    empty = {(panel.title, expression) for panel in PANELS for expression, _ in panel.queries}

    def all_were_seen():
        trade(deployment, next(numbers))
        empty.difference_update([each for each in empty if has_data(prometheus, each[1])])
        return not empty

    try:
        wait_until(all_were_seen, WAIT_S)
    except AssertionError:
        pytest.fail(f"these returned nothing: {empty}")
    assert prometheus.unhealthy_rules() == {}


def has_data(prometheus, expression):
    """Tell whether a panel shows numbers, NaN being none."""
    asked = shortened(expression.replace("$instance", ".*"))
    return any(each["value"][1] != "NaN" for each in prometheus.query(asked))


def test_dead_letters_raise_their_alert_and_it_ends(watched):
    """Events that are refused fire the alert with their reason, for as long as they are news."""
    deployment, prometheus = watched
    wait_until(lambda: not prometheus.firing("OnhandDeadLetters"), WAIT_S)
    # What a server has counted before it was watched for so long is no news.
    wait_until(lambda: prometheus.query(shortened('up{job="onhand"} offset 10m == 1')), WAIT_S)
    spoil(deployment, "of-another-age")
    (alert,) = wait_until(lambda: prometheus.firing("OnhandDeadLetters"), WAIT_S)
    assert alert["labels"]["reason"] == "too_late"
    assert alert["annotations"]["summary"] == "Events of type sale are refused as too_late"
    link = alert["annotations"]["runbook_url"]
    assert link == "https://docs.example.com/onhand/alerts.md#onhanddeadletters"
    wait_until(lambda: not prometheus.firing("OnhandDeadLetters"), WAIT_S)


def test_a_killed_ingest_raises_its_alerts_until_it_is_back(watched):
    """Nobody starts it again while the supervisor stands still; then all is well by itself."""
    deployment, prometheus = watched
    wait_until(lambda: not prometheus.firing("OnhandIngestStalled"), WAIT_S)
    supervisor, ingest = deployment.process.pid, deployment.ingest_pid()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(ingest, signal.SIGKILL)
        wait_until(lambda: prometheus.firing("OnhandIngestStalled"), WAIT_S)
        wait_until(lambda: prometheus.firing("OnhandPromisesStopped"), WAIT_S)
        assert not prometheus.firing("OnhandDown")
        assert not prometheus.firing("OnhandOrderWriterSilent")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_until(lambda: not prometheus.firing("OnhandIngestStalled"), WAIT_S)
    wait_until(lambda: not prometheus.firing("OnhandPromisesStopped"), WAIT_S)
