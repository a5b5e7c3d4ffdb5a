"""A table of units by SKU and location, kept by Quix Streams from one topic.

    python table.py BROKERS TOPIC COUNT FOLDER

Runs in a virtual environment of its own. Messages are keyed by location, and the SKU is the key
within its state: one cell is one value. State is a RocksDB for each partition with a topic of
changes behind it, committed as it comes by default. Prints one line of JSON: the seconds from the
first message to the last, and how many cells and units the stored state has when it is read back.
"""

import json
import sys
import time
from pathlib import Path

from quixstreams import Application
from rocksdict import AccessType, Options, Rdict


class Table:
    """What is counted while messages are applied."""

    def __init__(self, count):
        self.missing = count
        self.begun_s = self.ended_s = None

    def apply(self, event, state):
        """Take the units of a sale off its cell."""
        if self.begun_s is None:
            self.begun_s = time.perf_counter()
        state.set(event["sku"], state.get(event["sku"], 0) - event["quantity"])
        self.missing -= 1
        if self.missing == 0:
            self.ended_s = time.perf_counter()


def read_back(folder):
    """Sum what is stored, every partition of the state."""
    cell_count = units = 0
    for config in folder.rglob("rocksdict-config.json"):
        path = str(config.parent)
        families = {name: Options(raw_mode=True) for name in Rdict.list_cf(path)}
        stored = Rdict(path, Options(raw_mode=True), families, AccessType.read_only())
        for value in stored.values():
            cell_count += 1
            units += json.loads(value)
        stored.close()
    return cell_count, units


def main(brokers, topic_name, count, folder):
    app = Application(
        broker_address=brokers,
        consumer_group=f"quix-{time.time_ns()}",
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="WARNING",
    )
    table = Table(int(count))
    topic = app.topic(topic_name, key_deserializer="str", value_deserializer="json")
    app.dataframe(topic).update(table.apply, stateful=True)
    app.run(count=int(count))
    cell_count, units = read_back(Path(folder))
    told = {"seconds": table.ended_s - table.begun_s, "cells": cell_count, "units": units}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
