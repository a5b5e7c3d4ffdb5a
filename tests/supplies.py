"""Supply tables for tests: a log in memory, shards fed from it, and their numbers read back."""

import json
from pathlib import Path

import numpy as np

from onhand._native.reader import Table
from onhand.ingest.decode import Window, decode_batch
from onhand.log.base import RawBatch
from onhand.table.checkpoint import Checkpoints
from onhand.table.supply import Supply

START_US = 1_760_000_000_000_000
PARTITIONS = (("stock.sales", 0), ("stock.receipts", 0), ("stock.ledger", 0))
LEDGER = 2
CLUSTER_ID = "00112233445566778899aabbccddeeff"
OPTIONS = {"capacity_bytes": 64 << 20, "ids_max": 10_000, "history_max": 16_384}


def time_at(seconds):
    """Write a time so many seconds after the start of the tests' day."""
    stamp = np.datetime64(START_US + int(seconds * 1e6), "us")
    return f"{stamp}Z"


class MemoryLog:
    """Records by partition: (offset, append_us, event)."""

    def __init__(self):
        self.partitions = [[] for _ in PARTITIONS]
        self.append_us = START_US

    def append(self, event, partition=0):
        """Add a record and return its partition and offset."""
        self.append_us += 1_000
        self.partitions[partition].append((self.append_us, event))
        return partition, len(self.partitions[partition]) - 1

    def ends(self):
        """Return the next offset of every partition."""
        return {index: len(records) for index, records in enumerate(self.partitions)}

    def batch(self, positions, *, ids_since_us=0, counts_since_us=0):
        """Decode the records at these (partition, offset), in this order."""
        picked = [(p, o, *self.partitions[p][o]) for p, o in positions]
        raw = RawBatch(
            values=[json.dumps(event).encode() for *_, event in picked],
            offsets=np.array([offset for _, offset, *_ in picked], np.int64),
            append_us=np.array([append_us for *_, append_us, _ in picked], np.int64),
            partitions=np.array([partition for partition, *_ in picked], np.uint16),
            headers=None,
            whole=picked.__getitem__,
        )
        window = Window(
            late_us=-1,
            count_us=-1,
            ids_since_us=ids_since_us,
            counts_since_us=counts_since_us,
            ahead_us=2**60,
        )
        batch = decode_batch(raw, window, (LEDGER,))
        assert not batch.rejects, batch.rejects[0]
        return batch

    def tail(self, starts, **horizons):
        """Decode everything from these offsets on, partition by partition."""
        positions = [
            (partition, offset)
            for partition, end in self.ends().items()
            for offset in range(starts[partition], end)
        ]
        return self.batch(positions, **horizons)


class Shards:
    """All shards of one deployment, in files of a directory."""

    def __init__(self, directory, shard_count=1, **options):
        self.directory = Path(directory)
        self.shard_count = shard_count
        self.options = OPTIONS | options
        self.generation = 1
        self.checkpoints = [
            Checkpoints(
                self.directory / f"shard-{shard:03}",
                cluster_id=CLUSTER_ID,
                log_identity="log-1",
                shard=shard,
                shard_count=shard_count,
            )
            for shard in range(shard_count)
        ]
        self.supplies = [
            Supply.create(self._path(shard), **self._settings(shard))
            for shard in range(shard_count)
        ]

    @property
    def supply(self):
        return self.supplies[0]

    def apply(self, batch):
        """Apply a batch to every shard and return what became of it in each."""
        return [supply.apply(batch) for supply in self.supplies]

    def write_checkpoints(self):
        """Freeze, write and forget, as ingest does."""
        for checkpoints, supply in zip(self.checkpoints, self.supplies, strict=True):
            image = supply.freeze()
            checkpoints.write(image, partitions=PARTITIONS, created_us=START_US)
            supply.forget()

    def restart(self, **options):
        """Throw the tables away and load them from their newest checkpoints."""
        self.close()
        self.options |= options
        self.generation += 1
        self.supplies = [
            self._load(shard, checkpoints.latest())
            for shard, checkpoints in enumerate(self.checkpoints)
        ]

    def starts(self):
        """Return, by partition, the least offset that a shard has applied up to."""
        return [
            min(supply.applied_offset(partition) for supply in self.supplies)
            for partition in range(len(PARTITIONS))
        ]

    def cells(self):
        """Return (sku, location) -> on_hand, held, in_transit, damaged, cells of zeros left out."""
        found = {}
        for shard in range(self.shard_count):
            table = Table(self._path(shard))
            skus, locations, cells = table.sku_names(), table.location_names(), table.cells()
            columns = [cells[n] for n in ("on_hand", "held", "in_transit", "damaged")]
            for sku, location, *numbers in zip(
                cells["sku"], cells["location"], *columns, strict=True
            ):
                if any(numbers):
                    found[skus[sku], locations[location]] = tuple(map(int, numbers))
        return found

    def incoming(self):
        """Return (sku, location, day) -> units due."""
        found = {}
        for shard in range(self.shard_count):
            table = Table(self._path(shard))
            locations = table.location_names()
            for number, sku in enumerate(table.sku_names()):
                for location, day, quantity in table.row(number)[-1]:
                    found[sku, locations[location], day] = quantity
        return found

    def history(self, sku, location):
        """Return a cell's remembered movements as (type, quantity, effect), newest first."""
        for shard in range(self.shard_count):
            table = Table(self._path(shard))
            number, place = table.find_sku(sku), table.find_location(location)
            if number is not None and place is not None:
                entries = table.history(number, place, 2**63 - 1, 1_000)
                return [entry[1:4] for entry in entries]
        return []

    def close(self):
        """Let go of every table and its file."""
        for shard, supply in enumerate(self.supplies):
            supply.close()
            self._path(shard).unlink(missing_ok=True)

    def _path(self, shard):
        return self.directory / f"shard-{shard:03}.{self.generation}.table"

    def _settings(self, shard):
        return {
            "cluster_id": bytes.fromhex(CLUSTER_ID),
            "shard": shard,
            "shard_count": self.shard_count,
            "generation": self.generation,
            **self.options,
        }

    def _load(self, shard, checkpoint):
        path, settings = self._path(shard), self._settings(shard)
        if checkpoint is None:
            return Supply.create(path, **settings)
        return Supply.load(path, checkpoint, **settings)
