"""A return being worked on: copies of it, of its order and of the order's other returns.

An order counts of each allocation what is back and what is awaited; both together are never more
than was handed over. Every change of a return's units is a change of its order in the same commit,
so that guard holds whoever returns what, where and how often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onhand.model.orders import HistoryEntry
from onhand.orders import progress
from onhand.orders.refusal import refuse
from onhand.orders.return_views import return_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onhand.model.orders import Order
    from onhand.model.returns import Arrival, Return, ReturnedLine
    from onhand.orders.desk import Desk


class Case:
    """Copies to work on; :meth:`put` makes them what is known.

    Parameters
    ----------
    order
        As the book knows it; its returns must be in the book too.
    """

    def __init__(self, desk: Desk, order: Order | None, now_us: int) -> None:
        self.desk = desk
        self.now_us = now_us
        self.order = order.copy() if order is not None else None
        self.returns: dict[str, Return] = {}
        self._changed: dict[str, None] = {}
        for return_id in self.order.returns if self.order is not None else ():
            known = desk.book.returns.get(return_id)
            if known is not None:
                self.returns[return_id] = known.copy()

    @classmethod
    def of_return(cls, desk: Desk, return_id: str, now_us: int) -> tuple[Case, Return]:
        """Open the case of a return.

        Raises
        ------
        Refusal
            ``unknown_return``.
        """
        known = desk.book.returns.get(return_id)
        if known is None:
            raise refuse("unknown_return", f"there is no return {return_id!r}")
        order = desk.book.orders.get(known.order_id) if known.order_id is not None else None
        case = cls(desk, order, now_us)
        return case, case.returns.setdefault(return_id, known.copy())

    def add(self, return_: Return) -> None:
        """Add a return that is new."""
        self.returns[return_.id] = return_
        self.change(return_)
        if self.order is not None:
            self.order.returns.append(return_.id)

    def change(self, return_: Return) -> None:
        """Say that a return is changed by this case."""
        self._changed[return_.id] = None

    def note(self, return_: Return, what: str, by: str, **fields: Any) -> None:
        """Add to a return's history, and say that it is changed."""
        self.change(return_)
        entry = HistoryEntry(at_us=self.now_us, what=what, by=by, **fields)
        progress.note_in(return_.history, entry)

    def put(self) -> dict[str, str | None]:
        """Make the copies what is known.

        Returns
        -------
        dict
            What each changed return's status was before, by id; None of a new one.
        """
        if self.order is not None:
            progress.put(self.desk, self.order, self.now_us)
        before: dict[str, str | None] = {}
        for return_id in self._changed:
            return_ = self.returns[return_id]
            known = self.desk.book.returns.get(return_id)
            before[return_id] = known.status if known is not None else None
            return_.updated_us = self.now_us
            self.desk.book.put_return(return_)
        return before

    def tell(self, return_: Return, what: str) -> None:
        """Tell of a return: ``return.<what>``."""
        subject = return_.order_id or return_.id
        self.desk.tell(f"return.{what}", subject, self.now_us, return_view(return_))

    # ---- the order's side ----

    def room(self, line_id: str) -> int:
        """Count the units of a line that left, are not back, and are not awaited."""
        if self.order is None:
            return 0
        return sum(
            each.handed - each.returned - each.returning for each in self.order.of_line(line_id)
        )

    def wait(self, line_id: str | None, units: int) -> None:
        """Let units of a line of the order be awaited; a negative number: no longer."""
        if self.order is None or line_id is None:
            return
        left = units
        for each in self.order.of_line(line_id):
            room = each.handed - each.returned - each.returning
            taken = min(left, room) if left > 0 else max(left, -each.returning)
            each.returning += taken
            left -= taken
        if left:
            raise ValueError(f"Invariant: {units} units of line {line_id!r} can be awaited")

    def bring(self, line_id: str | None, units: int) -> None:
        """Count units of a line that are not awaited as returned; a negative number: not so."""
        if self.order is None or line_id is None:
            return
        left = units
        for each in self.order.of_line(line_id):
            room = each.handed - each.returned - each.returning
            taken = min(left, room) if left > 0 else max(left, -each.returned)
            each.returned += taken
            left -= taken
        if left:
            raise ValueError(f"Invariant: {units} units of line {line_id!r} can come back")

    # ---- what tills have told with the order alone ----

    def loose(self, sku: str, location: str, other_than: Return) -> Iterator[Loose]:
        """Go through units at a location that may belong to this return as well."""
        for return_ in self.returns.values():
            if return_ is other_than:
                continue
            for line in return_.of_sku(sku):
                arrival = line.at(location)
                if arrival is not None and _takeable(arrival):
                    yield Loose(return_, line, arrival)

    def take_up(
        self, loose: Loose, line: ReturnedLine, location: str, units: int, *, awaited: bool
    ) -> int:
        """Move units told of loosely to the line that they turn out to be of.

        Parameters
        ----------
        awaited
            Whether the order waits for the line's units.

        Returns
        -------
        int
            How many were moved, at most ``units``. The app has not told of them yet.
        """
        taken = min(units, _takeable(loose.arrival))
        if not taken:
            return 0
        self.bring(loose.line.order_line, -taken)
        if loose.return_.by_till:
            loose.line.quantity -= taken
        elif loose.line.given_up:
            loose.line.given_up += taken
        else:
            self.wait(loose.line.order_line, taken)
        if awaited:
            self.wait(line.order_line, -taken)
        self.bring(line.order_line, taken)
        _move(loose.arrival, line.arrival(location), taken)
        self.note(loose.return_, "taken_up", "system", line=loose.line.id, quantity=taken)
        return taken


class Loose:
    """Units at a location that a till told of with the order alone."""

    __slots__ = ("arrival", "line", "return_")

    def __init__(self, return_: Return, line: ReturnedLine, arrival: Arrival) -> None:
        self.return_ = return_
        self.line = line
        self.arrival = arrival

    @property
    def units(self) -> int:
        """How many may be taken up."""
        return _takeable(self.arrival)


def _takeable(arrival: Arrival) -> int:
    """Count loose units that only the till has told of, and nobody has inspected."""
    told_by_till_alone = arrival.told_by_till - arrival.told_by_app
    return max(0, min(arrival.loose, told_by_till_alone, arrival.quantity - arrival.inspected))


def _move(from_: Arrival, to: Arrival, units: int) -> None:
    from_.told_by_till -= units
    from_.loose -= units
    to.told_by_till += units
    left = units
    for name in ("sellable", "held", "damaged"):
        taken = min(left, getattr(from_, name))
        setattr(from_, name, getattr(from_, name) - taken)
        setattr(to, name, getattr(to, name) + taken)
        left -= taken
