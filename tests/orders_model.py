"""The naive model of the order layer: what the ledger's documents say, summed up in dictionaries.

It reads the rows as any program could, as JSON with the model's defaults for what is left out, and
knows none of the order layer's own sums. What is reserved is what active holds and open allocations
say, and what is on its way to supply; what is there is what the naive twin of supply says.
"""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from onhand.ledger import schema
from onhand.simulation.promised import read_hold, read_order
from tests.orders_rig import PLACES, SKUS

HORIZON_DAYS = 90
CELLS = tuple((sku, place) for sku in SKUS for place in PLACES)
SIGNS = {"sale": -1, "adjustment": 1, "return": 1}
NEXT = {
    "pickup": {"open": "pick", "picked": "ready", "ready": "collect"},
    "ship": {"open": "pick", "picked": "pack", "packed": "ship"},
}
"""The step that a task takes next, by its status."""


class Ledgered:
    """Everything that the ledger has at one moment."""

    def __init__(self, ledger):
        with ledger.read() as connection:
            self.holds = _documents(connection, schema.hold, read_hold)
            self.orders = _documents(connection, schema.orders, read_order)
            self.order_rows = {
                row.id: (row.status, row.is_open)
                for row in connection.execute(
                    sa.select(schema.orders.c.id, schema.orders.c.status, schema.orders.c.is_open)
                )
            }
            self.tasks = {
                row.id: (row.order_id, row.location, row.status)
                for row in connection.execute(sa.select(schema.task))
            }
            self.movements = [
                (row.sequence, json.loads(row.document), json.loads(row.reserved))
                for row in connection.execute(
                    sa.select(schema.ledger_event).order_by(schema.ledger_event.c.sequence)
                )
            ]
            self.answers = {
                key: (sha, refused, document)
                for records in connection.execute(sa.select(schema.answer.c.records)).scalars()
                for key, sha, refused, document, _ in msgspec.msgpack.decode(records)
            }
            self.commit_number = connection.execute(
                sa.select(schema.writer.c.commit_number)
            ).scalar_one()

    # ---- what is promised ----

    def held(self):
        """Sum what active holds hold, by cell."""
        return _summed(
            ((line["sku"], line["location"]), line["quantity"])
            for hold in self.active_holds()
            for line in hold["lines"]
        )

    def allocated(self):
        """Sum what orders have reserved, by cell."""
        return _summed(
            ((each["sku"], each["location"]), open_units(each))
            for each in self.allocations()
            if each["stage"] != "backordered"
        )

    def flying(self, sequence):
        """Sum what supply has not taken off the shelf yet, having applied up to a sequence."""
        return _summed(
            ((sku, place), units)
            for number, _, reserved in self.movements
            for sku, place, units in reserved
            if number > sequence
        )

    def reserved(self, sequence):
        """Sum all that is promised and was not taken off the shelf."""
        total = Counter(self.held())
        total.update(self.allocated())
        total.update(self.flying(sequence))
        return dict(total)

    def backorders(self):
        """Sum what is owed, by SKU, location and day."""
        return _summed(
            ((each["sku"], each["location"], each["due_day"]), open_units(each))
            for each in self.allocations()
            if each["stage"] == "backordered" and None not in (each["location"], each["due_day"])
        )

    def waited_for(self):
        """Name the SKUs that somebody waits for."""
        return {each["sku"] for each in self.waiting()}

    def waiting(self):
        """List the allocations that wait."""
        return [
            each
            for each in self.allocations()
            if each["stage"] == "backordered" and open_units(each)
        ]

    # ---- what there is ----

    def active_holds(self):
        return [hold for hold in self.holds.values() if hold["status"] == "active"]

    def allocations(self):
        return [each for order in self.orders.values() for each in order["allocations"]]

    def order_of(self, part_id):
        """Find the order of a task or an allocation."""
        return self.orders[part_id.rpartition(".")[0]]

    def of_task(self, task_id):
        """List the allocations of a task."""
        return [each for each in self.order_of(task_id)["allocations"] if each["task"] == task_id]

    def tasks_in(self, *statuses):
        """List the tasks in some statuses, the oldest first; all when none is named."""
        return [
            task
            for order in self.orders.values()
            for task in order["tasks"]
            if not statuses or task["status"] in statuses
        ]

    # ---- what must hold of documents alone ----

    def check(self):
        """Assert that every order adds up, and that what is looked up agrees with it."""
        sequences = [sequence for sequence, _, _ in self.movements]
        assert sequences == list(range(1, len(sequences) + 1))
        for sequence, event, _ in self.movements:
            assert event["sequence"] == sequence
        for order in self.orders.values():
            self._check_order(order)
        assert self.tasks == {
            task["id"]: (order["id"], task["location"], task["status"])
            for order in self.orders.values()
            for task in order["tasks"]
        }

    def _check_order(self, order):
        allocations = order["allocations"]
        for each in allocations:
            assert open_units(each) >= 0, each
            assert 0 <= each["handed"] <= each["picked"], each
            assert each["picked"] - each["handed"] <= open_units(each), each
            assert each["handed"] == max(each["told_by_app"], each["told_by_till"]), each
            assert 0 <= each["returned"] <= each["handed"], each
            assert 0 <= each["short"] <= each["cancelled"], each
            assert (each["task"] is None) == (each["stage"] == "backordered"), each
            if order["method"] == "pickup":
                assert each["location"] == order["location"], each
        for line in order["lines"]:
            mine = [each for each in allocations if each["line"] == line["id"]]
            assert all(each["sku"] == line["sku"] for each in mine)
            assert sum(each["quantity"] - each["cancelled"] for each in mine) <= line["quantity"]
        is_open = any(open_units(each) for each in allocations)
        left = any(each["handed"] for each in allocations)
        expected = {
            (True, False): "open",
            (True, True): "partially_fulfilled",
            (False, True): "fulfilled",
            (False, False): "cancelled",
        }
        assert order["status"] == expected[is_open, left]
        assert self.order_rows[order["id"]] == (order["status"], is_open)
        for task in order["tasks"]:
            mine = [each for each in allocations if each["task"] == task["id"]]
            assert all(each["location"] == task["location"] for each in mine)
            is_closed = task["status"] in ("done", "cancelled", "rejected")
            assert is_closed == (not any(open_units(each) for each in mine)), task
            assert (task["status"] == "done") == (is_closed and any(e["handed"] for e in mine))

    def check_movements(self, claims):
        """Assert that supply was told of every unit that left or came back, and of it once.

        Parameters
        ----------
        claims
            Those of tills, by key: what each says. The ones that were not decided do not count.
        """
        told = defaultdict(Counter)
        for _, event, _ in self.movements:
            kind = event["type"] + event.get("disposition", "")
            for line in event["lines"]:
                told[kind][line["sku"], event["location"]] += line.get("quantity") or line["delta"]
        due = defaultdict(Counter)
        for each in self.allocations():
            cell = (each["sku"], each["location"])
            due["sale"][cell] += each["handed"] - each["told_by_till"]
            due["adjustment"][cell] -= each["short"]
        for key, claim in claims.items():
            if key in self.answers:
                kind = claim["type"] + claim.get("disposition", "")
                for line in claim["lines"]:
                    due[kind][line["sku"], claim["location"]] += line["quantity"]
        for kind in told.keys() | due.keys():
            assert _whole(told[kind]) == _whole(due[kind]), kind


class Snapshot:
    """All that a decision may change, and all that it is decided by, at one moment of a rig."""

    def __init__(self, rig):
        self.ledger = ledgered(rig)
        self.reserved, self.backorders = rig.demand()
        self.on_hand = rig.supply.on_hand()
        self.incoming = rig.supply.incoming()
        self.setup = rig.setup
        self.sequence = rig.seen_sequence
        self.now_us = rig.time.now_us

    def promisable(self, cell, reserved=None):
        """Return on_hand - reserved - safety stock of a cell."""
        reserved = self.reserved if reserved is None else reserved
        safety = self.setup.safety_stock(*cell)
        return self.on_hand.get(cell, 0) - reserved.get(cell, 0) - safety

    def available(self, cell):
        return max(0, self.promisable(cell))

    def shortfall(self, cell):
        safety = min(0, self.setup.safety_stock(*cell))
        return max(0, self.reserved.get(cell, 0) + safety - self.on_hand.get(cell, 0))

    def to_order(self, cell, now_us, reserved=None, backorders=None):
        """Return the least that can be ordered of a cell on any day from today."""
        zone = self.setup.locations[cell[1]].zone if cell[1] in self.setup.locations else UTC
        today = datetime.fromtimestamp(now_us / 1e6, zone).date().toordinal() - 719_163
        owed = self.backorders if backorders is None else backorders
        total = self.promisable(cell, reserved)
        total -= sum(
            units for (*its, day), units in owed.items() if tuple(its) == cell and day < today
        )
        least = None
        for day in range(today, today + HORIZON_DAYS + 1):
            total += self.incoming.get((*cell, day), 0) - owed.get((*cell, day), 0)
            least = total if least is None else min(least, total)
        return least

    def owed(self, sku):
        """Count the units of a SKU that somebody waits for."""
        return sum(open_units(each) for each in self.ledger.waiting() if each["sku"] == sku)

    def members(self, group):
        """Name the enabled places of a group."""
        return self.setup.groups().get(group, ())

    def state(self):
        """Return what a refusal must not change."""
        return (
            self.ledger.holds,
            self.ledger.orders,
            self.ledger.tasks,
            self.ledger.movements,
            self.reserved,
            self.backorders,
        )


def ledgered(rig):
    """Read the ledger of a rig; what no commit has changed is not read again."""
    known = rig.known
    with rig.ledger.read() as connection:
        number = connection.execute(sa.select(schema.writer.c.commit_number)).scalar_one()
    if known is None or known.commit_number != number:
        known = rig.known = Ledgered(rig.ledger)
    return known


def open_units(allocation):
    """Count the units of an allocation that have neither left nor been given up."""
    gone = allocation["handed"] + allocation["cancelled"] + allocation["expired"]
    return allocation["quantity"] - gone


def _documents(connection, table, read):
    query = sa.select(table.c.document).order_by(table.c.id)
    documents = map(read, connection.execute(query).scalars())
    return {each["id"]: each for each in documents}


def _summed(pairs):
    total = Counter()
    for key, units in pairs:
        total[key] += units
    return _whole(total)


def _whole(counter):
    """Leave out zeros."""
    return {key: units for key, units in counter.items() if units}
