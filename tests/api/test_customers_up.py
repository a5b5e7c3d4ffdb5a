"""Customers on a whole deployment: the feed is a child of ingest, and is started again."""

import os
import signal
from pathlib import Path

import pytest

from tests.deployments import Deployment, children_of, wait_until
from tests.servers import event


def feed_pids(deployment):
    """List the processes of the feed."""
    return [
        pid
        for pid in children_of(deployment.ingest_pid())
        if b"purchases" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


def bought(deployment, count):
    """Wait for so many purchases of kim; answer their ids."""

    def found():
        status, page = deployment.get("/v1/customers/kim")
        ids = [item["id"] for item in page["items"]] if status == 200 else []
        return len(ids) >= count and ids

    return wait_until(found)


def wait_counted(deployment, count):
    """Wait until the feed has counted what it stored, which it does right after."""
    line = f"onhand_purchases_stored_total {count}.0"
    wait_until(lambda: line in str(deployment.get("/metrics")[1]))


@pytest.mark.slow
def test_purchases_are_followed_whatever_becomes_of_the_feed(tmp_path):
    """What is sold is in the history soon, each sale once, also when the feed was killed."""
    deployment = Deployment(tmp_path)
    try:
        deployment.start().wait_ready()
        first = [event(customer_id="kim") for _ in range(3)]
        assert deployment.publish(*first)[1]["accepted"] == 3
        assert set(bought(deployment, 3)) == {each["id"] for each in first}
        (pid,) = wait_until(lambda: feed_pids(deployment))
        wait_counted(deployment, 3)
        os.kill(pid, signal.SIGKILL)
        more = [event(customer_id="kim") for _ in range(2)]
        deployment.publish(*first, *more)
        assert len(bought(deployment, 5)) == 5
        assert wait_until(lambda: feed_pids(deployment)) != [pid]
        wait_counted(deployment, 5)
        erased = deployment.request("DELETE", "/v1/customers/kim")
        assert (erased[0], erased[1]["purchases"]) == (200, 5)
        assert deployment.get("/v1/customers/kim")[1]["items"] == []
        assert deployment.stop() == 0
    finally:
        deployment.close()
