"""Baskets and deliveries as stock events, encoded, in the order in which they happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from onhand.log.base import NewRecord
from onhand.replay.shelves import location_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from onhand.replay.sales import Sales
    from onhand.replay.shelves import Deliveries

LINES_MAX: Final = 1_000
"""Lines that one event may have; the contract's limit."""

SALES_TOPIC: Final = "stock.sales"
RECEIPTS_TOPIC: Final = "stock.receipts"

_ENCODE: Final = msgspec.json.Encoder().encode


class Line(msgspec.Struct, frozen=True, gc=False):
    """One product of an event."""

    sku: str
    quantity: int


class StockEvent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A sale or a receipt, the fields in the order in which they are written."""

    type: str
    id: str
    source: str
    occurred_at: str
    location: str
    lines: list[Line]
    basket_id: str | None = None
    customer_id: str | None = None
    reference: str | None = None


class Groups(msgspec.Struct, frozen=True, eq=False):
    """Runs of adjacent lines that become one event each: ``[start, end)`` and its time."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    occurred_us: NDArray[np.int64]
    part: NDArray[np.int64]
    """Counts from 0 where one basket or delivery needs more than one event."""


def group_lines(occurred_us: NDArray[np.int64], *keys: NDArray[np.int64]) -> Groups:
    """Cut lines where any key changes, and again after every :data:`LINES_MAX` lines."""
    changed = np.zeros(len(occurred_us), dtype=bool)
    changed[0] = True
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    first = np.flatnonzero(changed)
    position = np.arange(len(changed)) - first[np.cumsum(changed) - 1]
    start = np.flatnonzero(position % LINES_MAX == 0)
    return Groups(
        start=start,
        end=np.append(start[1:], len(changed)),
        occurred_us=occurred_us[start],
        part=position[start] // LINES_MAX,
    )


def build_events(sales: Sales, deliveries: Deliveries) -> Iterator[NewRecord]:
    """Encode every event, deliveries before baskets of the same second."""
    sold = group_lines(sales.occurred_us, sales.basket)
    arrived = group_lines(
        deliveries.occurred_us, deliveries.store, deliveries.number, deliveries.occurred_us
    )
    times_us = np.concatenate((arrived.occurred_us, sold.occurred_us))
    order = np.argsort(times_us, kind="stable").tolist()
    written = [f"{time}Z" for time in np.datetime_as_string(times_us.astype("M8[us]"), unit="s")]
    receipt = _receipts(deliveries, arrived, written)
    sale = _baskets(sales, sold, written[len(arrived.start) :])
    delivery_count = len(arrived.start)
    for index in order:
        yield receipt(index) if index < delivery_count else sale(index - delivery_count)


def _baskets(sales: Sales, groups: Groups, written: list[str]) -> Callable[[int], NewRecord]:
    lines_of = _lines(sales.product, sales.quantity, groups)
    store, basket, household, part = (
        column.tolist()
        for column in (
            sales.store[groups.start],
            sales.basket[groups.start],
            sales.household[groups.start],
            groups.part,
        )
    )

    def build(index: int) -> NewRecord:
        location = location_of(store[index])
        suffix = f"-{part[index]}" if part[index] else ""
        event = StockEvent(
            type="sale",
            id=f"basket-{basket[index]}{suffix}",
            source=f"pos-{store[index]}",
            occurred_at=written[index],
            location=location,
            lines=lines_of(index),
            basket_id=str(basket[index]),
            customer_id=f"household-{household[index]}",
        )
        return NewRecord(topic=SALES_TOPIC, value=_ENCODE(event), key=location.encode())

    return build


def _receipts(lines: Deliveries, groups: Groups, written: list[str]) -> Callable[[int], NewRecord]:
    lines_of = _lines(lines.product, lines.quantity, groups)
    store, number, part = (
        column.tolist()
        for column in (lines.store[groups.start], lines.number[groups.start], groups.part)
    )

    def build(index: int) -> NewRecord:
        location = location_of(store[index])
        what = f"delivery-{number[index]}" if number[index] else "opening"
        event = StockEvent(
            type="receipt",
            id=f"{what}-{part[index]}",
            source=f"receiving-{location}",
            occurred_at=written[index],
            location=location,
            lines=lines_of(index),
            reference=what,
        )
        return NewRecord(topic=RECEIPTS_TOPIC, value=_ENCODE(event), key=location.encode())

    return build


def _lines(
    product: NDArray[np.int64], quantity: NDArray[np.int64], groups: Groups
) -> Callable[[int], list[Line]]:
    products, name_index = np.unique(product, return_inverse=True)
    names = products.astype(str).astype(object)[name_index].tolist()
    quantities = quantity.tolist()
    start, end = groups.start.tolist(), groups.end.tolist()

    def lines_of(index: int) -> list[Line]:
        span = slice(start[index], end[index])
        return list(map(Line, names[span], quantities[span]))

    return lines_of
