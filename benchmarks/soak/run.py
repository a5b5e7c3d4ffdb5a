"""A soak from empty data to its result: start, set up, load, watch, check, stop."""

from __future__ import annotations

import re
import shutil
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from benchmarks.kit.load import processes
from benchmarks.soak.account import Account
from benchmarks.soak.check import (
    Verification,
    check_orders,
    check_shelves,
    verify,
    wait_for_rest,
)
from benchmarks.soak.client import Said, Shift
from benchmarks.soak.feed import PROBE, Fed, feed
from benchmarks.soak.latencies import INTERVAL_S, Latencies
from benchmarks.soak.lives import Lived, live
from benchmarks.soak.reads import Reading, read
from benchmarks.soak.verdict import Judged, judge, judge_load
from benchmarks.soak.watch import SAMPLE_S, Sample, sample
from benchmarks.soak.world import World
from tests.deployments import Deployment, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

READY_S_MAX = 180.0
"""A machine under soak starts slowly."""

LEAD_S = 3.0
_DEAD = re.compile(r'^onhand_events_dead_total\{.*?reason="(\w+)".*?\} (\S+)$', re.MULTILINE)
OK = 200
SHARES = (0.5, 0.99, 0.999)
PASSED_ON = ("kafka", "topic_prefix", "database")
"""Flags of ``up`` that the publisher and ``verify`` need as well."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, for how long, on what."""

    seconds: float = 3_600.0
    events: float = 5_000.0
    reads: float = 2_000.0
    orders: float = 200.0
    flags: dict[str, str] = {}
    world: World = World()


class Done(NamedTuple):
    """What the three processes of the load have done."""

    fed: Fed
    reading: Reading
    lived: Lived


class Tail(msgspec.Struct, frozen=True):
    """How a kind of request was answered over time: percentiles in ms of each interval."""

    count: int
    all: list[float | None]
    by_interval: list[tuple[float, list[float | None]]]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak came to."""

    plan: Plan
    rested_s: float
    busy_cores: float
    load_average: float
    counts: dict[str, int]
    answers: dict[str, int]
    unexpected: dict[str, int]
    samples_of_unexpected: list[str]
    verification: Verification
    wrong: list[str]
    stopped: dict[str, float]
    judged: list[Judged]
    tails: dict[str, Tail]
    samples: list[Sample]
    said: str = ""

    def findings(self) -> list[str]:
        """List what must not be, timing and memory left aside."""
        found = [f"unexpected answer, {n} times: {what}" for what, n in self.unexpected.items()]
        if self.verification.exit_code:
            found.append(f"verify: {self.verification.said}")
        if self.stopped["exit_code"]:
            found.append(f"the deployment ended with {self.stopped['exit_code']:.0f}")
        return found + self.wrong


def soak(plan: Plan, scratch: Path, tell: Callable[[str], None] = print) -> Result:
    """Run a deployment under load in an empty directory.

    Parameters
    ----------
    tell
        Called with a line now and then.
    """
    flags = [part for name, value in plan.flags.items() for part in (_flag(name), value)]
    deployment = Deployment(scratch, *flags)
    try:
        deployment.start()
        wait_until(lambda: _is_ready(deployment), READY_S_MAX)
        account = set_up(deployment, plan.world)
        tell(f"set up: {plan.world.sku_count:,} SKUs, {len(account.on_hand):,} shelves")
        return _load(deployment, plan, account, tell)
    finally:
        deployment.close()
        if deployment.data.exists():
            shutil.rmtree(deployment.table_path(), ignore_errors=True)


def set_up(deployment: Deployment, world: World) -> Account:
    """Set everything up and fill the shelves; answer what stands on them."""
    for name, fields in world.locations():
        _must(deployment.request("PUT", f"/v1/locations/{name}", fields), 200, 201)
    catalogue = world.catalogue()
    for start in range(0, len(catalogue), 2_000):
        _must(deployment.request("PUT", "/v1/skus", catalogue[start : start + 2_000]), 200)
    _must(deployment.request("PUT", "/v1/safety-stock", world.safety_rules()), 200)
    account = Account()
    for event, lines in world.opening():
        answer = _must(deployment.publish(event), 202)
        assert not answer["rejected"], answer
        for sku, units in lines:
            account.move(sku, event["location"], units)
    return account


def _load(
    deployment: Deployment, plan: Plan, account: Account, tell: Callable[[str], None]
) -> Result:
    samples: list[Sample] = []
    shared = {name: plan.flags[name] for name in PASSED_ON if name in plan.flags}
    log_flags = {"data": str(deployment.data), **shared}
    with processes(3) as pool:
        begun_s = time.monotonic() + LEAD_S

        def shift(rate: float) -> Shift:
            return Shift(
                port=deployment.port,
                begun_s=begun_s,
                seconds=plan.seconds,
                rate=rate,
                world=plan.world,
            )

        running: list[Future[Any]] = [
            pool.submit(feed, log_flags, shift(plan.events)),
            pool.submit(read, shift(plan.reads)),
            pool.submit(live, shift(plan.orders)),
        ]
        while not all(each.done() for each in running):
            samples.append(_sample(deployment, begun_s))
            _tell_sample(samples[-1], tell)
            time.sleep(SAMPLE_S)
        done = Done(*(each.result() for each in running))
    for part in (done.fed.account, done.lived.account):
        account.add(part)
    account.move(*PROBE, done.fed.probe_units)
    tell("the load is over; waiting until all of it is applied")
    return _conclude(deployment, plan, account, done, samples, tell=tell)


def _conclude(
    deployment: Deployment,
    plan: Plan,
    account: Account,
    done: Done,
    samples: list[Sample],
    *,
    tell: Callable[[str], None],
) -> Result:
    """Check what there is, and end the deployment."""
    rested_s = wait_for_rest(deployment, done.fed.probe_units, PROBE)
    flags = [f for n in PASSED_ON if n in plan.flags for f in (_flag(n), plan.flags[n])]
    verification = verify(deployment.data, flags)
    tell(f"verify: exit code {verification.exit_code} after {verification.seconds} s")
    wrong, reserved = check_orders(deployment, done.lived.left, done.lived.unanswered_count)
    wrong += check_shelves(deployment, account, reserved)
    tell(f"checked {len(done.lived.left):,} orders and {len(account.cells()):,} shelves")
    metrics = deployment.get("/metrics")[1]
    begun_s = time.monotonic()
    exit_code = deployment.stop()
    latencies, said = Latencies(0), Said()
    for part in done:
        latencies.add(part.latencies)
        said.add(part.said)
    return Result(
        plan=plan,
        rested_s=round(rested_s, 1),
        busy_cores=round(_busy_cores(samples), 2),
        load_average=round(statistics.fmean(each.load_average for each in samples), 1),
        counts=_counts(done, account, metrics),
        answers=dict(sorted(said.answers.items())),
        unexpected=dict(said.unexpected),
        samples_of_unexpected=said.samples,
        verification=verification,
        wrong=wrong,
        stopped={"exit_code": exit_code, "seconds": round(time.monotonic() - begun_s, 1)},
        judged=[*judge(samples, latencies, plan.seconds), judge_load(said.left_out)],
        tails={kind: _tail(latencies, kind) for kind in latencies.kinds()},
        samples=samples,
        said=deployment.said()[-20_000:],
    )


def _counts(done: Done, account: Account, metrics: str) -> dict[str, int]:
    fed, reading, lived = done
    dead: Counter[str] = Counter()
    for reason, count in _DEAD.findall(metrics):
        dead[reason] += int(float(count))
    return {
        "events published": fed.event_count,
        "of them twice": fed.duplicate_count,
        "of them out of order": fed.displaced_count,
        "rubbish among them": fed.rubbish_count,
        "refused when posted": fed.refused_count,
        "dead letters": dead.total(),
        **{f"dead letters, {reason}": count for reason, count in sorted(dead.items())},
        "reads": reading.read_count,
        "changes streamed": reading.streamed_count,
        "holds": lived.hold_count,
        "orders": len(lived.left),
        "units handed over": sum(lived.left.values()),
        "claims of tills": lived.claim_count,
        "returns": lived.return_count,
        "requests without an answer": lived.unanswered_count,
        "SKUs that these leave to verify alone": len(account.unanswered),
        "shelves compared with their movements": len(account.cells()),
    }


def _busy_cores(samples: list[Sample]) -> float:
    """Divide the time that all processes had by the time that went by."""
    first, last = samples[0], samples[-1]
    had = [sum(each.cpu_s for each in one.roles.values()) for one in (first, last)]
    return (had[1] - had[0]) / max(SAMPLE_S, last.at_s - first.at_s)


def _tail(latencies: Latencies, kind: str) -> Tail:
    intervals = latencies.intervals(kind)

    def percentiles(of: list[int]) -> list[float | None]:
        found = (latencies.percentile_ms(kind, share, of) for share in SHARES)
        return [None if each is None else round(each, 3) for each in found]

    return Tail(
        count=latencies.count(kind, intervals),
        all=percentiles(intervals),
        by_interval=[(each * INTERVAL_S, percentiles([each])) for each in intervals],
    )


def _sample(deployment: Deployment, begun_s: float) -> Sample:
    status, metrics = deployment.get("/metrics")
    assert deployment.process.poll() is None, deployment.said()
    said = metrics if status == OK else ""
    tables = deployment.table_path()
    return sample(deployment.process.pid, begun_s, said, deployment.data, tables)


def _tell_sample(taken: Sample, tell: Callable[[str], None]) -> None:
    own = sum(each.own_bytes for each in taken.roles.values()) / 2**20
    gauges = taken.gauges
    tell(
        f"{taken.at_s:7.0f} s  {own:6.0f} MiB own, {taken.table_bytes / 2**20:6.0f} MiB of tables, "
        f"lag {gauges.get('onhand_ingest_lag_events', 0):.0f}, "
        f"outbox {gauges.get('onhand_outbox_pending', 0):.0f}, "
        f"open {gauges.get('onhand_reservations_open', 0):.0f}"
    )


def _is_ready(deployment: Deployment) -> bool:
    assert deployment.process.poll() is None, deployment.said()
    return bool(deployment.get("/readyz")[0] == OK)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _must(answer: tuple[int, Any], *statuses: int) -> Any:
    assert answer[0] in statuses, answer
    return answer[1]
