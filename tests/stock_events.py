"""Stock events and polls for tests: plain ones, and the pieces from which odd ones are made."""

import json

import numpy as np

from onhand.ingest.decode import Window
from onhand.ingest.submitted import judge_values
from onhand.log.base import RawBatch
from onhand.model.times import parse_time

OCCURRED_AT = "2026-03-29T12:30:00.250Z"
APPEND_US = parse_time("2026-03-29T12:30:01Z")
HOUR_US = 3_600_000_000
WINDOW = Window(late_us=72 * HOUR_US, count_us=24 * HOUR_US)

OWN_FIELDS = {
    "sale": {"location": "store-1"},
    "receipt": {"location": "store-1", "purchase_order": "po-7"},
    "expected": {"location": "store-1", "purchase_order": "po-7", "expected_on": "2026-04-01"},
    "transfer_shipped": {"transfer_id": "t-1", "from": "depot", "to": "store-1"},
    "transfer_received": {"transfer_id": "t-1", "from": "depot", "to": "store-1"},
    "transfer_lost": {"transfer_id": "t-1", "from": "depot", "to": "store-1"},
    "return": {"location": "store-1", "disposition": "inspect"},
    "inspected": {"location": "store-1", "disposition": "sellable"},
    "count": {"location": "store-1"},
    "adjustment": {"location": "store-1", "reason": "breakage"},
}


def event(type_name="sale", **fields):
    """Make a right event of one line; a field that is given as ... is left out."""
    amount = "delta" if type_name == "adjustment" else "quantity"
    made = {
        "type": type_name,
        "id": "e-1",
        "source": "till-1",
        "occurred_at": OCCURRED_AT,
        **OWN_FIELDS[type_name],
        "sku": "sku-1",
        amount: 3,
    }
    if "lines" in fields:
        del made["sku"], made[amount]
    made |= fields
    return {name: value for name, value in made.items() if value is not ...}


def encode(value, **options):
    """Write an event as most publishers do."""
    return json.dumps(value, **{"separators": (",", ":")} | options).encode()


def refused_as(value):
    """Judge one event, given as its bytes; None when it is right."""
    return next(iter(judge_values([value]).rejects), None)


def poll(values, *, headers=None, append_us=APPEND_US, partitions=None):
    """Make a poll of these values; offsets count from 100."""
    count = len(values)
    return RawBatch(
        values=list(values),
        offsets=np.arange(100, 100 + count, dtype=np.int64),
        append_us=np.full(count, append_us, np.int64),
        partitions=np.asarray(partitions or [0] * count, np.uint16),
        headers=headers,
        whole=list(values).__getitem__,
    )


def text(batch, offset, length):
    """Read a string of the batch's heap."""
    return batch.heap[offset : offset + length].decode()


def rows(batch):
    """Return every event with its lines, as plain values."""
    found = []
    for row in batch.events:
        lines = batch.lines[row["first_line"] : row["first_line"] + row["line_count"]]
        found.append(
            {
                "type": int(row["type"]),
                "source": text(batch, row["source_off"], row["source_len"]),
                "id": text(batch, row["source_off"] + row["source_len"], row["id_len"]),
                "location": text(batch, row["location_off"], row["location_len"]),
                "from": text(batch, row["from_off"], row["from_len"]),
                "reference": text(batch, row["reference_off"], row["reference_len"]),
                "occurred_us": int(row["occurred_us"]),
                "expected_day": int(row["expected_day"]),
                "disposition": int(row["disposition"]),
                "sequence": int(row["sequence"]),
                "lines": [
                    (text(batch, line["sku_off"], line["sku_len"]), int(line["quantity"]))
                    for line in lines
                ],
            }
        )
    return found
