"""What the order layer tells supply: movements on ``stock.ledger``, numbered without a gap.

Goods that leave or are found missing stay reserved until supply has applied the movement, so
``available`` may dip in between and never rises. Send a movement before putting the order whose
open units it takes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from onhand.model.events import LINE_COUNT_MAX, QUANTITY_MAX
from onhand.orders.desk import EVENT_SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from onhand.orders.desk import Desk

Units = dict[str, int]
"""Units by SKU; of none there may be 0."""

_NONE: Final[Units] = {}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_US: Final = -62_135_596_800_000_000
_LATEST_US: Final = 253_402_300_799_999_999
_encode = msgspec.json.Encoder().encode


class Movement(Struct, frozen=True):
    """Units that come or go at one location, at one time, and whose they are."""

    location: str
    units: Units
    occurred_us: int
    order_id: str | None = None
    customer_id: str | None = None
    basket_id: str | None = None
    reference: str | None = None
    attributes: dict[str, Any] | None = None


def sell(desk: Desk, movement: Movement, reserved: Units) -> None:
    """Let units go: on_hand falls.

    Parameters
    ----------
    reserved
        Those of them that an order has reserved in their cells; they stay so until applied.
    """
    _move(desk, movement, {"type": "sale"}, reserved)


def write_off(desk: Desk, movement: Movement, reason: str) -> None:
    """Take reserved units off that are not there: on_hand falls, by an adjustment."""
    _move(desk, movement, {"type": "adjustment", "reason": reason}, movement.units)


def take_back(desk: Desk, movement: Movement, disposition: str) -> None:
    """Let units come back: on_hand, held or neither rises, by their disposition."""
    _move(desk, movement, {"type": "return", "disposition": disposition}, _NONE)


def inspected(desk: Desk, movement: Movement, disposition: str) -> None:
    """Let held units be looked at: held falls, and on_hand rises if they are sellable."""
    _move(desk, movement, {"type": "inspected", "disposition": disposition}, _NONE)


def _move(desk: Desk, movement: Movement, own: Mapping[str, str], reserved: Units) -> None:
    event = {**own, "source": EVENT_SOURCE, "occurred_at": _time(movement.occurred_us)}
    for name in ("location", "order_id", "customer_id", "basket_id", "reference", "attributes"):
        value = getattr(movement, name)
        if value is not None:
            event[name] = value
    left = dict(reserved)
    for lines in _chunks(movement.units):
        taken = []
        for sku, quantity in lines:
            units = min(quantity, left.get(sku, 0))
            if units:
                left[sku] -= units
                taken.append((sku, movement.location, units))
        desk.book.hand_over(_writer(event, lines), taken)
    if any(left.values()):
        raise ValueError(f"Invariant: all that is reserved moves; {left} does not")


def _writer(event: dict[str, Any], lines: list[tuple[str, int]]) -> Callable[[int], bytes]:
    if event["type"] == "adjustment":
        written = [{"sku": sku, "delta": -quantity} for sku, quantity in lines]
    else:
        written = [{"sku": sku, "quantity": quantity} for sku, quantity in lines]

    def make(sequence: int) -> bytes:
        return _encode(event | {"id": f"ledger-{sequence}", "sequence": sequence, "lines": written})

    return make


def _chunks(units: Units) -> Iterator[list[tuple[str, int]]]:
    """Part units into the lines of as few events as take them; of nothing there is no event."""
    lines = [
        (sku, min(QUANTITY_MAX, quantity - start))
        for sku, quantity in units.items()
        for start in range(0, quantity, QUANTITY_MAX)
    ]
    for start in range(0, len(lines), LINE_COUNT_MAX):
        yield lines[start : start + LINE_COUNT_MAX]


def _time(at_us: int) -> str:
    """Write a time to the microsecond: whether a count saw a movement hangs on it."""
    within = min(max(at_us, _EARLIEST_US), _LATEST_US)
    moment = _EPOCH + timedelta(microseconds=within)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
