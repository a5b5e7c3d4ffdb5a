"""The last units of a shelf: everybody wants them while the server is killed again and again.

What was acknowledged is there afterwards, every unit is promised once, and not one too many.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.buyers import Buyer, repeated
from tests.deployments import Deployment, children_of, environment, is_alive, wait_until
from tests.servers import event
from tests.shops import SHIP

BUYER_COUNT = 64
UNITS = {"north": 60, "south": 40}
PLACES = {
    "north": {"latitude": 52.5, "longitude": 13.4},
    "south": {"latitude": 48.1, "longitude": 11.6},
}
SKU = "last"
READY_S = 90


@pytest.fixture
def deploy(tmp_path):
    """Start a deployment with 100 units of one SKU; afterwards nothing of it is left."""
    with contextlib.ExitStack() as stack:

        def start(*flags):
            tables = tmp_path / "tables"
            tables.mkdir()
            made = Deployment(tmp_path, "--table-dir", str(tables), *flags)
            stack.callback(shutil.rmtree, tables, ignore_errors=True)
            stack.callback(made.close)
            made.start()
            wait_ready(made)
            for place, fields in PLACES.items():
                document = {"name": place, "type": "store", "groups": ["online"], **fields}
                assert made.request("PUT", f"/v1/locations/{place}", document)[0] == 201
            receipts = [
                event(type="receipt", sku=SKU, location=place, quantity=units)
                for place, units in UNITS.items()
            ]
            assert made.publish(*receipts)[0] == httpx.codes.ACCEPTED
            return made

        yield start


def wait_ready(deployment):
    def is_ready():
        assert deployment.process.poll() is None, deployment.said()
        return deployment.get("/readyz")[0] == httpx.codes.OK

    wait_until(is_ready, READY_S)


def server_pids(deployment):
    """List the processes that serve, the parent of the others first; empty while none does."""
    for pid in children_of(deployment.process.pid):
        with contextlib.suppress(OSError):
            if b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return [pid, *children_of(pid)]
    return []


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Sale:
    """64 customers who want all there is, and a server that is killed meanwhile.

    Parameters
    ----------
    kill_at
        After how many promises the server is killed, each time.
    """

    def __init__(self, deployment, kill_at, seed):
        self.deployment = deployment
        self.kill_at = sorted(kill_at, reverse=True)
        self.chance = random.Random(seed)
        self.kill_count = 0
        self.promised = []
        """Every request that was carried out, in the order of the answers."""

    def run(self):
        asyncio.run(self._run())

    async def _run(self):
        buyers = [
            Buyer(self.deployment.url, self.chance.random(), self._acknowledge)
            for _ in range(BUYER_COUNT)
        ]
        try:
            await asyncio.gather(*(self._buy(buyer) for buyer in buyers))
        finally:
            for buyer in buyers:
                await buyer.close()

    async def _buy(self, buyer):
        """Hold, order, or both, until there is nothing left."""
        quantity = 2
        while quantity:
            if not await self._buy_once(buyer, quantity):
                quantity -= 1

    async def _buy_once(self, buyer, quantity):
        place = buyer.chance.choice(list(PLACES))
        pickup = {"method": "pickup", "location": place}
        kind = buyer.chance.choice(("hold", "hold", "order", "pickup"))
        if kind == "order":
            return await buyer.order(SKU, quantity, SHIP)
        if kind == "pickup":
            # What this store has not, another may; the last units are had by shipment.
            had = await buyer.order(SKU, quantity, pickup)
            return had or await buyer.order(SKU, quantity, SHIP)
        hold = await buyer.hold(SKU, quantity, group="online")
        if hold and buyer.chance.random() < 0.5:
            assert await buyer.order(SKU, quantity, SHIP, hold_id=hold["id"])
        return hold

    def _acknowledge(self, request):
        self.promised.append(request)
        if self.kill_at and len(self.promised) >= self.kill_at[-1]:
            self.kill_at.pop()
            pids = server_pids(self.deployment)
            # The parent alone, the worker alone, or both at once.
            kill(self.chance.choice((pids, pids, pids[:1], pids[1:])))
            self.kill_count += 1


def check(deployment, sale):
    """Hold what the server has against what it has said."""
    wait_ready(deployment)
    orders = {each.document["id"]: each for each in sale.promised if each.path == "/v1/orders"}
    holds = {each.document["id"]: each for each in sale.promised if each.path == "/v1/holds"}
    units = dict.fromkeys(PLACES, 0)
    ordered = set()
    for order_id, request in orders.items():
        status, order = deployment.get(f"/v1/orders/{order_id}")
        assert (status, order) == (200, request.document)
        (line,) = order["lines"]
        assert line["quantities"] == {"allocated": request.body["lines"][0]["quantity"]}
        for each in line["allocations"]:
            units[each["location"]] += each["quantity"]
        ordered.add(request.body.get("hold_id"))
    for hold_id, request in holds.items():
        status, hold = deployment.get(f"/v1/holds/{hold_id}")
        assert status == 200
        assert hold["status"] == ("ordered" if hold_id in ordered else "active")
        if hold["status"] == "active":
            assert hold["lines"] == request.document["lines"]
            for line in hold["lines"]:
                units[line["location"]] += line["quantity"]
    assert units == UNITS
    for place, there in UNITS.items():
        _, numbers = deployment.get(f"/v1/availability/{SKU}?location={place}")
        found = {name: numbers[name] for name in ("on_hand", "reserved", "available", "shortfall")}
        assert found == {"on_hand": there, "reserved": there, "available": 0, "shortfall": 0}
    assert listed(deployment) == orders.keys()


def listed(deployment):
    """List the ids of all orders that there are."""
    found, cursor = set(), ""
    while cursor is not None:
        _, page = deployment.get(f"/v1/orders?limit=50{cursor}")
        found |= {order["id"] for order in page["items"]}
        cursor = f"&cursor={page['next']}" if page["next"] else None
    return found


def verify(deployment):
    """Rebuild everything aside and compare; return what the command says."""
    flags = [flag for flag in deployment.flags if flag != "--no-auth"]
    done = subprocess.run(
        [sys.executable, "-m", "onhand.cli", "verify", "--data", str(deployment.data), *flags],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=READY_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sell_out(deployment, kill_at, seed):
    sale = Sale(deployment, kill_at, seed)
    sale.run()
    assert sale.kill_count == len(kill_at), f"seed {seed}"
    check(deployment, sale)
    some = sale.chance.sample(sale.promised, 20)
    assert repeated(deployment.url, some) == []
    assert "promised cells from" in verify(deployment)
    children = children_of(deployment.process.pid)
    assert deployment.stop() == 0, deployment.said()
    assert not any(map(is_alive, children))
    deployment.start()
    check(deployment, sale)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_last_units_are_promised_once_though_the_server_is_killed(deploy):
    """100 units, 64 customers, one kill -9 in the middle: 100 units are promised, all known."""
    sell_out(deploy(), kill_at=[30], seed=random.randrange(1 << 30))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def test_the_last_units_are_promised_once_though_the_server_never_lives_long(
    deploy, database, request
):
    """The same with a kill after every few promises, on either database."""
    flags = ()
    if database == "postgres":
        flags = ("--database", request.getfixturevalue("postgres_url"))
    sell_out(deploy(*flags), kill_at=[5, 12, 20, 28, 36, 44], seed=random.randrange(1 << 30))
