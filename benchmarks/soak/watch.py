"""What the processes of a deployment take, sampled while they work."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.deployments import children_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE_S = 5.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SERIES = (
    "onhand_ingest_lag_events",
    "onhand_outbox_pending",
    "onhand_handovers_in_flight",
    "onhand_reservations_open",
    "onhand_shortfall_units",
    "onhand_supply_age_seconds",
    "onhand_checkpoint_bytes",
    "onhand_purchases_lag_events",
    "onhand_returns_open",
    "onhand_table_bytes",
    "onhand_table_allocated_bytes",
    "onhand_table_history_movements",
)
"""Gauges worth a line of their own, summed over their labels."""

_PSS = re.compile(r"^(Pss_Anon|Pss_Shmem|Pss_File|SwapPss):\s+(\d+) kB", re.MULTILINE)
_METRIC = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Process(msgspec.Struct, frozen=True):
    """One process, or all of one role: memory of its own, its share of what is mapped, and time."""

    own_bytes: int
    shared_bytes: int
    file_bytes: int
    cpu_s: float
    descriptors: int
    threads: int


class Sample(msgspec.Struct, frozen=True):
    """All processes at one moment, by role, and what the deployment says of itself."""

    at_s: float
    roles: dict[str, Process]
    gauges: dict[str, float]
    data_bytes: dict[str, int]
    table_bytes: int
    load_average: float


def sample(parent: int, begun_s: float, metrics: str, data: Path, tables: Path) -> Sample:
    """Sample a process and all below it."""
    parts: defaultdict[str, list[Process]] = defaultdict(list)
    for pid, role in _family(parent, "up"):
        with contextlib.suppress(OSError):
            parts[role].append(_process(pid))
    gauges: defaultdict[str, float] = defaultdict(float)
    for name, value in _METRIC.findall(metrics):
        if name in SERIES:
            gauges[name] += float(value)
    return Sample(
        at_s=round(time.monotonic() - begun_s, 2),
        roles={role: _summed(each) for role, each in sorted(parts.items())},
        gauges=dict(gauges),
        data_bytes=dict(_sizes(data)),
        table_bytes=sum(size for _, size in _sizes(tables)),
        load_average=os.getloadavg()[0],
    )


def _family(pid: int, parents_role: str) -> Iterator[tuple[int, str]]:
    """List a process and all below it, each with what it does: as its parent, unless it says."""
    with contextlib.suppress(OSError):
        role = _command(pid) or parents_role
        yield pid, role
        for child in children_of(pid):
            yield from _family(child, role)


def _command(pid: int) -> str | None:
    """Name the command of onhand that a process was started with."""
    words = iter(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0"))
    for word in words:
        if word.endswith(("onhand.cli", "/onhand")):
            return next(words, None)
    return None


def _process(pid: int) -> Process:
    where = Path(f"/proc/{pid}")
    rollup = (where / "smaps_rollup").read_text()
    pss = {name: int(size) * 1024 for name, size in _PSS.findall(rollup)}
    stat = (where / "stat").read_text().rsplit(")", 1)[1].split()
    return Process(
        own_bytes=pss.get("Pss_Anon", 0) + pss.get("SwapPss", 0),
        shared_bytes=pss.get("Pss_Shmem", 0),
        file_bytes=pss.get("Pss_File", 0),
        cpu_s=(int(stat[11]) + int(stat[12])) / TICKS_A_SECOND,
        descriptors=sum(1 for _ in (where / "fd").iterdir()),
        threads=int(stat[17]),
    )


def _summed(processes: list[Process]) -> Process:
    columns = zip(*map(msgspec.structs.astuple, processes), strict=True)
    return Process(*map(sum, columns))


def _sizes(directory: Path) -> Iterator[tuple[str, int]]:
    """Sum what a directory's entries take on disk, by name."""
    for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
        files = entry.rglob("*") if entry.is_dir() else (entry,)
        size = 0
        for each in files:
            with contextlib.suppress(OSError):
                size += each.stat().st_blocks * 512
        yield entry.name, size
