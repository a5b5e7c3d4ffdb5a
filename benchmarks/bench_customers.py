"""Customers: the first page of a long history, and how fast the feed of purchases follows the log.

Bias: one reader and one feed that do nothing else, on the embedded log and databases. Histories are
read and written as JSON in this process, without HTTP. Half of the feed's events name a customer
and a receipt, and are stored; the others are passed over.
"""

import asyncio
import contextlib
import json
import resource
import time

import numpy as np
import pytest

from benchmarks.figures import state
from onhand.customers.feed import PurchaseFeed
from onhand.customers.history import Histories
from onhand.customers.purchases import Details, PurchaseRow
from onhand.customers.store import CustomerStore, open_customers
from onhand.ledger import OrderStore, open_ledger
from onhand.ledger.rows import Commit
from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog
from onhand.metrics import Page
from onhand.model.commands import Customer, OrderPolicy
from onhand.model.orders import Allocation, HistoryEntry, Order, OrderedLine, Task
from onhand.orders.book import encode
from onhand.settings import Settings
from onhand.web.customers import CustomerDesk, HistoryParameters
from onhand.writer.rows import order_row

LINE_COUNT = 2
"""Lines of an order, and of a purchase."""

HISTORIES = [
    pytest.param((100, 3), id="small"),
    pytest.param((10_000, 200), id="large", marks=pytest.mark.slow),
]
"""Lines of a customer's history, and customers beside."""

FEEDS = [
    pytest.param(2_000, id="small"),
    pytest.param(200_000, id="large", marks=pytest.mark.slow),
]
READS = 200
CHUNK = 500


@pytest.fixture
def databases(tmp_path):
    """Open the ledger and the customers' database of a deployment."""
    settings = Settings(data=tmp_path)
    with (
        contextlib.closing(open_ledger(settings)) as ledger,
        contextlib.closing(open_customers(settings, is_feed=True)) as customers,
    ):
        yield settings, ledger, CustomerStore(customers)


def order_of(customer, number):
    """Make a shipped order."""
    at_us = number * 1_000_000
    order_id = f"order-{customer}-{number}"
    lines = [f"{index + 1}" for index in range(LINE_COUNT)]
    return Order(
        id=order_id,
        channel="web",
        method="pickup",
        policy=OrderPolicy(),
        location="north",
        customer=Customer(id=customer, name="A Name", email="name@example.com"),
        lines=tuple(OrderedLine(id=each, sku=f"sku-{number}", quantity=1) for each in lines),
        created_us=at_us,
        updated_us=at_us,
        status="fulfilled",
        allocations=[
            Allocation(
                id=f"{order_id}.a{each}",
                line=each,
                sku=f"sku-{number}",
                location="north",
                quantity=1,
                picked=1,
                handed=1,
                task=f"{order_id}.t1",
            )
            for each in lines
        ],
        tasks=[
            Task(
                id=f"{order_id}.t1", location="north", status="done", due_us=at_us, created_us=at_us
            )
        ],
        history=[HistoryEntry(at_us=at_us, what=what) for what in ("placed", "picked", "shipped")],
    )


def purchase_of(customer, number):
    """Make a purchase in a store, half a second after the order of the same number."""
    lines = [(f"sku-{number}-{index}", 1) for index in range(LINE_COUNT)]
    at_us = number * 1_000_000 + 500_000
    names = ("purchase", "till", f"{customer}-{number}", customer, f"b-{number}", None, "north")
    return PurchaseRow(*names, at_us, at_us, encode(Details(lines=lines)))


def fill(ledger, store, customers, count):
    """Give every customer so many orders and as many purchases."""
    orders = OrderStore(ledger)
    orders.take_over("benchmark", 1)
    for customer in customers:
        for begin in range(0, count, CHUNK):
            numbers = range(begin, min(count, begin + CHUNK))
            rows = [order_row(order_of(customer, number)) for number in numbers]
            orders.commit(Commit(orders=rows))
            store.store([purchase_of(customer, number) for number in numbers], {}, {})
    orders.close()


@pytest.mark.parametrize("history", HISTORIES)
def bench_first_page(benchmark, databases, history):
    """Read and write the newest 50 items of a long history, among those of other customers."""
    line_count, customer_count = history
    _, ledger, store = databases
    count = line_count // (2 * LINE_COUNT)
    fill(ledger, store, ["kim"], count)
    fill(ledger, store, [f"c-{number}" for number in range(customer_count)], count // 10)
    desk = CustomerDesk(store, Histories(ledger, store), None, None)

    async def read_all():
        taken, used_s = [], time.process_time()
        for _ in range(READS):
            begin = time.perf_counter()
            document = await desk.read("kim", HistoryParameters())
            taken.append((time.perf_counter() - begin) * 1e3)
        return document, np.array(taken), time.process_time() - used_s

    document, taken_ms, used_s = benchmark.pedantic(lambda: asyncio.run(read_all()), rounds=1)
    page = json.loads(document)
    assert len(page["items"]) == min(50, 2 * count)
    assert page["items"][0]["id"] == f"kim-{count - 1}"
    p50, p99 = np.percentile(taken_ms, [50, 99])
    percentiles = {"p50": p50, "p99": p99, "max": taken_ms.max()}
    note = f"each takes {1e3 * used_s / READS:.2f} ms of a core"
    state(benchmark, "customer_history", p99, percentiles=percentiles, note=note)


@pytest.mark.parametrize("event_count", FEEDS)
def bench_feed(benchmark, databases, event_count):
    """Follow the log: look through events and store those that are purchases."""
    settings, _, store = databases
    log = EmbeddedLog(settings.data / "log.sqlite3")
    log.ensure_topics(1)
    page = Page(settings.data / "metrics", "purchases")
    log.append([NewRecord("stock.sales", event_of(number)) for number in range(event_count)])
    feed = PurchaseFeed(settings, log, store, page)
    reader = feed._open()

    def follow():
        begin, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        while feed.step(reader) or reader.lag_events():
            pass
        taken_s = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_SELF)
        return taken_s, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime

    taken_s, used_s = benchmark.pedantic(follow, rounds=1)
    assert store.purchase_count() == event_count // 2
    reader.close()
    log.close()
    page.close()
    share = f"at 5,000 events/s it uses {100 * used_s * 5_000 / event_count:.0f} % of a core"
    state(benchmark, "purchases_feed", event_count / taken_s, note=share)


def event_of(number):
    event = {
        "type": "sale",
        "id": f"sale-{number * 7_919 % 1_000_003}",
        "source": f"till-{number % 100}",
        "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "location": f"store-{number % 400}",
        "lines": [{"sku": f"sku-{number % 70_000}", "quantity": 1}, {"sku": "bag", "quantity": 1}],
    }
    if number % 2:
        event |= {"customer_id": f"c-{number * 31 % 5_000}", "basket_id": f"b-{number}"}
    return json.dumps(event).encode()
