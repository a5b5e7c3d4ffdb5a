"""``onhand up``: a tree of real processes, from its start to every way it can end."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import time
from datetime import UTC, datetime

import pytest

from onhand.cli.up import storefront_settings
from onhand.errors import SettingsError
from onhand.settings import Settings
from tests.deployments import WAIT_S, Deployment, children_of, is_alive, wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def deploy(tmp_path):
    deployments = []

    def start(*flags, **options):
        deployments.append(Deployment(tmp_path, *flags, **options))
        return deployments[-1].start()

    yield start
    for each in deployments:
        each.close()
        if (each.data / "cluster.json").exists():
            shutil.rmtree(each.table_path(), ignore_errors=True)


def receipt(number, quantity=1):
    return {
        "type": "receipt",
        "id": f"r-{number}",
        "source": "dock",
        "occurred_at": datetime.now(UTC).isoformat(),
        "location": "store-1",
        "sku": "sku-1",
        "quantity": quantity,
    }


def test_a_deployment_starts_publishes_and_reads(deploy):
    """What is published is read, and the addresses to open were printed."""
    running = deploy().wait_started()
    assert f"{running.url}/docs" in running.said()
    status, answer = running.publish(receipt(1, 12))
    assert (status, answer) == (202, {"accepted": 1, "rejected": []})
    assert running.on_hand("sku-1", "store-1") == 12


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_all_and_frees_shared_memory(deploy, number):
    """Within 20 s no process is left and the table directory is gone."""
    running = deploy().wait_started()
    processes = children_of(running.process.pid)
    table = running.table_path()
    assert table.exists()
    begun_s = time.monotonic()
    assert running.stop(number) == 0
    assert time.monotonic() - begun_s < 20
    assert len(processes) == 2
    assert not any(map(is_alive, processes))
    assert not table.exists()


def test_what_is_said_to_be_visible_is(deploy):
    """One post, answered in time; a machine that is held up gets a few."""
    running = deploy().wait_ready()
    for number in range(5):
        body = [receipt(number)]
        status, answer = running.request("POST", "/v1/events?wait=visible", body)
        if status == http.client.ACCEPTED:
            break
    assert (status, answer["accepted"]) == (http.client.ACCEPTED, 1)
    assert running.on_hand("sku-1", "store-1") >= 1


def test_a_killed_ingest_is_started_again_and_loses_nothing(deploy):
    """After kill -9 of the writer, all that was accepted is there, and new events arrive."""
    running = deploy().wait_started()
    running.publish(*(receipt(number) for number in range(50)))
    first = running.ingest_pid()
    os.kill(first, signal.SIGKILL)
    assert running.publish(receipt(50), receipt(7))[0] == 202
    assert running.ingest_pid() != first
    wait_until(lambda: running.on_hand("sku-1", "store-1") == 51)
    assert "was killed by SIGKILL" in running.said()


def test_all_that_was_accepted_is_there_after_a_restart(deploy):
    """A clean end and a new start answer the same."""
    running = deploy().wait_started()
    running.publish(receipt(1, 5))
    running.stop()
    again = deploy(port=running.port).wait_ready()
    assert again.on_hand("sku-1", "store-1") == 5


@pytest.mark.slow
def test_children_of_a_killed_tree_end_and_its_leftovers_are_freed(deploy):
    """Kill -9 of `up` ends its processes; the next start works and frees what was left."""
    running = deploy().wait_started()
    running.publish(receipt(1, 5))
    processes = children_of(running.process.pid)
    # A server's workers are among them: until they end they have its port.
    processes += [each for child in processes for each in children_of(child)]
    os.kill(running.ingest_pid(), signal.SIGSTOP)
    running.process.kill()
    running.process.wait()
    for each in filter(is_alive, processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, processes)))
    table = running.table_path()
    stale = table / "left-over"
    stale.touch()
    again = deploy(port=running.port).wait_ready()
    assert not stale.exists()
    assert again.on_hand("sku-1", "store-1") == 5


def test_a_killed_tree_takes_its_children_along(deploy):
    """When `up` is killed outright, every process of it ends by itself."""
    running = deploy().wait_started()
    processes = children_of(running.process.pid)
    grandchildren = [each for child in processes for each in children_of(child)]
    running.process.kill()
    running.process.wait()
    wait_until(lambda: not any(map(is_alive, processes + grandchildren)))


def test_a_port_in_use_ends_it_at_once(deploy):
    """A taken port is said in one line, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = deploy(port=taken.getsockname()[1])
        assert refused.process.wait(WAIT_S) == 1
    assert "is in use" in refused.said()
    assert not refused.table_path().exists()


@pytest.mark.slow
def test_a_second_up_on_the_same_data_is_refused_and_harms_nothing(deploy):
    """The second ends with exit code 1 and the first serves on."""
    running = deploy().wait_started()
    running.publish(receipt(1, 3))
    second = deploy()
    assert second.process.wait(WAIT_S) == 1
    assert "already runs `onhand up`" in second.said()
    assert running.table_path().exists()
    assert running.on_hand("sku-1", "store-1") == 3


def test_a_table_directory_that_is_missing_ends_it_with_the_reason(deploy, tmp_path):
    """What ingest cannot do is said by ingest, once, and everything ends with exit code 1."""
    refused = deploy("--table-dir", str(tmp_path / "nowhere"))
    assert refused.process.wait(WAIT_S) == 1
    assert "--table-dir" in refused.said()


def test_storefront_workers_serve_reads_beside_the_server(deploy):
    """Workers listen one port above, answer the same, and take no events."""
    running = deploy("--storefront-worker-count", "2").wait_started()
    running.publish(receipt(1, 4))
    storefront = Deployment(running.data.parent, port=running.port + 1)
    assert storefront.on_hand("sku-1", "store-1") == 4
    assert storefront.publish(receipt(2))[0] in {404, 405}


def test_storefront_workers_need_a_port_above():
    """The highest port leaves none for them, and that is said."""
    with pytest.raises(SettingsError, match="the one above it"):
        storefront_settings(Settings(port=65_535, storefront_worker_count=1))
