"""A random day of everything: received, less handed over, plus returned, is what lies somewhere.

Customers order, collect and bring back, associates pick, miss, take in and inspect, tills tell of
all that in their own words, stock comes, moves, is counted and lost, and the writer is killed now
and then. The order writer's own parts run on a real ledger and on real tables.
"""

import itertools
import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onhand.ingest.conservation import Tally
from onhand.ledger import OrderReads
from onhand.model.commands import (
    CancelOrder,
    CollectTask,
    Fulfilment,
    OrderLine,
    OrderPolicy,
    PackTask,
    PickTask,
    PlaceOrder,
    ReadyTask,
    ShipTask,
    ShortLine,
)
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
from onhand.orders import claims
from onhand.orders.book import decode_order, decode_return
from onhand.orders.engine import Asked
from onhand.writer.claims_feed import key_of
from onhand.writer.deciding import CLAIM
from tests.orders_rig import PLACES, SKUS, Ask
from tests.orders_shop import HERE, SECOND_US
from tests.property.test_orders_machine import world  # noqa: F401 - a fixture
from tests.supplies import LEDGER

SHIP = Fulfilment(method="ship", destination=HERE)
DISPOSITIONS = ("sellable", "inspect", "damaged")
WRITTEN_MAX = 100_000
NUMBERS = ("on_hand", "held", "in_transit", "damaged")

STEPS = {
    "order": 5, "walk": 9, "miss": 1, "cancel_order": 1, "sell": 2, "hand_over": 3,
    "announce": 5, "exchange": 2, "take_in": 5, "unpack": 2, "inspect": 3, "give_up": 1,
    "bring_to_till": 3, "bring_unknown": 1, "arrive": 2, "transfer": 2, "count": 1, "write_off": 1,
    "land": 4, "wait": 1, "kill": 1,
}  # fmt: skip
"""What happens in a day, and how often of 55."""

happenings = st.tuples(
    st.sampled_from([name for name, share in STEPS.items() for _ in range(share)]),
    st.integers(0, 1_000),
    st.integers(1, 3),
)


class Day:
    """Lets things happen; each is a method of (a number to choose by, units)."""

    def __init__(self, rig):
        self.rig = rig
        self.numbers = itertools.count(1)
        self.reads = OrderReads(rig.ledger)
        for sku, place in itertools.product(SKUS, PLACES):
            self.event("receipt", sku, place, quantity=9)
        self.land(0, 0)
        for at in range(len(PLACES)):
            # What was sold yesterday, for collection, can come back today.
            self.order(6 * at, 3)
            self.walk(at, 3)
        self.land(0, 0)

    # ---- customers ----

    def order(self, seed, units):
        """Order one or two SKUs, for collection or by post; perhaps more than there is."""
        lines = [OrderLine(sku=one_of(SKUS, seed), quantity=units, unit_price=5.0)]
        if seed % 3 == 0:
            lines.append(OrderLine(sku=one_of(SKUS, seed + 1), quantity=1))
        place = one_of(PLACES, seed // 3)
        pickup = Fulfilment(method="pickup", location=place)
        body = PlaceOrder(
            lines=tuple(lines),
            fulfilment=SHIP if seed % 2 else pickup,
            policy=OrderPolicy(allow_backorder=seed % 5 == 0),
        )
        self.ask("place_order", body)

    def cancel_order(self, seed, units):
        """Cancel what has not left of an order, an exchange perhaps."""
        del units
        if orders := self.orders():
            self.ask("cancel_order", CancelOrder(), one_of(orders, seed).id)

    def announce(self, seed, units, exchange=None):
        """Announce units of an order that has left, or of another if none has."""
        has_left = [each for each in self.orders() if any(a.handed for a in each.allocations)]
        if orders := has_left or self.orders():
            line = AnnouncedLine(sku=one_of(SKUS, seed), quantity=units, reason="too small")
            body = AuthoriseReturn(
                order_id=one_of(orders, seed).id,
                lines=(line,),
                channel="store" if seed % 2 else "mail",
                location=one_of(PLACES, seed // 2) if seed % 3 else None,
                exchange=exchange,
                exchange_fulfilment=SHIP if exchange else None,
            )
            self.ask("authorise_return", body)

    def exchange(self, seed, units):
        """Announce one unit and take others for it."""
        line = ExchangeLine(sku=one_of(SKUS, seed // 2), quantity=units, unit_price=7.0)
        self.announce(seed, 1, (line,))

    def give_up(self, seed, units):
        """Wait no longer for a return."""
        del units
        if returns := self.returns():
            self.ask("cancel_return", CancelReturn(), one_of(returns, seed).id)

    # ---- associates ----

    def walk(self, seed, units):
        """Take the next steps of a task."""
        if found := self.tasks():
            order, task = one_of(found, seed)
            bodies = {"pick_task": PickTask(), "pack_task": PackTask(), "ready_task": ReadyTask()}
            bodies["ship_task"] = ShipTask(carrier="Post", tracking_number="1")
            bodies["collect_task"] = CollectTask(pickup_code=order.pickup_code or "000000")
            way = (
                ("pick", "ready", "collect")
                if order.method == "pickup"
                else ("pick", "pack", "ship")
            )
            for name in way[:units]:
                self.ask(f"{name}_task", bodies[f"{name}_task"], task.id)

    def miss(self, seed, units):
        """Find units of a task missing on the shelf."""
        if found := self.tasks():
            order, task = one_of(found, seed)
            line = ShortLine(
                line=order.of_task(task.id)[0].line, quantity=units, reason="not there"
            )
            self.ask("pick_task", PickTask(short=(line,)), task.id)

    def take_in(self, seed, units):
        """Take units of an announced line in, at any place, perhaps too many."""
        if returns := self.returns():
            return_ = one_of(returns, seed)
            line = one_of(return_.lines, seed).id
            self.receive(return_, seed, ReceivedLine(line=line, **self.as_(seed, units)))

    def unpack(self, seed, units):
        """Take whatever is in a parcel in."""
        if returns := self.returns():
            sku = one_of(SKUS, seed // 3)
            self.receive(
                one_of(returns, seed), seed, ReceivedLine(sku=sku, **self.as_(seed, units))
            )

    def inspect(self, seed, units):
        """Say what held units turned out to be."""
        held = [
            (return_.id, line.id, arrival.location)
            for return_ in self.returns()
            for line in return_.lines
            for arrival in line.arrivals
            if arrival.held
        ]
        if held:
            return_id, line, place = one_of(held, seed)
            what = "sellable" if seed % 2 else "damaged"
            lines = (InspectedLine(line=line, quantity=min(units, 2), disposition=what),)
            self.ask("inspect_return", InspectReturn(location=place, lines=lines), return_id)

    # ---- tills ----

    def sell(self, seed, units):
        """Sell units at a till that nobody has ordered, and may have promised."""
        self.event("sale", one_of(SKUS, seed), one_of(PLACES, seed // 2), quantity=units)

    def hand_over(self, seed, units):
        """Let a till tell of an allocation, here or elsewhere, once more than the app perhaps."""
        found = [each for order in self.orders() for each in order.allocations]
        if found:
            each = one_of(found, seed)
            place = each.location if seed % 4 and each.location else one_of(PLACES, seed)
            self.claim("sale", each.sku, place, units, allocation_id=each.id)

    def bring_to_till(self, seed, units):
        """Bring units back to a till, which names the order or the return."""
        known = [{"order_id": each.id} for each in self.orders()]
        known += [{"return_id": each.id} for each in self.returns()]
        if known:
            fields = one_of(known, seed) | {"disposition": one_of(DISPOSITIONS, seed // 2)}
            sku, place = one_of(SKUS, seed // 3), one_of(PLACES, seed // 5)
            self.claim("return", sku, place, units, **fields)

    def bring_unknown(self, seed, units):
        """Bring units back of which nobody knows anything."""
        what = one_of(DISPOSITIONS, seed)
        sku, place = one_of(SKUS, seed), one_of(PLACES, seed // 2)
        self.event("return", sku, place, quantity=units, disposition=what)

    # ---- stock ----

    def arrive(self, seed, units):
        """Receive a delivery."""
        self.event("receipt", one_of(SKUS, seed), one_of(PLACES, seed // 2), quantity=units)

    def transfer(self, seed, units):
        """Send units to another place; they arrive, are lost, or stay on the way."""
        sku, (start, to) = one_of(SKUS, seed), one_of([*itertools.permutations(PLACES, 2)], seed)
        between = {"from": start, "to": to, "transfer_id": f"t-{next(self.numbers)}"}
        self.event("transfer_shipped", sku, None, quantity=units, **between)
        if end := one_of(("transfer_received", "transfer_lost", None), seed // 6):
            self.event(end, sku, None, quantity=units, **between)

    def count(self, seed, units):
        """Count a shelf as of a moment ago."""
        sku, place = one_of(SKUS, seed), one_of(PLACES, seed // 2)
        self.event("count", sku, place, ago_s=seed % 3 * 30, quantity=units * 2)

    def write_off(self, seed, units):
        """Find units broken, or more of them."""
        delta = units if seed % 2 else -units
        sku, place = one_of(SKUS, seed), one_of(PLACES, seed // 2)
        self.event("adjustment", sku, place, delta=delta, reason="found")

    # ---- what happens by itself ----

    def land(self, seed, units):
        """Let supply apply what there is, some of it by one shard alone."""
        del units
        self.rig.send()
        for shard in (0, 1) if seed % 3 == 0 else (seed % 2,):
            self.rig.supply.apply(shard)
        self.rig.turn()

    def wait(self, seed, units):
        """Let hours pass, or days: pickups and returns expire."""
        self.rig.time.advance(units * (1 + seed % 8) * 8_000 * SECOND_US)
        self.rig.turn()

    def kill(self, seed, units):
        """Kill the writer; the next one reads the ledger."""
        del seed, units
        self.rig.reopen()

    def end(self):
        """Let everything that is on its way arrive."""
        for _ in range(3):
            self.land(0, 0)
            self.rig.turn()
        self.land(0, 0)

    # ---- within ----

    def ask(self, what, body, target=""):
        asked = Asked(what=what, body=body, target=target)
        self.rig.turn(Ask(asked, f"key-{next(self.numbers):012}".encode()))

    def claim(self, kind, sku, place, units, **fields):
        told = self.made(kind, sku, place, source="till", quantity=units, **fields)
        claim = claims.parse(json.dumps(told).encode())
        self.rig.turn(Ask(Asked(what=CLAIM, body=claim), key_of(claim)))

    def receive(self, return_, seed, line):
        body = ReceiveReturn(location=one_of(PLACES, seed // 2), lines=(line,))
        self.ask("receive_return", body, return_.id)

    def as_(self, seed, units):
        return {"quantity": units, "disposition": one_of(DISPOSITIONS, seed // 5)}

    def event(self, kind, sku, place, **fields):
        self.rig.supply.append(self.made(kind, sku, place, **fields))

    def made(self, kind, sku, place, *, ago_s=0, source="wms", **fields):
        self.rig.time.advance(1_000)
        moment = datetime.fromtimestamp(self.rig.time.now_us / 1e6 - ago_s, UTC)
        named = {"type": kind, "source": source, "id": f"e-{next(self.numbers)}", "sku": sku}
        where = {} if place is None else {"location": place}
        return named | {"occurred_at": moment.isoformat(timespec="microseconds")} | where | fields

    def orders(self):
        rows = self.reads.orders(limit=1_000).rows
        return sorted((decode_order(row.document) for row in rows), key=lambda each: each.id)

    def returns(self):
        rows = self.reads.returns(limit=1_000).rows
        return sorted((decode_return(row.document) for row in rows), key=lambda each: each.id)

    def tasks(self):
        return [(order, each) for order in self.orders() for each in order.tasks]

    def told(self, kind):
        """List what ``orders.events`` was told of one kind."""
        events = [
            json.loads(each.value) for each in self.rig.opened.store.pending_events(WRITTEN_MAX)
        ]
        return [each["data"] for each in events if each["type"] == f"onhand.{kind}"]


def one_of(things, seed):
    return things[seed % len(things)]


def cells(rig):
    """Read every number of the tables, by name and (SKU, place)."""
    found = {name: Counter() for name in NUMBERS}
    for skus, places, columns in rig.reader().cells():
        names = [
            (skus[sku], places[at])
            for sku, at in zip(columns["sku"], columns["location"], strict=True)
        ]
        for name in NUMBERS:
            for cell, units in zip(names, columns[name].tolist(), strict=True):
                found[name][cell] += units
    return found


def check_conserved(day):
    """Sum all that is in the log, by SKU, and find as much lying somewhere."""
    log, tally = day.rig.supply.log, Tally()
    for partition, end in log.ends().items():
        tally.add(log.batch([(partition, offset) for offset in range(end)]))
    numbers = cells(day.rig)
    lying = {
        sku: tuple(
            sum(units for (each, _), units in numbers[name].items() if each == sku)
            for name in NUMBERS
        )
        for sku in SKUS
    }
    assert tally.against(lying).differences == []


def check_documents(day):
    """Find moved and lying what orders and returns say has moved, and where it lies."""
    records = itertools.chain(*day.rig.supply.log.partitions)
    # A writer that was killed has its movements sent once more.
    events = {event["id"]: event for _, event in records}.values()
    moved = Counter()
    for event in events:
        for line in event.get("lines", [event]):
            is_ours = "sequence" in event
            moved[event["type"], is_ours, line["sku"]] += line.get("quantity", 0)
    back, held, damaged = Counter(), Counter(), Counter()
    for return_ in day.returns():
        for line in return_.lines:
            back[line.sku] += line.received
            for each in line.arrivals:
                held[line.sku, each.location] += each.held
                damaged[line.sku, each.location] += each.damaged
    for stray in day.told("arrival.unmatched"):
        for line in stray["lines"]:
            back[line["sku"]] += line["quantity"]
            of = {"inspect": held, "damaged": damaged}.get(stray["disposition"], Counter())
            of[line["sku"], stray["location"]] += line["quantity"]
    for event in events:
        if event["type"] == "return" and "sequence" not in event:
            of = {"inspect": held, "damaged": damaged}.get(event["disposition"], Counter())
            of[event["sku"], event["location"]] += event["quantity"]
    numbers = cells(day.rig)
    assert +numbers["held"] == +held
    assert +numbers["damaged"] == +damaged
    for sku in SKUS:
        assert moved["return", True, sku] == back[sku]
        allocations = [
            each for order in day.orders() for each in order.allocations if each.sku == sku
        ]
        # Tills may sell more under an allocation's name than it has.
        assert moved["sale", True, sku] >= sum(each.handed for each in allocations)
        assert all(0 <= each.returned + each.returning <= each.handed for each in allocations)


@pytest.mark.timeout(1_800)
@given(happened=st.lists(happenings, min_size=25, max_size=90))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_after_a_random_day_every_unit_lies_somewhere(world, happened):  # noqa: F811
    """By the log alone, and by what the ledger's documents say of it."""
    rig = world()
    try:
        day = Day(rig)
        for name, seed, units in happened:
            getattr(day, name)(seed, units)
        day.end()
        assert LEDGER in rig.supply.log.ends()
        check_conserved(day)
        check_documents(day)
    finally:
        rig.close()
