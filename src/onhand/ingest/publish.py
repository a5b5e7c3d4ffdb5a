"""Where a submitted event goes: the topic of its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.log.base import NewRecord
from onhand.model.events import EVENT_STRUCTS

if TYPE_CHECKING:
    from onhand.ingest.submitted import Submission

TOPIC_OF_TYPE: Final = {
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
"""A convention of ours: any type is accepted on any of these topics."""

if set(TOPIC_OF_TYPE) != set(EVENT_STRUCTS):
    raise AssertionError("Invariant: every event type has a topic")


def to_records(submission: Submission) -> list[NewRecord]:
    """Make the records of what was accepted, in order, their bytes as they came."""
    return [
        NewRecord(topic=TOPIC_OF_TYPE[kind], value=value) for value, kind in submission.accepted()
    ]
