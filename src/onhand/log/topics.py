"""The topics of onhand and how each is created."""

from __future__ import annotations

from typing import Final

import msgspec

from onhand.model.events import EVENT_BYTES_MAX

EVENT_TOPICS: Final = (
    "stock.sales",
    "stock.receipts",
    "stock.transfers",
    "stock.returns",
    "stock.counts",
)
"""Where the outside world publishes stock events; any type on any of them."""

LEDGER: Final = "stock.ledger"
CLAIMS: Final = "stock.claims"
DEAD_LETTERS: Final = "stock.dead-letters"
AVAILABILITY: Final = "stock.availability"
ORDER_EVENTS: Final = "orders.events"

_HEADROOM_BYTES: Final = 64 << 10
"""What topics take beyond the largest event, for keys, headers and framing."""


class Topic(msgspec.Struct, frozen=True):
    """How a topic is created where it is missing.

    ``partition_count`` None means as many as the deployment asks for.
    """

    name: str
    partition_count: int | None = None
    compacted: bool = False
    record_bytes_max: int = EVENT_BYTES_MAX + _HEADROOM_BYTES


TOPICS: Final = (
    *(Topic(name) for name in EVENT_TOPICS),
    # Its sequence is gapless and applied in order, which only one partition keeps.
    Topic(LEDGER, partition_count=1),
    # A claim is its record with its origin besides.
    Topic(CLAIMS, record_bytes_max=EVENT_BYTES_MAX + 2 * _HEADROOM_BYTES),
    # A dead letter is its record whole, with the reason and its origin besides.
    Topic(DEAD_LETTERS, partition_count=1, record_bytes_max=EVENT_BYTES_MAX + 4 * _HEADROOM_BYTES),
    Topic(AVAILABILITY, compacted=True),
    Topic(ORDER_EVENTS),
)

BY_NAME: Final = {topic.name: topic for topic in TOPICS}


def record_bytes_max(topic: str) -> int:
    """Return the largest record that a topic takes as onhand creates it."""
    known = BY_NAME.get(topic)
    return known.record_bytes_max if known is not None else Topic(topic).record_bytes_max
