"""The order writer's own parts, turned by hand: real tables, a real ledger, a clock of the test's.

Nothing here runs by itself. A test says when supply applies what, when a turn comes, what becomes
of its commit, and when the writer is killed and opened again from the ledger.
"""

import contextlib
import json
import sqlite3
from random import Random
from unittest import mock

from onhand.errors import CommitFailed, CommitUnknown, LedgerUnavailable, TableFull
from onhand.ledger import SetupStore, link, order_store, schema
from onhand.orders.desk import Ids
from onhand.orders.engine import Asked
from onhand.settings import Settings
from onhand.table.checkpoint import Checkpoints
from onhand.table.directory import TableDirectory
from onhand.table.reader import TableReader
from onhand.table.supply import Supply
from onhand.writer import outbox, recovery, turns
from onhand.writer.deciding import NOTHING
from onhand.writer.intake import Intake
from onhand.writer.metrics import WriterMetrics
from onhand.writer.outbox import Outbox
from onhand.writer.recovery import Recovery
from onhand.writer.retention import Keep
from onhand.writer.setup_watch import SetupWatch
from onhand.writer.turns import Turns
from onhand.writer.waiting import Waiting
from tests.orders_shop import SECOND_US, START_US, place_at
from tests.supplies import LEDGER, PARTITIONS, MemoryLog
from tests.twin.naive import Naive

CLUSTER_ID = "0f" * 16
SHARD_COUNT = 2
KEPT_FOR_GOOD = Keep(1 << 60, 1 << 60)
SKUS = ("a", "g")
"""One of each shard."""
PLACES = ("near", "mid", "far")
AGE_US_MAX = 3_600 * SECOND_US


class Killed(BaseException):
    """The process is gone: whatever it had in memory is too."""


class Time:
    """The clock and the stopwatch of everything; they stand still unless a test moves them.

    It stands for the module ``time`` in the writer's turns and in its outbox.
    """

    def __init__(self):
        self.now_us = START_US
        self.passed_us = SECOND_US

    def advance(self, microseconds):
        self.now_us += microseconds
        self.passed_us += microseconds

    def monotonic(self):
        return self.passed_us / 1e6

    perf_counter = monotonic


class Faults:
    """What happens to the next commit, and how often the database then cannot be reached.

    ``next`` is None or one of: ``refused`` (known not to be made), ``lost`` and ``answer_lost``
    (nobody knows; it was not made, or was), ``killed_before`` and ``killed_after`` (the process
    ends), ``unreadable`` (the next read fails instead). ``room`` says how many new cells the
    demand table still takes, None for any number.
    """

    def __init__(self):
        self.none()

    def none(self):
        self.next = None
        self.down = 0
        self.room = None

    def limited(self, change):
        """Let a change of the demand table fail when it needs room that there is not."""
        known = set()

        def limited(*where_and_delta):
            where, delta = where_and_delta[:-1], where_and_delta[-1]
            if delta > 0 and where not in known and self.room is not None:
                if not self.room:
                    raise TableFull("the demand table is full", "Raise its limit")
                self.room -= 1
            change(*where_and_delta)
            known.add(where)

        return limited

    def open_link(self, ledger):
        if self.down:
            self.down -= 1
            raise LedgerUnavailable("the database cannot be reached", "Wait")
        return FaultyLink(link.open_link(ledger), self)


class FaultyLink:
    """The writer's connection, which meets one fault."""

    def __init__(self, real, faults):
        self._real = real
        self._faults = faults

    def __getattr__(self, name):
        return getattr(self._real, name)

    def select(self, statement):
        if self._faults.next == "unreadable":
            self._faults.next = None
            raise sqlite3.OperationalError("the disk cannot be read")
        return self._real.select(statement)

    def transact(self, fence, statements):
        fault, self._faults.next = self._faults.next, None
        if fault == "refused":
            raise CommitFailed("the disk is full", "Make room")
        if fault == "killed_before":
            raise Killed
        returned = None if fault == "lost" else self._real.transact(fence, statements)
        if fault in ("lost", "answer_lost"):
            raise CommitUnknown("the connection broke", "Wait")
        if fault == "killed_after":
            raise Killed
        return returned


class UntilDone:
    """Tells the turns to stop once nothing waits; waiting only moves the time."""

    def __init__(self, time):
        self._time = time

    def is_set(self):
        return True

    def wait(self, seconds):
        self._time.advance(int(seconds * 1e6))
        return False


class Prompt(Intake):
    """Where commands wait; nobody waits for them."""

    def take(self, *, wait=True):
        del wait
        return super().take(wait=False)


class Ask:
    """A command of a client, under its key, and the answer once it is delivered."""

    def __init__(self, asked, key, sha=b"s" * 32, facts=None):
        self.asked = asked
        self.key = key
        self.sha = sha
        self.facts = facts or {}
        self.answer = None
        self.outcome = None

    def deliver(self, answered):
        (each,) = (each for each in answered if each.ticket is self)
        self.answer, self.outcome = each.answer, each.outcome

    def waiting(self):
        self.answer = self.outcome = None
        return Waiting(self.asked, self, self, self.key, self.sha)

    @property
    def is_answered(self):
        return self.answer is not None and not self.answer.failure

    @property
    def document(self):
        return json.loads(self.answer.document)

    @property
    def code(self):
        return self.document["code"] if self.answer.refused else None


class SupplySide:
    """Two shards that apply a log at their own pace, and the naive twin of each."""

    def __init__(self, folder, time):
        self.time = time
        self.log = MemoryLog()
        self.directory = TableDirectory(folder, CLUSTER_ID)
        self.directory.prepare()
        self.checkpoints = [
            Checkpoints(
                folder / f"checkpoints-{shard}",
                cluster_id=CLUSTER_ID,
                log_identity="log-1",
                shard=shard,
                shard_count=SHARD_COUNT,
            )
            for shard in range(SHARD_COUNT)
        ]
        self.generation = 1
        self.supplies = [Supply.create(*self._named(n), **self._options(n)) for n in range(2)]
        self.naive = [Naive() for _ in range(SHARD_COUNT)]
        self.sequences = [0] * SHARD_COUNT
        self._publish()

    def append(self, event, partition=0):
        """Write an event into the log."""
        self.log.append_us = self.time.now_us
        self.log.append(event, partition)

    def apply(self, shard, count_max=None):
        """Let a shard apply so many records of each partition, all when left out."""
        supply = self.supplies[shard]
        for partition, end in self.log.ends().items():
            start = supply.applied_offset(partition)
            stop = end if count_max is None else min(end, start + count_max)
            self._feed(shard, partition, start, stop)
            for _, event in self.log.partitions[partition][start:stop]:
                self._follow(shard, event)

    def write_checkpoint(self, shard):
        """Keep what a shard has now."""
        image = self.supplies[shard].freeze()
        self.checkpoints[shard].write(image, partitions=PARTITIONS, created_us=self.time.now_us)
        self.supplies[shard].forget()

    def restart(self):
        """Kill ingest: each shard comes back from its checkpoint as far as it was before."""
        reached = [
            [supply.applied_offset(n) for n in range(len(PARTITIONS))] for supply in self.supplies
        ]
        for supply in self.supplies:
            supply.close()
        self.generation += 1
        for shard, ends in enumerate(reached):
            kept = self.checkpoints[shard].latest()
            path, options = *self._named(shard), self._options(shard)
            self.supplies[shard] = (
                Supply.create(path, **options)
                if kept is None
                else Supply.load(path, kept, **options)
            )
            for partition, end in enumerate(ends):
                start = self.supplies[shard].applied_offset(partition)
                self._feed(shard, partition, start, end)
        self._publish()

    def stamp(self):
        """Say that ingest lives, and up to when everything is applied."""
        as_of_us = self.as_of_us()
        for supply in self.supplies:
            supply.stamp(heartbeat_us=self.time.now_us, as_of_us=as_of_us, lag_events=0)

    def as_of_us(self):
        """Return the time before which every record is applied, now when all are."""
        waiting = [
            records[supply.applied_offset(partition)][0] - 1
            for supply in self.supplies
            for partition, records in enumerate(self.log.partitions)
            if supply.applied_offset(partition) < len(records)
        ]
        return min(waiting, default=self.time.now_us)

    @property
    def sequence(self):
        """The last ledger event that every shard has applied."""
        return min(self.sequences)

    def on_hand(self):
        """Return what should be on hand, by (sku, location)."""
        return {
            cell: numbers[0]
            for shard, naive in enumerate(self.naive)
            for cell, numbers in naive.cells().items()
            if SKUS.index(cell[0]) == shard
        }

    def incoming(self):
        """Return what should be on its way, by (sku, location, day)."""
        return {
            key: units
            for shard, naive in enumerate(self.naive)
            for key, units in naive.incoming().items()
            if SKUS.index(key[0]) == shard
        }

    def close(self):
        for supply in self.supplies:
            supply.close()
        self.directory.remove()

    def _feed(self, shard, partition, start, stop):
        if start < stop:
            batch = self.log.batch([(partition, offset) for offset in range(start, stop)])
            self.supplies[shard].apply(batch)

    def _follow(self, shard, event):
        self.naive[shard].add(event)
        self.sequences[shard] = max(self.sequences[shard], event.get("sequence", 0))

    def _publish(self):
        self.stamp()
        for shard in range(SHARD_COUNT):
            self.directory.publish(
                shard, self.generation, shard_count=SHARD_COUNT, partitions=PARTITIONS
            )

    def _named(self, shard):
        return (self.directory.table_path(shard, self.generation),)

    def _options(self, shard):
        return {
            "cluster_id": bytes.fromhex(CLUSTER_ID),
            "shard": shard,
            "shard_count": SHARD_COUNT,
            "generation": self.generation,
            "capacity_bytes": 16 << 20,
            "ids_max": 4_096,
            "history_max": 1_024,
        }


class Rig:
    """One deployment: its supply, its ledger, and one order writer after the other."""

    def __init__(self, folder, ledger, page):
        self.time = Time()
        self.faults = Faults()
        self.folder = folder
        self.known = None
        self.ledger = ledger
        self.page = page
        self.patches = contextlib.ExitStack()
        for module in (turns, outbox):
            self.patches.enter_context(mock.patch.object(module, "time", self.time))
        self.patches.enter_context(
            mock.patch.object(order_store, "open_link", self.faults.open_link)
        )
        # Collecting all garbage of a test run costs more than everything else of a restart.
        self.patches.enter_context(
            mock.patch.object(recovery, "_uncollected", contextlib.nullcontext)
        )
        # The model reads all that ever was from the ledger.
        self.patches.enter_context(mock.patch.object(turns, "keep_of", return_value=KEPT_FOR_GOOD))
        forget_everything(ledger)
        self.settings = Settings(
            data=folder,
            table_dir=folder,
            table_bytes_max=16 << 20,
            max_supply_age_ms=AGE_US_MAX // 1_000,
        )
        self.setup_store = SetupStore(ledger, clock_us=lambda: self.time.now_us)
        self.setup_store.put_locations(
            [
                place_at("near", 0),
                place_at("mid", 1, timezone="Asia/Tokyo"),
                place_at("far", 2, groups=()),
            ]
        )
        self.supply = SupplySide(folder, self.time)
        self.storefront = TableReader(folder, CLUSTER_ID)
        self.storefront_setup = None
        self.open()

    # ---- the writer ----

    def open(self):
        """Open a writer from the ledger, as the next process does."""
        self.supply.stamp()
        steps = Recovery(
            self.settings,
            self.ledger,
            self.setup_store,
            self.supply.directory,
            clock=lambda: self.time.now_us,
            wait=lambda _what, _seconds: False,
        )
        opened = steps.open()
        assert opened is not None
        opened.desk.ids = Ids(opened.epoch, Random(opened.epoch))
        stock = opened.stock
        stock.reserve = self.faults.limited(stock.reserve)
        stock.backorder = self.faults.limited(stock.backorder)
        self.opened = opened
        self.intake = Prompt(None)
        position = opened.store.statistics().position
        self.outbox = Outbox(opened.store, None, position, one_by_one=False)
        self.sent = None
        self.setup_watch = SetupWatch(self.setup_store)
        self.turns = Turns(
            self.settings,
            opened,
            self.intake,
            outbox=self.outbox,
            setup=self.setup_watch,
            metrics=WriterMetrics(self.page),
            claims_us=lambda: self.time.now_us,
            clock=lambda: self.time.now_us,
            stopping=UntilDone(self.time),
        )
        self.seen_sequence = self.supply.sequence
        self.setup = opened.desk.setup

    @property
    def book(self):
        return self.opened.desk.book

    def turn(self, *asks):
        """Let one turn come, which decides these commands; False when the writer is killed."""
        self.time.advance(1_000)
        self.supply.stamp()
        waiting = [each.waiting() for each in asks]
        nobody = Ask(Asked(what=NOTHING), None)
        self.intake.put(waiting or [nobody.waiting()])
        self.seen_sequence = self.supply.sequence
        try:
            self.turns.run()
        except Killed:
            self.reopen()
            return False
        finally:
            self.faults.none()
        return True

    def reopen(self):
        """Kill the writer and open the next: nothing of the old one is asked or told any more."""
        self.opened.store.close()
        self.opened.stock.demand.close()
        self.open()

    def overtaken(self):
        """Open a writer while the old one lives; return the old one's parts."""
        old = (self.opened, self.intake, self.turns)
        self.open()
        return old

    def change_setup(self, change):
        """Change the set-up in the ledger by a function of its store, and let the writer see it."""
        change(self.setup_store)
        self.setup = self.setup_store.load_setup()
        self.setup_watch.offer(self.setup)

    def send(self, count_max=None):
        """Send movements to supply's log; after a restart those not noted as sent go again."""
        rows = self.opened.store.pending_ledger_events(1_000)
        if self.sent is None:
            self.sent = rows[0].sequence - 1 if rows else self.position.ledger_sequence
        for row in [row for row in rows if row.sequence > self.sent][:count_max]:
            self.supply.append(json.loads(row.document), LEDGER)
            self.sent = row.sequence
        self.outbox._ledger.sent = self.sent

    @property
    def position(self):
        return self.opened.store.statistics().position

    @property
    def shortfalls(self):
        return self.turns._background._shortfalls

    def is_stale(self):
        """Tell whether a turn that comes now finds supply too old to promise by."""
        return self.time.now_us + 1_000 - self.supply.as_of_us() > AGE_US_MAX

    # ---- what everybody may see ----

    def reader(self):
        """Give the tables as a storefront has them, which outlives every writer."""
        self.storefront.refresh()
        if self.storefront_setup is not self.setup:
            self.storefront.set_scopes(self.setup, self.time.now_us / 1e6)
            self.storefront_setup = self.setup
        return self.storefront

    def demand(self):
        """Read what is reserved, and what is backordered."""
        demand = self.reader().demand()
        reserved = {
            (sku, place): count
            for skus, places, units in demand.cells()
            for sku, place, count in zip(skus, places, units.tolist(), strict=True)
        }
        backorders = {
            (sku, place, day): units for sku, place, day, units in demand.backorders() if units
        }
        return reserved, backorders

    def close(self):
        self.opened.store.close()
        self.opened.stock.demand.close()
        self.supply.close()
        self.patches.close()


def forget_everything(ledger):
    """Make a ledger as it was when it was new."""
    kept = {schema.deployment, schema.revision, schema.writer}
    with ledger.write() as connection:
        for table in set(schema.metadata.sorted_tables) - kept:
            connection.execute(table.delete())
        connection.execute(schema.revision.update().values(version=0))
        counters = [column for column in schema.writer.c if column.name not in ("id", "owner")]
        connection.execute(schema.writer.update().values(dict.fromkeys(counters, 0)))
