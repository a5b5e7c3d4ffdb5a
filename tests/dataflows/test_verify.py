"""``verify_tables`` names what a live table says otherwise than the log."""

import contextlib
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from onhand.identity import open_identity
from onhand.ingest.verify import Difference, judging_as, verify_tables
from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.settings import Settings
from onhand.table.reader import TableReader
from tests.dataflows.ingest_process import running, wait_caught_up

DUE = date.today() + timedelta(days=3)  # noqa: DTZ011 - any day to come does


def publish(settings, *events):
    with contextlib.closing(open_log(settings)) as log:
        log.ensure_topics(settings.kafka_partition_count)
        open_identity(settings.data, log=log.identity())
        log.append([NewRecord("stock.receipts", msgspec.json.encode(each)) for each in events])


def event(kind, quantity, **fields):
    return {
        "type": kind,
        "id": f"{kind}-1",
        "source": "dock",
        "occurred_at": datetime.now(UTC).isoformat(),
        "location": "north",
        "sku": "apple",
        "quantity": quantity,
        **fields,
    }


@pytest.fixture
def verified(settings):
    """Publish a delivery and what is still due; verify beside the live table, as often as asked."""
    expected = event("expected", 9, purchase_order="po", expected_on=DUE.isoformat())
    publish(settings, event("receipt", 4, purchase_order="po"), expected)
    with running(settings) as process:
        wait_caught_up(settings, process)
        yield lambda: verify_tables(settings, lambda _done, _total: None)
        process.stop()


def altered(read, change):
    """Read as ``read`` does and change each shard's columns."""

    def read_otherwise(reader):
        for skus, locations, columns in read(reader):
            change(columns)
            yield skus, locations, columns

    return read_otherwise


def test_what_is_due_is_compared(verified, monkeypatch):
    """Units that are due otherwise than the log says are named with their day."""
    assert verified().differences == []

    def change(columns):
        columns["quantity"][:] += 2

    monkeypatch.setattr("onhand.ingest.verify.RECHECK_COUNT_MAX", 2)
    monkeypatch.setattr(TableReader, "incoming", altered(TableReader.incoming, change))
    assert verified().differences == [
        Difference("apple", "north", f"due on {DUE.isoformat()}", live=7, rebuilt=5)
    ]


def test_what_lies_there_is_compared_and_summed(verified, monkeypatch):
    """A number of a cell that differs is named; the sum is of the rebuild and holds."""

    def change(columns):
        columns["damaged"][:] += 1

    monkeypatch.setattr("onhand.ingest.verify.RECHECK_COUNT_MAX", 2)
    monkeypatch.setattr(TableReader, "cells", altered(TableReader.cells, change))
    found = verified()
    assert found.differences == [Difference("apple", "north", "damaged", live=1, rebuilt=0)]
    assert (found.conserved.received, found.conserved.on_hand) == (4, 4)
    assert found.conserved.differences == []


def test_events_are_judged_by_the_windows_of_ingest(settings):
    """What ingest took at any age is right by a verify that was told of no window."""
    old = (datetime.now(UTC) - timedelta(hours=100)).isoformat()
    publish(settings, event("receipt", 4, occurred_at=old))
    loading = msgspec.structs.replace(settings, late_window=None)
    with running(loading) as process:
        wait_caught_up(loading, process)
        found = verify_tables(settings, lambda _done, _total: None)
        process.stop()
    assert found.differences == []
    assert found.conserved.on_hand == 4


def test_a_window_that_verify_was_told_is_kept():
    """Published windows stand in for defaults alone."""
    told = Settings(late_window=None, count_window=timedelta(hours=1))
    hour_us = 3_600_000_000
    assert judging_as(told, (48 * hour_us, 12 * hour_us)) == told
    assert judging_as(told, None) == told
    judged = judging_as(Settings(), (48 * hour_us, 12 * hour_us))
    assert (judged.late_us, judged.count_us) == (48 * hour_us, 12 * hour_us)
    assert judging_as(Settings(), (-1, 12 * hour_us)).late_window is None
