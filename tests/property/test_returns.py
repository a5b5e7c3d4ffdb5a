"""Whatever comes back, however it is told: every unit is counted once, and lies somewhere.

A tally that knows nothing of returns' rules follows what each cell began with, what left it, and
what customers physically brought back where; tellings by app and till are of those units.
"""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from onhand.model.commands import CancelledLine, CancelOrder
from onhand.orders import upkeep
from onhand.orders.refusal import Refusal
from tests.orders_shop import DAY_US, SECOND_US
from tests.returns_shop import ReturnsShop

STORES = ("near", "mid")
SKUS = ("a", "b")
DISPOSITIONS = ("sellable", "inspect", "damaged")
EXCHANGE_PRICE = 7.0
few = st.integers(1, 3)
stores = st.sampled_from(STORES)
skus = st.sampled_from(SKUS)
dispositions = st.sampled_from(DISPOSITIONS)
seeds = st.integers(0, 1_000)


class Returning(RuleBasedStateMachine):
    """All that customers, associates, tills and time do to returns."""

    @initialize(units=st.lists(st.integers(4, 12), min_size=4, max_size=4))
    def open(self, units):
        """Open the stores with some stock, and sell an order at each."""
        cells = dict(zip(itertools.product(SKUS, STORES), units, strict=True))
        self.shop = ReturnsShop(cells)
        self.received = Counter()
        for (sku, _), number in cells.items():
            self.received[sku] += number
        for store in STORES:
            self.shop.sold(("a", 2, 10.0), ("b", 1, 5.0), ("a", 1, 10.0), pickup=store)

    # ---- what customers do ----

    @rule(seed=seeds, sku=skus, units=few, store=st.none() | stores, mail=st.booleans())
    def announce(self, seed, sku, units, store, mail):
        """Announce units of an order, at a store or by mail."""
        channel = "mail" if mail else "store"
        self.ask(
            lambda: self.shop.announce(
                self.order(seed), (sku, units), channel=channel, location=store
            )
        )

    @rule(seed=seeds, sku=skus, other=skus, units=st.integers(1, 2), store=stores)
    def exchange(self, seed, sku, other, units, store):
        """Announce a unit and take another for it, or two."""
        self.ask(
            lambda: self.shop.announce(
                self.order(seed),
                (sku, 1),
                location=store,
                exchange=[(other, units, EXCHANGE_PRICE)],
            )
        )

    @rule(seed=seeds)
    def collect(self, seed):
        """Collect what was exchanged."""
        waiting = [
            task.id
            for order in self.shop.book.orders.values()
            for task in order.tasks
            if task.status == "open"
        ]
        if waiting:
            self.shop.walk(waiting[seed % len(waiting)], "pick", "ready", "collect")

    @rule(seed=seeds, wanted=st.none() | few)
    def cancel_order(self, seed, wanted):
        """Cancel an order that has not left, or units of it: exchanges are no different."""
        order = self.shop.book.orders[self.order(seed)]
        line = order.lines[seed % len(order.lines)].id
        lines = (CancelledLine(id=line, quantity=wanted),) if wanted else None
        body = CancelOrder(lines=lines) if lines else None
        self.ask(lambda: self.shop.do("cancel_order", order.id, body))

    @rule(seed=seeds)
    def cancel(self, seed):
        """Give a return up."""
        if return_ := self.return_(seed):
            self.ask(lambda: self.shop.give_up(return_.id))

    # ---- what associates do ----

    @rule(seed=seeds, units=few, store=stores, disposition=dispositions)
    def receive(self, seed, units, store, disposition):
        """Take units of a line in, perhaps too many, perhaps told by a till before."""
        if (return_ := self.return_(seed)) and return_.lines:
            line = return_.lines[seed % len(return_.lines)].id
            self.ask(lambda: self.shop.receive(return_.id, (line, units, disposition), at=store))

    @rule(seed=seeds, sku=skus, units=few, store=stores)
    def unpack(self, seed, sku, units, store):
        """Take in what is found in a parcel, announced or not."""
        if return_ := self.return_(seed):
            self.ask(lambda: self.shop.receive(return_.id, (f"sku:{sku}", units), at=store))

    @rule(seed=seeds, units=few, good=st.booleans())
    def inspect(self, seed, units, good):
        """Look at held units."""
        held = [
            (return_.id, line.id, each.location)
            for return_ in self.shop.book.returns.values()
            for line in return_.lines
            for each in line.arrivals
            if each.held
        ]
        if held:
            return_id, line, store = held[seed % len(held)]
            what = "sellable" if good else "damaged"
            self.ask(lambda: self.shop.inspect(return_id, (line, units, what), at=store))

    # ---- what tills do ----

    @rule(seed=seeds, sku=skus, units=few, store=stores, disposition=dispositions)
    def tell_of_order(self, seed, sku, units, store, disposition):
        """Let a till tell of units of an order."""
        self.shop.till((sku, units), at=store, disposition=disposition, order_id=self.order(seed))

    @rule(seed=seeds, sku=skus, units=few, store=stores, disposition=dispositions)
    def tell_of_return(self, seed, sku, units, store, disposition):
        """Let a till tell of units of a return."""
        if return_ := self.return_(seed):
            fields = {"at": store, "disposition": disposition, "return_id": return_.id}
            self.shop.till((sku, units), **fields)

    # ---- what happens by itself ----

    @rule(days=st.integers(0, 8))
    def wait(self, days):
        """Let time pass, and returns expire."""
        self.shop.now_us += days * DAY_US + SECOND_US
        upkeep.due(self.shop.desk, self.shop.now_us)

    @rule(count=few)
    def land(self, count):
        """Let supply apply some movements."""
        self.shop.land(count)

    @rule(seed=seeds)
    @precondition(lambda self: self.shop.book.orders)
    def fail_to_commit(self, seed):
        """Undo all since the last commit."""
        self.shop.commit()
        before = self.state()
        self.announce(seed, "a", 1, "near", mail=False)
        self.tell_of_order(seed, "a", 2, "near", "sellable")
        self.receive(seed, 1, "near", "inspect")
        self.exchange(seed, "a", "b", 1, "mid")
        self.cancel(seed)
        self.wait(8)
        self.shop.book.rollback()
        assert self.state() == before

    # ---- what always holds ----

    @invariant()
    def no_more_is_back_than_left(self):
        """Hold of each allocation, whoever has announced and told what."""
        self.shop.check()

    @invariant()
    def every_unit_lies_somewhere(self):
        """Received, less handed over, plus back: on hand, held or damaged."""
        lying, handed, back = Counter(), Counter(), Counter()
        for (sku, _), units in self.shop.stock.on_hand.items():
            lying[sku] += units
        for event in self.shop.ledger():
            if event.get("disposition", "sellable") == "sellable":
                sign = -1 if event["type"] == "sale" else 1
                for line in event["lines"]:
                    lying[line["sku"]] += sign * line["quantity"]
        for order in self.shop.book.orders.values():
            for each in order.allocations:
                handed[each.sku] += each.handed
                back[each.sku] += each.returned
        for return_ in self.shop.book.returns.values():
            for line in return_.lines:
                lying[line.sku] += sum(each.held + each.damaged for each in line.arrivals)
        moved, strays, lost = self.shop.brought_back()
        for sku in SKUS:
            assert moved[sku] == back[sku] + strays[sku]
            there = self.received[sku] - handed[sku] + back[sku] + strays[sku]
            assert lying[sku] + lost[sku] == there, sku

    @invariant()
    def every_unit_is_paid_for_once(self):
        """Refund what came back of an order, or let it pay for an exchange that is still given.

        By order, since units that a till has told of may turn out to be of another return.
        """
        paid, worth = Counter(), Counter()
        for return_ in self.shop.book.returns.values():
            for line in return_.lines:
                worth[return_.order_id] += line.received * line.unit_price
            if return_.exchange is not None:
                paid[return_.order_id] += return_.exchange.settled
                given = self.shop.book.orders[return_.exchange.order_id].allocations
                units = sum(each.quantity - each.cancelled - each.expired for each in given)
                assert 0.0 <= return_.exchange.settled <= units * EXCHANGE_PRICE
        for each in self.shop.all_refunds():
            paid[each["order_id"]] += each["amount"]
        assert paid == worth

    # ---- within ----

    def ask(self, act):
        """Do something; when it is refused, nothing has changed."""
        before = self.state()
        try:
            act()
        except Refusal:
            assert self.state() == before

    def state(self):
        return (
            self.shop.stock.numbers(),
            dict(self.shop.book.orders),
            dict(self.shop.book.returns),
            len(self.shop.ledger()),
        )

    def order(self, seed):
        """Choose an order."""
        orders = list(self.shop.book.orders)
        return orders[seed % len(orders)]

    def return_(self, seed):
        """Choose a return."""
        returns = list(self.shop.book.returns.values())
        return returns[seed % len(returns)] if returns else None


TestReturning = Returning.TestCase
TestReturning.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@given(
    announced=st.integers(1, 5),
    app=st.lists(few, max_size=3),
    till=st.lists(st.tuples(few, st.booleans()), max_size=3),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_app_and_till_commute(announced, app, till, seed):
    """In any order and any parts the larger of what each has told is restocked, and once."""
    ends = set()
    for _ in range(2):
        shop = ReturnsShop({("a", "near"): 6})
        order_id = shop.sold(("a", announced, 10.0))
        return_id = shop.announce(order_id, ("1", announced))["id"]
        told = [("app", units, False) for units in app]
        told += [("till", units, by_order) for units, by_order in till]
        seed.shuffle(told)
        # Neither is asked to tell of more than there is.
        left = {"app": announced, "till": announced}
        for who, wanted, by_order in told:
            units = min(wanted, left[who])
            left[who] -= units
            if units and who == "app":
                shop.receive(return_id, ("1", units))
            elif units:
                name = {"order_id": order_id} if by_order else {"return_id": return_id}
                shop.till(("a", units), **name)
        shop.check()
        refunded = sum(line["quantity"] for each in shop.refunds() for line in each["lines"])
        line = shop.book.returns[return_id].lines[0]
        arrival = line.at("near")
        told_by = (arrival.told_by_app, arrival.told_by_till) if arrival else (0, 0)
        ends.add((sum(shop.restocked().values()), refunded, told_by, shop.back(order_id)))
    by_app, by_till = announced - left["app"], announced - left["till"]
    most = max(by_app, by_till)
    assert ends == {(most, most, (by_app, by_till), (most, announced - most))}
