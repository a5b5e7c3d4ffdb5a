"""Whatever happens to promises, in any order: no unit is lost, promised twice or let go twice.

Stock is followed by a tally that knows nothing of allocations' rules: what each cell began with,
what was put or lost there, and what orders and claims say has left it or come back.
"""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from onhand.orders import backorders, upkeep
from onhand.orders.refusal import Refusal
from onhand.orders.shortfalls import Shortfalls
from tests.orders_shop import DAY_US, SECOND_US, Shop, short_of, units_of

STORES = ("near", "mid", "far")
SKUS = ("a", "b")
few = st.integers(1, 4)
stores = st.sampled_from(STORES)
skus = st.sampled_from(SKUS)
seeds = st.integers(0, 1_000)


class Fulfilment(RuleBasedStateMachine):
    """All that associates, customers, tills, time and supply do to promises."""

    @initialize(units=st.lists(st.integers(0, 12), min_size=6, max_size=6))
    def open(self, units):
        """Open the stores with some stock."""
        cells = dict(zip(itertools.product(SKUS, STORES), units, strict=True))
        self.shop = Shop(cells)
        self.shortfalls = Shortfalls(self.shop.desk)
        self.base = Counter(cells)
        self.claimed = Counter()
        self.brought_back = Counter()

    # ---- what customers do ----

    @rule(sku=skus, units=few, more=st.booleans(), pickup=st.none() | stores, later=st.booleans())
    def order(self, sku, units, more, pickup, later):
        """Order a line or two."""
        lines = [(sku, units), *([("a", 1)] if more else [])]
        self.ask(lambda: self.shop.order(*lines, pickup=pickup, allow_backorder=later))

    @rule(sku=skus, units=few, store=st.none() | stores)
    def hold(self, sku, units, store):
        """Hold units at a store or on the group."""
        where = {"group": "west"} if store is None else {"location": store}
        self.ask(lambda: self.shop.hold(sku, units, **where))

    @rule(seed=seeds)
    def cancel(self, seed):
        """Cancel what has not left."""
        if orders := list(self.shop.book.orders):
            self.ask(lambda: self.shop.cancel(orders[seed % len(orders)]))

    # ---- what associates do ----

    @rule(seed=seeds, picked=st.integers(0, 3), short=st.integers(0, 2))
    def pick(self, seed, picked, short):
        """Pick some, and miss some."""
        if task := self.task(seed, {"open"}):
            line = self.line(task, seed)
            fields = {
                "picked": units_of((line, picked)) if picked else (),
                "short": short_of((line, short)) if short else (),
            }
            self.ask(lambda: self.shop.step("pick", task, **fields))

    @rule(seed=seeds)
    def step(self, seed):
        """Take the next step with everything."""
        if task := self.task(seed, {"open", "picked", "packed", "ready"}):
            order = self.shop.of(task)
            way = {
                "ship": {"open": "pick", "picked": "pack", "packed": "ship"},
                "pickup": {"open": "pick", "picked": "ready", "ready": "collect"},
            }[order.method]
            self.leave(lambda: self.shop.step(way[order.task(task).status], task))

    @rule(seed=seeds, units=few)
    def hand_over(self, seed, units):
        """Hand some units over, once more perhaps, or too many."""
        if task := self.task(seed, {"packed", "ready", "done"}):
            step = "ship" if self.shop.of(task).method == "ship" else "collect"
            lines = units_of((self.line(task, seed), units))
            self.leave(lambda: self.shop.step(step, task, lines=lines))

    @rule(seed=seeds)
    def reject(self, seed):
        """Refuse a task."""
        if task := self.task(seed, {"open"}):
            self.ask(lambda: self.shop.step("reject", task))

    # ---- what tills do ----

    @rule(seed=seeds, units=few, strays=st.none() | stores)
    def sell(self, seed, units, strays):
        """Sell units of an allocation, of a closed one too, at its own store or at another."""
        found = [
            each
            for order in self.shop.book.orders.values()
            for each in order.allocations
            if each.location is not None
        ]
        if found:
            each = found[seed % len(found)]
            at = strays or each.location
            self.claimed[each.sku, at] += units
            fields = {"lines": [(each.sku, units)], "location": at, "allocation_id": each.id}
            self.leave(lambda: self.shop.claim(**fields))

    @rule(seed=seeds, sku=skus, units=few, store=stores)
    def bring_back(self, seed, sku, units, store):
        """Bring units back on an order, perhaps more than left."""
        orders = self.shop.book.orders.values()
        left = [each.id for each in orders if any(part.handed for part in each.allocations)]
        if orders := left or [each.id for each in orders]:
            fields = {"lines": [(sku, units)], "location": store}
            self.shop.claim("return", order_id=orders[seed % len(orders)], **fields)
            self.brought_back[sku, store] += units

    # ---- what happens by itself ----

    @rule(sku=skus, store=stores, units=st.integers(-3, 3))
    def change(self, sku, store, units):
        """Bring units to a shelf, or let them vanish."""
        self.base[sku, store] += units
        self.shop.stock.put(sku, store, units)
        self.shortfalls.see([(sku, store)], self.shop.now_us)

    @rule()
    def settle(self):
        """Let what is short move, and those who wait have what came."""
        short = sum(self.shop.stock.shortfall(*cell) for cell in self.base)
        self.shortfalls.settle(self.shop.now_us, self.shop.now_us)
        assert sum(self.shop.stock.shortfall(*cell) for cell in self.base) <= short
        backorders.settle(self.shop.desk, SKUS, self.shop.now_us)

    @rule(days=st.integers(0, 4))
    def wait(self, days):
        """Let time pass, and what is due expire."""
        self.shop.now_us += days * DAY_US + SECOND_US
        upkeep.due(self.shop.desk, self.shop.now_us)

    @rule(count=few)
    def land(self, count):
        """Let supply apply some movements: what was promised stays promised, no more, no less."""
        coming = [each for each in self.shop.ledger()[:count] if each["type"] == "return"]
        back = Counter()
        for event in coming:
            for line in event["lines"]:
                back[line["sku"], event["location"]] += line["quantity"]
        before = self.available()
        self.shop.land(count)
        for cell, available in self.available().items():
            assert available <= before[cell] + back[cell]

    @rule()
    @precondition(lambda self: self.shop.book.orders)
    def fail_to_commit(self):
        """Undo all since the last commit."""
        self.shop.commit()
        numbers = self.shop.stock.numbers()
        orders = dict(self.shop.book.orders)
        claimed, base = self.claimed.copy(), self.base.copy()
        on_hand = dict(self.shop.stock.on_hand)
        for seed in range(5):
            self.step(seed)
            self.sell(seed, 1, None)
        self.settle()
        self.wait(1)
        self.shop.book.rollback()
        self.shortfalls.forget()
        self.claimed, self.base = claimed, base
        assert self.shop.stock.numbers() == numbers
        assert self.shop.book.orders == orders
        assert self.shop.stock.on_hand == on_hand

    # ---- what always holds ----

    @invariant()
    def books_agree(self):
        """Hold in the demand table what the book says, and in every order what was ordered."""
        self.shop.check()

    @invariant()
    def every_unit_is_somewhere(self):
        """Have on the shelves, once all is applied, what was there less what left them."""
        on_hand = Counter(self.shop.stock.on_hand)
        for event in self.shop.ledger():
            for line in event["lines"]:
                units = line.get("delta") or line["quantity"]
                sign = -1 if event["type"] == "sale" else 1
                on_hand[line["sku"], event["location"]] += sign * units
        expected = Counter(self.base)
        for order in self.shop.book.orders.values():
            for each in order.allocations:
                cell = (each.sku, each.location)
                expected[cell] -= each.handed + each.short - each.told_by_till
        for cell in self.base:
            gone = self.claimed[cell] - self.brought_back[cell]
            assert on_hand[cell] == expected[cell] - gone, cell

    # ---- within ----

    def ask(self, act):
        """Do something; when it is refused, nothing has changed."""
        before = self.shop.stock.numbers(), dict(self.shop.book.orders), len(self.shop.ledger())
        try:
            act()
        except Refusal:
            after = self.shop.stock.numbers(), dict(self.shop.book.orders), len(self.shop.ledger())
            assert after == before

    def leave(self, act):
        """Hand units over: what is available anywhere does not rise."""
        before = self.available()
        self.ask(act)
        for cell, available in self.available().items():
            assert available <= before[cell]

    def available(self):
        """Return what can be promised of every cell."""
        return {cell: self.shop.available(*cell) for cell in self.base}

    def task(self, seed, statuses):
        """Choose a task in one of some statuses."""
        found = [
            task.id
            for order in self.shop.book.orders.values()
            for task in order.tasks
            if task.status in statuses
        ]
        return found[seed % len(found)] if found else None

    def line(self, task, seed):
        """Choose a line of a task."""
        lines = [each.line for each in self.shop.of(task).of_task(task)]
        return lines[seed % len(lines)]


TestFulfilment = Fulfilment.TestCase
TestFulfilment.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@given(
    units=st.integers(1, 6),
    app=st.lists(few, max_size=3),
    till=st.lists(few, max_size=3),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_app_and_till_commute(units, app, till, seed):
    """In any order and any parts, the larger of what each has told has left, and once."""
    ends = set()
    for _ in range(2):
        shop = Shop({("a", "near"): 6})
        order_id = shop.order(("a", units), pickup="near")
        allocation_id = shop.of(order_id).allocations[0].id
        task_id = shop.task(order_id)
        shop.walk(task_id, "pick", "ready")
        told = [("app", count) for count in app] + [("till", count) for count in till]
        seed.shuffle(told)
        # The app is never asked to tell more than there is, whoever was first.
        left = units
        for who, count in told:
            if who == "till":
                shop.claim(lines=[("a", count)], allocation_id=allocation_id)
            elif left:
                shop.step("collect", task_id, lines=units_of(("1", min(count, left))))
                left -= min(count, left)
        each = shop.of(order_id).allocations[0]
        moved = sum(line["quantity"] for event in shop.ledger() for line in event["lines"])
        reserved = sum(part[2] for event in shop.book.handovers for part in event.reserved)
        ends.add((each.handed, each.told_by_app, each.told_by_till, moved, reserved))
        told_by_app, told_by_till = min(units, sum(app)), min(units, sum(till))
        handed = max(told_by_app, told_by_till)
        plain = sum(till) - told_by_till
        assert ends == {(handed, told_by_app, told_by_till, handed + plain, handed)}
        shop.check()
