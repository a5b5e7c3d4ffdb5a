"""A database of customers, of either kind, with a log and a feed between them."""

import threading
import time

import msgspec
import pytest

from onhand.customers.feed import PurchaseFeed
from onhand.customers.store import CustomerStore, open_customers
from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog
from onhand.metrics import Page, collect
from onhand.settings import Settings


class Till:
    """Tells of sales and returns, and has a feed keep them."""

    def __init__(self, scratch, database):
        self.settings = Settings(data=scratch, database=database, purchases_keep_days=10)
        self.now_us = time.time_ns() // 1000
        self.log = EmbeddedLog(scratch / "log.sqlite3", now_us=lambda: self.now_us)
        self.log.ensure_topics(1)
        self.database = open_customers(self.settings, is_feed=True)
        self.store = CustomerStore(self.database)
        self.page = Page(scratch / "metrics", "purchases")

    def tell(self, *events, topic="stock.sales"):
        """Append events of this moment."""
        self.log.append(
            [NewRecord(topic=topic, value=msgspec.json.encode(each)) for each in events]
        )

    def feed(self):
        return PurchaseFeed(
            self.settings, self.log, self.store, self.page, clock=lambda: self.now_us
        )

    def read(self, feed=None):
        """Let a feed read all that there is."""
        feed = feed or self.feed()
        reader = feed._open()
        while feed.step(reader) or reader.lag_events():
            pass
        feed._keep(reader, [])
        reader.close()
        return feed

    def run(self, condition):
        """Run a feed in a thread until a condition comes true."""
        stopping = threading.Event()
        thread = threading.Thread(target=self.feed().run, args=(stopping,))
        thread.start()
        deadline_s = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        stopping.set()
        thread.join()

    def bought(self, customer="kim"):
        """List the ids of a customer's purchases, the newest first."""
        return [row.event_id for row in self.store.of_customer(customer, None, 1_000)]

    def counted(self, name):
        return collect(self.page.directory).get((name, ()), [0])[0]

    def close(self):
        self.log.close()
        self.database.close()
        self.page.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def till(request, tmp_path):
    """Give a till on an empty database."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    made = Till(tmp_path, url)
    yield made
    made.close()


@pytest.fixture
def sale(till):
    """Make sales of this moment, each with an id of its own."""
    numbers = iter(range(1, 100_000))

    def make(**fields):
        plain = {
            "type": "sale",
            "id": f"s-{next(numbers)}",
            "source": "till-1",
            "occurred_at": rfc3339(till.now_us),
            "location": "north",
            "sku": "apple",
            "quantity": 1,
            "customer_id": "kim",
        }
        made = {name: value for name, value in (plain | fields).items() if value is not None}
        if "lines" in made:
            del made["sku"], made["quantity"]
        return made

    return make


def rfc3339(at_us):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_us // 1_000_000)) + "Z"
