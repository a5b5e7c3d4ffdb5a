"""What every test shares: Hypothesis profiles and the services that a run may be given."""

import os

import pytest
from hypothesis import HealthCheck, settings

from onhand.structs import make_structs_ready
from tests.brokers import KAFKA, broker, kafka_log, own_broker
from tests.collectors import collector
from tests.logs import embedded_log, event_log
from tests.postgres import module_postgres_url, postgres_server, postgres_url

# Fixtures, for every test below.
__all__ = [
    "broker",
    "collector",
    "embedded_log",
    "event_log",
    "kafka_log",
    "module_postgres_url",
    "own_broker",
    "postgres_server",
    "postgres_url",
]

# How long examples take to draw says something about the machine alone.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A gate must give the same verdict on the same commit, so there Hypothesis draws from a fixed seed.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_collection_finish():
    """Do as every process of onhand does before it has threads: tests run parts with some."""
    make_structs_ready()


def pytest_collection_modifyitems(items):
    """Skip what needs a service that this run was not given."""
    for item in items:
        kafka = item.get_closest_marker("kafka")
        if kafka and kafka.kwargs.get("real") and not os.environ.get(KAFKA):
            item.add_marker(pytest.mark.skip(reason=f"needs {KAFKA}=HOST:PORT"))
