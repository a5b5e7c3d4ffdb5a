"""An order writer in a process of its own, that places holds as fast as it can until it is killed.

``order_process.py DATA TABLE_DIR DATABASE FIRST``: places one hold for each key from FIRST on, many
at a time, and prints each key with the id of its hold once it is answered.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

import msgspec

from onhand.identity import open_identity
from onhand.ledger import SetupStore, open_ledger
from onhand.log import open_log
from onhand.metrics import Page, metrics_directory
from onhand.model.commands import HoldLine, PlaceHold
from onhand.orders.engine import Asked
from onhand.settings import Settings
from onhand.writer.asking import Asking
from onhand.writer.writer import OrderWriter

CLIENT_COUNT = 32
HOLD = PlaceHold(lines=(HoldLine(sku="apple", quantity=1, location="north"),), ttl_s=10_000)


def key_of(number: int) -> bytes:
    """Make the key of one hold."""
    return number.to_bytes(16, "big")


def open_writer(settings: Settings) -> OrderWriter:
    """Make an order writer of a deployment, as a server does."""
    ledger = open_ledger(settings)
    cluster_id = open_identity(settings.data).id
    return OrderWriter(
        settings,
        ledger=ledger,
        setup_store=SetupStore(ledger),
        event_log=open_log(settings),
        cluster_id=cluster_id,
        page=Page(metrics_directory(settings.table_dir, cluster_id), "orders"),
    )


async def place_holds(writer: OrderWriter, first: int) -> None:
    """Place holds until the process is killed."""
    asking = Asking(asyncio.get_running_loop(), writer)
    numbers = itertools.count(first)

    async def client() -> None:
        for number in numbers:
            asked = Asked(what="place_hold", body=HOLD)
            answer = await asking.ask(asked, key=key_of(number), body_sha=b"hold")
            if not answer.refused:
                document = msgspec.json.decode(answer.document)
                sys.stdout.write(f"{number} {document['id']}\n")
                sys.stdout.flush()

    await asyncio.gather(*(client() for _ in range(CLIENT_COUNT)))


def main() -> None:
    """Start, wait until the writer decides, place holds."""
    data, table_dir, database, first = sys.argv[1:]
    settings = Settings(
        data=Path(data),
        table_dir=Path(table_dir),
        table_bytes_max=1 << 28,
        database=None if database == "-" else database,
        max_supply_age_ms=3_600_000,
    )
    writer = open_writer(settings)
    writer.start()
    while writer.missing():
        time.sleep(0.01)
    asyncio.run(place_holds(writer, int(first)))


if __name__ == "__main__":
    main()
