"""The naive twin of the supply table: the contract's section on stock events, and nothing faster.

It keeps every event it was told and works the numbers out anew whenever it is asked, so it cannot
depend on the order of arrival. Events are the JSON objects that publishers send; ``sequence`` marks
those of the order ledger.
"""

from collections import defaultdict
from datetime import date

from onhand.model.times import parse_time

ON_HAND = {"sale": -1, "receipt": 1, "adjustment": 1, "transfer_received": 1}
IN_TRANSIT = {"transfer_shipped": 1, "transfer_received": -1, "transfer_lost": -1}


class Naive:
    """Every event once, and the numbers that follow from them."""

    def __init__(self):
        self._by_id = {}

    def add(self, event):
        """Take an event; the same (source, id) or ledger sequence again changes nothing."""
        if event.get("sequence"):
            key = ("sequence", event["sequence"])
        else:
            key = (event["source"], event["id"])
        self._by_id.setdefault(key, event)

    def cells(self):
        """Return (sku, location) -> on_hand, held, in_transit, damaged, for cells not all zero."""
        cells = defaultdict(lambda: [0, 0, 0, 0])
        newest = self._newest_counts()
        for cell, (_, quantity) in newest.items():
            cells[cell][0] = quantity
        for occurred_us, cell, counter, delta in self._movements():
            absorbed = counter == 0 and cell in newest and occurred_us <= newest[cell][0][0]
            if not absorbed:
                cells[cell][counter] += delta
        return {cell: tuple(numbers) for cell, numbers in cells.items() if any(numbers)}

    def incoming(self):
        """Return (sku, location, day since 1970) -> units due, for all that are above 0."""
        told, received = defaultdict(int), defaultdict(int)
        for event, sku, quantity in self._lines():
            if event["type"] == "expected":
                order = (event["purchase_order"], sku, event["location"])
                day = (date.fromisoformat(event["expected_on"]) - date(1970, 1, 1)).days
                told[order, _rank(event), day] += quantity
            elif event["type"] == "receipt" and "purchase_order" in event:
                received[event["purchase_order"], sku, event["location"]] += quantity
        newest = {}
        for (order, rank, day), quantity in told.items():
            newest[order] = max(newest.get(order, ()), (rank, day, quantity))
        due = defaultdict(int)
        for order, (_, day, quantity) in newest.items():
            due[order[1], order[2], day] += max(0, quantity - received[order])
        return {key: quantity for key, quantity in due.items() if quantity}

    def _lines(self):
        for event in self._by_id.values():
            if "lines" in event:
                for line in event["lines"]:
                    yield event, line["sku"], line.get("quantity", line.get("delta"))
            else:
                yield event, event["sku"], event.get("quantity", event.get("delta"))

    def _newest_counts(self):
        newest = {}
        for event, sku, quantity in self._lines():
            if event["type"] == "count":
                cell = (sku, event["location"])
                newest[cell] = max(newest.get(cell, ()), (_rank(event), quantity))
        return newest

    def _movements(self):
        """Yield (occurred_us, cell, counter, delta); counters as in :meth:`cells`."""
        for event, sku, quantity in self._lines():
            kind, occurred_us = event["type"], parse_time(event["occurred_at"])
            here = (sku, event.get("location", event.get("to")))
            if kind == "transfer_shipped":
                yield occurred_us, (sku, event["from"]), 0, -quantity
            if kind in ON_HAND:
                yield occurred_us, here, 0, ON_HAND[kind] * quantity
            if kind in IN_TRANSIT:
                yield occurred_us, here, 2, IN_TRANSIT[kind] * quantity
            if kind == "inspected":
                yield occurred_us, here, 1, -quantity
            if kind in ("return", "inspected"):
                counter = {"sellable": 0, "inspect": 1, "damaged": 3}[event["disposition"]]
                yield occurred_us, here, counter, quantity


def _rank(event):
    """Order counts and expectations: the newest, then the greater (source, id) as bytes."""
    return parse_time(event["occurred_at"]), event["source"].encode(), event["id"].encode()
