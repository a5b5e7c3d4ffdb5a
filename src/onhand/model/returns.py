"""Returns: what is to come back, what has, where it lies and what was decided about it.

A return is worked on in a copy (:meth:`Return.copy`) that takes its place, as an order is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from onhand.model.orders import HistoryEntry
from onhand.model.return_policy import Disposition

if TYPE_CHECKING:
    from collections.abc import Iterable

ReturnStatus = Literal["authorised", "partially_received", "received", "closed", "cancelled"]
ReturnChannel = Literal["store", "mail"]
Teller = Literal["app", "till"]


class Decision(Struct, frozen=True, kw_only=True):
    """By which rule of which policy a line may come back, and as what.

    ``overridden`` names the rules that it breaks and that somebody set aside, with their words.
    """

    policy_version: int
    rule: str
    restock: Disposition = "sellable"
    fee_percent: float = 0.0
    window_ends_us: int | None = None
    overridden: tuple[str, ...] = ()
    override_reason: str | None = None
    by: str | None = None


class Arrival(Struct, kw_only=True):
    """Units of a line at the location that took them in.

    ``told_by_app`` and ``told_by_till`` are what each has said of them; the larger has come, so
    that the same units told by both count once. Of the till's, ``loose`` were told with the order
    alone: another return of the order may turn out to be theirs. What has come is ``sellable``,
    ``held`` for inspection or ``damaged``; ``inspected`` were held before.
    """

    location: str
    told_by_app: int = 0
    told_by_till: int = 0
    loose: int = 0
    sellable: int = 0
    held: int = 0
    damaged: int = 0
    inspected: int = 0

    @property
    def quantity(self) -> int:
        """Units that have come."""
        return self.sellable + self.held + self.damaged

    def told_by_other(self, teller: Teller) -> int:
        """Units that the other has told of and this one has not."""
        ahead = self.told_by_till - self.told_by_app
        return max(0, ahead if teller == "app" else -ahead)

    def tell(self, teller: Teller, units: int) -> None:
        """Note what one of them has said."""
        if teller == "app":
            self.told_by_app += units
        else:
            self.told_by_till += units

    def put(self, disposition: Disposition, units: int) -> None:
        """Note what became of units that have come."""
        name = "held" if disposition == "inspect" else disposition
        setattr(self, name, getattr(self, name) + units)


class ReturnedLine(Struct, kw_only=True):
    """Units of one SKU that are to come back: ``quantity = received + given up + awaited``.

    ``order_line`` is the line of the order that they were sold on. A line that is not ``announced``
    was found in the parcel.
    """

    id: str
    sku: str
    quantity: int
    reason: str
    decision: Decision
    order_line: str | None = None
    unit_price: float | None = None
    announced: bool = True
    given_up: int = 0
    arrivals: list[Arrival] = []

    @property
    def received(self) -> int:
        """Units that have come."""
        return sum(each.quantity for each in self.arrivals)

    @property
    def awaited(self) -> int:
        """Units that may still come."""
        return self.quantity - self.given_up - self.received

    def at(self, location: str) -> Arrival | None:
        """Find what has come to a location."""
        return next((each for each in self.arrivals if each.location == location), None)

    def arrival(self, location: str) -> Arrival:
        """Find what has come to a location, an empty entry when nothing has."""
        found = self.at(location)
        if found is None:
            found = Arrival(location=location)
            self.arrivals.append(found)
        return found


class Exchange(Struct, frozen=True, kw_only=True):
    """What is given for what comes back: an order of its own.

    ``value`` is what it costs and ``returned_value`` what the announced units were sold for, where
    prices are known. ``settled`` of the value is paid by units that have come; ``cancelled_value``
    of it is of units that are not given after all. The exchange is ``over`` once nothing of its
    order is open: until then it may still be cancelled.
    """

    order_id: str
    value: float | None = None
    returned_value: float | None = None
    settled: float = 0.0
    cancelled: bool = False
    cancelled_value: float = 0.0
    over: bool = False

    @property
    def left(self) -> float | None:
        """What the units cost that are given."""
        return None if self.value is None else round(self.value - self.cancelled_value, 6)

    @property
    def price_difference(self) -> float | None:
        """What the customer still owes, below 0 what is owed to the customer."""
        if self.left is None or self.returned_value is None:
            return None
        return round(self.left - self.returned_value, 6)


class Return(Struct, kw_only=True):
    """A return, announced or not. ``by_till`` ones began with a till's word about an order."""

    id: str
    channel: ReturnChannel
    created_us: int
    updated_us: int
    expires_us: int
    status: ReturnStatus = "authorised"
    order_id: str | None = None
    receipt: str | None = None
    customer_id: str | None = None
    location: str | None = None
    by_till: bool = False
    lines: list[ReturnedLine] = []
    exchange: Exchange | None = None
    history: list[HistoryEntry] = []

    def copy(self) -> Return:
        """Return a copy to work on; what lies within and may change is copied too."""
        return msgspec.structs.replace(
            self,
            lines=[_line_copy(each) for each in self.lines],
            history=list(self.history),
        )

    def line(self, line_id: str) -> ReturnedLine | None:
        """Find a line by its id."""
        return next((each for each in self.lines if each.id == line_id), None)

    def of_sku(self, sku: str) -> list[ReturnedLine]:
        """List the lines of a SKU."""
        return [each for each in self.lines if each.sku == sku]

    def next_line_id(self) -> str:
        """Name a line to be added."""
        return str(len(self.lines) + 1)

    def is_open(self) -> bool:
        """Tell whether units of it may still come."""
        return any(each.awaited for each in self.lines)

    def is_kept(self) -> bool:
        """Tell whether it is open, or its exchange may still be cancelled."""
        return self.is_open() or (self.exchange is not None and not self.exchange.over)

    def is_over(self) -> bool:
        """Tell whether nothing of it is left to be done: none of its units waits for inspection."""
        held = any(each.held for line in self.lines for each in line.arrivals)
        return not held and not self.is_kept()

    def settle_status(self) -> None:
        """Set the status from the lines."""
        received = sum(each.received for each in self.lines)
        if self.is_open():
            self.status = "partially_received" if received else "authorised"
        elif not received:
            self.status = "cancelled"
        else:
            arrivals = [each for line in self.lines for each in line.arrivals]
            is_over = any(line.given_up for line in self.lines) or any(
                each.inspected for each in arrivals
            )
            is_held = any(each.held for each in arrivals)
            self.status = "closed" if is_over and not is_held else "received"


def taken_by(returns: Iterable[Return], sku: str) -> int:
    """Sum the units of a SKU that returns have taken in or wait for."""
    return sum(
        line.quantity - line.given_up for each in returns for line in each.lines if line.sku == sku
    )


def _line_copy(line: ReturnedLine) -> ReturnedLine:
    return msgspec.structs.replace(
        line, arrivals=[msgspec.structs.replace(each) for each in line.arrivals]
    )
