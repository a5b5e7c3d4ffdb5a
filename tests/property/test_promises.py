"""Random holds, orders, cancellations and stock: what is promised always adds up."""

from hypothesis import given, settings
from hypothesis import strategies as st

from onhand.model.commands import (
    CancelledLine,
    CancelOrder,
    Fulfilment,
    HoldLine,
    OrderLine,
    OrderPolicy,
    PlaceHold,
    PlaceOrder,
)
from onhand.orders import backorders
from onhand.orders.book import backordered_by
from onhand.orders.refusal import Refusal
from tests.orders_shop import DAY_US, HERE, SECOND_US, START_US, Shop

SKUS = ("a", "b")
STORES = ("near", "mid", "far")
TODAY = START_US // DAY_US

units = st.integers(1, 6)
skus = st.sampled_from(SKUS)
stores = st.sampled_from(STORES)
order_lines = st.lists(st.tuples(skus, units), min_size=1, max_size=3)
policies = st.builds(
    OrderPolicy,
    allow_split=st.booleans(),
    allow_partial=st.booleans(),
    allow_backorder=st.booleans(),
)
where = st.one_of(
    st.fixed_dictionaries({"location": stores}),
    st.fixed_dictionaries({"group": st.sampled_from(("all", "west"))}),
)
steps = st.one_of(
    st.tuples(st.just("hold"), st.lists(st.tuples(skus, units, where), min_size=1, max_size=3)),
    st.tuples(st.just("order"), order_lines, st.none() | stores, policies, st.none()),
    st.tuples(st.just("order"), order_lines, st.none() | stores, policies, st.integers(0, 9)),
    st.tuples(st.just("cancel"), st.integers(0, 9), st.none()),
    st.tuples(st.just("cancel"), st.integers(0, 9), units),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("put"), skus, stores, st.integers(-4, 8)),
    st.tuples(st.just("expect"), skus, stores, st.integers(0, 3), units),
    st.tuples(st.just("fill"), skus),
    st.tuples(st.just("commit")),
    st.tuples(st.just("undo")),
)


class Trial:
    """A shop, and steps on it by name; a refused one must leave everything as it was."""

    def __init__(self):
        self.shop = Shop({("a", "near"): 4, ("a", "mid"): 4, ("b", "mid"): 5, ("b", "far"): 3})
        self.holds, self.orders = [], []
        self.committed = self.state()

    def take(self, step):
        """Take a step and check what it has promised."""
        shop, before = self.shop, self.state()
        promisable, to_order = self.promisable(), self.to_order()
        shop.now_us += SECOND_US
        try:
            getattr(self, step[0])(*step[1:])
        except Refusal:
            assert self.state() == before
        shop.check()
        self.check_backorders()
        if step[0] not in ("put", "undo"):
            # No decision promises what is not there; what was short before may stay so.
            for cell, now in self.promisable().items():
                assert now >= min(0, promisable[cell]), (step, cell)
        if step[0] not in ("put", "undo", "expect"):
            for cell, now in self.to_order().items():
                assert now >= min(0, to_order[cell]), (step, cell)

    # ---- steps ----

    def hold(self, lines):
        lines = tuple(HoldLine(sku=sku, quantity=n, **at) for sku, n, at in lines)
        body = PlaceHold(lines=lines, ttl_s=14_400)
        self.holds.append(self.shop.do("place_hold", body=body)["id"])

    def order(self, lines, pickup, policy, hold):
        fulfilment = Fulfilment(method="ship", destination=HERE)
        if pickup is not None:
            fulfilment = Fulfilment(method="pickup", location=pickup)
        hold_id = self.holds[hold] if hold is not None and hold < len(self.holds) else None
        body = PlaceOrder(
            lines=tuple(OrderLine(sku=sku, quantity=n) for sku, n in lines),
            fulfilment=fulfilment,
            policy=policy,
            hold_id=hold_id,
        )
        before = dict(self.shop.stock.reserved)
        held = self.shop.book.holds.get(hold_id)
        self.shop.stock.watch()
        view = self.shop.do("place_order", body=body)
        self.check_never_freed(held, view["id"], before)
        self.orders.append(view["id"])
        self.check_order(view["id"], policy)

    def cancel(self, index, quantity):
        if index < len(self.orders):
            body = CancelOrder()
            if quantity is not None:
                body = CancelOrder(lines=(CancelledLine(id="1", quantity=quantity),))
            self.shop.do("cancel_order", self.orders[index], body)

    def release(self, index):
        if index < len(self.holds):
            self.shop.do("release_hold", self.holds[index])

    def put(self, sku, store, count):
        self.shop.stock.put(sku, store, count)

    def expect(self, sku, store, days, count):
        self.shop.stock.expect(sku, store, TODAY + days, count)

    def fill(self, sku):
        backorders.fill(self.shop.desk, sku, self.shop.now_us)

    def commit(self):
        self.shop.commit()
        self.committed = self.state()

    def undo(self):
        """Let a commit fail: everything since the last one is as it was."""
        self.shop.book.rollback()
        assert self.state() == self.committed
        self.orders = [each for each in self.orders if each in self.shop.book.orders]
        self.holds = [each for each in self.holds if each in self.shop.book.holds]

    # ---- what must hold ----

    def check_order(self, order_id, policy):
        order = self.shop.of(order_id)
        placed = [each for each in order.allocations if each.stage != "backordered"]
        waiting = [each for each in order.allocations if each.stage == "backordered"]
        assert not waiting or policy.allow_backorder
        assert {each.task for each in placed} == {task.id for task in order.tasks}
        assert len({task.location for task in order.tasks}) == len(order.tasks)
        if not policy.allow_split:
            assert len({each.location for each in order.allocations}) == 1
        for line in order.lines:
            given = sum(each.quantity for each in order.of_line(line.id))
            assert given == line.quantity or (policy.allow_partial and given < line.quantity)

    def check_never_freed(self, hold, order_id, before):
        """Between hold and order no unit that the order keeps was free for a moment."""
        if hold is None:
            return
        kept = {}
        for each in self.shop.of(order_id).allocations:
            cell = (each.sku, each.location)
            kept[cell] = kept.get(cell, 0) + each.reserved
        for line in hold.lines:
            cell = (line.sku, line.location)
            held = sum(each.quantity for each in hold.lines if (each.sku, each.location) == cell)
            others = before[cell] - held
            assert self.shop.stock.lowest[cell] >= others + min(held, kept.get(cell, 0))

    def check_backorders(self):
        expected = {}
        for order in self.shop.book.orders.values():
            for key, count in backordered_by(order).items():
                expected[key] = expected.get(key, 0) + count
        assert self.shop.stock.numbers()[1] == expected
        waiting = {
            each.sku
            for order in self.shop.book.orders.values()
            for each in order.allocations
            if each.stage == "backordered" and each.open
        }
        assert set(self.shop.book.backordered) == waiting
        assert {sku for sku in SKUS if self.shop.book.waiting.places(sku)} == waiting

    def promisable(self):
        return {
            (sku, store): self.shop.stock.promisable(sku, store) for sku in SKUS for store in STORES
        }

    def to_order(self):
        return {
            (sku, store): min(n for _, n in self.shop.stock.to_order(sku, store, self.shop.now_us))
            for sku in SKUS
            for store in STORES
        }

    def state(self):
        """Copy all that a decision may change."""
        book = self.shop.book
        return (
            self.shop.stock.numbers(),
            {order_id: order.copy() for order_id, order in book.orders.items()},
            dict(book.holds),
            {cell: set(ids) for cell, ids in book.held.items()},
            {cell: set(ids) for cell, ids in book.allocated.items()},
            {sku: set(ids) for sku, ids in book.backordered.items()},
            {sku: set(book.waiting.places(sku)) for sku in SKUS},
            {name: book.workload.count(name, 0, 1 << 62) for name in STORES},
            book.last_sequence,
        )


@settings(max_examples=150)
@given(st.lists(steps, max_size=25))
def test_what_is_promised_adds_up(drawn):
    """After every step: the tables are those of the book, nothing is oversold, undoing undoes."""
    trial = Trial()
    for step in drawn:
        trial.take(step)
    trial.undo()


@settings(max_examples=50)
@given(st.lists(steps, max_size=25), st.randoms(use_true_random=False))
def test_a_book_is_found_again_in_the_ledger(drawn, random):
    """Filled from the open orders and holds in any order, it promises and serves the same."""
    trial = Trial()
    for step in drawn:
        trial.take(step)
    trial.commit()
    old = trial.shop
    again = Shop({})
    again.stock.on_hand = dict(old.stock.on_hand)
    again.stock.incoming = dict(old.stock.incoming)
    again.stock.skus, again.stock.named = set(old.stock.skus), set(old.stock.named)
    orders = [order.copy() for order in old.book.orders.values()]
    random.shuffle(orders)
    again.book.load(list(old.book.holds.values()), orders, [])
    assert again.stock.numbers() == old.stock.numbers()
    for sku in SKUS:
        old.stock.put(sku, "near", 3)
        again.stock.put(sku, "near", 3)
        filled = backorders.fill(old.desk, sku, old.now_us)
        assert backorders.fill(again.desk, sku, old.now_us) == filled
    again.check()


@given(st.lists(steps, max_size=15))
def test_the_same_steps_end_in_the_same_book(drawn):
    """Nothing but the steps decides: not time, not chance, not the order of a set."""
    trials = [Trial(), Trial()]
    for step in drawn:
        for trial in trials:
            trial.take(step)
    first, second = (trial.shop.book.changed() for trial in trials)
    assert first == second
