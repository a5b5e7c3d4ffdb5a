"""Tables filled by hand, and the naive twin that every answer about them must equal."""

import uuid
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from onhand._native.storekit import StoreKit
from onhand.model.setup import Setup
from onhand.table.demand import Demand
from onhand.table.directory import TableDirectory
from onhand.table.reader import TableReader

NOW_US = 1_760_000_000_123_456
AS_OF_US = NOW_US - 1_500_000
TODAY = (date(2025, 10, 9) - date(1970, 1, 1)).days
PARTITIONS = (("stock.sales", 0), ("stock.receipts", 0))
LOW_STOCK = 5
SUMMED = ("available", "on_hand", "held", "in_transit", "reserved", "safety_stock", "shortfall")


class Tables:
    """The tables of one cluster, written by StoreKit and read by a TableReader."""

    def __init__(self, root, shard_count=1, cluster_id=None, **kit_options):
        self.root = root
        self.cluster_id = cluster_id or uuid.uuid4().hex
        self.shard_count = shard_count
        self.kit_options = {"capacity_bytes": 1 << 30} | kit_options
        self.directory = TableDirectory(root, self.cluster_id)
        self.directory.prepare()
        self.kits = [self.make(shard, 1) for shard in range(shard_count)]

    @property
    def kit(self):
        return self.kits[0]

    def make(self, shard, generation, image=None):
        return StoreKit(
            self.directory.table_path(shard, generation),
            shard=shard,
            shard_count=self.shard_count,
            generation=generation,
            cluster_id=bytes.fromhex(self.cluster_id),
            image=image,
            **self.kit_options,
        )

    def publish(self, generation=1):
        for shard, kit in enumerate(self.kits):
            kit.stamp(AS_OF_US, heartbeat_us=NOW_US, lag_events=3)
            self.directory.publish(
                shard, generation, shard_count=self.shard_count, partitions=PARTITIONS
            )

    def demand(self, capacity_bytes=1 << 26):
        """Return a demand table of the next generation, not published yet."""
        generation = self.directory.next_demand_generation()
        return Demand.create(
            self.directory.demand_path(generation),
            cluster_id=bytes.fromhex(self.cluster_id),
            generation=generation,
            capacity_bytes=capacity_bytes,
        )

    def publish_demand(self, demand):
        self.directory.publish_demand(demand.statistics().generation)
        return demand

    def reader(self, setup=None):
        reader = TableReader(self.root, self.cluster_id, low_stock=LOW_STOCK)
        reader.set_scopes(setup or Setup(), NOW_US / 1e6)
        reader.refresh()
        return reader


@pytest.fixture
def tables(tmp_path):
    """Return an unpublished, empty table of one shard."""
    return Tables(tmp_path)


class Cell:
    """What the twin remembers of one cell."""

    def __init__(self):
        self.on_hand = self.held = self.in_transit = self.damaged = 0
        self.reserved = 0
        self.due = {}
        self.owed = {}


class Twin:
    """What the tables should say, from the words of the contract and nothing faster.

    ``cells`` is by (sku, location), ``known`` the locations that a table knows.
    """

    def __init__(self, setup, cells, known):
        self.setup = setup
        self.cells = cells
        self.unconfigured = sorted(set(known) - set(setup.locations))

    def members(self, scope):
        """Return the locations of a scope."""
        kind, _, name = scope.partition(":")
        if kind == "location":
            return [name]
        return [*self.setup.groups()[name], *(self.unconfigured if name == "all" else [])]

    def cell_numbers(self, sku, location):
        """Return the numbers of one cell, and the unfloored base of what can be ordered."""
        cell = self.cells.get((sku, location), Cell())
        safety = self.setup.safety_stock(sku, location, unconfigured_count=len(self.unconfigured))
        base = cell.on_hand - cell.reserved - safety
        return {
            "available": max(0, base),
            "on_hand": cell.on_hand,
            "held": cell.held,
            "in_transit": cell.in_transit,
            "reserved": cell.reserved,
            "safety_stock": safety,
            "shortfall": max(0, cell.reserved + min(0, safety) - cell.on_hand),
        }, base

    def answer(self, sku, scope):
        """Return every number of a read."""
        members = self.members(scope)
        each = [self.cell_numbers(sku, member) for member in members]
        numbers = {field: sum(cell[field] for cell, _ in each) for field in SUMMED}
        numbers["band"] = band(numbers["available"])
        base, zone = numbers["available"], "UTC"
        if scope.startswith("location:"):
            base = each[0][1]
            if members[0] in self.setup.locations:
                zone = self.setup.locations[members[0]].timezone
        cells = [self.cells[sku, member] for member in members if (sku, member) in self.cells]
        due, owed = [cell.due for cell in cells], [cell.owed for cell in cells]
        numbers["available_to_order"] = promise(base, due, owed, zone)
        return numbers


def band(available):
    """Return the band of so many units."""
    return "out" if available <= 0 else "low" if available <= LOW_STOCK else "in"


def promise(base, due, owed, zone, now_us=NOW_US):
    """Return what can be ordered today and on each date on which that changes.

    What is due and overdue does not count; what is owed and overdue does.
    """
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    today = now.astimezone(ZoneInfo(zone)).date()
    first = (today - date(1970, 1, 1)).days
    arrived = [
        base
        + sum(q for days in due for day, q in days.items() if first <= day <= first + ahead)
        - sum(q for days in owed for day, q in days.items() if day <= first + ahead)
        for ahead in range(91)
    ]
    units = [max(0, min(arrived[ahead:])) for ahead in range(91)]
    return [
        {"date": (today + timedelta(days=ahead)).isoformat(), "quantity": units[ahead]}
        for ahead in range(91)
        if ahead == 0 or units[ahead] != units[ahead - 1]
    ]


def numbers_of(answer):
    """Return the numbers of a rendered or read answer, and nothing else of it."""
    fields = msgspec.to_builtins(answer)
    beside = ("sku", "scope", "location", "as_of", "age_ms", "locations")
    return {name: value for name, value in fields.items() if name not in beside}
