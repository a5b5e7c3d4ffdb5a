"""What one server process works with, started before its first request and stopped after its last.

Everything that opens files, threads or connections is made here, in the worker process itself:
none of it survives a fork.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from onhand.customers.erasing import Eraser
from onhand.customers.history import Histories
from onhand.customers.receipts import Receipts
from onhand.customers.store import CustomerStore, open_customers
from onhand.identity import open_identity
from onhand.ledger import Authenticator, SetupStore, TokenStore, open_ledger
from onhand.ledger.order_reads import OrderReads
from onhand.ledger.order_store import DAY_US
from onhand.log.open import open_log
from onhand.metrics import Page, metrics_directory
from onhand.recommendations.history import BoughtLately
from onhand.recommendations.snapshot import NAME as SNAPSHOT_NAME
from onhand.recommendations.snapshot import SnapshotFollower
from onhand.table.directory import TableDirectory
from onhand.table.reader import TableReader
from onhand.tracing import open_tracing
from onhand.web.aisle import Aisles
from onhand.web.availability import Reads
from onhand.web.commands import Commands
from onhand.web.customers import CustomerDesk
from onhand.web.events import Publisher
from onhand.web.limits import RateLimits
from onhand.web.order_pages import OrderPages
from onhand.web.readiness import ReadinessCheck
from onhand.web.readside import ReadSide
from onhand.web.recommendations import Recommending
from onhand.web.return_pages import ReturnPages
from onhand.web.stream import Streams
from onhand.writer.asking import Asking
from onhand.writer.writer import OrderWriter

if TYPE_CHECKING:
    from onhand._native.metrics import Counter
    from onhand.settings import Settings

GC_THRESHOLD: Final = 5_000
"""Objects made since a collection that begin the next: a millisecond, if they are still there.
What is promised is kept out of the collector's sight, see :mod:`onhand.orders.book`."""

SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread may keep the interpreter to itself while a request waits for it."""


class RequestCounter:
    """Counts answers by method, route and status."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._counters: dict[tuple[str, str, int], Counter] = {}

    def counter(self, method: str, route: str, status: int) -> Counter:
        """Return the counter of one kind of answer."""
        key = (method, route, status)
        found = self._counters.get(key)
        if found is None:
            found = self._page.counter("onhand_http_requests_total", method, route, str(status))
            self._counters[key] = found
        return found

    def count(self, method: str, route: str, status: int) -> None:
        """Count one answer."""
        self.counter(known_method(method), route, status).add()


def known_method(method: str) -> str:
    """Name a request's method; one that HTTP does not know is ``other``, or names had no end."""
    return method if method in _METHODS else "other"


class Services:
    """The services of one process.

    Parameters
    ----------
    settings
        What the deployment was told.
    reads_only
        Whether this process only serves reads.

    Raises
    ------
    OnhandError
        When the ledger or the log cannot be opened, or another process takes orders here.
    """

    def __init__(self, settings: Settings, *, reads_only: bool) -> None:
        self.settings = settings
        self.publishing = not reads_only
        self.body_bytes_max = settings.body_bytes_max
        cluster_id = open_identity(settings.data).id
        self.ledger = open_ledger(settings, cluster_id=cluster_id)
        self.log = open_log(settings)
        self.setup_store = SetupStore(self.ledger)
        tokens = None if settings.no_auth else TokenStore(self.ledger)
        self.authenticator = Authenticator(tokens)
        tables = TableDirectory(settings.table_dir, cluster_id)
        tables.prepare()
        role = "storefront" if reads_only else "serve"
        self.page = Page(metrics_directory(settings.table_dir, cluster_id), role)
        self.requests = RequestCounter(self.page)
        self.tracing = open_tracing(settings, role=role, cluster_id=cluster_id, page=self.page)
        reader = TableReader(settings.table_dir, cluster_id, low_stock=settings.low_stock)
        self.side = ReadSide(reader, self.setup_store)
        preparation = timedelta(minutes=settings.pickup_ready_minutes)
        self.reads = Reads(self.side, self.authenticator, preparation)
        self.streams = Streams(self.side, self.page)
        self.publisher = Publisher(settings, self.log, self.side, self.authenticator, self.page)
        order_reads = OrderReads(self.ledger)
        self.order_pages = OrderPages(order_reads, self.ledger, settings)
        self.return_pages = ReturnPages(order_reads, self.ledger)
        # Storefronts know no customers, and need no database of them.
        self.customers = open_customers(settings) if self.publishing else None
        self.recommending = Recommending(
            self.side,
            SnapshotFollower(tables.path / SNAPSHOT_NAME),
            self.page,
            None
            if self.customers is None
            else BoughtLately(order_reads, CustomerStore(self.customers)),
        )
        self.aisles = Aisles(self.side, self.recommending, preparation, self.page)
        self.commands: Commands | None = None
        self.writer: OrderWriter | None = None
        self.customer_desk: CustomerDesk | None = None
        if self.customers is not None:
            self.writer = OrderWriter(
                settings,
                ledger=self.ledger,
                setup_store=self.setup_store,
                event_log=self.log,
                cluster_id=cluster_id,
                page=self.page,
                purchases=Receipts(self.customers, settings.purchases_keep_days * DAY_US),
                tracing=self.tracing,
            )
        create = settings.kafka_partition_count if self.publishing else None
        self.readiness = ReadinessCheck(
            self.log,
            self.side,
            self.writer,
            supply_s_max=settings.max_supply_age_ms / 1_000,
            partition_count=create,
        )
        if self.writer is not None:
            self.writer.start()

    async def start(self) -> None:
        """Start what runs beside requests."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self.authenticator.start()
        await self.side.start()
        self.streams.start()
        self.readiness.start()
        if self.writer is not None:
            asking = Asking(asyncio.get_running_loop(), self.writer)
            limits = RateLimits(self.settings.rate_limit_per_s)
            self.commands = Commands(asking, self.authenticator, limits)
            self.customer_desk = self._customer_desk(asking, self.writer)
        # What is here now stays: a collection that walks over it would hold up every request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)

    async def stop(self) -> None:
        """Stop everything, in the reverse order."""
        await self.readiness.stop()
        await self.streams.stop()
        await self.side.stop()
        if self.writer is not None:
            await asyncio.to_thread(self.writer.stop)
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)
        self.authenticator.close()
        self.log.close()
        self.ledger.close()
        if self.customers is not None:
            self.customers.close()
        self.page.close()

    def _customer_desk(self, asking: Asking, writer: OrderWriter) -> CustomerDesk | None:
        if self.customers is None:
            return None
        store = CustomerStore(self.customers)
        eraser = Eraser(store, self.ledger, asking.ask, writer.read_again)
        return CustomerDesk(store, Histories(self.ledger, store), eraser, self.side)

    async def reload(self) -> None:
        """Let reads and decisions that begin after this go by the set-up of now."""
        await self.side.reload()
        if self.writer is not None:
            self.writer.use_setup(self.side.setup)

    def end_streams(self) -> None:
        """Let every stream end, so that the server can."""
        self.streams.end_all()


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
