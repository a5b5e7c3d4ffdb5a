"""One deployment and everyone around it: what there is, and what must be true of it all.

The scheduler (:mod:`onhand.simulation.scheduler`) says what happens next; this does it, and finds
what does not hold after it.
"""

from __future__ import annotations

import contextlib
import shutil
from random import Random
from typing import TYPE_CHECKING, Any, Final

from onhand.errors import LogUnavailable, TableUnavailable
from onhand.ingest.metrics import IngestMetrics
from onhand.ledger import SetupStore
from onhand.log.topics import CLAIMS, LEDGER, ORDER_EVENTS
from onhand.model.setup import Location
from onhand.settings import Settings
from onhand.simulation.disk import SimulatedDisk
from onhand.simulation.faults import Broken, must
from onhand.simulation.ingest import IngestProcess
from onhand.simulation.judged import Judged
from onhand.simulation.ledger import SimulatedLedger
from onhand.simulation.log import SimulatedLog
from onhand.simulation.promised import Promised
from onhand.simulation.shoppers import Clients
from onhand.simulation.storefront import Storefront
from onhand.simulation.tills import PLACES, SKUS, Till
from onhand.simulation.timeline import HostClock, Timeline
from onhand.simulation.writer import WriterProcess
from onhand.table.directory import TableDirectory
from onhand.writer.metrics import WriterMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from onhand.ledger import Ledger
    from onhand.ledger.rows import Commit
    from onhand.log.base import Record, TopicPartition
    from onhand.metrics import Page
    from onhand.simulation.promised import Cell

CLUSTER_ID: Final = "5e" * 16
CELLS: Final = tuple((sku, place) for sku in SKUS for place in PLACES)
READER_COUNT: Final = 3
_ON_HAND: Final = ("sku", "location", "on_hand")


class Places:
    """What simulations of one process share, since it is costly to make.

    Parameters
    ----------
    folder
        In memory; emptied by each simulation.
    ledger
        Open, with its schema.
    """

    def __init__(self, folder: Path, ledger: Ledger, page: Page) -> None:
        self.folder = folder
        self.ledger = ledger
        self.page = page


class World:
    """Everything of one simulation.

    Parameters
    ----------
    failures
        What the engine logs about errors of its own.
    """

    def __init__(self, places: Places, random: Random, seed: int, failures: list[str]) -> None:
        self.random = random
        self.seed = seed
        self.failures = failures
        self.timeline = Timeline()
        self.data = places.folder / "data"
        table_dir = places.folder / "tables"
        for folder in (self.data, table_dir):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.settings = Settings(
            data=self.data,
            table_dir=table_dir,
            table_bytes_max=8 << 20,
            shard_count=random.choice((1, 2)),
            worker_count=random.choice((1, 2)),
            ids_max=4_096,
            history_max=4_096,
            purchase_orders_max=1_024,
            checkpoint_interval_s=random.choice((0.5, 5.0)),
            checkpoint_archive_days=random.choice((0, 7)),
            max_supply_age_ms=random.choice((2_000, 60_000, 3_600_000)),
        )
        self.judged = Judged()
        self.promised = Promised()
        self.log_clock, self.ingest_clock = HostClock(self.timeline), HostClock(self.timeline)
        self.writer_clock = HostClock(self.timeline)
        is_kafka = random.random() < 0.5
        self.log = SimulatedLog(random, self.log_clock, self._watch_log, is_kafka=is_kafka)
        self.ledger = SimulatedLedger(places.ledger, self._watch_ledger)
        self.disk = SimulatedDisk()
        self.directory = TableDirectory(table_dir, CLUSTER_ID)
        self.directory.prepare()
        self.tills = [
            Till(f"till-{number}", random, HostClock(self.timeline)) for number in range(3)
        ]
        self.clients = Clients(random, self.promised)
        self.setup_store = SetupStore(places.ledger, clock_us=self.writer_clock)
        self.setup_store.put_locations(
            [_place(name, degrees) for degrees, name in enumerate(PLACES)]
        )
        self.ingest: IngestProcess | None = None
        self.writers: list[WriterProcess] = []
        self._taken_over_by = 0
        self.storefronts = [self._storefront() for _ in range(READER_COUNT)]
        self._metrics = IngestMetrics(places.page), WriterMetrics(places.page)
        self._sent: dict[str, set[int]] = {LEDGER: set(), ORDER_EVENTS: set()}
        self._events: list[bytes] = []
        self._event_numbers: dict[bytes, int] = {}
        self._reached: dict[int, dict[TopicPartition, int]] = {}
        self._applied = 0

    def close(self) -> None:
        """Let go of everything."""
        for writer in self.writers:
            writer.kill()
        if self.ingest is not None:
            self.ingest.kill()

    # ---- ingest ----

    def open_ingest(self) -> str:
        """Let the supervisor start ingest."""
        ends = dict(self._ends())
        try:
            self.ingest = IngestProcess(
                self.settings,
                log=self.log,
                directory=self.directory,
                metrics=self._metrics[0],
                clock=self.ingest_clock,
                disk=self.disk,
                timeline=self.timeline,
                judged=self.judged,
            )
        except LogUnavailable:
            return "the log cannot be reached"
        for number in range(self.settings.shard_count):
            self._reached.setdefault(number, ends)
        return "open"

    def apply(self, number: int) -> str:
        """Let a shard apply, and check what a new generation has applied when it is published."""
        ingest = self.ingest
        if ingest is None:
            return "no ingest"
        shard = ingest.engine.shards[number]
        was_published = shard.is_published
        news = ingest.apply(number)
        if shard.is_published and not was_published:
            for partition, offset in self._offsets(number).items():
                reached = self._reached[number].get(partition, 0)
                must(
                    offset >= reached, "no generation is from the past", partition, offset, reached
                )
        if shard.is_published:
            self._check_demand_covers()
        return news

    def kill_ingest(self) -> str:
        """Let the ingest process die."""
        if self.ingest is None:
            return "no ingest"
        for number, shard in enumerate(self.ingest.engine.shards):
            if shard.is_published:
                self._reached[number] = self._offsets(number)
        self.ingest.kill()
        self.ingest = None
        return "killed"

    def crash_host(self) -> str:
        """Let the host lose its power: processes, shared memory, and what was not synced."""
        self.kill_ingest()
        for writer in list(self.writers):
            self.kill_writer(writer)
        self.disk.calm()
        self.disk.lose_power(self.random)
        shutil.rmtree(self.directory.path)
        self.directory.prepare()
        self.storefronts = [self._storefront() for _ in range(READER_COUNT)]
        self._reached = {}
        return "power lost"

    def _offsets(self, number: int) -> dict[TopicPartition, int]:
        if self.ingest is None:
            return {}
        supply = self.ingest.engine.shards[number].supply
        return {
            partition: supply.applied_offset(index)
            for index, partition in enumerate(self.ingest.engine.partitions)
        }

    def _ends(self) -> Iterator[tuple[TopicPartition, int]]:
        for each in self.judged.partitions():
            yield each, self.log.end(each)

    # ---- the order writer ----

    def open_writer(self) -> str:
        """Let a writer start; one that is there already does not know of it."""
        writer = WriterProcess(
            self.settings,
            ledger=self.ledger,
            log=self.log,
            directory=self.directory,
            metrics=self._metrics[1],
            clock=self.writer_clock,
            timeline=self.timeline,
            seed=self.seed,
        )
        if not writer.open():
            return "has to wait"
        self.writers.append(writer)
        self._taken_over_by = writer.epoch
        self._check_demand(writer)
        return f"epoch {writer.epoch}"

    def kill_writer(self, writer: WriterProcess) -> str:
        """Let a writer's process die."""
        writer.kill()
        self.writers.remove(writer)
        self._check_demand_covers()
        return f"killed {writer.epoch}"

    def turn(self, writer: WriterProcess, what: str) -> str:
        """Let a writer do something in which it may decide, and check what came of it."""
        before = self._reserved(writer)
        commits, turns = self.promised.commit_count, writer.turn_count
        news = writer.turn() if what == "turn" else writer.follow_claims()
        if not writer.is_alive:
            self.writers.remove(writer)
            return news
        if writer.epoch == self._taken_over_by and writer.turn_count > turns:
            self._check_demand(writer)
            self._check_not_oversold(writer, before)
        answered = self.promised.commit_count - commits
        return f"{news} {answered} commits"

    def newest_writer(self) -> WriterProcess | None:
        """Return the writer that has taken over last of those alive.

        An overtaken one may outlive its successors, and go on until it wants to commit something.
        """
        return max(self.writers, key=lambda each: each.epoch, default=None)

    # ---- what must hold ----

    def check_quiet(self) -> None:
        """Find errors that the engine has caught and lived on with."""
        must(not self.failures, "the engine makes no errors of its own", *self.failures)
        wrong = self.judged.wrongly_passed_on
        must(not wrong, "only what is refused or claimed is passed on", *wrong[:1])

    def _check_demand(self, writer: WriterProcess) -> None:
        """Find what is reserved and should not be, or the other way round: both say the same."""
        expected = self.promised.reserved(self.applied())
        found = {cell: units for cell, units in self._reserved(writer).items() if units}
        must(found == expected, "reserved is open and in flight", found, expected)

    def _check_demand_covers(self) -> None:
        """Find promises that readers do not see: what supply applies is lowered after it.

        Of a writer that died the table lives on, as it was at that moment, until the next one's.
        """
        demand = self._published_reader()
        if demand is None:
            return
        reserved = demand.demand()
        if reserved is None:
            return
        for cell, units in self.promised.reserved(self.applied()).items():
            found = reserved.reserved(*cell)
            must(found >= units, "what is promised is seen by readers", cell, found, units)

    def _check_not_oversold(self, writer: WriterProcess, before: dict[Cell, int]) -> None:
        """Find a promise that the shelf, as far as it is known, cannot keep."""
        for cell, units in self._reserved(writer).items():
            if units > before[cell]:
                safety = writer.opened.desk.setup.safety_stock(*cell)
                left = self._on_hand(cell) - units - safety
                must(left >= 0, "never oversold", cell, units, left)

    def _on_hand(self, cell: Cell) -> int:
        """Read what published tables, which are compared with the naive model, say is there."""
        reader = self._published_reader()
        if reader is not None:
            for skus, places, columns in reader.cells():
                rows = zip(*(columns[name].tolist() for name in _ON_HAND), strict=True)
                for sku, place, on_hand in rows:
                    if (skus[sku], places[place]) == cell:
                        return int(on_hand)
        return 0

    def _reserved(self, writer: WriterProcess) -> dict[Cell, int]:
        demand = writer.opened.stock.demand
        return {cell: demand.reserved(*cell) for cell in CELLS}

    def applied(self) -> int:
        """Return the last ledger event that every published table has applied."""
        reader = self._published_reader()
        if reader is not None:
            self._applied = min(reader.ledger_sequences())
        return self._applied

    def _published_reader(self) -> Any:
        reader = self.storefronts[0].reader
        try:
            reader.refresh()
        except TableUnavailable:
            return None
        return reader

    # ---- what is watched ----

    def _watch_ledger(self, commit: Commit) -> None:
        for event in commit.events:
            self._event_numbers[event.value] = len(self._events)
            self._events.append(event.value)
        self.promised.take(commit)

    def _watch_log(self, record: Record) -> None:
        self.judged.take(record)
        if record.topic == LEDGER:
            event = self.judged.event_at(record)
            number = event["sequence"]
            must(number <= len(self.promised.movements), "only what is committed is sent", number)
            kept = self.promised.movements[number - 1].document
            must(kept == record.value, "what is sent is what is committed", number)
        elif record.topic == ORDER_EVENTS:
            must(record.value in self._event_numbers, "only what is committed is told", record)
            number = self._event_numbers[record.value] + 1
        else:
            return
        sent = self._sent[record.topic]
        # Kafka may take some events of a call and lose others; those are sent again, all of them.
        if record.topic == LEDGER or not self.log.is_kafka:
            must(number <= len(sent) + 1, "what is sent has no gap", record.topic, number)
        sent.add(number)

    def is_all_sent(self) -> bool:
        """Tell whether everything that is committed is in the log."""
        return (len(self._sent[LEDGER]), len(self._sent[ORDER_EVENTS])) == (
            len(self.promised.movements),
            len(self._events),
        )

    def claim_records(self) -> list[Record]:
        """List the claims in the log."""
        return [record for number in range(2) for record in self.log.stored((CLAIMS, number))]

    def change_safety(self) -> str:
        """Let an administrator change what is never promised."""
        rules = [
            {"sku": self.random.choice(SKUS), "quantity": self.random.choice((-2, 0, 1, 3))},
            {"group": "west", "quantity": self.random.choice((0, 1))},
        ]
        self.setup_store.replace_safety_stock(rules)
        return str(rules)

    def _storefront(self) -> Storefront:
        return Storefront(self.settings.table_dir, CLUSTER_ID, self.judged)


@contextlib.contextmanager
def found_at(step: int) -> Iterator[None]:
    """Say at which step an invariant was found broken, also when the engine failed outright."""
    try:
        yield
    except Broken as broken:
        broken.add_note(f"at step {step}")
        raise
    except Exception as error:
        raise Broken(f"the engine does not fail: {error!r} at step {step}") from error


def _place(name: str, degrees_away: int) -> Location:
    return Location(
        id=name,
        name=name,
        type="store",
        latitude=52.0,
        longitude=5.0 + degrees_away,
        groups=("west",),
        pickup_days=1,
    )
