"""A shop whose customers bring things back: what they announce, what comes, and where it lies."""

from __future__ import annotations

import json
from collections import Counter

import msgspec

from onhand.model.commands import Customer, Fulfilment, OrderLine, PlaceOrder
from onhand.model.return_commands import (
    AnnouncedLine,
    AuthoriseReturn,
    CancelReturn,
    ExchangeLine,
    InspectedLine,
    InspectReturn,
    ReceivedLine,
    ReceiveReturn,
)
from onhand.model.return_policy import ReturnPolicy
from onhand.orders.desk import SYSTEM, Actor
from onhand.orders.purchases import Purchase, PurchasedLine
from tests.orders_shop import Shop

ASSOCIATE = Actor("associate-1", frozenset({"near"}), "associate")
CLERK = Actor("clerk-1", None, "orders")


class ReturnsShop(Shop):
    """The shop of the orders' tests, whose closed orders and returns are read again at once."""

    def __init__(self, *arguments, **fields):
        super().__init__(*arguments, **fields)
        self._committed = [Counter(), Counter(), Counter()]
        self._refunded = []

    # ---- set-up ----

    def policy(self, **fields):
        """Put a return policy in force, version 1."""
        policy = ReturnPolicy(version=1, **fields)
        self.desk.setup = msgspec.structs.replace(self.desk.setup, return_policy=policy)

    def receipt(self, receipt, *lines, customer_id=None):
        """Let a till have sold (sku, quantity, price) on a receipt."""
        purchase = Purchase(
            receipt=receipt,
            sold_us=self.now_us,
            lines=tuple(
                PurchasedLine(sku=sku, quantity=units, unit_price=price)
                for sku, units, price in lines
            ),
            customer_id=customer_id,
        )
        self.desk.purchases = {**self.desk.purchases, receipt: purchase}

    def sold(self, *lines, pickup="near", customer=None):
        """Sell (sku, quantity, price) lines by an order, hand them over, and have it applied."""
        body = PlaceOrder(
            lines=tuple(
                OrderLine(sku=sku, quantity=units, unit_price=price) for sku, units, price in lines
            ),
            fulfilment=Fulfilment(method="pickup", location=pickup),
            customer=Customer(id=customer) if customer else None,
        )
        order_id = self.do("place_order", body=body)["id"]
        self.walk(self.task(order_id), "pick", "ready", "collect")
        self.land()
        return order_id

    # ---- commands ----

    def announce(self, order_id, *lines, actor=SYSTEM, channel="store", exchange=None, **fields):
        """Announce (line or sku, quantity) pairs of an order; answer the return."""
        named = [self._named(order_id, name) for name, _ in lines]
        body = AuthoriseReturn(
            order_id=order_id,
            lines=tuple(
                AnnouncedLine(quantity=units, reason="too small", **name)
                for name, (_, units) in zip(named, lines, strict=True)
            ),
            channel=channel,
            exchange=exchange
            and tuple(
                ExchangeLine(sku=sku, quantity=units, unit_price=price)
                for sku, units, price in exchange
            ),
            **fields,
        )
        return self.do("authorise_return", body=body, actor=actor)

    def receive(self, return_id, *lines, at="near", actor=SYSTEM):
        """Take in (line, quantity[, disposition]) of a return, or ("sku:a", ...); answer it."""
        return self.do("receive_return", return_id, self.received(at, lines), actor)

    def inspect(self, return_id, *lines, at="near", actor=SYSTEM):
        """Say what (line, quantity, disposition) turned out to be."""
        body = InspectReturn(
            location=at,
            lines=tuple(
                InspectedLine(line=line, quantity=units, disposition=what)
                for line, units, what in lines
            ),
        )
        return self.do("inspect_return", return_id, body, actor)

    def give_up(self, return_id, actor=SYSTEM):
        """Cancel a return."""
        return self.do("cancel_return", return_id, CancelReturn(), actor)

    def till(self, *lines, at="near", disposition="sellable", **fields):
        """Let a till tell of (sku, quantity) that came back."""
        fields |= {"location": at, "disposition": disposition}
        return self.claim("return", lines=lines, **fields)

    def received(self, at, lines):
        """Write the body of a reception."""
        made = []
        for name, units, *rest in lines:
            named = {"sku": name[4:]} if name.startswith("sku:") else {"line": name}
            disposition = rest[0] if rest else "sellable"
            made.append(ReceivedLine(quantity=units, disposition=disposition, **named))
        return ReceiveReturn(location=at, lines=tuple(made))

    # ---- what there is ----

    def restocked(self):
        """Sum what returns on the ledger bring: units by (sku, location, disposition)."""
        sums = Counter()
        for event in self.ledger():
            if event["type"] == "return":
                for line in event["lines"]:
                    cell = (line["sku"], event["location"], event["disposition"])
                    sums[cell] += line["quantity"]
        return dict(sums)

    def refunds(self):
        """List the refunds instructed since the last commit."""
        told = [json.loads(each.value) for each in self.book.changed().told]
        return [each["data"] for each in told if each["type"] == "onhand.refund.instructed"]

    def all_refunds(self):
        """List the refunds instructed since the shop was opened."""
        return [*self._refunded, *self.refunds()]

    def back(self, order_id):
        """Sum the units of an order that are back, and those that are awaited."""
        allocations = self.book.orders[order_id].allocations
        return (
            sum(each.returned for each in allocations),
            sum(each.returning for each in allocations),
        )

    def brought_back(self):
        """Sum by SKU what return movements brought, what was stray of it, and not sellable of that.

        Since the shop was opened, whether or not it is committed.
        """
        moved, strays, lost = (each.copy() for each in self._committed)
        changed = self.book.changed()
        for event in (json.loads(each.event) for each in changed.handovers):
            if event["type"] == "return":
                for line in event["lines"]:
                    moved[line["sku"]] += line["quantity"]
        for told in (json.loads(each.value) for each in changed.told):
            if told["type"] == "onhand.arrival.unmatched":
                for line in told["data"]["lines"]:
                    strays[line["sku"]] += line["quantity"]
                    if told["data"]["disposition"] != "sellable":
                        lost[line["sku"]] += line["quantity"]
        return [moved, strays, lost]

    def commit(self):
        """Let everything so far be on disk; closed orders and returns are read again at once."""
        returns = self.book.changed().returns
        self._committed = self.brought_back()
        self._refunded = self.all_refunds()
        super().commit()
        for return_ in returns:
            self.book.adopt_return(return_)

    def check(self):
        """Assert what always holds of orders, and of returns and the orders they are of."""
        super().check()
        for order in self.book.orders.values():
            returns = [self.book.returns[each] for each in order.returns]
            for line in order.lines:
                mine = [each for one in returns for each in one.lines if each.order_line == line.id]
                allocations = order.of_line(line.id)
                assert sum(each.received for each in mine) == sum(
                    each.returned for each in allocations
                ), order.id
                assert sum(each.awaited for each in mine) == sum(
                    each.returning for each in allocations
                ), order.id
        for return_ in self.book.returns.values():
            for line in return_.lines:
                assert line.awaited >= 0, line
                for each in line.arrivals:
                    assert each.quantity == max(each.told_by_app, each.told_by_till), each
                    assert min(each.sellable, each.held, each.damaged) >= 0, each
                    assert 0 <= each.loose <= each.told_by_till, each

    def _named(self, order_id, name):
        order = self.book.orders.get(order_id)
        is_line = order is not None and order.line(name) is not None
        return {"line": name} if is_line else {"sku": name}
