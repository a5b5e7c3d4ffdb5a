"""After the load: what the deployment says, held against what it has acknowledged."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.soak.account import Account, Cell
from tests.deployments import environment, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deployments import Deployment

REST_S_MAX = 180.0
QUERY_SKUS = 40
LISTED_MAX = 10
LOOKS = 10
"""A second apart, before what differs is said to differ."""

RESERVING = ("allocated", "picked", "packed", "ready")
LEFT = ("shipped", "collected", "returned")
IDLE = (
    'onhand_outbox_pending{topic="orders.events"}',
    'onhand_outbox_pending{topic="stock.ledger"}',
    "onhand_handovers_in_flight",
    "onhand_ingest_lag_events",
)


class Verification(msgspec.Struct, frozen=True):
    """What ``onhand verify`` came to, and what it took."""

    exit_code: int
    seconds: float
    said: str


def wait_for_rest(deployment: Deployment, probe_units: int, probe: tuple[str, str]) -> float:
    """Wait until all that was published is applied and no hold is open; answer how long it took."""
    begun_s = time.monotonic()
    wait_until(lambda: (deployment.on_hand(*probe) or 0) >= probe_units, REST_S_MAX)
    wait_until(lambda: _is_at_rest(deployment.get("/metrics")[1]), REST_S_MAX)
    return time.monotonic() - begun_s


def verify(data: Path, flags: list[str]) -> Verification:
    """Run ``onhand verify`` beside the deployment."""
    begun_s = time.monotonic()
    told = subprocess.run(
        [sys.executable, "-m", "onhand.cli", "verify", "--data", str(data), *flags],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    said = told.stdout[-4_000:] + told.stderr[-2_000:]
    return Verification(told.returncode, round(time.monotonic() - begun_s, 1), said)


def check_shelves(deployment: Deployment, account: Account, reserved: Counter[Cell]) -> list[str]:
    """Compare every cell that was only moved with the sum of its movements, and what is promised.

    What tills told last is decided within moments, so a cell that differs is looked at again.
    """
    differing = account.cells()
    for _ in range(LOOKS):
        found = dict(_numbers(deployment, differing))
        differing = [
            cell for cell in differing if found[cell] != (*account.at(cell), reserved[cell])
        ]
        if not differing:
            break
        time.sleep(1)
    return _listed(
        f"{sku} at {location}: on_hand, held, in_transit, reserved are {found[sku, location]}, "
        f"acknowledged were {(*account.at(Cell(sku, location)), reserved[Cell(sku, location)])}"
        for sku, location in differing
    )


def check_orders(
    deployment: Deployment, left: dict[str, int], unanswered_count: int = 0
) -> tuple[list[str], Counter[Cell]]:
    """Find every acknowledged order, and at least the units that are known to have left it.

    What tills told last is decided within moments, so what is not right is looked at again.

    Parameters
    ----------
    unanswered_count
        Requests without an answer, each of which may have placed an order that nobody knows.

    Returns
    -------
    What is wrong, and what the orders keep reserved.
    """
    for _ in range(LOOKS):
        wrong, reserved = _look_at_orders(deployment, left, unanswered_count)
        if not wrong:
            break
        time.sleep(1)
    return _listed(wrong), reserved


def _look_at_orders(
    deployment: Deployment, left: dict[str, int], unanswered_count: int
) -> tuple[list[str], Counter[Cell]]:
    missing = dict(left)
    wrong: list[str] = []
    unnamed: list[str] = []
    reserved: Counter[Cell] = Counter()
    for order in _orders(deployment):
        known = missing.pop(order["id"], None)
        gone = 0
        for line in order["lines"]:
            for each in line["allocations"]:
                units = each["quantities"]
                gone += sum(units.get(status, 0) for status in LEFT)
                if open_units := sum(units.get(status, 0) for status in RESERVING):
                    reserved[Cell(line["sku"], each["location"])] += open_units
        if known is None:
            unnamed.append(f"order {order['id']} is there, and no answer named it")
        elif gone < known:
            wrong.append(f"order {order['id']}: {gone} units left it, {known} were acknowledged")
    wrong += unnamed if len(unnamed) > unanswered_count else []
    wrong += [f"order {each} was acknowledged and is not there" for each in missing]
    return wrong, reserved


def _orders(deployment: Deployment) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        status, page = deployment.get(f"/v1/orders?limit=500{cursor}")
        assert status == 200, page
        yield from page["items"]
        if not page["next"]:
            return
        cursor = f"&cursor={page['next']}"


def _numbers(
    deployment: Deployment, cells: list[Cell]
) -> Iterator[tuple[Cell, tuple[int, int, int, int]]]:
    """Read cells; those of all zeros may be left out of answers."""
    by_sku: dict[str, list[Cell]] = {}
    for cell in cells:
        by_sku.setdefault(cell.sku, []).append(cell)
    skus = list(by_sku)
    for start in range(0, len(skus), QUERY_SKUS):
        part = skus[start : start + QUERY_SKUS]
        wanted = {cell for sku in part for cell in by_sku[sku]}
        body = {"skus": part, "locations": sorted({cell.location for cell in wanted})}
        status, answer = deployment.request("POST", "/v1/availability/query", body)
        assert status == 200, answer
        found = {
            Cell(each["sku"], each["scope"].partition(":")[2]): each for each in answer["items"]
        }
        for cell in wanted:
            item = found.get(cell, {})
            yield (
                cell,
                (
                    item.get("on_hand", 0),
                    item.get("held", 0),
                    item.get("in_transit", 0),
                    item.get("reserved", 0),
                ),
            )


def _is_at_rest(metrics: str) -> bool:
    open_holds = 'onhand_reservations_open{kind="hold"} '
    lines = metrics.splitlines()
    watched = [line for line in lines if line.startswith((*IDLE, open_holds))]
    # What is not told is not known to be nothing.
    told = all(any(line.startswith(name) for line in watched) for name in IDLE)
    return told and all(float(line.rpartition(" ")[2]) == 0 for line in watched)


def _listed(findings: Any) -> list[str]:
    """Keep the first findings, and say how many there are besides."""
    every = list(findings)
    more = [f"and {len(every) - LISTED_MAX} more"] if len(every) > LISTED_MAX else []
    return every[:LISTED_MAX] + more
