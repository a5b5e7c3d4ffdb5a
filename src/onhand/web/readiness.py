"""Whether this server should be asked: tables loaded, the log's past applied, orders decided."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from onhand.errors import OnhandError
from onhand.log.base import partition_name
from onhand.log.topics import EVENT_TOPICS, LEDGER
from onhand.web.problem import ProblemError

if TYPE_CHECKING:
    from onhand.log.base import EventLog, TopicPartition
    from onhand.web.readside import ReadSide
    from onhand.writer.writer import OrderWriter

RETRY_S: Final = 0.5
HEARTBEAT_S_MAX: Final = 2.0
"""A writer stamps every 100 ms; silence for longer is worth a warning."""


class Readiness(Struct, frozen=True):
    """What ``GET /readyz`` answers."""

    ready: bool
    missing: list[str]
    warnings: list[str]


class ReadinessCheck:
    """Knows where the log ended when this process started, and compares.

    Parameters
    ----------
    event_log
        Asked once it can be reached, and then no more.
    writer
        Takes orders in this process, where it does.
    supply_s_max
        How old stock numbers may be for orders to be promised by them.
    partition_count
        Of topics that have to be created; None creates none.
    """

    def __init__(
        self,
        event_log: EventLog,
        side: ReadSide,
        writer: OrderWriter | None,
        *,
        supply_s_max: float,
        partition_count: int | None,
    ) -> None:
        self._supply_s_max = supply_s_max
        self._log = event_log
        self._side = side
        self._writer = writer
        self._partition_count = partition_count
        self._targets: dict[TopicPartition, int] | None = None
        self._log_error = "the log was not reached yet"
        self._warnings: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask the log where it ends."""
        self._task = asyncio.create_task(self._find_targets())

    async def stop(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def check(self) -> Readiness:
        """Say whether everything needed is there, and what is not."""
        warnings = list(self._warnings)
        missing = []
        if self._targets is None:
            missing.append(f"event log: {self._log_error}")
        try:
            progress = self._side.tables(time.time_ns() // 1000).progress()
        except ProblemError as error:
            missing.append(f"stock table: {error.detail}")
        else:
            for partition, end in sorted((self._targets or {}).items()):
                applied = progress.offsets.get(partition, 0)
                if applied < end:
                    name = partition_name(partition)
                    missing.append(f"{name}: {end - applied} records are not applied yet")
            silent_s = time.time() - progress.heartbeat_us / 1e6
            if silent_s > HEARTBEAT_S_MAX:
                warnings.append(
                    f"ingest has not been heard of for {silent_s:.0f} s; is it running?"
                )
            supply_s = time.time() - min(progress.heartbeat_us, progress.as_of_us) / 1e6
            if self._writer is not None and supply_s > self._supply_s_max:
                warnings.append(
                    f"the stock numbers are {supply_s:.0f} s old, so nothing is promised by them"
                )
        if self._writer is not None:
            missing += self._writer.missing()
            warnings += self._writer.warnings()
        return Readiness(ready=not missing, missing=missing, warnings=warnings)

    async def _find_targets(self) -> None:
        while self._targets is None:
            try:
                self._targets = await asyncio.to_thread(self._ask)
            except OnhandError as error:
                self._log_error = str(error)
                await asyncio.sleep(RETRY_S)

    def _ask(self) -> dict[TopicPartition, int]:
        if self._partition_count is not None:
            self._warnings = self._log.ensure_topics(self._partition_count)
        partitions = self._log.partitions((*EVENT_TOPICS, LEDGER))
        return self._log.end_offsets(partitions)
