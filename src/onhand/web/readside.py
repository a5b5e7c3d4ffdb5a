"""What reads stand on: the tables, and the set-up as of now.

Used by the event loop's thread alone. A task follows the set-up; the reader itself follows the
tables and the calendar.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from onhand.errors import LedgerUnavailable, TableUnavailable
from onhand.geo import Places
from onhand.logging import get_logger
from onhand.model.setup import Setup
from onhand.table.reader import UnknownScope
from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onhand.ledger import SetupStore
    from onhand.log.base import TopicPartition
    from onhand.model.availability import Answer
    from onhand.table.reader import TableReader

SETUP_POLL_S: Final = 0.1
GENERATION_POLL_US: Final = 1_000
"""A new generation has all that its predecessor had, so a read may miss it for a moment."""

log = get_logger(__name__)


class ReadSide:
    """The tables as reads see them.

    Parameters
    ----------
    reader
        This process's reader; it may find no table yet.
    store
        Where the set-up is kept.
    """

    def __init__(self, reader: TableReader, store: SetupStore) -> None:
        self.setup = Setup()
        self.stores = Places(())
        self._reader = reader
        self._store = store
        self._version = -1
        self._looked_us = 0
        self._reload_lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    # -- reads ---------------------------------------------------------------------------------

    def tables(self, now_us: int) -> TableReader:
        """Return the reader, on a generation that was the newest a millisecond ago.

        Raises
        ------
        ProblemError
            ``supply_unavailable`` while there is no table.
        """
        if now_us - self._looked_us > GENERATION_POLL_US or now_us < self._looked_us:
            try:
                self._reader.refresh()
            except TableUnavailable as error:
                raise ProblemError(ProblemCode.SUPPLY_UNAVAILABLE, str(error)) from error
            self._looked_us = now_us
        return self._reader

    def render(self, sku: str, scope: str, *, detail: bool) -> bytes | None:
        """Write the answer about one SKU as JSON; None when nobody knows it. Hot.

        Raises
        ------
        ProblemError
            The location or the group is not known, or there is no table.
        """
        now_us = time.time_ns() // 1000
        try:
            return self.tables(now_us).render_one(sku, scope, now_us, detail)
        except UnknownScope:
            raise unknown_scope(scope) from None

    def render_query(self, skus: list[str], scopes: Sequence[str]) -> bytes:
        """Write the answers about many SKUs as JSON. Hot.

        Raises
        ------
        ProblemError
            As :meth:`render`.
        """
        now_us = time.time_ns() // 1000
        try:
            return self.tables(now_us).render_query(skus, scopes, now_us)
        except UnknownScope as error:
            raise unknown_scope(error.args[0]) from None

    def answer(self, sku: str, scope: str) -> Answer | None:
        """Read the answer about one SKU; None when nobody knows it.

        Raises
        ------
        ProblemError
            As :meth:`render`.
        """
        now_us = time.time_ns() // 1000
        try:
            return self.tables(now_us).read(sku, scope, now_us)
        except UnknownScope:
            raise unknown_scope(scope) from None

    def locations(self) -> set[str]:
        """Name every location that set-up or a table knows."""
        try:
            known = self.tables(time.time_ns() // 1000).locations()
        except ProblemError:
            known = []
        return {*self.setup.locations, *known}

    def must_know_location(self, location: str) -> None:
        """Refuse a location that neither set-up nor an event has named.

        Raises
        ------
        ProblemError
            ``unknown_location``.
        """
        scope = f"location:{location}"
        if location in self.setup.locations:
            return
        if not self.tables(time.time_ns() // 1000).has_scope(scope):
            raise unknown_scope(scope)

    # -- progress ------------------------------------------------------------------------------

    def has_applied(self, wanted: Mapping[TopicPartition, int]) -> bool:
        """Tell whether reads see everything before these offsets."""
        try:
            offsets = self.tables(time.time_ns() // 1000).progress().offsets
        except ProblemError:
            return False
        return all(offsets.get(partition, 0) >= end for partition, end in wanted.items())

    def gauges(self) -> dict[str, float]:
        """Measure the tables, for metrics; nothing while there is none."""
        now_us = time.time_ns() // 1000
        try:
            tables = self.tables(now_us)
        except ProblemError:
            return {}
        progress = tables.progress()
        shards = tables.statistics()

        def total(name: str) -> float:
            return float(sum(shard[name] for shard in shards))

        def fullest(part: str, whole: str) -> float:
            return max(shard[part] / max(1, shard[whole]) for shard in shards)

        demand = tables.demand()
        gauges = {
            "onhand_ingest_lag_events": progress.lag_events,
            "onhand_ingest_lag_seconds": max(0, now_us - progress.as_of_us) / 1e6,
            "onhand_ingest_heartbeat_seconds": max(0, now_us - progress.heartbeat_us) / 1e6,
            "onhand_table_skus": total("skus"),
            "onhand_table_locations": max(shard["locations"] for shard in shards),
            "onhand_table_cells": total("cells"),
            "onhand_table_bytes": total("used_bytes"),
            "onhand_table_allocated_bytes": total("allocated_bytes"),
            "onhand_table_row_bytes": total("row_bytes"),
            "onhand_table_fill_ratio": fullest("used_bytes", "capacity_bytes"),
            "onhand_table_history_movements": total("history"),
            "onhand_table_history_fill_ratio": fullest("history", "history_max"),
        }
        if demand is not None and demand.heartbeat_us:
            silent_us = max(0, now_us - demand.heartbeat_us)
            gauges["onhand_order_writer_heartbeat_seconds"] = silent_us / 1e6
        return gauges

    # -- set-up --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the set-up and follow it.

        Raises
        ------
        LedgerUnavailable
            When it cannot be loaded at first.
        """
        await self.reload()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def reload(self) -> None:
        """Take over the newest set-up; reads that start after this see it."""
        async with self._reload_lock:
            setup = await asyncio.to_thread(self._store.load_setup, self.setup)
            if setup.version != self._version:
                self._reader.set_scopes(setup, time.time())
                self.stores = Places(
                    each for each in setup.locations.values() if each.type == "store"
                )
                self.setup = setup
                self._version = setup.version

    async def _follow(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(SETUP_POLL_S)
            try:
                if await asyncio.to_thread(self._store.setup_version) != self._version:
                    await self.reload()
            except LedgerUnavailable as error:
                # Reads go on with the set-up last known, as they do with tokens.
                if not failing:
                    log.warning("setup_not_refreshed", error=str(error))
                failing = True
            else:
                failing = False


def unknown_scope(scope: str) -> ProblemError:
    """Refuse a location or group that neither set-up nor events have named."""
    kind, _, name = scope.partition(":")
    if kind == "group":
        return ProblemError(ProblemCode.UNKNOWN_GROUP, f"No location is in a group {name!r}.")
    return ProblemError(
        ProblemCode.UNKNOWN_LOCATION, f"No event and no set-up has named the location {name!r}."
    )
