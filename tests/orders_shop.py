"""A shop for tests of what happens to promises: a desk, the naive stock, and supply behind it."""

from __future__ import annotations

import json
from random import Random

from onhand.model.batch import DISPOSITION_NUMBERS
from onhand.model.check import check_object
from onhand.model.commands import (
    CancelOrder,
    CollectTask,
    Destination,
    Fulfilment,
    HoldLine,
    LineQuantity,
    OrderLine,
    OrderPolicy,
    PackTask,
    PickTask,
    PlaceHold,
    PlaceOrder,
    ReadyTask,
    RejectTask,
    ShipTask,
    ShortLine,
)
from onhand.model.setup import Location
from onhand.orders import claims, engine
from onhand.orders.book import Book
from onhand.orders.desk import SYSTEM, Desk, Ids, Rules
from onhand.orders.engine import Asked
from onhand.sourcing import NearestFewest
from tests.orders_stock import NaiveStock

START_US = 1_780_000_000_000_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

HERE = Destination(latitude=52.0, longitude=5.0)
SIGNS = {
    ("sale", 0): -1,
    ("adjustment", 0): 1,
    ("return", DISPOSITION_NUMBERS["sellable"]): 1,
    ("return", DISPOSITION_NUMBERS["inspect"]): 0,
    ("return", DISPOSITION_NUMBERS["damaged"]): 0,
    ("inspected", DISPOSITION_NUMBERS["sellable"]): 1,
    ("inspected", DISPOSITION_NUMBERS["damaged"]): 0,
}
"""What on_hand changes by for a unit of each movement."""
BODIES = {"pack": PackTask, "ready": ReadyTask}


def place_at(name, degrees_away, **fields):
    """Set up a store so many degrees east of the customer."""
    fields = {"groups": ("west",), "pickup_days": 3} | fields
    east = 5.0 + degrees_away
    return Location(id=name, name=name, type="store", latitude=52.0, longitude=east, **fields)


class Shop:
    """Stores ``near``, ``mid`` and ``far``; stock is given as ``(sku, location): units``."""

    def __init__(self, cells, *, rules=None, locations=None):
        stores = locations or [place_at("near", 0), place_at("mid", 1), place_at("far", 2)]
        self.stock = NaiveStock(*stores)
        for (sku, location), units in cells.items():
            self.stock.put(sku, location, units)
        self.book = Book(self.stock)
        ids = Ids(1, Random(7))
        self.desk = Desk(self.book, rules or Rules(), NearestFewest(), ids, self.stock.setup)
        self.now_us = START_US
        self.claim_count = 0

    # ---- commands ----

    def do(self, what, target="", body=None, actor=SYSTEM):
        """Carry out a command and return its answer."""
        asked = Asked(what=what, target=target, body=body, actor=actor)
        return json.loads(engine.decide(self.desk, asked, self.now_us))

    def order(self, *lines, pickup=None, order_id=None, hold_id=None, **policy):
        """Place an order of (sku, quantity) lines, shipped unless ``pickup`` names a store."""
        fulfilment = Fulfilment(method="ship", destination=HERE)
        if pickup is not None:
            fulfilment = Fulfilment(method="pickup", location=pickup)
        body = PlaceOrder(
            id=order_id,
            hold_id=hold_id,
            lines=tuple(OrderLine(sku=sku, quantity=units) for sku, units in lines),
            fulfilment=fulfilment,
            policy=OrderPolicy(**policy),
        )
        return self.do("place_order", body=body)["id"]

    def hold(self, sku, units, *, location=None, group=None, ttl_s=600):
        """Hold units at a location or on a group."""
        line = HoldLine(sku=sku, quantity=units, location=location, group=group)
        return self.do("place_hold", body=PlaceHold(lines=(line,), ttl_s=ttl_s))["id"]

    def cancel(self, order_id):
        """Cancel all that has not left."""
        return self.do("cancel_order", order_id, CancelOrder())

    def step(self, step, task_id, *, actor=SYSTEM, **fields):
        """Take a step of a task without fields of its own, or with those given."""
        bodies = BODIES | {"pick": PickTask, "reject": RejectTask, "ship": ShipTask}
        if step == "ship":
            fields = {"carrier": "PostNL", "tracking_number": "3S1"} | fields
        if step == "reject":
            fields = {"reason": "no staff"} | fields
        if step == "collect":
            order = self.of(task_id)
            fields = {"pickup_code": order.pickup_code} | fields
            bodies["collect"] = CollectTask
        return self.do(f"{step}_task", task_id, bodies[step](**fields), actor)

    def walk(self, task_id, *steps):
        """Take several steps; return what the last one answers."""
        answers = [self.step(step, task_id) for step in steps]
        return answers[-1] if answers else None

    def claim(self, kind="sale", *, lines, location="near", **fields):
        """Let a till tell of a sale or return, and settle it."""
        self.claim_count += 1
        value = {
            "type": kind,
            "source": "till",
            "id": f"c-{self.claim_count}",
            "occurred_at": "2026-06-01T10:00:00Z",
            "location": location,
            "lines": [{"sku": sku, "quantity": units} for sku, units in lines],
            **({"disposition": "sellable"} if kind == "return" else {}),
            **fields,
        }
        claim = claims.parse(json.dumps(value).encode())
        return claims.decide(self.desk, claim, self.now_us)

    # ---- what there is ----

    def of(self, part_id):
        """Return the order of a task, an allocation or itself."""
        return self.book.orders[part_id.rpartition(".")[0] or part_id]

    def task(self, order_id, location=None):
        """Return the id of an order's newest task, at a location if one is named."""
        tasks = self.book.orders[order_id].tasks
        return next(
            each.id for each in reversed(tasks) if location is None or each.location == location
        )

    def allocations(self, order_id):
        """List (location, open units) of an order's allocations with open units."""
        order = self.book.orders[order_id]
        return sorted((each.location, each.open) for each in order.allocations if each.open)

    def available(self, sku, location):
        """Return what can be promised of a cell, not floored."""
        return self.stock.promisable(sku, location)

    def told(self):
        """List the types of the events told since the last commit, in order."""
        return [
            json.loads(each.value)["type"].removeprefix("onhand.")
            for each in self.book.changed().told
        ]

    def ledger(self):
        """List the movements that supply has not applied."""
        return [json.loads(each.event) for each in self.book.handovers]

    # ---- what happens meanwhile ----

    def commit(self):
        """Let everything so far be on disk; closed orders are read again at once."""
        changed = self.book.changed()
        self.book.settle()
        for order in changed.orders:
            self.book.adopt_order(order)

    def land(self, count=None):
        """Let supply apply the oldest movements, and the order layer see it."""
        self.commit()
        for handover in list(self.book.handovers)[:count]:
            event = check_object(json.loads(handover.event), is_ledger=True)
            assert event.sequence == handover.sequence
            sign = SIGNS[event.type, event.disposition]
            for sku, units in zip(event.skus, event.quantities, strict=True):
                self.stock.put(sku, event.location, sign * units)
            self.book.applied(handover.sequence)

    def check(self):
        """Assert that the demand table holds what the book says, and orders add up."""
        reserved, backorders = self.stock.numbers()
        assert reserved == self.book.reserved()
        assert all(units > 0 for units in backorders.values())
        for order in self.book.orders.values():
            for each in order.allocations:
                assert each.open >= 0, each
                assert each.on_shelf >= 0, each
                assert 0 <= each.handed <= each.picked, each
                assert each.handed == max(each.told_by_app, each.told_by_till), each
                assert each.returned >= 0, each
                assert 0 <= each.returning <= each.handed - each.returned, each
            for line in order.lines:
                mine = order.of_line(line.id)
                assert sum(each.quantity - each.cancelled for each in mine) <= line.quantity


def units_of(*pairs):
    """Name units of lines."""
    return tuple(LineQuantity(line=line, quantity=units) for line, units in pairs)


def short_of(*pairs, reason="not there"):
    """Name units of lines that are not on the shelf."""
    return tuple(ShortLine(line=line, quantity=units, reason=reason) for line, units in pairs)
