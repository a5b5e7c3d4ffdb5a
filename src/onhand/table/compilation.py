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

    A new location concerns every column, so all is compiled again; one that is new to the demand
    table alone only its own columns. A new SKU matters only where rules on SKUs or categories
    exist, and then adds one element. A new day replaces the days.

    Parameters
    ----------
    tables
        One a shard.
    demand
        The table of what is promised, if there is one.
    now_s
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        tables: tuple[Table, ...],
        demand: Table | None,
        setup: Setup,
        now_s: float,
        low_stock: int,
    ) -> None:
        self._tables = tables
        self._demand = demand
        self._setup = setup
        self._low_stock = low_stock
        self._compile(now_s)

    @property
    def groups(self) -> list[str]:
        """The groups, in the order of their index."""
        return list(self._place.members)

    @property
    def ordinals(self) -> dict[str, int]:
        """Number of every location that set-up or a table knows."""
        return self._place.ordinals

    @property
    def unconfigured_count(self) -> int:
        """Locations that tables know and set-up does not."""
        return len(self._place.ordinals) - len(self._setup.locations)

    def member_names(self, group: str) -> tuple[str, ...]:
        """Name a group's members, always in the same order; the same tuple until they change."""
        names = self._member_names.get(group)
        if names is None:
            everyone = list(self._place.ordinals)
            names = tuple(everyone[ordinal] for ordinal in self._place.members[group])
            self._member_names[group] = names
        return names

    def follow(self) -> None:
        """Take in locations and SKUs that have become known."""
        for table, scopes in zip(self._tables, self._compiled, strict=True):
            if table.location_count != scopes.known_count:
                self._compile(self._now_s)
                return
        if self._follow_demand():
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
        promised = self._demand.location_names() if self._demand is not None else []
        known = (name for shard in [*names, promised] for name in shard)
        self._member_names: dict[str, tuple[str, ...]] = {}
        self._place: Place = compile_place(self._setup, known, days)
        self._compilers = [ScopeCompiler(self._setup, self._place, shard) for shard in names]
        self._compiled = [compiler.compile() for compiler in self._compilers]
        for table, compiler, scopes in zip(
            self._tables, self._compilers, self._compiled, strict=True
        ):
            if compiler.has_sku_rules:
                _look_up_profiles(table, compiler, scopes)
        self._place_demand(promised)
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
            self._demand,
        )

    def _follow_demand(self) -> bool:
        """Take in the demand table's new locations; True when nobody knew one of them."""
        if self._demand is None:
            return False
        if self._demand.location_count == len(self._compiled[0].demand_slot_of):
            return False
        promised = self._demand.location_names()
        if not self._place.ordinals.keys() >= set(promised):
            return True
        self._place_demand(promised)
        return False

    def _place_demand(self, promised: list[str]) -> None:
        for compiler, scopes in zip(self._compilers, self._compiled, strict=True):
            scopes.demand_slot_of, scopes.demand_number_of = compiler.demand_columns(promised)

    def _judge(self, shard: int, sku: str, whoever: bool) -> int | None:  # noqa: FBT001
        """Return the profile of a SKU that its table does not know, if set-up does or whoever."""
        known = whoever or sku in self._setup.skus
        return self._compilers[shard].profile(sku) if known else None


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
