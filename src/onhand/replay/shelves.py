"""Shelves that sales imply: opening stock and deliveries that were never recorded.

Every store is delivered every four weeks, each on its own day. A delivery brings what the cell
will sell until the next one; opening stock is the same for the weeks before the first, and a
buffer of a few units that stays. So, in the order in which things happened, no shelf is ever below
zero, and the year ends with the buffers: mostly a few units, some shelves empty.

Two warehouses hold about two weeks of every product for the web shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from onhand.replay.sales import DAY_US, SECOND_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from onhand.replay.sales import Sales

CYCLE_DAYS: Final = 28
EMPTY_FRACTION: Final = 0.08
"""Cells whose buffer is zero: they end the year sold out."""

WAREHOUSES: Final = ("warehouse-east", "warehouse-west")
"""Known by negative store numbers: -1 and -2."""

_PRODUCT_BITS: Final = 32


class Deliveries(msgspec.Struct, frozen=True, eq=False):
    """Units that arrived: lines sorted by time, store, number and product, shape (line_count,).

    ``number`` is 0 for opening stock. Warehouses have store -1 and -2.
    """

    store: NDArray[np.int64]
    product: NDArray[np.int64]
    number: NDArray[np.int64]
    quantity: NDArray[np.int64]
    occurred_us: NDArray[np.int64]


def location_of(store: int) -> str:
    """Name a store or warehouse as its events do."""
    return f"store-{store}" if store >= 0 else WAREHOUSES[-1 - store]


def derive_deliveries(sales: Sales, seed: int = 0) -> Deliveries:
    """Derive opening stock and deliveries; the same sales and seed give the same lines."""
    generator = np.random.default_rng(seed)
    opening_us = int(sales.occurred_us[0]) // SECOND_US * SECOND_US - 3_600 * SECOND_US
    stores, store_index = np.unique(sales.store, return_inverse=True)
    first_us = opening_us + _first_delivery(generator, len(stores))
    number = _delivery_before(sales.occurred_us, first_us[store_index])
    cells, cell_index = np.unique(sales.store << _PRODUCT_BITS | sales.product, return_inverse=True)
    numbers = int(number.max()) + 1
    demand = np.bincount(
        cell_index * numbers + number, weights=sales.quantity, minlength=len(cells) * numbers
    ).astype(np.int64)
    demand = demand.reshape(len(cells), numbers)
    demand[:, 0] += _buffers(generator, demand.sum(axis=1) / numbers)
    cell, delivered = np.nonzero(demand)
    store = cells[cell] >> _PRODUCT_BITS
    arrived_us = first_us[np.searchsorted(stores, store)] + (delivered - 1) * CYCLE_DAYS * DAY_US
    lines = Deliveries(
        store=store,
        product=cells[cell] & ((1 << _PRODUCT_BITS) - 1),
        number=delivered,
        quantity=demand[cell, delivered],
        occurred_us=np.where(delivered == 0, opening_us, arrived_us),
    )
    return _sorted(_join(lines, _warehouse_stock(sales, opening_us)))


def _first_delivery(generator: np.random.Generator, store_count: int) -> NDArray[np.int64]:
    day = generator.integers(1, CYCLE_DAYS, store_count)
    minute = generator.integers(4 * 60, 8 * 60, store_count)
    return day * DAY_US + minute * 60 * SECOND_US


def _delivery_before(
    occurred_us: NDArray[np.int64], first_us: NDArray[np.int64]
) -> NDArray[np.int64]:
    number: NDArray[np.int64] = (occurred_us - first_us) // (CYCLE_DAYS * DAY_US) + 1
    return np.maximum(0, number)


def _buffers(generator: np.random.Generator, demand_mean: NDArray[np.float64]) -> NDArray[np.int64]:
    # Exponential by inversion of uniforms, whose stream numpy keeps stable over versions.
    spread = -np.log1p(-generator.random(len(demand_mean))) * (2 + demand_mean)
    buffer = 1 + spread.astype(np.int64)
    buffer[generator.random(len(demand_mean)) < EMPTY_FRACTION] = 0
    return buffer


def _warehouse_stock(sales: Sales, opening_us: int) -> Deliveries:
    products, index = np.unique(sales.product, return_inverse=True)
    yearly = np.bincount(index, weights=sales.quantity).astype(np.int64)
    count = len(WAREHOUSES)
    lines = len(products) * count
    return Deliveries(
        store=np.repeat(-1 - np.arange(count, dtype=np.int64), len(products)),
        product=np.tile(products, count),
        number=np.zeros(lines, np.int64),
        quantity=np.tile(1 + yearly // 26, count),
        occurred_us=np.full(lines, opening_us, np.int64),
    )


def _join(first: Deliveries, second: Deliveries) -> Deliveries:
    names = Deliveries.__struct_fields__
    return Deliveries(
        *(np.concatenate((getattr(first, name), getattr(second, name))) for name in names)
    )


def _sorted(lines: Deliveries) -> Deliveries:
    order = np.lexsort((lines.product, lines.number, lines.store, lines.occurred_us))
    return Deliveries(*(getattr(lines, name)[order] for name in Deliveries.__struct_fields__))
