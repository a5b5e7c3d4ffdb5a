"""Everything that is promised, in memory, with what must be found fast in it.

What is reserved is a function of the book: putting a hold or an order changes the demand table by
the difference between the old and the new, and there is no other way to change it. New reservations
are raised before old ones are lowered, so moving one never frees what it moves; when the table has
no room for one of them, none is raised and nothing has changed.

Every change is journaled. A command that is refused halfway is rolled back to its mark; a commit
that is known to have failed rolls back to the start. What the journal names at the end is what the
ledger writes.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from onhand._native.lasting import untrack
from onhand.model.orders import Hold, Order, summed
from onhand.model.returns import Return
from onhand.orders.expiries import Expiries
from onhand.orders.members import Members
from onhand.orders.waiting import Waiting
from onhand.orders.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from onhand.orders.stock import Stock

Cell = tuple[str, str]

_NO_CELLS: Final[dict[Cell, int]] = {}

ENDED_NOTED_MAX: Final = 10_000
"""Expiries of holds that have ended before, beyond as many as are open, that are left as noted."""


class Handover(Struct, frozen=True):
    """A movement on its way to supply: its units stay reserved until it is applied there.

    ``event`` is the JSON of its record on ``stock.ledger``, ``reserved`` lists (sku, location,
    units).
    """

    sequence: int
    event: bytes
    reserved: tuple[tuple[str, str, int], ...]


class Told(Struct, frozen=True):
    """An event for ``orders.events``: the key of its record and its CloudEvent in JSON."""

    key: str
    value: bytes


class Changed(Struct, frozen=True):
    """What one batch of commands changed: all that its commit must write."""

    holds: list[Hold]
    orders: list[Order]
    handovers: list[Handover]
    told: list[Told]
    returns: list[Return]


class Book:
    """All open holds, orders and returns.

    Parameters
    ----------
    stock
        Where reservations are kept.
    last_sequence
        The last sequence given to a hand-over.
    """

    def __init__(self, stock: Stock, *, last_sequence: int = 0) -> None:
        self.stock = stock
        self.holds: dict[str, Hold] = {}
        self.orders: dict[str, Order] = {}
        self.held: dict[Cell, Members] = {}
        """Ids of the holds in each cell, oldest first."""
        self.allocated: dict[Cell, dict[str, None]] = {}
        """Ids of the orders that have a reservation in each cell, oldest first."""
        self.backordered: dict[str, dict[str, None]] = {}
        """Ids of the orders that wait for each SKU."""
        self.waiting = Waiting()
        """The same, by age and by the place that may serve them."""
        self.freed: dict[str, None] = {}
        """SKUs of which units were freed while somebody waits for them, until they are taken."""
        self.handovers: deque[Handover] = deque()
        """Not applied by supply yet, by sequence."""
        self.in_flight: dict[Cell, int] = {}
        self.workload = Workload()
        """Tasks of orders put here, by location and time."""
        self.last_sequence = last_sequence
        self.returns: dict[str, Return] = {}
        self.of_receipt: dict[str, dict[str, None]] = {}
        """Ids of the returns here of units on each receipt."""
        self._return_expiries: list[tuple[int, str]] = []
        self._expiries = Expiries()
        self._pickups: list[tuple[int, str, str]] = []
        self._journal: list[tuple[Callable[..., None], Any, Any]] = []
        self._told: list[Told] = []
        self._made: list[Handover] = []

    # ---- putting ----

    def put_hold(self, hold: Hold) -> None:
        """Make a hold what is known under its id."""
        old = self.holds.get(hold.id)
        self._swap_hold(hold.id, hold)
        self._journal.append((self._swap_hold, hold.id, old))

    def put_order(self, order: Order) -> None:
        """Make an order what is known under its id; its status is settled first.

        From here on it stays as it is, and collections of garbage pass it over.
        """
        order.settle_status()
        untrack(order.allocations, order.tasks, order.history, order.refused, order.returns)
        old = self.orders.get(order.id)
        self._swap_order(order.id, order)
        self._journal.append((self._swap_order, order.id, old))

    def put_return(self, return_: Return) -> None:
        """Make a return what is known under its id; its status is settled first."""
        return_.settle_status()
        self._journal.append((self._swap_return, return_.id, self.returns.get(return_.id)))
        self._swap_return(return_.id, return_)

    def hand_over(
        self, make: Callable[[int], bytes], reserved: Iterable[tuple[str, str, int]]
    ) -> int:
        """Send a movement to supply, and keep its units reserved until it is applied.

        Call it before putting the order whose open units it takes.

        Parameters
        ----------
        make
            Writes the event's JSON, given its sequence.

        Returns
        -------
        int
            The sequence.
        """
        sequence = self.last_sequence + 1
        handover = Handover(sequence, make(sequence), tuple(reserved))
        self._fly(handover)
        self.last_sequence = sequence
        self._made.append(handover)
        self._journal.append((self._unfly, handover, None))
        return sequence

    def tell(self, key: str, value: bytes) -> None:
        """Add an event for ``orders.events``."""
        self._told.append(Told(key, value))
        self._journal.append((self._untell, None, None))

    # ---- batches ----

    def mark(self) -> int:
        """Return a place in the journal to roll back to."""
        return len(self._journal)

    def rollback(self, mark: int = 0) -> None:
        """Undo every change after a mark, newest first."""
        while len(self._journal) > mark:
            undo, what, old = self._journal.pop()
            undo(what, old)

    def changed(self) -> Changed:
        """Gather what has changed since the last :meth:`settle`."""
        holds: dict[str, Hold] = {}
        orders: dict[str, Order] = {}
        returns: dict[str, Return] = {}
        for undo, what, _ in self._journal:
            if undo == self._swap_hold:
                holds[what] = self.holds[what]
            elif undo == self._swap_order:
                orders[what] = self.orders[what]
            elif undo == self._swap_return:
                returns[what] = self.returns[what]
        return Changed(
            list(holds.values()),
            list(orders.values()),
            list(self._made),
            list(self._told),
            list(returns.values()),
        )

    def settle(self) -> None:
        """Forget how to undo: what was changed is on disk. What is closed leaves the book."""
        for undo, what, old in self._journal:
            if undo == self._swap_hold:
                # One that was not there before is active, or is put once more further on.
                if old is not None:
                    self._forget_hold(what)
            elif undo == self._swap_order:
                self._forget_order(what)
            elif undo == self._swap_return:
                self._forget_return(what)
        self._journal.clear()
        self._told.clear()
        self._made.clear()
        self.stock.settle()

    def adopt_hold(self, hold: Hold) -> None:
        """Take a hold from the ledger as it is; :meth:`forget_closed` lets a closed one go."""
        if hold.id not in self.holds:
            self._swap_hold(hold.id, hold)

    def adopt_order(self, order: Order) -> None:
        """Take an order from the ledger as it is; :meth:`forget_closed` lets a closed one go."""
        if order.id not in self.orders:
            self._replace_order(order.id, None, order)

    def adopt_return(self, return_: Return) -> None:
        """Take a return from the ledger as it is; :meth:`forget_closed` lets a closed one go."""
        if return_.id not in self.returns:
            self._swap_return(return_.id, return_)

    def forget_closed(
        self,
        hold_ids: Iterable[str],
        order_ids: Iterable[str],
        return_ids: Iterable[str] = (),
    ) -> None:
        """Let go of adopted holds, orders and returns of which nothing is open."""
        for hold_id in hold_ids:
            self._forget_hold(hold_id)
        for order_id in order_ids:
            self._forget_order(order_id)
        for return_id in return_ids:
            self._forget_return(return_id)

    def load(
        self,
        holds: Iterable[Hold],
        orders: Iterable[Order],
        flying: list[Handover],
        returns: Iterable[Return] = (),
    ) -> None:
        """Fill an empty book from the ledger, and the demand table with it, at start.

        Parameters
        ----------
        flying
            Hand-overs that supply has not applied yet.
        """
        units: dict[Cell, int] = {}
        for hold in holds:
            self.holds[hold.id] = hold
            self._expiries.note(hold.expires_us, hold.id)
            self._index_hold(hold)
            for line in hold.lines:
                cell = (line.sku, line.location)
                units[cell] = units.get(cell, 0) + line.quantity
        for order in orders:
            self.orders[order.id] = order
            reserved = reserved_by(order)
            self._index_order(order, reserved)
            self.waiting.follow(None, order)
            for task in order.tasks:
                self.workload.add(task.location, task.created_us)
            for cell, quantity in reserved.items():
                units[cell] = units.get(cell, 0) + quantity
            for (sku, location, day), quantity in backordered_by(order).items():
                self.stock.backorder(sku, location, day, quantity)
        for return_ in returns:
            self._swap_return(return_.id, return_)
        for handover in flying:
            self.handovers.append(handover)
            for sku, location, quantity in handover.reserved:
                cell = (sku, location)
                units[cell] = units.get(cell, 0) + quantity
                self.in_flight[cell] = self.in_flight.get(cell, 0) + quantity
        self.stock.load([sku for sku, _ in units], [at for _, at in units], list(units.values()))

    # ---- time and supply move on ----

    def applied(self, sequence: int) -> list[Handover]:
        """Lower what is reserved for hand-overs that supply has applied, up to a sequence.

        It is not journaled: supply does not go back. Call it between batches.
        """
        done = []
        while self.handovers and self.handovers[0].sequence <= sequence:
            handover = self.handovers.popleft()
            done.append(handover)
            for sku, location, quantity in handover.reserved:
                self.stock.land(sku, location, quantity)
            self._land(handover)
        return done

    def due_holds(self, now_us: int, count_max: int) -> list[Hold]:
        """List active holds that have expired, oldest first; the same ones until they change."""
        return list(self._due_holds(now_us, count_max))

    def due_pickups(self, now_us: int, count_max: int) -> list[tuple[Order, str]]:
        """List orders and the tasks whose time to be collected is over, oldest first."""
        found: list[tuple[Order, str]] = []
        again: list[tuple[int, str, str]] = []
        while self._pickups and self._pickups[0][0] <= now_us and len(found) < count_max:
            entry = heapq.heappop(self._pickups)
            if again and again[-1] == entry:
                continue  # Each time an order is put its ready tasks are noted again.
            order = self.orders.get(entry[1])
            task = order.task(entry[2]) if order is not None else None
            if order is None or task is None or task.status != "ready":
                continue
            if task.collect_by_us == entry[0]:
                found.append((order, task.id))
                again.append(entry)
        for entry in again:
            heapq.heappush(self._pickups, entry)
        return found

    def due_returns(self, now_us: int, count_max: int) -> list[Return]:
        """List returns that are waited for no longer, oldest first; the same until they change."""
        due: list[tuple[int, str]] = []
        found: list[Return] = []
        while self._return_expiries and self._return_expiries[0][0] <= now_us:
            if len(found) >= count_max:
                break
            entry = heapq.heappop(self._return_expiries)
            if due and due[-1] == entry:
                continue  # Each time a return is put its expiry is noted again.
            return_ = self.returns.get(entry[1])
            if return_ is not None and return_.is_open() and return_.expires_us == entry[0]:
                due.append(entry)
                found.append(return_)
        for entry in due:
            heapq.heappush(self._return_expiries, entry)
        return found

    def reserved(self) -> dict[Cell, int]:
        """Sum what is reserved in every cell, from scratch."""
        parts = [
            summed((((line.sku, line.location), line.quantity)) for line in hold.lines)
            for hold in self.holds.values()
            if hold.status == "active"
        ]
        parts += [reserved_by(order) for order in self.orders.values()]
        parts.append(self.in_flight)
        return {
            cell: units
            for cell, units in summed(pair for part in parts for pair in part.items()).items()
            if units
        }

    # ---- within ----

    def _due_holds(self, now_us: int, count_max: int) -> Iterator[Hold]:
        if len(self._expiries) > 2 * len(self.holds) + ENDED_NOTED_MAX:
            self._expiries.thin(self._expires_then)
        due: list[tuple[int, str]] = []
        while len(due) < count_max and (entry := self._expiries.take(now_us)):
            if due and due[-1] == entry:
                continue  # An expiry that was rolled back is noted twice.
            if self._expires_then(entry):
                due.append(entry)
                yield self.holds[entry[1]]
        # They stay due until a later state says otherwise: expiring them may be rolled back.
        for entry in due:
            self._expiries.note(*entry)

    def _expires_then(self, entry: tuple[int, str]) -> bool:
        hold = self.holds.get(entry[1])
        return hold is not None and hold.status == "active" and hold.expires_us == entry[0]

    def _swap_hold(self, hold_id: str, new: Hold | None) -> None:
        old = self.holds.get(hold_id)
        keeps = (
            old is not None
            and new is not None
            and old.status == new.status == "active"
            and old.lines is new.lines
        )
        if new is not None and new.status == "active" and not keeps:
            self._raise([(line.sku, line.location, line.quantity) for line in new.lines])
        if new is None:
            self.holds.pop(hold_id, None)
        else:
            self.holds[hold_id] = new
            if new.status == "active":
                self._expiries.note(new.expires_us, hold_id)
        if keeps:
            return
        if old is not None and old.status == "active":
            for line in old.lines:
                self.stock.reserve(line.sku, line.location, -line.quantity)
                self._note_freed(line.sku)
            self._unindex_hold(old)
        if new is not None and new.status == "active":
            self._index_hold(new)

    def _swap_order(self, order_id: str, new: Order | None) -> None:
        old = self.orders.get(order_id)
        self._replace_order(order_id, old, new)
        # An order's tasks are only ever added to, so what stands at the end is what is new.
        before = len(old.tasks) if old is not None else 0
        after = len(new.tasks) if new is not None else 0
        if new is not None:
            for task in new.tasks[before:]:
                self.workload.add(task.location, task.created_us)
        if old is not None:
            for task in old.tasks[after:]:
                self.workload.add(task.location, task.created_us, -1)

    def _replace_order(self, order_id: str, old: Order | None, new: Order | None) -> None:
        before = reserved_by(old) if old is not None else _NO_CELLS
        after = reserved_by(new) if new is not None else _NO_CELLS
        changes = [(*cell, after.get(cell, 0) - before.get(cell, 0)) for cell in before | after]
        raised = [each for each in changes if each[2] > 0]
        self._raise(raised)
        try:
            self._swap_backorders(old, new)
        except BaseException:
            self._lower(raised)
            raise
        for sku, location, delta in changes:
            if delta < 0:
                self.stock.reserve(sku, location, delta)
                self._note_freed(sku)
        self.waiting.follow(old, new)
        if old is not None:
            for cell in before:
                _drop(self.allocated, cell, order_id)
            for each in old.allocations:
                if each.stage == "backordered":
                    _drop(self.backordered, each.sku, order_id)
        if new is None:
            self.orders.pop(order_id, None)
        else:
            self.orders[order_id] = new
            self._index_order(new, after)

    def _swap_return(self, return_id: str, new: Return | None) -> None:
        old = self.returns.get(return_id)
        if old is not None and old.receipt is not None:
            _drop(self.of_receipt, old.receipt, return_id)
        if new is None:
            self.returns.pop(return_id, None)
            return
        self.returns[return_id] = new
        if new.receipt is not None:
            self.of_receipt.setdefault(new.receipt, {})[return_id] = None
        if new.is_open():
            heapq.heappush(self._return_expiries, (new.expires_us, return_id))

    def _note_freed(self, sku: str) -> None:
        if sku in self.backordered:
            self.freed[sku] = None

    def _swap_backorders(self, old: Order | None, new: Order | None) -> None:
        before = backordered_by(old) if old is not None else {}
        after = backordered_by(new) if new is not None else {}
        if not before and not after:
            return
        changes = {key: after.get(key, 0) - before.get(key, 0) for key in before | after}
        raised: list[tuple[str, str, int]] = []
        try:
            for key in (key for key, delta in changes.items() if delta > 0):
                self.stock.backorder(*key, changes[key])
                raised.append(key)
        except BaseException:
            for key in raised:
                self.stock.backorder(*key, -changes[key])
            raise
        for key, delta in changes.items():
            if delta < 0:
                self.stock.backorder(*key, delta)

    def _raise(self, units: Sequence[tuple[str, str, int]]) -> None:
        """Reserve units in cells: in all of them, or in none when one has no room."""
        raised = 0
        try:
            for sku, location, quantity in units:
                self.stock.reserve(sku, location, quantity)
                raised += 1
        except BaseException:
            self._lower(units[:raised])
            raise

    def _lower(self, units: Iterable[tuple[str, str, int]]) -> None:
        for sku, location, quantity in units:
            self.stock.reserve(sku, location, -quantity)

    def _index_hold(self, hold: Hold) -> None:
        for cell in _cells_of(hold):
            members = self.held.get(cell)
            if members is None:
                members = self.held[cell] = Members()
            members.add(hold.id)

    def _unindex_hold(self, hold: Hold) -> None:
        for cell in _cells_of(hold):
            members = self.held[cell]
            members.drop(hold.id)
            if not members:
                del self.held[cell]

    def _index_order(self, order: Order, reserved: Iterable[Cell]) -> None:
        for cell in reserved:
            self.allocated.setdefault(cell, {})[order.id] = None
        for each in order.allocations:
            if each.stage == "backordered" and each.open:
                self.backordered.setdefault(each.sku, {})[order.id] = None
        for task in order.tasks:
            if task.status == "ready" and task.collect_by_us is not None:
                heapq.heappush(self._pickups, (task.collect_by_us, order.id, task.id))

    def _fly(self, handover: Handover) -> None:
        self._raise(handover.reserved)
        self.handovers.append(handover)
        for sku, location, quantity in handover.reserved:
            cell = (sku, location)
            self.in_flight[cell] = self.in_flight.get(cell, 0) + quantity

    def _land(self, handover: Handover) -> None:
        for sku, location, quantity in handover.reserved:
            cell = (sku, location)
            left = self.in_flight[cell] - quantity
            if left:
                self.in_flight[cell] = left
            else:
                del self.in_flight[cell]

    def _unfly(self, handover: Handover, _: None) -> None:
        self.handovers.pop()
        self._made.pop()
        self.last_sequence = handover.sequence - 1
        self._lower(handover.reserved)
        self._land(handover)

    def _untell(self, _: None, __: None) -> None:
        self._told.pop()

    def _forget_hold(self, hold_id: str) -> None:
        hold = self.holds.get(hold_id)
        if hold is not None and hold.status != "active":
            del self.holds[hold_id]

    def _forget_order(self, order_id: str) -> None:
        order = self.orders.get(order_id)
        if order is not None and not order.is_kept():
            del self.orders[order_id]

    def _forget_return(self, return_id: str) -> None:
        return_ = self.returns.get(return_id)
        if return_ is not None and not return_.is_kept():
            self._swap_return(return_id, None)


def _cells_of(hold: Hold) -> Iterable[Cell]:
    lines = hold.lines
    if len(lines) == 1:
        return ((lines[0].sku, lines[0].location),)
    # In their order: the same commands end in the same book.
    return dict.fromkeys([(line.sku, line.location) for line in lines])


def reserved_by(order: Order) -> dict[Cell, int]:
    """Sum what an order reserves in each cell, leaving out nothing but zeros."""
    found: dict[Cell, int] = {}
    for each in order.allocations:
        units = each.reserved
        if units and each.location is not None:
            cell = (each.sku, each.location)
            found[cell] = found.get(cell, 0) + units
    return found


def backordered_by(order: Order) -> dict[tuple[str, str, int], int]:
    """Sum what an order waits for, by SKU, location and the day it is due."""
    found: dict[tuple[str, str, int], int] = {}
    for each in order.allocations:
        if each.stage == "backordered" and each.location is not None and each.due_day is not None:
            key = (each.sku, each.location, each.due_day)
            if each.open:
                found[key] = found.get(key, 0) + each.open
    return found


def _drop(index: dict[Any, dict[str, None]], key: object, member: str) -> None:
    members = index.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del index[key]


def encode(value: object) -> bytes:
    """Write a hold or an order as the ledger keeps it."""
    return _ENCODER.encode(value)


def decode_hold(document: bytes) -> Hold:
    """Read a hold that :func:`encode` wrote."""
    return _HOLD.decode(document)


def decode_order(document: bytes) -> Order:
    """Read an order that :func:`encode` wrote."""
    return _ORDER.decode(document)


def decode_return(document: bytes) -> Return:
    """Read a return that :func:`encode` wrote."""
    return _RETURN.decode(document)


_ENCODER: Final = msgspec.json.Encoder()
_HOLD: Final = msgspec.json.Decoder(Hold)
_ORDER: Final = msgspec.json.Decoder(Order)
_RETURN: Final = msgspec.json.Decoder(Return)
