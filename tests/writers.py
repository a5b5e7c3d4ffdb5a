"""An order writer in this process, on tables that a test writes and on a real ledger and log."""

import time

import msgspec

from onhand.errors import CommitFailed, CommitUnknown
from onhand.identity import Identity
from onhand.ledger import SetupStore, open_ledger
from onhand.log.embedded import EmbeddedLog
from onhand.log.topics import LEDGER, ORDER_EVENTS
from onhand.metrics import Page, collect, metrics_directory
from onhand.model.commands import ExtendHold, HoldLine, PlaceHold
from onhand.model.setup import Location
from onhand.orders.engine import Asked
from onhand.settings import Settings
from onhand.writer.writer import OrderWriter
from tests.deployments import wait_until
from tests.tables import Tables

ANSWER_S_MAX = 20


class Clock:
    """A clock that a test sets; it stands still."""

    def __init__(self):
        self.offset_us = 0

    def __call__(self):
        return time.time_ns() // 1000 + self.offset_us


class Deployment:
    """Tables, ledger and log of a deployment, and order writers on them, one after the other."""

    def __init__(self, scratch, database=None, table_dir=None, cluster_id=None, **options):
        self.scratch = scratch
        table_dir = table_dir or scratch / "tables"
        table_dir.mkdir(exist_ok=True)
        self.settings = Settings(
            data=scratch / "data",
            table_dir=table_dir,
            table_bytes_max=1 << 28,
            database=database,
            **({"max_supply_age_ms": 3_600_000} | options),
        )
        self.settings.data.mkdir(exist_ok=True)
        self.tables = Tables(table_dir, cluster_id=cluster_id, capacity_bytes=1 << 26)
        self.cluster_id = self.tables.cluster_id
        (self.settings.data / "cluster.json").write_bytes(
            msgspec.json.encode(Identity(id=self.cluster_id))
        )
        self.ledger = open_ledger(self.settings)
        self.setup_store = SetupStore(self.ledger)
        self.clock = Clock()
        self.log = EmbeddedLog(self.settings.data / "log.sqlite3", now_us=self.clock)
        self.log.ensure_topics(1)
        self.page = Page(metrics_directory(table_dir, self.cluster_id), "test")
        self.broken = []
        self.writer = None
        self.purchases = None

    @property
    def kit(self):
        return self.tables.kit

    def set_up(self, *names, **fields):
        """Set places up."""
        fields = {"groups": ("online",)} | fields
        self.setup_store.put_locations(
            [Location(id=name, name=name, type="store", **fields) for name in names]
        )

    def stamp(self, age_s=0.0):
        """Say that supply is so many seconds old."""
        at_us = now_us() - int(age_s * 1e6)
        self.kit.stamp(at_us, heartbeat_us=at_us)

    def publish(self):
        self.tables.publish()
        self.stamp()

    def open(self):
        """Start an order writer, and wait until it decides."""
        self.begin()
        wait_until(lambda: not self.writer.missing())
        return self

    def begin(self):
        """Start an order writer."""
        self.writer = OrderWriter(
            self.settings,
            ledger=self.ledger,
            setup_store=self.setup_store,
            event_log=self.log,
            cluster_id=self.cluster_id,
            page=self.page,
            clock=self.clock,
            on_broken=lambda: self.broken.append(True),
            purchases=self.purchases,
        )
        self.writer.start()

    def restart(self, purchases=None):
        """End the writer and start another, which finds purchases of tills there."""
        self.writer.stop()
        self.purchases = purchases
        return self.open()

    def close(self):
        if self.writer is not None:
            self.writer.stop()
        self.log.close()
        self.ledger.close()
        self.page.close()
        assert not self.broken

    # ---- asking ----

    def asked(self, what, body=None, target=""):
        """Write a command."""
        return Asked(what=what, body=body, target=target)

    def ask(self, what, body=None, target="", key=None, sha=b"same"):
        """Ask for something and return the answer."""
        future = self.writer.submit(self.asked(what, body, target), key=key, body_sha=sha)
        return future.result(ANSWER_S_MAX)

    def hold(self, sku="apple", quantity=1, *, ttl_s=600, key=None, **place):
        """Place a hold; return its document."""
        answer = self.ask("place_hold", hold_of(sku, quantity, ttl_s=ttl_s, **place), key=key)
        assert not answer.refused, answer.document
        return document(answer)

    def reader(self):
        """Return a reader of the tables as any other process has it."""
        reader = self.tables.reader(self.setup_store.load_setup())
        reader.refresh()
        return reader

    def reserved(self, sku="apple", location="north"):
        """Read what a storefront sees as reserved."""
        return self.tables.reader().demand().reserved(sku, location)

    def counted(self, name, *labels):
        """Read a metric, 0 while it is not there."""
        return collect(self.page.directory).get((name, labels), [0])[0]

    def has_sent_all(self):
        """Tell whether all that is committed is known to be in the log."""
        return self.writer.outbox_pending() == {ORDER_EVENTS: 0, LEDGER: 0}

    def batches(self):
        """Count the commits that commands shared."""
        counts = collect(self.page.directory)["onhand_ledger_commit_commands", ()]
        return sum(counts[1:-1])

    def records(self, topic):
        """Read everything on a topic, in the order of partitions."""
        return [
            record
            for partition in self.log.partitions([topic])
            for record in self.log.read(partition, 0, 100_000)
        ]


def hold_of(sku="apple", quantity=1, *, ttl_s=600, **place):
    """Write the body of a hold of one line."""
    place = place or {"location": "north"}
    return PlaceHold(lines=(HoldLine(sku=sku, quantity=quantity, **place),), ttl_s=ttl_s)


def extension(ttl_s):
    """Write the body of an extension."""
    return ExtendHold(ttl_s=ttl_s)


def document(answer):
    """Read an answer."""
    return msgspec.json.decode(answer.document)


def code(answer):
    """Read a refused answer's code."""
    assert answer.refused, answer.document
    return document(answer)["code"]


def fail_commit(_store, _commit):
    """Commit nothing, and say so."""
    raise CommitFailed("the disk is full", "Free some")


def lose_answer(store, commit):
    """Commit, and never hear of it."""
    store.commit(commit)
    raise CommitUnknown("the answer was lost", "Settle it")


def lose_request(_store, _commit):
    """Commit nothing, and never hear of it."""
    raise CommitUnknown("the request was lost", "Settle it")


def now_us():
    return time.time_ns() // 1000
