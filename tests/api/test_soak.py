"""A whole deployment under a mixed load, for a minute: nothing is lost, and nothing is surprising.

Times are judged by ``make soak``, never here.
"""

import pytest

from benchmarks.soak.report import write
from benchmarks.soak.run import Plan, soak
from benchmarks.soak.world import World
from tests.deployments import HELD_UP_MS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def soaked(scratch, **flags):
    """Load a deployment, check what is left, and answer what was found."""
    plan = Plan(
        seconds=60,
        events=300,
        reads=60,
        orders=8,
        flags={"max_supply_age_ms": HELD_UP_MS} | flags,
        world=World(store_count=40, sku_count=1_500, stores_a_sku=6),
    )
    result = soak(plan, scratch, tell=lambda _: None)
    assert result.findings() == [], (result.samples_of_unexpected, result.said)
    return result


def test_a_minute_on_the_embedded_log(tmp_path):
    """Verify finds no difference, and every order, unit and shelf is as it was acknowledged."""
    result = soaked(tmp_path)
    done = result.counts
    assert done["events published"] >= 60 * 300
    assert done["orders"] > 200
    assert done["units handed over"] > 200
    assert done["dead letters"] + done["refused when posted"] >= done["rubbish among them"]
    write(result, tmp_path)
    assert "0 differences" in (tmp_path / "soak.md").read_text()


@pytest.mark.postgres
def test_a_minute_on_postgresql(tmp_path, postgres_url):
    """The same holds where the ledger is a server's."""
    assert soaked(tmp_path, database=postgres_url).counts["orders"] > 200


@pytest.mark.kafka(real=True)
@pytest.mark.postgres
def test_a_minute_on_kafka_and_postgresql(tmp_path, broker, postgres_url):
    """The same holds where the log is a broker's as well: a real one, for the small one chokes."""
    options = broker.options()
    flags = {"kafka": options.brokers, "topic_prefix": options.topic_prefix}
    assert soaked(tmp_path, database=postgres_url, **flags).counts["orders"] > 200
