"""Whatever customers, associates, tills, time, supply and a failing database do, in any order.

The order writer's own parts run on a real ledger and on real tables; the naive model sums up what
the ledger's documents say. After every step both agree: what is reserved is what the documents
promise and supply has not taken off the shelf yet, nothing is promised that was not there, what
was answered stays so, and a writer that is killed anywhere is found again in its ledger.
"""

import contextlib
import itertools
import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from onhand.errors import WriterFenced
from onhand.ledger import open_ledger
from onhand.metrics import Page
from onhand.model.commands import (
    CancelledLine,
    CancelOrder,
    CollectTask,
    ExtendHold,
    Fulfilment,
    HoldLine,
    OrderLine,
    OrderPolicy,
    PackTask,
    PickTask,
    PlaceHold,
    PlaceOrder,
    ReadyTask,
    RejectTask,
    ShipTask,
)
from onhand.orders import claims
from onhand.orders.desk import SYSTEM, Actor
from onhand.orders.engine import Asked
from onhand.orders.shortfalls import LOOK_AGAIN_US
from onhand.settings import Settings
from onhand.writer.claims_feed import key_of
from onhand.writer.deciding import CLAIM
from tests.orders_model import CELLS, NEXT, Snapshot, open_units
from tests.orders_rig import PLACES, SKUS, Ask, Rig
from tests.orders_shop import DAY_US, HERE, SECOND_US, short_of, units_of

SHARDS = ((0, 1), (0,), (1,), ())
FAULTS = ("refused", "lost", "answer_lost", "killed_before", "killed_after", "unreadable")
HOURS_US = 15_000 * SECOND_US
"""Longer than a hold lives, and than supply may be silent."""

ANSWERS_KEPT_US = 6 * DAY_US
"""Answers are kept for seven days, and a step may take one."""

RESOURCE_MAX = Settings().resource_max
PROMISING = ("place_hold", "place_order")
HANDING_OVER = ("collect_task", "ship_task", CLAIM)

few = st.integers(1, 4)
skus = st.sampled_from(SKUS)
places = st.sampled_from(PLACES)
seeds = st.integers(0, 1_000)
long_ago = st.sampled_from((0, 0, 0, 30, 4_000))
"""Seconds that an event needs to reach the log."""

faults = st.sampled_from(
    [(None, 0)] * 8
    + [(fault, 0) for fault in FAULTS]
    + [("lost", 2), ("answer_lost", 12), ("full", 0), ("full", 1)]
)
"""What happens to a commit, and how often the database cannot be reached after it; or that the
demand table is full, after so many new cells."""

later = st.sampled_from((False, False, False, True))
"""Whether a command waits for the next one, and shares its turn and its commit."""

where = st.one_of(
    places.map(lambda name: {"location": name}),
    st.sampled_from(("all", "west")).map(lambda name: {"group": name}),
)
policies = st.builds(
    OrderPolicy,
    allow_split=st.booleans(),
    allow_partial=st.booleans(),
    allow_backorder=st.booleans(),
)


def acts(**parameters):
    """Draw one of some methods of the machine, with its arguments."""
    drawn = [
        st.tuples(st.just(name), st.fixed_dictionaries(each)) for name, each in parameters.items()
    ]
    return st.one_of(drawn)


HOLDING = acts(
    hold={
        "lines": st.lists(st.tuples(skus, st.integers(1, 7), where), min_size=1, max_size=3),
        "ttl_s": st.sampled_from((60, 14_400)),
    },
    extend={"seed": seeds, "ttl_s": st.sampled_from((1, 600))},
    release={"seed": seeds},
)
BUYING = acts(
    order={
        "lines": st.lists(st.tuples(skus, few), min_size=1, max_size=3),
        "pickup": st.none() | places,
        "policy": policies,
        "hold": st.none() | seeds,
        "again": st.sampled_from((False, False, False, False, True)),
    },
    buy={"sku": skus, "units": st.sampled_from((1, 2, 6, 9)), "pickup": st.none() | places},
    cancel={"seed": seeds, "units": st.none() | few},
)
WORKING = acts(
    walk={"seed": seeds, "count": few},
    pick={"seed": seeds, "picked": st.integers(0, 3), "short": st.integers(0, 2)},
    hand_over={"seed": seeds, "units": few},
    reject={"seed": seeds},
    stumble={
        "seed": seeds,
        "name": st.sampled_from(("pick", "pack", "ready", "ship", "collect", "reject")),
    },
    mistake_the_code={"seed": seeds, "elsewhere": st.booleans()},
)
TELLING = acts(
    sell={"seed": seeds, "units": few, "strays": st.none() | places},
    bring_back={
        "seed": seeds,
        "units": few,
        "place": places,
        "disposition": st.sampled_from(("sellable", "inspect", "damaged")),
    },
)
lost_or_found = {"sku": skus, "place": places, "units": st.integers(1, 7), "ago_s": long_ago}
MOVING = acts(
    arrive=lost_or_found,
    vanish=lost_or_found,
    count={"sku": skus, "place": places, "units": st.integers(0, 8), "ago_s": long_ago},
    expect={"sku": skus, "place": places, "units": st.integers(0, 6), "days": st.integers(0, 5)},
    lose={"seed": seeds},
)
PASSING = acts(
    apply={"shards": st.sampled_from(SHARDS[:3]), "count": st.none() | few, "busy": st.booleans()},
    send={"count": st.none() | few, "kept": st.none() | st.integers(0, 1)},
    wait={"us": st.sampled_from((1, SECOND_US, 60 * SECOND_US, HOURS_US, DAY_US, 4 * DAY_US))},
    fail_alone={"fault": faults},
    come_to_rest={"is_closed": st.sampled_from((False, False, False, False, False, True))},
    keep_safe={"place": places, "units": st.integers(-2, 2)},
    close_a_place={
        "place": places,
        "fields": st.sampled_from(({}, {}, {}, {"enabled": False}, {"ship": False})),
    },
)
BREAKING = acts(
    kill={},
    overtake={},
    restart_ingest={},
    ask_again={"seed": seeds},
    ask_in_doubt={},
)


class Orders(RuleBasedStateMachine):
    """All that anybody can ask of an order writer, and all that can happen to it meanwhile."""

    def __init__(self, world):
        super().__init__()
        self.rig = world()
        self.numbers = itertools.count(1)
        self.queue = []
        self.asked = []
        """Commands that were answered for good: (when, command, the answer's JSON)."""
        self.doubt = []
        """Commands that nobody has answered: they are asked again under their keys."""
        self.claims = {}
        self.hold_ids = []
        self.order_ids = []
        self.purchase_orders = []
        self.is_busy = False

    def teardown(self):
        try:
            if sys.exc_info()[0] is None:
                self.end()
        finally:
            self.rig.close()

    def end(self):
        """Come to rest, let all expire, start again, and let everybody go home."""
        self.come_to_rest(is_closed=False)
        self.wait(4 * DAY_US)
        self.come_to_rest(is_closed=False)
        self.kill()
        self.go_home()
        self.everything_agrees()

    @initialize(units=st.lists(st.integers(1, 6), min_size=6, max_size=6), coming=st.booleans())
    def open(self, units, coming):
        """Fill the shelves; perhaps more is on its way."""
        for (sku, place), count in zip(CELLS, units, strict=True):
            self.event("receipt", sku, place, quantity=count)
            if coming:
                self.expect(sku, place, units=count * 2, days=count)
        self.apply_all()
        self.now = self.see()

    @rule(act=HOLDING, later=later, fault=faults)
    def holding(self, act, later, fault):
        """Fill a cart, or empty it."""
        self.do(act, later, fault)

    @rule(act=BUYING, later=later, fault=faults)
    def buying(self, act, later, fault):
        """Order, or cancel."""
        self.do(act, later, fault)

    @rule(act=WORKING, later=later, fault=faults)
    def working(self, act, later, fault):
        """Take a step of a task, or a few."""
        self.do(act, later, fault)

    @rule(act=TELLING, later=later, fault=faults)
    def telling(self, act, later, fault):
        """Let a till tell of something promised."""
        self.do(act, later, fault)

    @rule(
        acts=st.lists(MOVING, min_size=1, max_size=3), shards=st.sampled_from(SHARDS), fault=faults
    )
    def moving(self, acts, shards, fault):
        """Write events of stock into the log; supply applies them at once, or later.

        What follows from it by itself may fail at first.
        """
        for name, fields in acts:
            getattr(self, name)(**fields)
        if shards:
            self.rest()
            for shard in shards:
                self.rig.supply.apply(shard)
            self.is_busy = True
        if fault[0]:
            self.fail_alone(fault)

    @rule(act=PASSING)
    def passing(self, act):
        """Let supply, time and operators go on."""
        getattr(self, act[0])(**act[1])

    @rule(act=BREAKING)
    def breaking(self, act):
        """Let something fail."""
        getattr(self, act[0])(**act[1])

    def do(self, act, later, fault):
        """Ask for something; its commit may fail, and it may wait for what is asked next."""
        name, fields = act
        getattr(self, name)(later=True, **fields)
        if not later:
            self.flush(fault)

    def bring(self, fault):
        """Let something happen to the next turn."""
        kind, number = fault
        if kind == "full":
            self.rig.faults.room = number
        else:
            self.rig.faults.next, self.rig.faults.down = kind, number

    # ---- what customers do ----

    def hold(self, lines, ttl_s, later):
        """Hold units at places and in groups."""
        lines = tuple(HoldLine(sku=sku, quantity=units, **at) for sku, units, at in lines)
        self.ask("place_hold", PlaceHold(lines=lines, ttl_s=ttl_s), later=later)

    def extend(self, seed, ttl_s, later):
        """Let a hold, open or closed, end later or sooner."""
        self.some_hold()
        self.ask("extend_hold", ExtendHold(ttl_s=ttl_s), chosen(self.hold_ids, seed), later=later)

    def release(self, seed, later):
        """Give a hold up, perhaps once more."""
        self.some_hold()
        self.ask("release_hold", None, chosen(self.hold_ids, seed), later=later)

    def order(self, lines, *, pickup, policy, hold, again, later):
        """Order lines, from a hold or not; now and then under an id that is taken."""
        hold_id = chosen(self.hold_ids, hold) if hold is not None and self.hold_ids else None
        if hold_id is not None and hold % 3:
            # What the hold holds, so that many orders of holds succeed.
            held = self.see().ledger.holds.get(hold_id, {"lines": []})
            lines = [(each["sku"], each["quantity"]) for each in held["lines"]] or lines
        order_id = f"o{next(self.numbers)}"
        if again and self.order_ids:
            order_id = chosen(self.order_ids, len(lines))
        body = PlaceOrder(
            id=order_id,
            hold_id=hold_id,
            lines=tuple(OrderLine(sku=sku, quantity=units) for sku, units in lines),
            fulfilment=Fulfilment(method="ship", destination=HERE)
            if pickup is None
            else Fulfilment(method="pickup", location=pickup),
            policy=policy,
        )
        self.ask("place_order", body, later=later)

    def buy(self, sku, units, pickup, later):
        """Order some units of one SKU; what is not there may wait."""
        order = {"lines": [(sku, units)], "hold": None, "again": False}
        self.order(pickup=pickup, policy=OrderPolicy(allow_backorder=True), later=later, **order)

    def some_hold(self):
        """Have a hold, if one can be had."""
        if not self.hold_ids:
            self.hold([("a", 1, {"group": "all"})], 14_400, later=False)
        self.hold_ids = self.hold_ids or ["nobody"]

    def some_order(self):
        """Have an order, if one can be had."""
        if not self.order_ids:
            self.buy("a", 2, None, later=False)

    def cancel(self, seed, units, later):
        """Cancel what has not left, or units of the first line."""
        self.some_order()
        body = CancelOrder()
        if units is not None:
            body = CancelOrder(lines=(CancelledLine(id="1", quantity=units),))
        self.ask("cancel_order", body, chosen(self.order_ids or ["nobody"], seed), later=later)

    # ---- what associates do ----

    def walk(self, seed, count, later):
        """Take the next steps of a task, with everything; nobody refuses them."""
        if task := self.reach(seed, "open", "picked", "packed", "ready"):
            for _ in range(count):
                self.step(task, later=False)
                self.now = self.see()
                known = [each for each in self.now.ledger.tasks_in() if each["id"] == task["id"]]
                if not known or known[0]["status"] in ("done", "cancelled", "rejected"):
                    return
                task = known[0]
            self.step(task, later=later)

    def step(self, task, later):
        order = self.now.ledger.order_of(task["id"])
        name = NEXT[order["method"]][task["status"]]
        self.take(task, name, later=later, must_succeed=not self.queue)

    def reach(self, seed, *statuses):
        """Find a task in one of some statuses; with none, work on one until it is."""
        self.now = self.see()
        if not self.now.ledger.tasks_in("open", "picked", "packed", "ready"):
            pickup = chosen(PLACES if statuses == ("ready",) else (None, *PLACES), seed)
            self.buy(chosen(SKUS, seed), 2, pickup, later=False)
        for _ in range(4):
            self.now = self.see()
            if task := self.task(seed, *statuses):
                return task
            if task := self.task(seed, "open", "picked", "packed", "ready"):
                self.step(task, later=False)
        return None

    def pick(self, seed, picked, short, later):
        """Pick some units, and do not find others."""
        if task := self.reach(seed, "open"):
            line = self.line(task, seed)
            fields = {
                "picked": units_of((line, picked)) if picked else (),
                "short": short_of((line, short)) if short else (),
            }
            self.take(task, "pick", later=later, **fields)

    def hand_over(self, seed, units, later):
        """Hand some units over, perhaps once more, or more than there are."""
        if task := self.reach(seed, "packed", "ready", "done"):
            name = "ship" if self.now.ledger.order_of(task["id"])["method"] == "ship" else "collect"
            lines = units_of((self.line(task, seed), units))
            self.take(task, name, later=later, lines=lines)

    def reject(self, seed, later):
        """Refuse a task."""
        if task := self.reach(seed, "open"):
            self.take(task, "reject", later=later)

    def stumble(self, seed, name, later):
        """Ask for any step of any task: out of turn it is refused."""
        if task := self.task(seed):
            self.take(task, name, later=later)

    def mistake_the_code(self, seed, elsewhere, later):
        """Come for a pickup with another's code, or to another store's counter."""
        if task := self.reach(seed, "ready"):
            order = self.now.ledger.order_of(task["id"])
            if elsewhere:
                fields = {"actor": Actor("elsewhere", frozenset({"nowhere"}))}
            else:
                fields = {"pickup_code": f"{(int(order['pickup_code']) + 1) % 1_000_000:06}"}
            code = "wrong_location" if elsewhere else "wrong_pickup_code"
            is_sure = not self.queue
            self.take(task, "collect", later=later, must_fail=code if is_sure else None, **fields)

    # ---- what tills do ----

    def sell(self, seed, units, strays, later):
        """Sell units of an allocation, also of a closed one, here or elsewhere, or of none."""
        self.some_order()
        self.now = self.see()
        found = self.now.ledger.allocations()
        if found and seed % 5:
            each = chosen(found, seed)
            about = {"allocation_id": each["id"]}
            stray = strays if seed % 3 == 0 else None
            at, sku = stray or each["location"] or "near", each["sku"]
        else:
            at, sku = strays or "near", chosen(SKUS, seed)
            about = {"allocation_id": "nobody.a1"}
        lines = [{"sku": sku, "quantity": units}]
        if seed % 4 == 0:
            lines.append({"sku": chosen(SKUS, seed + 1), "quantity": 1})
        self.claim({"type": "sale", "location": at, "lines": lines, **about}, later=later)

    def bring_back(self, seed, units, place, disposition, later):
        """Bring units back on an order, perhaps more than have left, or on none."""
        self.now = self.see()
        orders = self.now.ledger.orders.values()
        left = [each["id"] for each in orders if any(p["handed"] for p in each["allocations"])]
        order_id = chosen(left or ["nobody"], seed)
        lines = [{"sku": chosen(SKUS, seed), "quantity": units}]
        event = {"type": "return", "location": place, "lines": lines, "order_id": order_id}
        self.claim(event | {"disposition": disposition}, later=later)

    # ---- what happens on the shelves ----

    def arrive(self, sku, place, units, ago_s):
        """Receive units, perhaps on a purchase order."""
        more = {}
        if self.purchase_orders and units % 2:
            sku, place, number = chosen(self.purchase_orders, units)
            more = {"purchase_order": number}
        self.event("receipt", sku, place, ago_s=ago_s, quantity=units, **more)

    def vanish(self, sku, place, units, ago_s):
        """Sell at a till, or lose, units that may be promised to somebody."""
        if units % 2:
            self.event("sale", sku, place, ago_s=ago_s, quantity=units)
        else:
            self.event("adjustment", sku, place, ago_s=ago_s, delta=-units, reason="broken")

    def lose(self, seed):
        """Find an empty shelf where units are promised."""
        self.now = self.see()
        if promised := [cell for cell in CELLS if self.now.reserved.get(cell)]:
            self.event("count", *chosen(promised, seed), quantity=0)

    def count(self, sku, place, units, ago_s):
        """Count a shelf: fewer or more than anybody thought."""
        self.event("count", sku, place, ago_s=ago_s, quantity=units)

    def expect(self, sku, place, units, days):
        """Announce units for a day, or other numbers of those announced."""
        number = f"po-{next(self.numbers)}"
        if self.purchase_orders and units % 2:
            sku, place, number = chosen(self.purchase_orders, units)
        elif len(self.purchase_orders) < 5:
            self.purchase_orders.append((sku, place, number))
        today = datetime.fromtimestamp(self.rig.time.now_us / 1e6, UTC).date()
        more = {"expected_on": f"{today + timedelta(days=days)}", "purchase_order": number}
        self.event("expected", sku, place, quantity=units, **more)

    def apply(self, shards, count, busy):
        """Let shards apply what is in the log, or some of it."""
        self.rest()
        before = self.see()
        for shard in shards:
            self.rig.supply.apply(shard, count)
        self.check_landing(before)
        self.is_busy = busy

    def send(self, count, kept):
        """Send movements to supply, once more after a restart; perhaps write a checkpoint of it."""
        self.rig.send(count)
        if kept is not None:
            self.rig.supply.write_checkpoint(kept)

    def restart_ingest(self):
        """Kill ingest: it comes back as far as it was."""
        self.rig.supply.restart()
        self.is_busy = True

    # ---- what operators do, and time ----

    def keep_safe(self, place, units):
        """Say how much of a place is never promised, or promised beyond what is there."""
        rules = [{"location": place, "quantity": units}] if units else []
        self.rig.change_setup(lambda store: store.replace_safety_stock(rules))
        self.is_busy = True

    def close_a_place(self, place, fields):
        """Close a place to orders or shipments, or open it again."""
        known = self.rig.setup.locations[place]
        changed = {"enabled": True, "ship": True} | fields
        location = type(known)(
            **{name: getattr(known, name) for name in known.__struct_fields__} | changed
        )
        self.rig.change_setup(lambda store: store.put_location(location))
        self.is_busy = True

    def wait(self, us):
        """Let time pass; what is due by itself shares the turn of what is asked next."""
        if us >= DAY_US:
            # Answers are not kept for ever.
            self.flush()
            self.resolve()
        self.rig.time.advance(us)
        self.is_busy = True

    def fail_alone(self, fault):
        """Let a turn come in which nobody asks for anything; its commit may fail."""
        self.bring(fault)
        self.rest()
        self.is_busy = fault[0] is not None

    def rest(self):
        """Let a turn come in which nobody asks for anything."""
        before = self.see()
        self.rig.turn()
        self.is_busy = False
        self.check_promised(before, self.see())

    # ---- what breaks ----

    def kill(self):
        """Kill the writer between two turns: the next one has the same book."""
        self.rest()
        before, told = contents(self.rig.book), self.see()
        self.rig.reopen()
        check_same(self.rig.book, before)
        assert self.see().state() == told.state()
        self.is_busy = True

    def overtake(self):
        """Let another writer take over: the old one can decide nothing any more."""
        self.rest()
        before, told = contents(self.rig.book), self.see()
        opened, intake, turns = self.rig.overtaken()
        check_same(self.rig.book, before)
        late = Ask(Asked(what="release_hold", target="nobody"), b"overtaken" * 2)
        intake.put([late.waiting()])
        with pytest.raises(WriterFenced):
            turns.run()
        assert late.answer is None
        opened.store.close()
        opened.stock.demand.close()
        assert self.see().state() == told.state()
        self.is_busy = True

    def ask_again(self, seed):
        """Send a command once more under its key: the same answer, and nothing else happens."""
        if not self.asked:
            return
        asked_us, ask, document = chosen(self.asked, seed)
        if self.rig.time.now_us - asked_us < ANSWERS_KEPT_US:
            self.flush()
            # What the last commands have freed is given to those who wait a turn later.
            self.rest()
            before = self.see()
            self.rig.turn(ask)
            if ask.is_answered:
                assert (ask.outcome, ask.answer.document) == ("repeated", document)
            other = Ask(ask.asked, ask.key, b"another body" * 2)
            self.rig.turn(other)
            assert other.code == "idempotency_conflict" or not other.is_answered
            assert self.see().state() == before.state()

    def ask_in_doubt(self):
        """Ask again for all that was not answered: what was written is not written twice."""
        self.flush()
        self.resolve()

    def come_to_rest(self, is_closed):
        """Let everything be sent, applied and settled; then perhaps let everybody go home."""
        self.flush()
        self.resolve()
        self.settle_down()
        self.check_settled()
        if is_closed:
            self.go_home()

    # ---- what always holds ----

    @invariant()
    def everything_agrees(self):
        """Compare tables, book, documents and what everybody was told."""
        self.now = self.see()
        self.check_tables(self.now)
        self.now.ledger.check()
        self.now.ledger.check_movements(self.claims)
        self.check_memory(self.now.ledger)

    def check_tables(self, now):
        """Assert that tables and book say what the documents say, and readers see that."""
        reserved = now.ledger.reserved(now.sequence)
        assert now.reserved == reserved
        assert self.rig.book.reserved() == reserved
        assert now.backorders == now.ledger.backorders()
        assert self.rig.book.in_flight == now.ledger.flying(now.sequence)
        self.check_indexes(now)
        reader = self.rig.reader()
        for cell in CELLS:
            if reader.knows_sku(cell[0]):
                answer = reader.read(cell[0], f"location:{cell[1]}", self.rig.time.now_us)
                assert answer.available == now.available(cell), cell
                assert answer.shortfall == now.shortfall(cell), cell
                assert answer.on_hand == now.on_hand.get(cell, 0), cell

    def check_memory(self, ledger):
        """Assert that every hold and order that anybody was told of is there, and no other."""
        unsure = [*self.doubt, *self.queue]
        places_order = {ask.asked.body.id for ask in unsure if ask.asked.what == "place_order"}
        assert set(self.order_ids) <= ledger.orders.keys()
        assert ledger.orders.keys() - set(self.order_ids) <= places_order
        hold_ids = set(self.hold_ids) - {"nobody"}
        assert hold_ids <= ledger.holds.keys()
        unsure_holds = sum(ask.asked.what == "place_hold" for ask in unsure)
        assert len(ledger.holds.keys() - hold_ids) <= unsure_holds

    # ---- asking ----

    def ask(self, what, body, target="", *, actor=SYSTEM, key=None, later=False, **facts):
        """Let a command be decided, at once or with the next one, and judge what became of it."""
        key = key or f"key-{next(self.numbers):012}".encode()
        asked = Asked(what=what, body=body, target=target, actor=actor)
        ask = Ask(asked, key, facts=facts)
        self.queue.append(ask)
        if not later:
            self.flush()
        return ask

    def flush(self, fault=(None, 0)):
        """Let everything that waits share a turn, and what is due by itself if there is any."""
        asks, self.queue = self.queue, []
        if not asks:
            return
        is_quiet = not self.is_busy
        if is_quiet:
            self.rest()
        self.bring(fault)
        before, is_stale = self.see(), self.rig.is_stale()
        self.rig.turn(*asks)
        # A database that was away has let time pass.
        self.is_busy = fault[0] is not None
        after = self.see()
        self.check_promised(before, after)
        for ask in asks:
            self.remember(ask)
        if fault[0] is None:
            self.check_answers(asks, before, is_stale=is_stale)
        if is_quiet:
            self.check_effects(asks, before, after)
            if len(asks) == 1 and asks[0].is_answered and not is_stale:
                self.check_expected(asks[0], before)

    def remember(self, ask):
        """Note what a client knows now."""
        if not ask.is_answered:
            self.doubt.append(ask)
            return
        self.asked.append((self.rig.time.now_us, ask, ask.answer.document))
        if ask.answer.refused:
            return
        document = ask.document
        stored = self.see().ledger
        if ask.asked.what == "place_hold":
            self.hold_ids.append(document["id"])
            told = [(each["sku"], each["quantity"]) for each in document["lines"]]
            kept = stored.holds[document["id"]]["lines"]
            assert sorted(told) == sorted((each["sku"], each["quantity"]) for each in kept)
        if ask.asked.what == "place_order":
            self.order_ids.append(document["id"])

    def resolve(self):
        """Ask for everything in doubt, until all is answered."""
        for _ in range(3):
            asks, self.doubt = self.doubt, []
            for ask in asks:
                self.rest()
                before = self.see()
                self.rig.turn(ask)
                known = ask.key in before.ledger.answers
                if ask.is_answered:
                    assert (ask.outcome == "repeated") == known
                    if known:
                        assert ask.answer.document == before.ledger.answers[ask.key][2]
                        assert self.see().state() == before.state()
                self.remember(ask)
            if not self.doubt:
                return
            # Nothing is promised while supply is too old.
            self.apply_all()
        assert not self.doubt

    def take(self, task, name, *, actor=SYSTEM, later=False, **fields):
        """Ask for a step of a task."""
        sure = ("must_succeed", "must_fail")
        facts = {each: fields.pop(each) for each in sure if each in fields}
        bodies = {"pick": PickTask, "pack": PackTask, "ready": ReadyTask}
        bodies |= {"ship": ShipTask, "collect": CollectTask, "reject": RejectTask}
        if name == "ship":
            fields = {"carrier": "PostNL", "tracking_number": "3S1"} | fields
        if name == "reject":
            fields = {"reason": "no staff"} | fields
        if name == "collect":
            code = self.now.ledger.order_of(task["id"])["pickup_code"] or "000000"
            fields = {"pickup_code": code} | fields
        body = bodies[name](**fields)
        return self.ask(f"{name}_task", body, task["id"], actor=actor, later=later, **facts)

    def claim(self, event, *, later=False):
        """Let a till tell of something promised."""
        event = {
            "source": "till",
            "id": f"c-{next(self.numbers)}",
            "occurred_at": self.when(),
            **event,
        }
        claim = claims.parse(json.dumps(event).encode())
        self.claims[key_of(claim)] = event
        self.ask(CLAIM, claim, key=key_of(claim), later=later)

    def event(self, kind, sku, place, *, ago_s=0, **fields):
        """Write a stock event into the log."""
        self.rig.time.advance(1_000)
        plain = {"type": kind, "source": "wms", "id": f"e-{next(self.numbers)}"}
        when = {"occurred_at": self.when(ago_s)}
        self.rig.supply.append({**plain, **when, "sku": sku, "location": place, **fields})

    def when(self, ago_s=0):
        moment = datetime.fromtimestamp(self.rig.time.now_us / 1e6 - ago_s, UTC)
        return moment.isoformat(timespec="microseconds")

    def task(self, seed, *statuses):
        """Choose a task in one of some statuses, any when none is named."""
        tasks = self.now.ledger.tasks_in(*statuses)
        return chosen(tasks, seed) if tasks else None

    def line(self, task, seed):
        return chosen([each["line"] for each in self.now.ledger.of_task(task["id"])], seed)

    def see(self):
        return Snapshot(self.rig)

    def apply_all(self):
        self.rig.send()
        for shard in (0, 1):
            self.rig.supply.apply(shard)

    # ---- judging ----

    def check_promised(self, before, after):
        """Assert that no decision has promised what was not there when it was made."""
        sequence = after.sequence
        reserved = before.ledger.reserved(sequence)
        for cell in CELLS:
            could = after.promisable(cell, reserved)
            assert after.promisable(cell) >= min(0, could), cell
            if before.owed(cell[0]) <= after.owed(cell[0]):
                # Whoever came first may be given what a later one was promised from.
                could = after.to_order(cell, after.now_us, reserved, before.backorders)
                assert after.to_order(cell, after.now_us) >= min(0, could), cell

    def check_answers(self, asks, before, *, is_stale):
        """Assert that nothing but old stock numbers makes a decision fail."""
        for ask in asks:
            failed = ask.answer.failure
            assert failed == (is_stale and ask.asked.what in PROMISING), ask.answer.document
            if failed:
                assert ask.code == "supply_stale"
        del before

    def check_effects(self, asks, before, after):
        """Assert what commands of a kind never do."""
        if all(ask.answer is None or ask.answer.refused for ask in asks) and not any(
            ask.key in after.ledger.answers and not ask.is_answered for ask in asks
        ):
            assert after.state() == before.state()
        kinds = {ask.asked.what for ask in asks}
        if kinds <= {*HANDING_OVER, "pick_task", "pack_task", "ready_task"}:
            # What leaves, and what is found missing, stays reserved until supply has seen it.
            for cell in CELLS:
                assert after.available(cell) <= before.available(cell), cell
        if kinds <= set(HANDING_OVER):
            assert after.reserved == before.reserved

    def check_expected(self, ask, before):
        """Assert that what can be carried out is, and what cannot be is refused."""
        what, body = ask.asked.what, ask.asked.body
        if ask.facts.get("must_succeed"):
            assert not ask.answer.refused, ask.document
        if ask.facts.get("must_fail"):
            assert ask.code == ask.facts["must_fail"], ask.document
        if what == CLAIM and body.type == "sale":
            self.check_sale(body, before, self.see())
        if what == "place_hold" and len(body.lines) == 1:
            (line,) = body.lines
            self.check_hold(ask, line, before)
        if what == "place_order" and body.hold_id is None and body.id not in before.ledger.orders:
            self.check_order(ask, body, before)
        if what in ("collect_task", "ship_task") and not ask.answer.refused and body.lines:
            told = sum(line.quantity for line in body.lines)
            after = self.see().ledger
            by_app = [
                sum(each["told_by_app"] for each in ledger.of_task(ask.asked.target))
                for ledger in (before.ledger, after)
            ]
            assert by_app[1] - by_app[0] == told

    def check_sale(self, claim, before, after):
        """Assert that a till's sale counts once with what the app told, and moves the rest."""
        sold = Counter()
        for sku, quantity in claim.lines:
            sold[sku] += quantity
        left = sum(sold.values())
        for each in before.ledger.allocations():
            if each["id"] == claim.allocation_id and each["location"] in (None, claim.location):
                room = each["quantity"] - each["cancelled"] - each["expired"]
                counted = min(sold[each["sku"]], room - each["told_by_till"])
                told = each["told_by_till"] + counted
                (now,) = (e for e in after.ledger.allocations() if e["id"] == each["id"])
                assert now["told_by_till"] == told
                assert now["handed"] == max(told, each["told_by_app"])
                left += now["handed"] - each["handed"] - counted
        new = after.ledger.movements[len(before.ledger.movements) :]
        assert {event["type"] for _, event, _ in new} <= {"sale"}
        assert sum(line["quantity"] for _, event, _ in new for line in event["lines"]) == left

    def check_hold(self, ask, line, before):
        """Assert that a hold of one line is placed when there is enough, and only then."""
        if line.sku in before.ledger.waited_for():
            return
        if line.location is not None and not before.setup.locations[line.location].enabled:
            assert ask.answer.refused
            return
        members = [line.location] if line.location else before.members(line.group)
        there = sum(before.available((line.sku, place)) for place in members)
        known = line.sku in {sku for sku, _ in before.on_hand}
        if known:
            assert (ask.code is None) == (there >= line.quantity), (ask.document, there)
        if ask.code == "insufficient_stock":
            assert ask.document["lines"][0]["available"] == there

    def check_order(self, ask, body, before):
        """Assert that an order is placed when its policy can be met, and only then."""
        wanted = Counter()
        for line in body.lines:
            wanted[line.sku] += line.quantity
        policy, locations = body.policy, before.setup.locations
        if wanted.keys() & before.ledger.waited_for() or policy.allow_backorder:
            return
        if body.fulfilment.method == "pickup":
            if not locations[body.fulfilment.location].enabled:
                assert ask.answer.refused
                return
            sources = [body.fulfilment.location]
        else:
            sources = [name for name, each in locations.items() if each.enabled and each.ship]
        given = [
            {sku: min(units, before.available((sku, place))) for sku, units in wanted.items()}
            for place in sources
        ]
        if policy.allow_split:
            totals = {sku: sum(each[sku] for each in given) for sku in wanted}
            given = [{sku: min(units, totals[sku]) for sku, units in wanted.items()}]
        if policy.allow_partial:
            can_be_met = any(any(each.values()) for each in given)
        else:
            can_be_met = any(each == wanted for each in given)
        assert (not ask.answer.refused) == can_be_met, ask.document

    def check_landing(self, before):
        """Assert that what supply applies of our movements never raises what is available."""
        applied = self.see()
        self.rig.turn()
        landed = self.see()
        for cell in CELLS:
            # What has landed was off the shelf before it was no longer reserved: readers that saw
            # supply go ahead of the order writer saw less in between, and never more.
            assert landed.promisable(cell) >= applied.promisable(cell) or (
                landed.reserved.get(cell, 0) > applied.reserved.get(cell, 0)
            )
        for cell in CELLS:
            off = before.ledger.flying(before.sequence).get(cell, 0)
            off -= landed.ledger.flying(landed.sequence).get(cell, 0)
            fallen = before.reserved.get(cell, 0) - landed.reserved.get(cell, 0)
            if landed.ledger.orders == before.ledger.orders:
                assert fallen == off, cell

    def check_indexes(self, now):
        """Assert that what is found fast in the book is what the documents name."""
        book = self.rig.book
        held, allocated = {}, {}
        for hold in now.ledger.active_holds():
            for line in hold["lines"]:
                held.setdefault((line["sku"], line["location"]), set()).add(hold["id"])
        for order in now.ledger.orders.values():
            for each in order["allocations"]:
                if each["stage"] != "backordered" and open_units(each):
                    allocated.setdefault((each["sku"], each["location"]), set()).add(order["id"])
        assert {cell: set(ids) for cell, ids in book.held.items()} == held
        assert {cell: set(ids) for cell, ids in book.allocated.items()} == allocated
        assert set(book.backordered) == now.ledger.waited_for()
        assert book.holds.keys() == {hold["id"] for hold in now.ledger.active_holds()}
        open_orders = {
            order["id"]
            for order in now.ledger.orders.values()
            if any(open_units(each) for each in order["allocations"])
        }
        assert book.orders.keys() == open_orders
        assert book.last_sequence == len(now.ledger.movements)

    # ---- at rest ----

    def settle_down(self):
        """Send, apply and settle until nothing changes any more."""
        # What could not be settled is looked at again from time to time.
        self.rig.time.advance(LOOK_AGAIN_US)
        for _ in range(50):
            before = self.rig.position.commit_number
            self.apply_all()
            for _ in range(3):
                self.rig.time.advance(SECOND_US // 5)
                self.rest()
            if self.rig.position.commit_number == before:
                return
        raise AssertionError("it never comes to rest")

    def check_settled(self):
        """Assert that nobody waits for what is there, and that broken promises are known."""
        now = self.see()
        assert not self.rig.book.handovers
        assert all(hold["expires_us"] > now.now_us for hold in now.ledger.active_holds())
        assert all(task["collect_by_us"] > now.now_us for task in now.ledger.tasks_in("ready"))
        for each in now.ledger.waiting():
            order = now.ledger.order_of(each["id"])
            if order["method"] == "pickup" or not order["policy"]["allow_split"]:
                may_serve = [each["location"]] if each["location"] else []
            else:
                may_serve = self.shippers(order, each["line"], now)
            if order["method"] == "pickup" and not self.is_open_for_pickup(order, each, now):
                may_serve = []
            if order["method"] == "ship":
                may_serve = [p for p in may_serve if p in self.shippers(order, each["line"], now)]
            assert not any(now.available((each["sku"], place)) for place in may_serve), each
        for cell in CELLS:
            self.check_short(cell, now)

    def check_short(self, cell, now):
        """Assert that what a cell lacks was moved where it can be, and the rest is reported."""
        held = [
            (line, hold)
            for hold in now.ledger.active_holds()
            for line in hold["lines"]
            if (line["sku"], line["location"]) == cell
        ]
        unpicked = [
            (each, order)
            for order in now.ledger.orders.values()
            for each in order["allocations"]
            if (each["sku"], each["location"]) == cell and each["stage"] != "backordered"
        ]
        may_bear = sum(line["quantity"] for line, _ in held)
        may_bear += sum(
            open_units(each) - (each["picked"] - each["handed"]) for each, _ in unpicked
        )
        short = min(now.shortfall(cell), may_bear)
        reported = self.rig.shortfalls._reported.get(cell)
        assert (sum(reported.bearers.values()) if reported else 0) == short, cell
        for each, order in unpicked if reported else ():
            told = {(e.get("what"), e.get("line")) for e in order["history"]}
            assert not reported.bearers.get(each["id"]) or ("shortfall", each["line"]) in told
        for line, _ in held if short else ():
            members = now.members(line["group"]) if line["group"] else ()
            assert not any(now.available((cell[0], place)) for place in members), (cell, line)
        if now.shortfall(cell) <= sum(line["quantity"] for line, _ in held):
            return
        for each, order in unpicked:
            on_shelf = open_units(each) - (each["picked"] - each["handed"])
            if order["method"] == "ship" and each["sourced"] < RESOURCE_MAX and on_shelf:
                places = self.shippers(order, each["line"], now)
                assert not any(now.available((cell[0], place)) for place in places), (cell, each)

    def shippers(self, order, line, now):
        refused = {place for its, place in order["refused"] if its in ("*", line)}
        return [
            name
            for name, each in now.setup.locations.items()
            if each.enabled and each.ship and name not in refused
        ]

    def is_open_for_pickup(self, order, each, now):
        place = now.setup.locations[order["location"]]
        refused = {its for its, name in order["refused"] if name == place.id}
        return place.enabled and not refused & {"*", each["line"]}

    def go_home(self):
        """Release and cancel everything: nothing is promised any more, and all has an end."""
        now = self.see()
        for hold in now.ledger.active_holds():
            self.ask("release_hold", None, hold["id"])
        for order_id in list(self.rig.book.orders):
            self.ask("cancel_order", CancelOrder(), order_id)
        self.resolve()
        self.settle_down()
        assert self.rig.demand() == ({}, {})
        assert not self.rig.book.holds
        assert not self.rig.book.orders


def contents(book):
    """Write down what a book holds, to compare with another's."""
    return {
        "holds": dict(book.holds),
        "orders": dict(book.orders),
        "held": {cell: set(ids) for cell, ids in book.held.items()},
        "allocated": {cell: set(ids) for cell, ids in book.allocated.items()},
        "backordered": {sku: set(ids) for sku, ids in book.backordered.items()},
        "places": {sku: set(book.waiting.places(sku)) for sku in SKUS},
        "queues": {sku: waiting_in_turn(book, sku) for sku in book.backordered},
        "handovers": list(book.handovers),
        "in_flight": dict(book.in_flight),
        "last_sequence": book.last_sequence,
    }


def check_same(book, before):
    """Assert that a book holds what another one held."""
    found = contents(book)
    different = {name: (was, found[name]) for name, was in before.items() if found[name] != was}
    assert not different, different


def waiting_in_turn(book, sku):
    """List who waits for a SKU, the first come first."""
    with contextlib.closing(book.waiting.oldest(sku, set(book.waiting.places(sku)))) as oldest:
        return list(oldest)


def chosen(things, seed):
    return things[seed % len(things)]


@pytest.fixture(
    scope="module",
    params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])],
)
def world(request, tmp_path_factory):
    """Make deployments, one after the other, on one database that each finds empty."""
    folder = tmp_path_factory.mktemp("orders")
    database = None
    if request.param == "postgres":
        database = request.getfixturevalue("module_postgres_url")
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:
        ledger = open_ledger(Settings(data=folder, database=database))
        stack.callback(ledger.close)
        page = stack.enter_context(contextlib.closing(Page(folder / "metrics", "test")))

        def make():
            its_folder = folder / f"{next(numbers)}"
            its_folder.mkdir()
            return Rig(its_folder, ledger, page)

        yield make


def prove(world, examples, steps):
    run_state_machine_as_test(
        lambda: Orders(world),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(1_800)
def test_nothing_is_promised_twice_lost_or_forgotten(world):
    """Some dozens of lives of a deployment."""
    prove(world, 40, 30)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_nothing_is_promised_twice_lost_or_forgotten_in_long_lives(world):
    """More of them, and longer ones."""
    prove(world, 80, 60)
