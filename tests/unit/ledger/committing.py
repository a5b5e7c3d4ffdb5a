"""A process that commits, and meets a fault while it does so.

``committing.py DATA FAULT``: takes over, commits batch 1, then meets the fault in batch 2. Run with
disk_fault.c loaded before everything else.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

from onhand.errors import CommitUnknown
from onhand.ledger import OrderStore, open_ledger
from onhand.settings import Settings
from tests.order_rows import batch

FAULTS = {"kill_before_write": 4, "kill_before_sync": 1, "kill_after_sync": 2, "sync_fails": 3}


def main(data, fault):
    store = OrderStore(open_ledger(Settings(data=Path(data))))
    store.take_over("doomed", 1)
    store.commit(batch(1))
    if fault == "kill_after_commit":
        store.commit(batch(2))
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        ctypes.CDLL(None).disk_fault_arm(FAULTS[fault])
    try:
        store.commit(batch(2))
    except CommitUnknown as error:
        sys.stdout.write(f"unknown: {error}\n")
        sys.stdout.write(f"settled: {store.settle()}\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


main(*sys.argv[1:])
