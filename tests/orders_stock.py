"""Stock for tests of the order layer: dictionaries, and the contract's formulas word for word."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from onhand.model.setup import ALL, Location, Setup

HORIZON_DAYS = 90
DAY_S = 86_400


class NaiveStock:
    """What is there and what is promised, cell by cell.

    Give units with :meth:`put`, take them with a negative number. ``calls`` lists every
    reservation as (sku, location, delta), ``lowest`` the least that was reserved in a cell since
    :meth:`watch`.
    """

    def __init__(self, *locations: Location, safety=None):
        self.setup = Setup(locations={each.id: each for each in locations})
        self.on_hand = {}
        self.safety = dict(safety or {})
        self.reserved = {}
        self.incoming = {}
        self.backorders = {}
        self.skus = set()
        self.named = set()
        self.calls = []
        self.lowest = {}

    # ---- what tests do ----

    def put(self, sku, location, units):
        """Bring units, or take them away; the cell is known from then on."""
        self.skus.add(sku)
        self.named.add(location)
        self.on_hand[sku, location] = self.on_hand.get((sku, location), 0) + units

    def expect(self, sku, location, day, units):
        """Announce units for a day, in days since 1970."""
        self.put(sku, location, 0)
        key = (sku, location, day)
        self.incoming[key] = self.incoming.get(key, 0) + units

    def arrive(self, sku, location, day):
        """Let what was announced for a day come."""
        self.put(sku, location, self.incoming.pop((sku, location, day)))

    def watch(self):
        """Begin to note the least that is reserved in each cell."""
        self.lowest = dict(self.reserved)

    def numbers(self):
        """Copy what is reserved and backordered, without zeros."""
        reserved = {cell: units for cell, units in self.reserved.items() if units}
        backorders = {key: units for key, units in self.backorders.items() if units}
        return reserved, backorders

    # ---- what the order layer asks ----

    def knows_sku(self, sku):
        return sku in self.skus

    def knows_location(self, location):
        return location in self.named or location in self.setup.locations

    def has_group(self, group):
        return group in self.setup.groups()

    def promisable(self, sku, location):
        cell = (sku, location)
        return self.on_hand.get(cell, 0) - self.reserved.get(cell, 0) - self.safety.get(cell, 0)

    def group_cells(self, skus, group):
        names = set(self.setup.groups()[group])
        if group == ALL:
            names |= self.named - set(self.setup.locations)
        names = tuple(sorted(names))
        cells = [[max(0, self.promisable(sku, name)) for name in names] for sku in skus]
        return names, np.array(cells, dtype=np.int64).reshape(len(skus), len(names))

    def shortfall(self, sku, location):
        cell = (sku, location)
        promised = self.reserved.get(cell, 0) + min(0, self.safety.get(cell, 0))
        return max(0, promised - self.on_hand.get(cell, 0))

    def to_order(self, sku, location, now_us):
        today = self._today(location, now_us)
        # Not floored, as in the tables: a shelf that is short takes from what comes first.
        available = self.promisable(sku, location)
        days = range(today, today + HORIZON_DAYS + 1)
        totals = [
            available
            + self._sum(self.incoming, sku, location, today, day)
            - self._sum(self.backorders, sku, location, 0, day)
            for day in days
        ]
        listed = []
        for index, day in enumerate(days):
            units = min(totals[index:])
            if not listed or listed[-1][1] != units:
                listed.append((day, units))
        return listed

    def reserve(self, sku, location, delta):
        cell = (sku, location)
        self.calls.append((sku, location, delta))
        self.reserved[cell] = self.reserved.get(cell, 0) + delta
        self.lowest[cell] = min(self.lowest.get(cell, 0), self.reserved[cell])
        assert self.reserved[cell] >= 0, f"less than nothing is reserved in {cell}"

    def land(self, sku, location, quantity):
        self.reserve(sku, location, -quantity)

    def settle(self):
        """Nothing: nobody reads beside the one who decides."""

    def backorder(self, sku, location, day, delta):
        key = (sku, location, day)
        self.backorders[key] = self.backorders.get(key, 0) + delta
        assert self.backorders[key] >= 0, f"less than nothing is backordered in {key}"

    def load(self, skus, locations, units):
        for sku, location, quantity in zip(skus, locations, units, strict=True):
            self.reserve(sku, location, quantity)

    # ---- within ----

    def _today(self, location, now_us):
        known = self.setup.locations.get(location)
        zone = known.zone if known is not None else UTC
        local = datetime.fromtimestamp(now_us / 1e6, zone)
        return local.date().toordinal() - datetime(1970, 1, 1, tzinfo=UTC).toordinal()

    @staticmethod
    def _sum(numbers, sku, location, begin, end):
        return sum(
            units
            for (its_sku, its_location, day), units in numbers.items()
            if (its_sku, its_location) == (sku, location) and begin <= day <= end
        )
