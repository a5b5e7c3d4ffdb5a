"""Units that come back to a location: told by the app, by a till, or by both.

::

    told of at this place by the other   nothing moves: it is the same hand-over
    awaited                              restocked here
    told of elsewhere by the other       nothing moves: one of them has the place wrong
    none of these                        the app is refused; what a till has is there, unmatched

Units that a till tells of with the order alone belong to the first of the order's returns that they
fit, and are *loose*: when the app tells of another return at the same place, they are that one's.
With no return to fit, the till's word begins one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from onhand.model.orders import HistoryEntry, summed
from onhand.model.return_policy import Disposition, stricter
from onhand.model.returns import Return, ReturnedLine, Teller, taken_by
from onhand.orders import refunds
from onhand.orders.desk import EVENT_SOURCE
from onhand.orders.handover import Movement, Units, take_back
from onhand.orders.progress import note as note_order
from onhand.orders.refunds import Came
from onhand.orders.refusal import Refusal, refuse
from onhand.orders.return_case import Case
from onhand.orders.return_rules import FOUND_IN_PARCEL, TAKEN_AT_TILL, may_be_blind, unasked

if TYPE_CHECKING:
    from onhand.model.return_commands import ReceivedLine, ReceiveReturn
    from onhand.orders.claims import Claim
    from onhand.orders.desk import Actor, Desk

ReturnOutcome = Literal["returned", "told_before", "unmatched", "partly_unmatched"]

NO_UNITS: Final[Units] = {}


class Received(NamedTuple):
    """What became of a reception."""

    return_: Return
    sellable: Units
    """Units that have come just now and can be sold."""
    strays: dict[Disposition, Units]
    """Units that were in the parcel and belong to no return."""


class Telling:
    """One word about units at one location, by app or till, as it is worked through."""

    def __init__(self, case: Case, teller: Teller, location: str, by: str) -> None:
        self.case = case
        self.teller = teller
        self.location = location
        self.by = by
        self.came: dict[str, list[Came]] = {}
        """What has come for each return."""
        self.strays: dict[Disposition, Units] = {}
        """What belongs to none."""

    def match(self, return_: Return, line: ReturnedLine, units: int) -> int:
        """Take units as those that the other has told of here; return how many."""
        arrival = line.at(self.location)
        taken = min(units, arrival.told_by_other(self.teller)) if arrival is not None else 0
        if arrival is not None and taken:
            arrival.tell(self.teller, taken)
            self._note(return_, "told_again", line, taken)
        return taken

    def match_elsewhere(self, return_: Return, line: ReturnedLine, units: int) -> int:
        """Take units as those that the other has told of at another place; return how many."""
        left = units
        for arrival in line.arrivals:
            taken = min(left, arrival.told_by_other(self.teller))
            if taken:
                arrival.tell(self.teller, taken)
                self._note(return_, "told_again", line, taken)
                left -= taken
        return units - left

    def take_up(self, return_: Return, line: ReturnedLine, units: int) -> int:
        """Take the app's units as those that a till has told of loosely; return how many."""
        wanted = left = min(units, line.awaited)
        for loose in list(self.case.loose(line.sku, self.location, return_)):
            taken = self.case.take_up(loose, line, self.location, left, awaited=True)
            if taken:
                line.arrival(self.location).tell(self.teller, taken)
                self._note(return_, "told_again", line, taken)
                left -= taken
        return wanted - left

    def restock(
        self,
        return_: Return,
        line: ReturnedLine,
        units: int,
        disposition: Disposition | None,
        *,
        loose: bool = False,
    ) -> int:
        """Take awaited units of a line in; return how many."""
        taken = min(units, line.awaited)
        if not taken:
            return 0
        best = line.decision.restock
        becomes = best if disposition is None else stricter(disposition, best)
        arrival = line.arrival(self.location)
        arrival.tell(self.teller, taken)
        arrival.put(becomes, taken)
        if loose:
            arrival.loose += taken
        self.case.wait(line.order_line, -taken)
        self.case.bring(line.order_line, taken)
        self.came.setdefault(return_.id, []).append(Came(line, taken, becomes))
        self._note(return_, "received", line, taken, reason=becomes)
        if self.case.order is not None:
            entry = HistoryEntry(
                at_us=self.case.now_us,
                what="returned",
                by=self.by,
                location=self.location,
                line=line.order_line,
                quantity=taken,
            )
            note_order(self.case.order, entry)
        return taken

    def stray(self, sku: str, units: int, disposition: Disposition | None) -> None:
        """Take in units that no return or order accounts for: they are there all the same."""
        best = unasked(self.case.desk, sku, self.by).restock
        becomes = best if disposition is None else stricter(disposition, best)
        of = self.strays.setdefault(becomes, {})
        of[sku] = of.get(sku, 0) + units

    def units(self) -> dict[Disposition, Units]:
        """Sum what moves, by disposition and SKU."""
        sums: dict[Disposition, Units] = {each: dict(of) for each, of in self.strays.items()}
        for came in self.came.values():
            for line, units, disposition in came:
                of = sums.setdefault(disposition, {})
                of[line.sku] = of.get(line.sku, 0) + units
        return sums

    def done(self, movement: dict[str, Any], occurred_us: int) -> None:
        """Publish what moves, make the copies what is known, and tell of what has come."""
        case = self.case
        for disposition, units in self.units().items():
            moved = Movement(self.location, units, occurred_us, **movement)
            take_back(case.desk, moved, disposition)
        for return_id, came in self.came.items():
            refunds.instruct(case.desk, case.returns[return_id], came, self.teller, case.now_us)
        before = case.put()
        for return_id, status in before.items():
            return_ = case.returns[return_id]
            if return_id in self.came:
                case.tell(return_, "received")
            if return_.status != status and return_.status in {"closed", "cancelled"}:
                case.tell(return_, return_.status)

    def tell_strays(self, data: dict[str, Any], subject: str) -> None:
        """Tell of what belongs to no return: ``arrival.unmatched``."""
        for disposition, units in self.strays.items():
            told = data | {
                "location": self.location,
                "disposition": disposition,
                "lines": [{"sku": sku, "quantity": number} for sku, number in units.items()],
            }
            self.case.desk.tell("arrival.unmatched", subject, self.case.now_us, told)

    def _note(
        self,
        return_: Return,
        what: str,
        line: ReturnedLine,
        units: int,
        *,
        reason: str | None = None,
    ) -> None:
        place, by = self.location, self.by
        self.case.note(
            return_, what, by, location=place, line=line.id, quantity=units, reason=reason
        )


# ---- the app ----


def receive(desk: Desk, return_id: str, body: ReceiveReturn, actor: Actor, now_us: int) -> Received:
    """Take units in at a location, whichever sold them.

    A line takes no more than was announced. Units named by their SKU are the return's, then others
    of the same order or receipt that may still come back, then strays, which are taken in without
    a refund.

    Raises
    ------
    Refusal
        ``unknown_return``, ``wrong_location``, ``unknown_location``, ``wrong_state``,
        ``unknown_line``, ``unknown_sku`` or ``quantity_exceeded``.
    """
    case, return_ = Case.of_return(desk, return_id, now_us)
    actor.must_work_at(body.location)
    if not desk.stock.knows_location(body.location):
        detail = f"nobody has named {body.location!r}"
        raise refuse("unknown_location", detail, "/location")
    if return_.status == "cancelled":
        detail = f"return {return_id!r} is cancelled and takes nothing in; announce another"
        raise refuse("wrong_state", detail)
    telling = Telling(case, "app", body.location, actor.name)
    for index, item in enumerate(body.lines):
        if item.line is not None:
            _receive_line(telling, return_, item, index)
        else:
            _receive_sku(telling, return_, item, index)
    telling.done(_movement_of(return_), now_us)
    data = {"return_id": return_.id, "source": EVENT_SOURCE, "id": return_.id}
    if return_.order_id is not None:
        data["order_id"] = return_.order_id
    telling.tell_strays(data, return_.order_id or return_.id)
    return Received(return_, telling.units().get("sellable", NO_UNITS), telling.strays)


def _receive_line(telling: Telling, return_: Return, item: ReceivedLine, index: int) -> None:
    line = return_.line(item.line or "")
    if line is None:
        detail = f"return {return_.id!r} has no line {item.line!r}"
        raise refuse("unknown_line", detail, f"/lines/{index}/line")
    left = _take_in(telling, return_, line, item.quantity, item.disposition)
    if left:
        detail = (
            f"{item.quantity} of line {line.id!r} are {left} more than are awaited or were "
            f"told of; {line.received} of {line.quantity} have come"
        )
        raise refuse("quantity_exceeded", detail, f"/lines/{index}/quantity")


def _receive_sku(telling: Telling, return_: Return, item: ReceivedLine, index: int) -> None:
    sku, left = item.sku or "", item.quantity
    telling.case.desk.must_know_sku(sku, f"/lines/{index}/sku")
    for line in return_.of_sku(sku):
        left = _take_in(telling, return_, line, left, item.disposition)
    for order_line, price, room in _rooms(telling, return_, sku, left):
        units = min(left, room)
        if not units:
            continue
        line = _add_line(telling, return_, sku, units, order_line=order_line, unit_price=price)
        left = left - units + _take_in(telling, return_, line, units, item.disposition)
    if left:
        telling.stray(sku, left, item.disposition)


def _take_in(
    telling: Telling,
    return_: Return,
    line: ReturnedLine,
    units: int,
    disposition: Disposition | None,
) -> int:
    """Take units in as the app tells of them; return those that fit nowhere."""
    left = units - telling.match(return_, line, units)
    left -= telling.take_up(return_, line, left)
    left -= telling.restock(return_, line, left, disposition)
    return left - telling.match_elsewhere(return_, line, left)


def _rooms(
    telling: Telling, return_: Return, sku: str, wanted: int
) -> list[tuple[str | None, float | None, int]]:
    """List what more of a SKU may come back with a return: order line, price, units."""
    case = telling.case
    if case.order is not None:
        return [
            (line.id, line.unit_price, case.room(line.id))
            for line in case.order.lines
            if line.sku == sku
        ]
    if return_.receipt is not None:
        room, price = receipt_room(case.desk, return_.receipt, sku, beside=return_)
        return [(None, price, room)]
    blind = may_be_blind(case.desk, telling.location)
    return [(None, None, wanted if blind else 0)]


def receipt_room(
    desk: Desk, receipt: str, sku: str, *, beside: Return | None = None
) -> tuple[int, float | None]:
    """Count the units of a SKU that may still come back on a receipt, and name their price."""
    purchase = desk.purchases.get(receipt)
    if purchase is None:
        return 0, None
    lines = [each for each in purchase.lines if each.sku == sku]
    known = [desk.book.returns[each] for each in desk.book.of_receipt.get(receipt, ())]
    if beside is not None:
        known = [beside if each.id == beside.id else each for each in known]
        if all(each.id != beside.id for each in known):
            known.append(beside)
    room = sum(each.quantity - each.returned for each in lines) - taken_by(known, sku)
    return max(0, room), lines[0].unit_price if lines else None


def _add_line(
    telling: Telling,
    return_: Return,
    sku: str,
    units: int,
    *,
    order_line: str | None,
    unit_price: float | None,
    reason: str = FOUND_IN_PARCEL,
) -> ReturnedLine:
    line = ReturnedLine(
        id=return_.next_line_id(),
        sku=sku,
        quantity=units,
        reason=reason,
        decision=unasked(telling.case.desk, sku, telling.by),
        order_line=order_line,
        unit_price=unit_price,
        announced=False,
    )
    return_.lines.append(line)
    telling.case.wait(order_line, units)
    return line


def _movement_of(return_: Return) -> dict[str, Any]:
    attributes = {"return_id": return_.id}
    if return_.receipt is not None:
        attributes["receipt"] = return_.receipt
    return {
        "order_id": return_.order_id,
        "customer_id": return_.customer_id,
        "attributes": attributes,
    }


# ---- tills ----


def tell_by_till(desk: Desk, claim: Claim, now_us: int) -> ReturnOutcome:
    """Settle a till's claim that units came back: at most one restock of each of them.

    The return that it names, or the order's, must be in the book, if there is one.
    """
    case, return_ = _case_of(desk, claim, now_us)
    telling = Telling(case, "till", claim.location, claim.source)
    for sku, quantity in summed(claim.lines).items():
        left = quantity
        if return_ is not None:
            left = _tell_of_return(telling, return_, sku, left, claim.disposition)
        if case.order is not None:
            left = _tell_of_order(telling, sku, left, claim)
        if left:
            telling.stray(sku, left, claim.disposition)
    order_id = case.order.id if case.order is not None else claim.order_id
    telling.done(_movement_as_told(claim, case, order_id), claim.occurred_us)
    data = {"source": claim.source, "id": claim.id}
    data |= {"order_id": order_id} if order_id is not None else {}
    data |= {"return_id": claim.return_id} if claim.return_id is not None else {}
    telling.tell_strays(data, order_id or claim.return_id or claim.id)
    if telling.strays:
        is_all = sum(map(sum, (of.values() for of in telling.strays.values()))) == sum(
            quantity for _, quantity in claim.lines
        )
        return "unmatched" if is_all else "partly_unmatched"
    return "returned" if telling.came else "told_before"


def _case_of(desk: Desk, claim: Claim, now_us: int) -> tuple[Case, Return | None]:
    try:
        return Case.of_return(desk, claim.return_id or "", now_us)
    except Refusal:
        order = desk.book.orders.get(claim.order_id or "")
        return Case(desk, order, now_us), None


def _tell_of_return(
    telling: Telling, return_: Return, sku: str, units: int, disposition: Disposition | None
) -> int:
    """Take units as those of the return that a till names; return those that do not fit."""
    left = units
    for line in return_.of_sku(sku):
        left -= telling.match(return_, line, left)
    for line in return_.of_sku(sku):
        left -= telling.restock(return_, line, left, disposition)
    for line in return_.of_sku(sku):
        left -= telling.match_elsewhere(return_, line, left)
    return left


def _tell_of_order(telling: Telling, sku: str, units: int, claim: Claim) -> int:
    """Take units as those of any return of the order, or of a new one; return what is left."""
    case, left = telling.case, units
    returns = sorted(case.returns.values(), key=lambda each: each.location != telling.location)
    for return_ in returns:
        for line in return_.of_sku(sku):
            left -= telling.match(return_, line, left)
    for return_ in returns:
        for line in return_.of_sku(sku):
            left -= telling.restock(return_, line, left, claim.disposition, loose=True)
    if case.order is None:
        return left
    for order_line in case.order.lines:
        room = min(left, case.room(order_line.id)) if order_line.sku == sku else 0
        if room:
            born = _born(telling, claim)
            line = _add_line(
                telling,
                born,
                sku,
                room,
                order_line=order_line.id,
                unit_price=order_line.unit_price,
                reason=TAKEN_AT_TILL,
            )
            left -= telling.restock(born, line, room, claim.disposition, loose=True)
    return left


def _born(telling: Telling, claim: Claim) -> Return:
    """Return the return that begins with this claim, a new one the first time."""
    case = telling.case
    if case.order is None:
        raise ValueError("Invariant: a till's word begins a return of an order alone")
    newest = next(reversed(case.returns.values()), None)
    if newest is not None and newest.id not in case.desk.book.returns:
        return newest
    customer = case.order.customer
    born = Return(
        id=case.desk.ids.next("return"),
        channel="store",
        created_us=case.now_us,
        updated_us=case.now_us,
        expires_us=case.now_us,
        order_id=case.order.id,
        customer_id=customer.id if customer is not None else claim.customer_id,
        location=claim.location,
        by_till=True,
        lines=[],
    )
    case.add(born)
    return born


def _movement_as_told(claim: Claim, case: Case, order_id: str | None) -> dict[str, Any]:
    """Describe what moves as the till has: a count may have seen it already."""
    customer = case.order.customer if case.order is not None else None
    attributes = {"claim_source": claim.source, "claim_id": claim.id}
    if claim.return_id is not None:
        attributes["return_id"] = claim.return_id
    return {
        "order_id": order_id,
        "customer_id": claim.customer_id or (customer.id if customer is not None else None),
        "basket_id": claim.basket_id,
        "reference": claim.reference,
        "attributes": attributes,
    }
