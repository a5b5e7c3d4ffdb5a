"""The retailer of a soak: stores, warehouses, SKUs and opening stock, all by number from a seed."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

CATEGORY_COUNT = 20
LINES_AN_EVENT = 1_000
OPENING_STORE_UNITS, OPENING_WAREHOUSE_UNITS = 12, 100
"""Little enough that what sells most runs out here and there, and promises have to be refused."""

COUNTED_EVERY = 5
"""Shelves of every fifth SKU are counted; what the others hold is known from movements alone."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """How large the retailer is, and where each SKU is sold."""

    store_count: int = 150
    warehouse_count: int = 4
    sku_count: int = 20_000
    stores_a_sku: int = 12

    def sku(self, number: int) -> str:
        return f"{4_000_000_000_000 + number}"

    def stores(self) -> list[str]:
        return [f"store-{number:03d}" for number in range(self.store_count)]

    def warehouses(self) -> list[str]:
        return [f"warehouse-{number}" for number in range(self.warehouse_count)]

    def store_of(self, number: int, which: int) -> str:
        """Name one of the stores that sell a SKU."""
        spread = number * 7_919 + which % self.stores_a_sku * 13
        return f"store-{spread % self.store_count:03d}"

    def stores_of(self, number: int) -> list[str]:
        """Name the stores that sell a SKU, each once."""
        every = (self.store_of(number, which) for which in range(self.stores_a_sku))
        return list(dict.fromkeys(every))

    def draw(self, chance: Random) -> int:
        """Draw a SKU's number; some sell far more than others."""
        return int(self.sku_count * chance.random() ** 2.5)

    def locations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Describe every location, as ``PUT /v1/locations/{id}`` takes it."""
        for number, name in enumerate(self.stores()):
            online = ["online"] if number % 2 else []
            yield (
                name,
                {
                    "name": name,
                    "type": "store",
                    "latitude": 47 + number % 12 * 0.6,
                    "longitude": 6 + number // 12 % 12 * 0.7,
                    "groups": [*online, "west" if number // 12 % 2 else "east"],
                    "ship": bool(number % 2),
                    "priority": 10,
                    "handling_cost": 2.5,
                    "timezone": "Europe/Berlin" if number % 3 else "UTC",
                },
            )
        for number, name in enumerate(self.warehouses()):
            yield (
                name,
                {
                    "name": name,
                    "type": "warehouse",
                    "latitude": 48 + number * 1.5,
                    "longitude": 8 + number * 1.2,
                    "groups": ["online"],
                    "pickup": False,
                    "handling_cost": 1.0,
                },
            )

    def catalogue(self) -> list[dict[str, Any]]:
        """Describe every SKU, as ``PUT /v1/skus`` takes them."""
        return [
            {"sku": self.sku(number), "category": f"category-{number % CATEGORY_COUNT}"}
            for number in range(self.sku_count)
        ]

    def safety_rules(self) -> list[dict[str, Any]]:
        """State safety stock by category, by group and by SKU."""
        return [
            {"category": "category-1", "quantity": 2},
            {"group": "west", "quantity": 1},
            {"category": "category-3", "location": "warehouse-0", "quantity": 20},
            *({"sku": self.sku(number), "quantity": 3} for number in range(7, 700, 70)),
        ]

    def opening(self) -> Iterator[tuple[dict[str, Any], list[tuple[str, int]]]]:
        """Fill every shelf: events, each with its lines as (sku, units)."""
        shelves: dict[str, list[tuple[str, int]]] = {}
        for number in range(self.sku_count):
            for store in self.stores_of(number):
                shelves.setdefault(store, []).append((self.sku(number), OPENING_STORE_UNITS))
            which = number % self.warehouse_count if self.warehouse_count else 0
            for name in self.warehouses()[which : which + 2]:
                shelves.setdefault(name, []).append((self.sku(number), OPENING_WAREHOUSE_UNITS))
        for location, lines in shelves.items():
            for start in range(0, len(lines), LINES_AN_EVENT):
                part = lines[start : start + LINES_AN_EVENT]
                event = {
                    "type": "receipt",
                    "id": f"opening-{location}-{start}",
                    "source": "opening",
                    "occurred_at": written(time.time()),
                    "location": location,
                    "lines": [{"sku": sku, "quantity": units} for sku, units in part],
                }
                yield event, part


def written(at_s: float) -> str:
    """Write a time as publishers do."""
    at = dt.datetime.fromtimestamp(at_s, dt.UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
