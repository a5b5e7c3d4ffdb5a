"""Tables and batches of any size for benchmarks of the supply table."""

from functools import cache

import numpy as np

from benchmarks.kit.plain import name_hashes
from onhand.model.batch import EVENT, LINE, Batch
from onhand.table.supply import Supply

START_US = 1_760_000_000_000_000
SALE = 1
SKU_WIDTH, LOCATION_WIDTH, ID_WIDTH = 13, 9, 24


@cache
def sku_names(count):
    """Name SKUs as GTINs of 13 digits."""
    return np.char.mod("%013d", 4_000_000_000_000 + np.arange(count, dtype=np.int64)).astype("S13")


@cache
def location_names(count):
    """Name stores."""
    return np.char.mod("store-%03d", np.arange(count)).astype(f"S{LOCATION_WIDTH}")


def make_supply(path, sku_count, location_count, *, ids_max, history_max, capacity_bytes=8 << 30):
    """Make a table in which every SKU has a cell at every location."""
    supply = Supply.create(
        path,
        cluster_id=bytes(16),
        shard=0,
        shard_count=1,
        generation=1,
        capacity_bytes=capacity_bytes,
        ids_max=ids_max,
        history_max=history_max,
    )
    skus = supply.resolve_skus(sku_names(sku_count).astype(str).tolist())
    locations = supply.resolve_locations(location_names(location_count).astype(str).tolist())
    for location in locations:
        supply.apply_columns(
            skus,
            np.full(sku_count, location, np.uint32),
            np.full(sku_count, 100, np.int32),
        )
    join_pages(supply)
    return supply


def join_pages(supply):
    """Let pages be joined into huge ones, 2 MiB a stamp, as ingest does between batches."""
    for _ in range(supply.statistics().allocated_bytes // (2 << 20) + 1):
        supply.stamp(heartbeat_us=START_US, as_of_us=START_US, lag_events=0)


def make_columns(rng, sku_count, location_count, count):
    """Draw movements at random cells: SKU numbers, location numbers, deltas."""
    return (
        rng.integers(0, sku_count, count, np.uint32),
        rng.integers(0, location_count, count, np.uint32),
        rng.integers(-5, 6, count, np.int32),
    )


class Sales:
    """Sales of one line at random cells, cut into batches; told anew with other ids each time."""

    def __init__(self, rng, sku_count, location_count, count, batch_size):
        self.offset = 0
        self.batches = [
            _sales(rng, sku_count, location_count, min(batch_size, count - start))
            for start in range(0, count, batch_size)
        ]

    def renew(self, rng, supply):
        """Give every event an id and an offset that it never had; judged as of now."""
        for batch in self.batches:
            count = len(batch.events)
            batch.events["id_hi"] = rng.integers(0, 2**64, count, np.uint64, endpoint=False)
            batch.events["id_lo"] = rng.integers(0, 2**64, count, np.uint64, endpoint=False)
            batch.events["offset"] = np.arange(self.offset, self.offset + count)
            batch.events["append_us"] = START_US + batch.events["offset"]
            batch.events["occurred_us"] = START_US + batch.events["offset"] - 1_000
            batch.ids_since_us, batch.counts_since_us = supply.ids_since_us, supply.counts_since_us
            self.offset += count
            batch.next_offsets = {0: self.offset}


def _sales(rng, sku_count, location_count, count):
    row = np.dtype(
        [("id", f"S{ID_WIDTH}"), ("location", f"S{LOCATION_WIDTH}"), ("sku", f"S{SKU_WIDTH}")]
    )
    heap = np.zeros(count, row)
    heap["id"] = b"till-0042-000000012345678"[:ID_WIDTH]
    heap["location"] = location_names(location_count)[rng.integers(0, location_count, count)]
    heap["sku"] = sku_names(sku_count)[rng.integers(0, sku_count, count)]
    starts = np.arange(count, dtype=np.uint32) * row.itemsize
    events, lines = np.zeros(count, EVENT), np.zeros(count, LINE)
    events["first_line"] = np.arange(count)
    events["line_count"] = 1
    events["type"] = SALE
    events["source_off"], events["source_len"], events["id_len"] = starts, 9, ID_WIDTH - 9
    events["location_off"] = starts + row.fields["location"][1]
    events["location_len"] = LOCATION_WIDTH
    lines["sku_hash"] = name_hashes(np.ascontiguousarray(heap["sku"]))
    lines["sku_off"] = starts + row.fields["sku"][1]
    lines["sku_len"] = SKU_WIDTH
    lines["event"] = np.arange(count)
    lines["quantity"] = rng.integers(1, 6, count)
    return Batch(events, lines, heap.tobytes())
