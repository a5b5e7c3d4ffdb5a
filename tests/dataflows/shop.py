"""A small retailer who does everything: random stock events, some told twice, late or wrong."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from onhand.log.base import NewRecord

SKUS = [f"sku-{number}" for number in range(40)]
LOCATIONS = [f"store-{number}" for number in range(8)] + ["warehouse-√"]
TOPIC_OF = {
    "sale": "stock.sales",
    "receipt": "stock.receipts",
    "expected": "stock.receipts",
    "transfer_shipped": "stock.transfers",
    "transfer_received": "stock.transfers",
    "transfer_lost": "stock.transfers",
    "return": "stock.returns",
    "inspected": "stock.returns",
    "count": "stock.counts",
    "adjustment": "stock.counts",
}
RUBBISH = [
    b"{",
    b"[]",
    b'{"type":"sale"}',
    b'{"type":"sale","id":"x","source":"t","occurred_at":"2026-01-01T00:00:00","sku":"a"}',
]


class Shop:
    """Makes events from a seed; keeps those that are good, once each, in ``accepted``."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.accepted: list[dict[str, Any]] = []
        self._number = 0

    def records(self, count: int) -> list[NewRecord]:
        """Make ``count`` records: mostly new events, some repeated, some rubbish."""
        return [self._record() for _ in range(count)]

    def _record(self) -> NewRecord:
        draw = self.random.random()
        if draw < 0.05 and self.accepted:
            return _encode(self.random.choice(self.accepted))
        if draw < 0.08:
            return NewRecord(topic="stock.sales", value=self.random.choice(RUBBISH))
        event = self._event()
        self.accepted.append(event)
        return _encode(event)

    def _event(self) -> dict[str, Any]:
        self._number += 1
        kind = self.random.choices(list(TOPIC_OF), [40, 10, 4, 6, 6, 2, 8, 4, 6, 6])[0]
        occurred = datetime.now(UTC) - timedelta(seconds=self.random.randrange(7_200))
        event: dict[str, Any] = {
            "type": kind,
            "id": f"e-{self._number}",
            "source": self.random.choice(["till-1", "till-2", "dock"]),
            "occurred_at": occurred.isoformat(),
        }
        event |= getattr(self, f"_{kind}", self._plain)()
        return event

    def _quantity(self) -> int:
        return self.random.randint(1, 9)

    def _plain(self) -> dict[str, Any]:
        location = self.random.choice(LOCATIONS)
        if self.random.random() < 0.3:
            skus = self.random.sample(SKUS, self.random.randint(1, 5))
            lines = [{"sku": sku, "quantity": self._quantity()} for sku in skus]
            return {"location": location, "lines": lines}
        sku = self.random.choice(SKUS)
        return {"location": location, "sku": sku, "quantity": self._quantity()}

    def _receipt(self) -> dict[str, Any]:
        order = {"purchase_order": f"po-{self.random.randrange(5)}"}
        return self._plain() | (order if self.random.random() < 0.5 else {})

    def _expected(self) -> dict[str, Any]:
        due = datetime.now(UTC).date() + timedelta(days=self.random.randrange(30))
        return self._plain() | {
            "purchase_order": f"po-{self.random.randrange(5)}",
            "expected_on": due.isoformat(),
        }

    def _transfer(self) -> dict[str, Any]:
        start, end = self.random.sample(LOCATIONS, 2)
        event = self._plain()
        del event["location"]
        return event | {"transfer_id": f"t-{self._number}", "from": start, "to": end}

    _transfer_shipped = _transfer_received = _transfer_lost = _transfer

    def _return(self) -> dict[str, Any]:
        return self._plain() | {
            "disposition": self.random.choice(["sellable", "inspect", "damaged"])
        }

    def _inspected(self) -> dict[str, Any]:
        return self._plain() | {"disposition": self.random.choice(["sellable", "damaged"])}

    def _adjustment(self) -> dict[str, Any]:
        return {
            "location": self.random.choice(LOCATIONS),
            "sku": self.random.choice(SKUS),
            "delta": self.random.choice([-3, -1, 1, 2]),
            "reason": "shrinkage",
        }


def _encode(event: dict[str, Any]) -> NewRecord:
    return NewRecord(
        topic=TOPIC_OF[event["type"]],
        value=msgspec.json.encode(event),
        key=event["source"].encode(),
    )
