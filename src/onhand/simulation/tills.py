"""Tills, warehouses and people with scanners: who publishes stock events, over a bad network.

What a client has published it sends until the log says that it has it, so an event may arrive
twice, late, and after what was published later.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from onhand.errors import LogUnavailable
from onhand.log.base import NewRecord
from onhand.log.topics import EVENT_TOPICS
from onhand.simulation.promised import open_units

if TYPE_CHECKING:
    from random import Random

    from onhand.simulation.log import SimulatedLog
    from onhand.simulation.promised import Promised
    from onhand.simulation.timeline import HostClock

SKUS: Final = ("apple", "bread", "cider", "dates", "eggs")
PLACES: Final = ("near", "mid", "far")
HOUR_US: Final = 3_600_000_000
KINDS: Final = {
    "sale": 10,
    "receipt": 6,
    "count": 3,
    "adjustment": 2,
    "return": 2,
    "inspected": 1,
    "transfer_shipped": 2,
    "transfer_received": 2,
    "transfer_lost": 1,
    "expected": 1,
    "claim": 6,
    "rubbish": 1,
}
LEFT_BEHIND_MAX: Final = 40
"""Events that a till lets wait before it publishes no more."""


class Till:
    """One publisher, with a clock of its own and events that the log does not have yet."""

    def __init__(self, name: str, random: Random, clock: HostClock) -> None:
        self.name = name
        self.clock = clock
        self.unsent: list[NewRecord] = []
        self.acknowledged: list[tuple[str, str]] = []
        """Source and id of every event that the log has acknowledged."""
        self._random = random
        self._count = 0

    def publish(self, promised: Promised) -> str:
        """Make an event; it waits to be sent."""
        if len(self.unsent) >= LEFT_BEHIND_MAX:
            return "too many wait"
        self._count += 1
        kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
        topic = self._random.choice(EVENT_TOPICS)
        if kind == "rubbish":
            self.unsent.append(NewRecord(topic, self._rubbish(), key=self.name.encode()))
            return kind
        event = self._claim(promised) if kind == "claim" else self._event(kind)
        if event is None:
            return "nothing to claim"
        key = self._random.choice((None, event["lines"][0]["sku"].encode()))
        self.unsent.append(NewRecord(topic, json.dumps(event).encode(), key=key))
        lines = " ".join(
            f"{line['sku']}{line.get('quantity', line.get('delta')):+}" for line in event["lines"]
        )
        return f"{event['type']} {event['id']} {lines}"

    def send(self, log: SimulatedLog) -> str:
        """Send one of the events that wait, whichever the network takes."""
        if not self.unsent:
            return "nothing"
        record = self._random.choice(self.unsent)
        try:
            log.append([record])
        except LogUnavailable:
            return "not acknowledged"
        if self._random.random() < 0.9:
            # Else the acknowledgement is lost on the way back, and it is sent once more.
            self.unsent.remove(record)
        if record.value.startswith(b"{"):
            event = json.loads(record.value)
            self.acknowledged.append((event["source"], event["id"]))
        return "acknowledged"

    def _event(self, kind: str) -> dict[str, Any]:
        random = self._random
        skus = random.sample(SKUS, random.choice((1, 1, 1, 2, 3)))
        event = self._head(kind)
        if kind.startswith("transfer"):
            here, there = random.sample(PLACES, 2)
            event |= {"transfer_id": f"t-{random.randint(1, 5)}", "from": here, "to": there}
        else:
            event["location"] = random.choice(PLACES)
        if kind == "adjustment":
            event["reason"] = "found"
            event["lines"] = [{"sku": sku, "delta": random.choice((-2, -1, 1, 3))} for sku in skus]
            return event
        if kind in ("return", "inspected"):
            event["disposition"] = random.choice(
                ("sellable", "damaged")
                if kind == "inspected"
                else ("sellable", "inspect", "damaged")
            )
        if kind == "expected":
            day = datetime.fromtimestamp(self.clock() / 1e6, UTC).date().isoformat()
            event |= {"expected_on": day, "purchase_order": f"po-{random.randint(1, 4)}"}
        most = {"receipt": 12, "count": 15, "expected": 9}.get(kind, 3)
        least = 0 if random.random() < 0.05 or kind == "count" else 1
        event["lines"] = [{"sku": sku, "quantity": random.randint(least, most)} for sku in skus]
        return event

    def _claim(self, promised: Promised) -> dict[str, Any] | None:
        """Tell of units of an order: handed over here, also when the app has told so, or back."""
        known = promised.allocations()
        if not known:
            return None
        allocation = self._random.choice(known[-12:])
        units = self._random.randint(1, max(1, open_units(allocation)))
        if allocation["handed"] and self._random.random() < 0.3:
            event = self._head("return")
            event |= {"order_id": allocation["id"].rpartition(".")[0], "disposition": "sellable"}
        else:
            event = self._head("sale")
            event["allocation_id"] = allocation["id"]
            units = max(units, allocation["handed"])
        event["location"] = allocation["location"] or self._random.choice(PLACES)
        event["lines"] = [{"sku": allocation["sku"], "quantity": units}]
        return event

    def _head(self, kind: str) -> dict[str, Any]:
        random = self._random
        ago_us = random.choice((0, 0, 1, 1_000_000, 60_000_000, random.randint(0, 30 * HOUR_US)))
        if random.random() < 0.02:
            ago_us = random.choice((80 * HOUR_US, -2 * HOUR_US))
        at = datetime.fromtimestamp((self.clock() - ago_us) // 1_000_000, UTC)
        return {
            "type": kind,
            "id": f"{self.name}-{self._count}",
            "source": self.name,
            "occurred_at": at.isoformat(),
        }

    def _rubbish(self) -> bytes:
        return self._random.choice((b"", b"not json", b'["an array"]', b"\xff\x00"))
