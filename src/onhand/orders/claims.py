"""Claims: what a till says of an allocation, an order or a return, and what becomes of it.

A claim moves nothing by itself. Deciding one publishes at most the one movement that nobody has
told supply of: a hand-over that the app told of before moves nothing again, units that are no part
of an order leave as a plain sale, and what came back is there whether an order knows of it or not.

The same claim twice is the caller's to drop, by ``source`` and ``id``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from onhand.model.check import check_object
from onhand.model.envelope import read_event
from onhand.model.orders import HistoryEntry, summed
from onhand.model.return_policy import Disposition
from onhand.orders import arriving
from onhand.orders.handover import Movement, sell
from onhand.orders.progress import follow, hand_over, note, put, tell_allocation

if TYPE_CHECKING:
    from onhand.model.envelope import Headers
    from onhand.model.orders import Allocation, Order
    from onhand.orders.desk import Desk
    from onhand.orders.handover import Units

Outcome = Literal[
    "handed_over",
    "told_before",
    "plain_sale",
    "partly_plain_sale",
    "returned",
    "unmatched",
    "partly_unmatched",
]
"""What a claim turned out to be; of a sale the first four, of a return the second and the last."""


class Claim(Struct, frozen=True, kw_only=True):
    """A till's sale that names an allocation, or its return that names a return or order."""

    type: Literal["sale", "return"]
    source: str
    id: str
    occurred_us: int
    location: str
    lines: tuple[tuple[str, int], ...]
    """SKUs and their quantities."""
    disposition: Disposition | None = None
    allocation_id: str | None = None
    return_id: str | None = None
    order_id: str | None = None
    customer_id: str | None = None
    basket_id: str | None = None
    reference: str | None = None

    @property
    def about(self) -> str:
        """The id of the order that it names; a return that it names knows its own."""
        if self.type == "sale":
            return (self.allocation_id or "").rpartition(".a")[0]
        return self.order_id or ""


def parse(value: bytes, headers: Headers = ()) -> Claim:
    """Read a record of ``stock.claims``: the event as its publisher wrote it.

    Raises
    ------
    onhand.model.check.Refused
        It is no event that ingest could have passed on.
    """
    found, _ = read_event(value, headers)
    event = check_object(found)
    fields: dict[str, Any] = found if isinstance(found, dict) else {}
    return Claim(
        type="sale" if event.type == "sale" else "return",
        source=event.source,
        id=event.id,
        occurred_us=event.occurred_us,
        location=event.location,
        lines=tuple(zip(event.skus, event.quantities, strict=True)),
        disposition=fields.get("disposition"),
        allocation_id=fields.get("allocation_id"),
        return_id=fields.get("return_id"),
        order_id=fields.get("order_id"),
        customer_id=fields.get("customer_id"),
        basket_id=fields.get("basket_id"),
        reference=fields.get("reference"),
    )


def decide(desk: Desk, claim: Claim, now_us: int) -> Outcome:
    """Settle a claim and publish what nobody has told supply of yet.

    The order that :attr:`Claim.about` names must be in the book, if there is one; so must the
    return that it names, with its order, and all other returns of the order.
    """
    if claim.type == "return":
        return arriving.tell_by_till(desk, claim, now_us)
    order = desk.book.orders.get(claim.about)
    if order is not None:
        return _decide_sale(_Case(desk, claim, order.copy(), now_us))
    sell(desk, _movement(claim, summed(claim.lines), None), reserved={})
    return "plain_sale"


class _Case(NamedTuple):
    """A claim about an order that is known, with a copy of it to work on."""

    desk: Desk
    claim: Claim
    order: Order
    now_us: int

    def note(self, what: str, line: str, quantity: int) -> None:
        entry = HistoryEntry(
            at_us=self.now_us,
            what=what,
            by=self.claim.source,
            location=self.claim.location,
            line=line,
            quantity=quantity,
        )
        note(self.order, entry)


def _decide_sale(case: _Case) -> Outcome:
    units = summed(case.claim.lines)
    allocation = _handed_over(case, units)
    if allocation is None:
        sell(case.desk, _movement(case.claim, units, case.order), reserved={})
        return "plain_sale"
    sku, is_reserved = allocation.sku, allocation.stage != "backordered"
    # What the app told of and the till did not, then what nobody told of.
    counted = min(units[sku], allocation.handed - allocation.told_by_till + allocation.open)
    leaving = hand_over(allocation, till=counted)
    plain = sum(units.values()) - counted
    units[sku] += leaving - counted
    movement = _movement(case.claim, units, case.order)
    sell(case.desk, movement, reserved={sku: leaving} if is_reserved else {})
    if counted:
        _put_handed_over(case, allocation, leaving)
    if plain:
        return "partly_plain_sale" if counted else "plain_sale"
    return "handed_over" if leaving else "told_before"


def _handed_over(case: _Case, units: Units) -> Allocation | None:
    """Find the allocation that a sale hands over: it must be of a SKU sold, and of this place."""
    claim = case.claim
    for each in case.order.allocations:
        # Units that wait for stock are bound to no place yet: where they are had, they are had.
        if each.id == claim.allocation_id and each.location in {None, claim.location}:
            return each if each.sku in units else None
    return None


def _put_handed_over(case: _Case, allocation: Allocation, leaving: int) -> None:
    desk, claim, order, now_us = case
    task = order.task(allocation.task) if allocation.task is not None else None
    if task is not None:
        follow(order, task)
    if leaving:
        case.note("handed_over", allocation.line, leaving)
    put(desk, order, now_us)
    if leaving:
        more = {"quantity": leaving, "by": claim.source}
        tell_allocation(desk, order, allocation, "handed_over", now_us, **more)


def _movement(claim: Claim, units: Units, order: Order | None) -> Movement:
    """Describe what moves, at the time the till said: a count may have seen it already."""
    customer = order.customer if order is not None else None
    return Movement(
        claim.location,
        units,
        claim.occurred_us,
        order_id=order.id if order is not None else claim.order_id,
        customer_id=claim.customer_id or (customer.id if customer is not None else None),
        basket_id=claim.basket_id,
        reference=claim.reference,
        attributes={"claim_source": claim.source, "claim_id": claim.id},
    )
