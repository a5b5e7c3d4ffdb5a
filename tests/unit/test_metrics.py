"""Pages of counters: what one process counts, every process can sum, and nothing ever falls."""

import multiprocessing
import sys
import threading
import time

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from onhand.metrics import REGISTRY, SLOT_COUNT, SPARE_SLOTS, Page, collect
from onhand.web.exposition import TABLE_GAUGES, exposition

REQUESTS = "onhand_http_requests_total"
READS = "onhand_read_seconds"
CLIENTS = "onhand_stream_clients"
LABELS = ("GET", "/v1/availability/{sku}", "200")


def _count_and_exit(directory, count):
    page = Page(directory, "child")
    page.counter(REQUESTS, *LABELS).add(count)
    page.gauge(CLIENTS).set(7)
    page.histogram(READS, "query").observe(0.002)


def _run_child(directory, count):
    child = multiprocessing.get_context("fork").Process(
        target=_count_and_exit, args=(directory, count)
    )
    child.start()
    child.join()
    assert child.exitcode == 0


def test_a_count_is_seen_by_whoever_collects(tmp_path):
    """A counter raised in a page is in the sums at once."""
    page = Page(tmp_path, "serve")
    page.counter(REQUESTS, *LABELS).add()
    page.counter(REQUESTS, *LABELS).add(4)
    assert collect(tmp_path)[REQUESTS, LABELS] == [5]


def test_pages_of_several_processes_are_summed(tmp_path):
    """Two pages that count the same series add up, and other series stay apart."""
    pages = [Page(tmp_path, "serve"), Page(tmp_path, "serve")]
    for page in pages:
        page.counter(REQUESTS, *LABELS).add(2)
    pages[0].counter("onhand_events_duplicate_total").add(1)
    totals = collect(tmp_path)
    assert totals[REQUESTS, LABELS] == [4]
    assert totals["onhand_events_duplicate_total", ()] == [1]


def test_counters_do_not_fall_when_a_process_ends(tmp_path):
    """The page of a dead process is folded once, however often metrics are asked for."""
    live = Page(tmp_path, "serve")
    live.counter(REQUESTS, *LABELS).add(1)
    _run_child(tmp_path, 10)
    _run_child(tmp_path, 100)
    for _ in range(3):
        totals = collect(tmp_path)
        assert totals[REQUESTS, LABELS] == [111]
        assert sum(totals[READS, ("query",)][:-1]) == 2
    assert [path.name for path in tmp_path.glob("*.page")] == [live.name]


def test_gauges_of_a_dead_process_are_gone(tmp_path):
    """What a process held when it ended is no longer part of the present."""
    _run_child(tmp_path, 1)
    assert (CLIENTS, ()) not in collect(tmp_path)


def test_a_page_folded_but_not_yet_removed_counts_once(tmp_path):
    """A folder that dies between writing the sums and removing pages doubles nothing."""
    _run_child(tmp_path, 3)
    (page,) = tmp_path.glob("*.page")
    content = page.read_bytes()
    assert collect(tmp_path)[REQUESTS, LABELS] == [3]
    page.write_bytes(content)
    assert collect(tmp_path)[REQUESTS, LABELS] == [3]
    assert collect(tmp_path)[REQUESTS, LABELS] == [3]


def test_a_closed_page_is_retired(tmp_path):
    """Closing a page keeps its counts and frees its file."""
    page = Page(tmp_path, "serve")
    counter = page.counter(REQUESTS, *LABELS)
    counter.add(5)
    page.close()
    page.close()
    assert collect(tmp_path)[REQUESTS, LABELS] == [5]
    assert list(tmp_path.glob("*.page")) == []
    counter.add(1)


def test_a_histogram_counts_into_the_bucket_of_its_bound(tmp_path):
    """Bounds are inclusive, the last bucket takes the rest, and the sum is kept."""
    page = Page(tmp_path, "serve")
    bounds = REGISTRY[READS].bounds
    histogram = page.histogram(READS, "query")
    for value in (0.0, bounds[0], bounds[3], 99.0):
        histogram.observe(value)
    *buckets, total = collect(tmp_path)[READS, ("query",)]
    assert (buckets[0], buckets[3], buckets[-1]) == (2, 1, 1)
    assert total == pytest.approx(bounds[0] + bounds[3] + 99)
    assert histogram.count == 4


def test_a_histogram_takes_a_column_of_times(tmp_path):
    """Observing a batch counts each row's age; a clock behind counts as no time at all."""
    page = Page(tmp_path, "ingest")
    begun_us = np.array([1_000_000, 2_000_000, 5_000_000], dtype=np.int64)
    page.histogram("onhand_event_visible_seconds").observe_since(begun_us, 3_000_000)
    *buckets, total = collect(tmp_path)["onhand_event_visible_seconds", ()]
    assert sum(buckets) == 3
    assert buckets[0] == 1
    assert total == pytest.approx(3.0)


def test_a_gauge_is_replaced_and_moved(tmp_path):
    """A gauge holds what it was last told."""
    gauge = Page(tmp_path, "serve").gauge(CLIENTS)
    gauge.set(3)
    gauge.add(-1)
    assert collect(tmp_path)[CLIENTS, ()] == [2]


def test_gauges_that_merge_by_the_latest_take_the_largest(tmp_path):
    """A time stamp set by two processes is the later one."""
    pages = [Page(tmp_path, "ingest"), Page(tmp_path, "ingest")]
    for page, seconds in zip(pages, (10.0, 20.0), strict=True):
        page.gauge("onhand_checkpoint_timestamp_seconds", "0").set(seconds)
    assert collect(tmp_path)["onhand_checkpoint_timestamp_seconds", ("0",)] == [20.0]


def test_labels_and_kinds_are_those_of_the_registry(tmp_path):
    """An unknown name, a missing label or another kind is refused where it is made."""
    page = Page(tmp_path, "serve")
    with pytest.raises(KeyError):
        page.counter("onhand_nothing_total")
    with pytest.raises(ValueError, match="has the labels"):
        page.counter(REQUESTS, "GET")
    with pytest.raises(TypeError, match="is a gauge"):
        page.gauge(REQUESTS, *LABELS)


def test_a_full_page_counts_on_for_nobody(tmp_path):
    """More series than a page has room for lose their numbers and harm no other's."""
    page = Page(tmp_path, "serve")
    page.counter("onhand_events_duplicate_total").add(1)
    for status in range(SLOT_COUNT):
        page.counter(REQUESTS, "GET", "/", str(status)).add(1)
    totals = collect(tmp_path)
    assert totals["onhand_events_duplicate_total", ()] == [1]
    assert 100 < len(totals) <= SLOT_COUNT - SPARE_SLOTS
    assert set(map(tuple, totals.values())) == {(1.0,)}


def test_nothing_to_collect_is_no_error(tmp_path):
    """Metrics of a deployment that never ran are empty."""
    assert collect(tmp_path / "missing") == {}


def test_files_that_are_no_pages_are_ignored(tmp_path):
    """A torn page or torn sums cost their numbers and nothing else."""
    page = Page(tmp_path, "serve")
    page.counter(REQUESTS, *LABELS).add(2)
    (tmp_path / "torn-1.page").write_bytes(b"short")
    (tmp_path / "retired.json").write_bytes(b"{")
    assert collect(tmp_path)[REQUESTS, LABELS] == [2]


def test_every_name_begins_alike_and_ends_in_its_unit():
    """Names keep to the rules that the published list promises."""
    for metric in REGISTRY.values():
        assert metric.name.startswith("onhand_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert (metric.kind == "histogram") == bool(metric.bounds)
        assert list(metric.bounds) == sorted(metric.bounds)


def test_the_age_of_checkpoints_is_that_of_the_oldest(tmp_path):
    """Seconds since the shard that is furthest behind was written; no number before the first."""
    name = "onhand_checkpoint_age_seconds"

    def samples():
        text = exposition(tmp_path, {}).decode()
        found = {family.name: family for family in text_string_to_metric_families(text)}
        assert found[name].type == "gauge"
        return [sample.value for sample in found[name].samples]

    page = Page(tmp_path, "ingest")
    assert samples() == []
    for shard, ago_s in (("0", 50), ("1", 20)):
        page.gauge("onhand_checkpoint_timestamp_seconds", shard).set(time.time() - ago_s)
    (age_s,) = samples()
    assert 50 <= age_s < 60


def test_what_operators_rely_on_is_there():
    """Names and labels that dashboards of others ask for: none is renamed or dropped."""
    names = {
        *("onhand_events_applied_total", "onhand_events_duplicate_total"),
        *("onhand_ingest_lag_events", "onhand_ingest_lag_seconds", "onhand_event_visible_seconds"),
        *("onhand_promise_seconds", "onhand_reserve_seconds", "onhand_read_seconds"),
        *("onhand_reservations_open", "onhand_reservations_expired_total"),
        *("onhand_shortfall_cells", "onhand_shortfall_units"),
        *("onhand_checkpoint_age_seconds", "onhand_checkpoint_bytes"),
        *("onhand_table_cells", "onhand_table_bytes", "onhand_table_fill_ratio"),
        *("onhand_ledger_commit_seconds", "onhand_ledger_commit_commands"),
    }
    assert names <= {*REGISTRY, *TABLE_GAUGES}
    assert REGISTRY["onhand_events_dead_total"].labels == ("type", "reason")
    assert {"route", "status"} <= {*REGISTRY["onhand_http_requests_total"].labels}


def test_threads_that_ask_at_once_get_series_of_their_own(tmp_path):
    """Each counter counts for its series alone, whichever threads met when it was made."""
    page = Page(tmp_path, "serve")
    routes = [f"/route-{number}" for number in range(150)]
    together = threading.Barrier(8)
    failures = []

    def count(method):
        together.wait()
        try:
            for route in routes:
                page.counter(REQUESTS, method, route, "200").add()
        except (IndexError, ValueError) as error:
            failures.append(error)

    threads = [threading.Thread(target=count, args=(f"M{number}",)) for number in range(8)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    assert not failures
    found = collect(tmp_path)
    page.close()
    assert {each: found[REQUESTS, each] for each in (each for name, each in found)} == {
        (f"M{number}", route, "200"): [1.0] for number in range(8) for route in routes
    }
