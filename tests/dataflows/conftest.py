"""A deployment of its own for every test, on each kind of log."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from onhand.settings import Settings


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def settings(request, tmp_path):
    """Give settings of a fresh deployment, embedded or on the test broker."""
    table_dir = Path(tempfile.mkdtemp(prefix="onhand-test-", dir="/dev/shm"))
    kafka = {}
    if request.param == "kafka":
        broker = request.getfixturevalue("broker")
        options = broker.options()
        kafka = {"kafka": broker.address, "topic_prefix": options.topic_prefix}
    yield Settings(
        data=tmp_path / "data",
        table_dir=table_dir,
        table_bytes_max=1 << 28,
        checkpoint_interval_s=0.3,
        checkpoint_archive_days=0,
        kafka_partition_count=2,
        history_max=1 << 16,
        **kafka,
    )
    shutil.rmtree(table_dir, ignore_errors=True)
