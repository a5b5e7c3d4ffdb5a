"""What operators see of a server: alive, ready, counting, described; and how it starts and ends."""

import contextlib
import os
import signal
import subprocess
import threading
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog
from onhand.log.open import LOG_FILE
from onhand.metrics import REGISTRY
from onhand.web.exposition import TABLE_GAUGES
from tests.deployments import children_of, is_alive, wait_until
from tests.servers import Server, event, problem


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("operating"))
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    server.start()
    yield server
    server.close()


@pytest.fixture
def bare(tmp_path):
    """Return a server whose tables are not published yet, not started."""
    server = Server(tmp_path)
    yield server
    server.close()


def events_in_log(server):
    """Count what the server has published."""
    log = EmbeddedLog(server.data / LOG_FILE, now_us=lambda: time.time_ns() // 1000)
    with contextlib.closing(log):
        return sum(log.end_offsets(log.partitions(["stock.sales"])).values())


def families(server):
    text = server.get("/metrics").text
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_a_server_without_tables_is_alive_and_not_ready(bare):
    """Reads are 503 with a code, readiness says what is missing, and both mend by themselves."""
    bare.start()
    assert bare.get("/healthz").json() == {"status": "alive"}
    missing = bare.get("/readyz")
    assert missing.status_code == 503
    assert any("stock table" in each for each in missing.json()["missing"])
    for path in ("apple", "apple/nearby?latitude=1&longitude=1", "apple/explain?location=north"):
        response = bare.get(f"/v1/availability/{path}")
        problem(response, 503, "supply_unavailable")
        assert response.headers["retry-after"]
    problem(bare.get("/v1/availability/stream?skus=apple"), 503, "supply_unavailable")
    problem(bare.post("/v1/availability/query", {"skus": ["apple"]}), 503, "supply_unavailable")
    assert bare.get("/metrics").status_code == 200
    bare.kit.add("apple", "north", on_hand=5)
    bare.publish()
    wait_until(lambda: bare.get("/readyz").status_code == 200)
    assert bare.get("/v1/availability/apple").json()["available"] == 5


def test_ready_waits_for_what_was_in_the_log_at_the_start(bare):
    """A table that is behind the log of that moment is named, partition by partition."""
    log = EmbeddedLog(bare.data / LOG_FILE)
    log.ensure_topics(1)
    log.append([NewRecord("stock.sales", b"{}"), NewRecord("stock.sales", b"{}")])
    bare.publish()
    bare.start()
    answer = wait_until(
        lambda: [
            answer
            for answer in [bare.get("/readyz").json()]
            if "sales" in str(answer) and "orders" not in str(answer)
        ]
    )[0]
    assert answer["ready"] is False
    assert answer["missing"] == ["stock.sales[0]: 2 records are not applied yet"]
    log.append([NewRecord("stock.sales", b"{}")])
    log.close()
    bare.kit.set_applied_offset(0, 2)
    assert bare.get("/readyz").status_code == 200


def test_a_writer_that_is_silent_is_a_warning(server):
    """Readiness stays, since reads go on; the silence is told."""
    wait_until(lambda: server.get("/readyz").status_code == 200)
    server.kit.stamp(time.time_ns() // 1000, heartbeat_us=time.time_ns() // 1000 - 9_000_000)
    answer = server.get("/readyz")
    assert answer.status_code == 200
    assert "ingest has not been heard of" in answer.json()["warnings"][0]
    assert "nothing is promised" in answer.json()["warnings"][1]

    def warnings():
        server.now()
        return server.get("/readyz").json()["warnings"]

    wait_until(lambda: warnings() == [])


def test_metrics_are_what_prometheus_reads(server):
    """Every name of the registry is there with its kind, and so are the tables' gauges."""
    wait_until(lambda: server.get("/readyz").status_code == 200)
    server.get("/v1/availability/apple")
    found = families(server)
    for metric in REGISTRY.values():
        name = metric.name.removesuffix("_total")
        assert found[name].type == metric.kind, metric.name
    for name in TABLE_GAUGES:
        assert found[name].type == "gauge"
    assert found["onhand_build_info"].samples[0].labels["version"]


def test_the_order_writers_heartbeat_is_told(server, tmp_path):
    """Its silence is seconds while it decides, and there is no number where none takes orders."""
    name = "onhand_order_writer_heartbeat_seconds"
    wait_until(lambda: server.get("/readyz").status_code == 200)
    assert wait_until(lambda: families(server)[name].samples[0].value < 5)
    storefront = Server(tmp_path, command="storefront")
    storefront.kit.add("apple", "north", on_hand=5)
    storefront.publish()
    storefront.start()
    try:
        assert name not in families(storefront)
        assert "onhand_table_cells" in families(storefront)
    finally:
        storefront.close()


def test_requests_are_counted_by_route_and_status(server):
    """Labels are templates of routes, never what a client made up."""
    ok = 'onhand_http_requests_total{method="GET",route="/v1/availability/{sku}",status="200"}'
    lost = 'onhand_http_requests_total{method="GET",route="/v1/availability/{sku}",status="404"}'
    before = (server.counted(ok), server.counted(lost))
    for sku in ("apple", "apple", "nothing"):
        server.get(f"/v1/availability/{sku}")
    assert (server.counted(ok), server.counted(lost)) == (before[0] + 2, before[1] + 1)
    server.client.request("BREW", "/pot/1")
    server.get("/pot/2")
    routes = {
        (sample.labels["method"], sample.labels["route"])
        for sample in families(server)["onhand_http_requests"].samples
    }
    assert ("other", "unmatched") in routes
    assert not any("pot" in route or "apple" in route for _, route in routes)


def test_reads_are_timed(server):
    """The histogram of reads counts each one."""
    series = 'onhand_read_seconds_count{route="/v1/availability/{sku}"}'
    before = server.counted(series)
    server.get("/v1/availability/apple")
    assert server.counted(series) == before + 1


def test_every_process_counts_and_none_is_lost(tmp_path):
    """Metrics cover all workers of a deployment, and their counts outlive them."""
    server = Server(tmp_path)
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    server.start()
    storefront = Server(tmp_path, "--workers", "2", command="storefront")
    storefront.start()
    series = 'onhand_http_requests_total{method="GET",route="/v1/availability/{sku}",status="200"}'
    try:
        for _ in range(10):
            httpx.get(f"{storefront.url}/v1/availability/apple")
        server.get("/v1/availability/apple")
        # A worker answers, and counts right after.
        wait_until(lambda: server.counted(series) == storefront.counted(series) == 11)
        storefront.close()
        assert server.counted(series) == 11
    finally:
        storefront.close()
        server.close()


def test_a_storefront_serves_reads_alone(tmp_path):
    """Set-up and events have no route there."""
    server = Server(tmp_path, command="storefront")
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    server.start()
    try:
        assert server.get("/v1/availability/apple").status_code == 200
        problem(server.post("/v1/events", event()), 404, "not_found")
        problem(server.put("/v1/skus", []), 404, "not_found")
        assert "/v1/events" not in server.get("/openapi.json").json()["paths"]
    finally:
        server.close()


def test_a_worker_that_dies_is_replaced(tmp_path):
    """Reads go on after a worker was killed."""
    server = Server(tmp_path)
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    server.start()
    try:
        (worker,) = children_of(server.process.pid)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: [one for one in children_of(server.process.pid) if one != worker])
        wait_until(server.is_alive)
        assert server.get("/v1/availability/apple").status_code == 200
    finally:
        server.close()


def test_workers_end_with_their_parent(tmp_path):
    """A parent that is killed takes its workers along."""
    server = Server(tmp_path)
    server.publish()
    server.start()
    workers = children_of(server.process.pid)
    try:
        assert workers
        assert {os.getpgid(worker) for worker in workers} == {os.getpgid(server.process.pid)}
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(map(is_alive, workers)))
    finally:
        server.close()


@pytest.mark.parametrize(
    "first", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_worker_that_is_told_again_ends_with_its_last_answer(tmp_path, first):
    """As Ctrl-C does, or a parent that dies while it tells; what was asked before is answered."""
    server = Server(tmp_path)
    server.publish()
    server.start()
    wait_until(lambda: not server.get("/readyz").json()["missing"])
    (worker,) = children_of(server.process.pid)
    answers = []

    def ask():
        # Nobody applies it, so this takes the whole ten seconds that it waits at most.
        url = f"{server.url}/v1/events?wait=visible"
        answers.append(httpx.post(url, json=event(), timeout=60))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_until(lambda: events_in_log(server) == 1)
        for number in (first, signal.SIGTERM, signal.SIGTERM):
            os.kill(worker, number)
            time.sleep(0.5)
        wait_until(lambda: not is_alive(worker))
        asking.join()
    finally:
        server.close()
        asking.join()
    assert [each.status_code for each in answers] == [504]


def test_a_worker_that_is_only_starting_ends_with_its_parent(tmp_path):
    """A parent that is killed right away leaves no worker that would serve on without it."""
    server = Server(tmp_path)
    server.publish()
    server.begin()
    workers = wait_until(lambda: children_of(server.process.pid))
    try:
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(map(is_alive, workers)))
    finally:
        server.close()
        for worker in filter(is_alive, workers):
            os.kill(worker, signal.SIGKILL)


def test_a_server_ends_however_often_it_is_told(tmp_path):
    """One signal within another, as of a terminal and of a supervisor at once, holds nothing up."""
    for number in range(3):
        server = Server(tmp_path / str(number))
        server.publish()
        server.start()
        try:
            for each in [signal.SIGINT, signal.SIGTERM] * 30:
                os.kill(server.process.pid, each)
            assert server.process.wait(20) == 0
        finally:
            server.close()


def test_a_server_stops_at_once_with_idle_connections(tmp_path):
    """SIGTERM does not wait for clients that keep their connection."""
    server = Server(tmp_path)
    server.publish()
    server.start()
    try:
        server.get("/healthz")
        code, seconds = server.stop()
    finally:
        server.close()
    assert code == 0
    assert seconds < 4


def test_a_server_that_cannot_start_says_why(tmp_path):
    """A damaged ledger ends the command with one line and no traceback."""
    server = Server(tmp_path)
    (server.data / "ledger.sqlite3").write_bytes(b"no database" * 100)
    ended = subprocess.run(server.argv, capture_output=True, text=True, timeout=60, check=False)
    server.close()
    assert ended.returncode == 1
    assert "ledger" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_description_covers_every_route(server):
    """OpenAPI 3.1 names every path with its types, and every reference leads somewhere."""
    document = server.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {
        "/v1/availability/{sku}",
        "/v1/availability/query",
        "/v1/availability/stream",
        "/v1/availability/{sku}/nearby",
        "/v1/availability/{sku}/explain",
        "/v1/events",
        "/v1/locations",
        "/v1/locations/{location_id}",
        "/v1/skus",
        "/v1/safety-stock",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
    }
    schemas = document["components"]["schemas"]

    def check(value):
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in schemas
            for each in value.values():
                check(each)
        elif isinstance(value, list):
            for each in value:
                check(each)

    check(document["paths"])
    check(schemas)
    sections = {tag["name"] for tag in document["tags"]}
    used = set()
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["responses"]
            used.update(operation["tags"])
    assert used == sections


def test_an_answer_is_what_the_description_says(server):
    """The numbers that native code writes are the fields that the schema lists."""
    schemas = server.get("/openapi.json").json()["components"]["schemas"]
    answer = server.get("/v1/availability/apple?detail=locations").json()
    assert set(schemas["Answer"]["properties"]) == set(answer)
    assert set(schemas["LocationNumbers"]["properties"]) == set(answer["locations"][0])
    query = server.post("/v1/availability/query", {"skus": ["apple"]}).json()
    assert set(schemas["QueryAnswer"]["properties"]) == set(query)


def test_the_docs_need_no_other_host(server):
    """The page stands alone: no scripts, no styles or fonts from elsewhere."""
    response = server.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    for path in server.get("/openapi.json").json()["paths"]:
        assert path in response.text
    for word in ("<script", "http://", "https://", "@import"):
        assert word not in response.text
