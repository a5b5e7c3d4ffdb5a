"""Both event logs under one name."""

import pytest

from onhand.log.embedded import EmbeddedLog


@pytest.fixture
def embedded_log(tmp_path):
    """Open an empty embedded log with all topics."""
    log = EmbeddedLog(tmp_path / "log.sqlite3")
    log.ensure_topics(1)
    yield log
    log.close()


@pytest.fixture(params=["embedded_log", pytest.param("kafka_log", marks=pytest.mark.kafka)])
def event_log(request):
    """Return each kind of log in turn: one contract, one suite."""
    return request.getfixturevalue(request.param)
