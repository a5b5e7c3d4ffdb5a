"""From a ledger to a book: what an order writer does before it decides anything.

::

    wait for the stock table         nothing can be promised without it, and it says what it applied
    take over the ledger             from here on no other writer changes anything
    create the demand table          nobody reads it yet
    load what is open, and what supply has not applied of the movements handed to it
    publish the demand table         readers follow; until then they see its predecessor's
"""

from __future__ import annotations

import gc
import os
import socket
import time
from contextlib import contextmanager
from itertools import chain, repeat
from random import SystemRandom
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from onhand.errors import LedgerUnavailable, TableUnavailable, WrongDataDirectory
from onhand.ledger.order_store import OrderStore
from onhand.ledger.rows import HoldRow
from onhand.logging import get_logger
from onhand.orders.book import Book, Handover, decode_hold, decode_order, decode_return
from onhand.orders.desk import Desk, Ids, Rules
from onhand.orders.workload import CURRENT_DAY_AGE_US_MAX
from onhand.sourcing import NearestFewest
from onhand.table.demand import Demand
from onhand.table.reader import TableReader
from onhand.writer.stock import TableStock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from onhand.ledger import Ledger, SetupStore
    from onhand.ledger.rows import Epoch, LedgerEventRow
    from onhand.model.orders import Hold, Order
    from onhand.model.setup import Setup
    from onhand.settings import Settings
    from onhand.table.directory import TableDirectory

log = get_logger(__name__)

RETRY_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Pauses between tries; the last one repeats."""

_decode_reserved = msgspec.json.Decoder(tuple[tuple[str, str, int], ...]).decode


class Opened(Struct, frozen=True):
    """What an order writer works with once it has recovered."""

    desk: Desk
    store: OrderStore
    stock: TableStock
    epoch: Epoch


class Recovery:
    """The steps of opening, and what they share.

    Parameters
    ----------
    directory
        Locked by this process.
    clock
        Microseconds since 1970-01-01 UTC.
    wait
        Is told what is waited for and how many seconds; answers False to give up.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        setup_store: SetupStore,
        directory: TableDirectory,
        *,
        clock: Callable[[], int],
        wait: Callable[[str, float], bool],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._setup_store = setup_store
        self._directory = directory
        self._clock = clock
        self._wait = wait

    def open(self) -> Opened | None:
        """Do it all; None when told to give up.

        Raises
        ------
        OnhandError
            What waiting does not mend: the shared memory is full, or the ledger is not the one
            that belongs to these tables.
        """
        reader = TableReader(
            self._settings.table_dir, self._directory.cluster_id, low_stock=self._settings.low_stock
        )
        for pause_s in chain(RETRY_S, repeat(RETRY_S[-1])):
            try:
                return self._open(reader)
            except (LedgerUnavailable, TableUnavailable) as error:
                if not self._wait(str(error), pause_s):
                    return None
        raise AssertionError("Invariant: pauses have no end")

    def _open(self, reader: TableReader) -> Opened:
        begun_s = time.monotonic()
        reader.refresh()
        setup = self._setup_store.load_setup()
        reader.set_scopes(setup, self._clock() / 1e6)
        store = OrderStore(self._ledger)
        epoch = store.take_over(f"{socket.gethostname()}:{os.getpid()}", self._clock())
        position = store.statistics().position
        applied = reader.progress().ledger_sequence
        if applied > position.ledger_sequence:
            raise _older_ledger(self._ledger.place, applied, position.ledger_sequence)
        demand = self._create_demand(epoch)
        try:
            stock = TableStock(reader, demand)
            book = Book(stock, last_sequence=position.ledger_sequence)
            with _uncollected():
                _load(book, store, applied)
            _count_closed(book, store, setup, self._clock())
            # Whoever sees the table sees that its writer lives.
            demand.stamp(heartbeat_us=self._clock(), commit_number=position.commit_number)
            self._directory.publish_demand(demand.statistics().generation)
            reader.refresh()
        except BaseException:
            demand.close()
            store.close()
            raise
        desk = Desk(
            book,
            rules_of(self._settings),
            NearestFewest(),
            Ids(epoch, SystemRandom()),
            setup,
        )
        log.info(
            "orders_recovered",
            epoch=epoch,
            holds=len(book.holds),
            orders=len(book.orders),
            handovers=len(book.handovers),
            seconds=round(time.monotonic() - begun_s, 3),
        )
        return Opened(desk, store, stock, epoch)

    def _create_demand(self, epoch: Epoch) -> Demand:
        self._directory.clean_demand()
        generation = max(epoch, self._directory.next_demand_generation())
        return Demand.create(
            self._directory.demand_path(generation),
            cluster_id=bytes.fromhex(self._directory.cluster_id),
            generation=generation,
            capacity_bytes=self._settings.table_bytes_max,
        )


def rules_of(settings: Settings) -> Rules:
    """Say in the words of the order layer what the settings say."""
    return Rules(
        open_max=settings.open_reservations_max,
        resource_max=settings.resource_max,
        preparation_s=settings.pickup_ready_minutes * 60,
        transit_km_per_day=settings.transit_km_per_day,
        shortfall=settings.shortfall_policy,
    )


def handover_of(row: LedgerEventRow) -> Handover:
    """Read a movement back as the ledger keeps it."""
    return Handover(row.sequence, row.document, _decode_reserved(row.reserved))


def _load(book: Book, store: OrderStore, applied_sequence: int) -> None:
    holds: list[Hold] = []
    orders: list[Order] = []
    for row in store.load_open():
        if type(row) is HoldRow:
            holds.append(decode_hold(row.document))
        else:
            orders.append(decode_order(row.document))
    flying = [handover_of(row) for row in store.load_ledger_events(applied_sequence)]
    returns = [decode_return(row.document) for row in store.load_open_returns()]
    book.load(holds, orders, flying, returns)


def _count_closed(book: Book, store: OrderStore, setup: Setup, now_us: int) -> None:
    """Count against the day's capacity what was closed before the start; open orders count."""
    limited = [each.id for each in setup.locations.values() if each.daily_capacity is not None]
    for location, created_us in store.load_closed_tasks(limited, now_us - CURRENT_DAY_AGE_US_MAX):
        book.workload.add(location, created_us)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector from walking, again and again, over what is being loaded."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # What was loaded stays, and has no cycles that looking at it would find.
        gc.freeze()
        if was_enabled:
            gc.enable()


def _older_ledger(place: str, applied: int, written: int) -> WrongDataDirectory:
    return WrongDataDirectory(
        f"the stock table has applied ledger event {applied}, and the ledger at {place} has "
        f"written {written}: it is older than the stock",
        "Restore a newer backup of the ledger, or the log and checkpoints that go with this one",
    )
