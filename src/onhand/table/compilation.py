"""Tables and scopes joined into the view that native code reads."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from onhand._native.view import View
from onhand.table.scopes import Place, ScopeCompiler, ShardScopes, compile_place

if TYPE_CHECKING:
    from onhand._native.reader import Table
    from onhand.model.setup import Setup

EPOCH = date(1970, 1, 1)


class Compilation:
    """Everything derived from set-up, tables and the day, and what to redo when one moves.

    A new location concerns every column, so all is compiled again. A new SKU matters only where
    rules on SKUs or categories exist, and then adds one element. A new day replaces the days.

    Parameters
    ----------
    tables
        One a shard.
    now_s
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self, tables: tuple[Table, ...], setup: Setup, now_s: float, low_stock: int
    ) -> None:
        self._tables = tables
        self._setup = setup
        self._low_stock = low_stock
        self._compile(now_s)

    @property
    def groups(self) -> list[str]:
        """The groups, in the order of their index."""
        return list(self._place.members)

    def follow(self) -> None:
        """Take in locations and SKUs that have become known."""
        for table, scopes in zip(self._tables, self._compiled, strict=True):
            if table.location_count != scopes.known_count:
                self._compile(self._now_s)
                return
        for table, compiler, scopes in zip(
            self._tables, self._compilers, self._compiled, strict=True
        ):
            if scopes.profile_of is not None:
                _extend_profiles(table, compiler, scopes)
        self._look()

    def turn_days(self, now_s: float) -> None:
        """Take over the day it has become."""
        days, self.next_day_s = days_everywhere(self._setup, now_s)
        self._now_s = now_s
        self._place.move_to(days, self._setup)
        for compiler, scopes in zip(self._compilers, self._compiled, strict=True):
            scopes.today = compiler.days(self._place)
            scopes.today_utc = days["UTC"]
        self._look()

    def _compile(self, now_s: float) -> None:
        days, self.next_day_s = days_everywhere(self._setup, now_s)
        self._now_s = now_s
        names = [table.location_names() for table in self._tables]
        known = (name for shard in names for name in shard)
        self._place: Place = compile_place(self._setup, known, days)
        self._compilers = [ScopeCompiler(self._setup, self._place, shard) for shard in names]
        self._compiled = [compiler.compile() for compiler in self._compilers]
        for table, compiler, scopes in zip(
            self._tables, self._compilers, self._compiled, strict=True
        ):
            if compiler.has_sku_rules:
                _look_up_profiles(table, compiler, scopes)
        self.scopes = {f"location:{name}": (False, at) for name, at in self._place.ordinals.items()}
        self.scopes |= {f"group:{name}": (True, at) for at, name in enumerate(self._place.members)}
        self._look()

    def _look(self) -> None:
        self.view = View(
            self._tables,
            tuple(self._compiled),
            self._place.ordinals,
            self._judge,
            self._low_stock,
        )

    def _judge(self, shard: int, sku: str) -> int | None:
        """Return the profile of a SKU that no table knows, if set-up knows it."""
        return self._compilers[shard].profile(sku) if sku in self._setup.skus else None


def days_everywhere(setup: Setup, now_s: float) -> tuple[dict[str, int], float]:
    """Return today by time zone, in days since 1970-01-01, and when the first of them ends.

    Parameters
    ----------
    now_s
        Seconds since 1970-01-01 UTC.
    """
    names = {"UTC", *(location.timezone for location in setup.locations.values())}
    now = datetime.fromtimestamp(now_s, UTC)
    days, ends = {}, []
    for name in names:
        zone = ZoneInfo(name)
        today = now.astimezone(zone).date()
        days[name] = (today - EPOCH).days
        ends.append(datetime.combine(today + timedelta(days=1), time.min, zone).timestamp())
    return days, min(ends)


def _look_up_profiles(table: Table, compiler: ScopeCompiler, scopes: ShardScopes) -> None:
    """From the rules to the SKUs: most SKUs have none."""
    scopes.sku_count = table.sku_count
    scopes.profile_of = np.zeros(scopes.sku_count + 1024, np.uint32)
    for sku, profile in compiler.ruled_skus():
        number = table.find_sku(sku)
        if number is not None and number < scopes.sku_count:
            scopes.profile_of[number] = profile


def _extend_profiles(table: Table, compiler: ScopeCompiler, scopes: ShardScopes) -> None:
    """From new SKUs to the rules. Views before this one never look at the elements added."""
    profile_of, start, count = scopes.profile_of, scopes.sku_count, table.sku_count
    if profile_of is None or start == count:
        return
    if count > len(profile_of):
        profile_of = np.concatenate((profile_of, np.zeros(count, np.uint32)))
    profile_of[start:count] = [compiler.profile(sku) for sku in table.sku_names(start, count)]
    scopes.profile_of, scopes.sku_count = profile_of, count
