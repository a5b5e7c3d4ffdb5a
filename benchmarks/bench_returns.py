"""A unit taken back to visible: from posting its reception until a storefront's read counts it.

Everything is as in production: ``onhand up`` on a fresh directory with the embedded log, one client
over a connection kept alive, one reception after the other, each of one unit and a return of its
own; ten of them are of one order. The way is long: the order writer decides, the ledger syncs, the
outbox appends the movement to the log, which syncs, ingest applies it, and a read sees it. The
limit beside it is a receipt posted as an event, which skips the order writer and the ledger.

Bias: one caller at a time, so nobody shares a commit; four processes share the machine's cores. The
probe reads again at once after each answer, which adds a part of a millisecond.
"""

import contextlib
import http.client
import json
import time

import numpy as np
import pytest

from benchmarks.bench_freshness import deployed
from benchmarks.figures import state
from tests.deployments import wait_until
from tests.servers import event

COUNTS = [
    pytest.param(20, id="small"),
    pytest.param(3_000, id="large", marks=pytest.mark.slow),
]
UNITS_OF_ORDER = 10
LIMIT_NAME = "a receipt posted as an event, p99"


class Client:
    """One client of a deployment, on one connection."""

    def __init__(self, deployment):
        self.connection = http.client.HTTPConnection("127.0.0.1", deployment.port, timeout=20)

    def ask(self, method, path, document=None):
        body = None if document is None else json.dumps(document)
        self.connection.request(method, path, body, {"content-type": "application/json"})
        answer = self.connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status < 300, content
        return content

    def close(self):
        self.connection.close()

    def on_hand(self, location):
        return self.ask("GET", f"/v1/availability/apple?location={location}")["on_hand"]

    def seconds_until_seen(self, location, change):
        """Measure from a request until its unit is read."""
        before = self.on_hand(location)
        begun_s = time.perf_counter()
        change()
        while self.on_hand(location) == before:
            pass
        return time.perf_counter() - begun_s


def announced(client, count):
    """Sell so many units and announce that each comes back; return the returns' ids."""
    return [
        return_id
        for begin in range(0, count, UNITS_OF_ORDER)
        for return_id in announced_of_order(client, min(UNITS_OF_ORDER, count - begin))
    ]


def announced_of_order(client, count):
    """Sell units in one order and announce each; return the returns' ids."""
    collected = {"method": "pickup", "location": "north"}
    lines = [{"sku": "apple", "quantity": count}]
    order = client.ask("POST", "/v1/orders", {"lines": lines, "fulfilment": collected})
    task = f"/v1/tasks/{order['tasks'][0]}"
    client.ask("POST", f"{task}/pick")
    client.ask("POST", f"{task}/ready", {})
    client.ask("POST", f"{task}/collect", {"pickup_code": order["pickup_code"]})
    lines = [{"line": "1", "quantity": 1, "reason": "too many"}]
    body = {"order_id": order["id"], "lines": lines, "channel": "mail"}
    return [client.ask("POST", "/v1/returns", body)["id"] for _ in range(count)]


def receive_all(client, return_ids):
    """Take one unit after the other back; return the seconds that each took to be seen."""
    body = {"location": "south", "lines": [{"line": "1", "quantity": 1}]}
    return [
        client.seconds_until_seen(
            "south", lambda path=f"/v1/returns/{each}/receive": client.ask("POST", path, body)
        )
        for each in return_ids
    ]


def post_receipts(client, count):
    """Let receipts of one unit come in likewise."""
    return [
        client.seconds_until_seen(
            "south",
            lambda: client.ask(
                "POST", "/v1/events", event(type="receipt", location="south", quantity=1)
            ),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", COUNTS)
def bench_returns_visible(benchmark, tmp_path, count):
    """Take a unit back until it is read: p99 of 50 ms."""
    with deployed(tmp_path) as deployment, contextlib.closing(Client(deployment)) as client:
        deployment.publish(
            event(type="receipt", quantity=2 * count),
            event(type="receipt", location="south", quantity=1),
        )
        return_ids = announced(client, count)
        wait_until(lambda: client.on_hand("north") == count)
        seconds = benchmark.pedantic(receive_all, (client, return_ids), rounds=1)
        assert client.on_hand("south") == 1 + count
        limit_ms = np.array(post_receipts(client, count)) * 1e3
        latencies_ms = np.array(seconds) * 1e3
        wanted = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}
        percentiles = {name: np.percentile(latencies_ms, at) for name, at in wanted.items()}
        state(
            benchmark,
            "returns_visible",
            percentiles["p99"],
            limit=np.percentile(limit_ms, 99),
            limit_name=LIMIT_NAME,
            percentiles=percentiles,
            note=f"{count:,} receptions; the slowest took {latencies_ms.max():.1f} ms",
        )
