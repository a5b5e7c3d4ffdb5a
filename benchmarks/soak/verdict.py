"""Whether anything grew: rules stated once, judged from samples and latencies.

Memory is judged by a line through the last half of the samples, when what fills up to a bound has
filled: it may rise by at most :data:`GROWTH_SHARE_AN_HOUR` of its mean an hour, beyond
:data:`GROWTH_BYTES_AN_HOUR`. A latency is judged by the p99 of the last third of the run beside
the first third's, warm-up left out: no more than :data:`TAIL_RATIO_MAX` of it, beyond
:data:`TAIL_FLOOR_MS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from benchmarks.soak.latencies import INTERVAL_S

if TYPE_CHECKING:
    from benchmarks.soak.latencies import Latencies
    from benchmarks.soak.watch import Sample

WARM_UP_S = 30.0
GROWTH_SHARE_AN_HOUR = 0.05
GROWTH_BYTES_AN_HOUR = 8 << 20
"""Less is the noise of an allocator."""

TAIL_RATIO_MAX = 1.5
TAIL_FLOOR_MS = 10.0
"""Below this a tail is that of the machine."""

REQUESTS_LEAST = 300
"""Fewer have no p99."""


class Judged(msgspec.Struct, frozen=True):
    """One rule applied to one thing."""

    what: str
    is_met: bool
    measured: str


def judge(samples: list[Sample], latencies: Latencies, seconds: float) -> list[Judged]:
    """Apply every rule to everything that was watched."""
    roles = sorted({role for each in samples for role in each.roles})
    watched = [each for each in samples if each.at_s <= seconds]
    return [
        *(_judge_memory(role, watched, seconds) for role in roles),
        *_judge_tails(latencies, seconds),
    ]


def judge_load(left_out: int) -> Judged:
    """Say whether all that was due was asked for."""
    return Judged("the load itself", left_out == 0, f"{left_out:,} of what was due left out")


def slope_an_hour(at_s: list[float], values: list[float]) -> float:
    """Fit a line by least squares; return what it rises by in an hour."""
    if len(at_s) < 3:
        return 0.0
    return float(np.polyfit(at_s, values, 1)[0]) * 3_600


def _judge_memory(role: str, samples: list[Sample], seconds: float) -> Judged:
    later = [each for each in samples if each.at_s >= seconds / 2 and role in each.roles]
    values = [float(each.roles[role].own_bytes) for each in later]
    grows = slope_an_hour([each.at_s for each in later], values)
    mean = float(np.mean(values)) if values else 0.0
    allowed = max(GROWTH_BYTES_AN_HOUR, GROWTH_SHARE_AN_HOUR * mean)
    measured = f"{mean / 2**20:,.0f} MiB, {grows / 2**20:+,.1f} MiB an hour"
    return Judged(f"memory of `{role}`", grows <= allowed, measured)


def _judge_tails(latencies: Latencies, seconds: float) -> list[Judged]:
    first, last = int(WARM_UP_S / INTERVAL_S), int(seconds / INTERVAL_S)
    third = (last - first) // 3
    if third < 1:
        return []
    judged = []
    for kind in latencies.kinds():
        early, late = range(first, first + third), range(last - third, last)
        counts = [latencies.count(kind, each) for each in (early, late)]
        if min(counts) < REQUESTS_LEAST:
            continue
        before, after = (latencies.percentile_ms(kind, 0.99, each) or 0 for each in (early, late))
        is_met = after <= max(TAIL_FLOOR_MS, TAIL_RATIO_MAX * before)
        measured = f"{before:,.1f} ms in the first third, {after:,.1f} ms in the last"
        judged.append(Judged(f"p99 of {kind}", is_met, measured))
    return judged
