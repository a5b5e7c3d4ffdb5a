"""Engines that are wrong on purpose, each in one way, and how soon a simulation finds out.

The engine is patched from outside; nothing in the product knows of it. ``seeds`` is within how many
worlds, from seed 1 on, the mutation must be caught; ``by`` is what catches it, several where it
shows in more than one way.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from onhand.errors import LogUnavailable
from onhand.ingest import decode, opening
from onhand.ingest.engine import Engine
from onhand.ingest.shard import Shard
from onhand.ledger import order_store
from onhand.ledger.order_store import OrderStore
from onhand.ledger.schema import writer
from onhand.orders import claims, progress, tasks, upkeep
from onhand.orders.book import Book
from onhand.orders.upkeep import Expired
from onhand.table.checkpoint import Checkpoints
from onhand.table.supply import Image, Supply
from onhand.writer import claims_feed, outbox
from onhand.writer.deciding import Deciding
from onhand.writer.outbox import Pack
from onhand.writer.stock import TableStock
from onhand.writer.supply_watch import SupplyWatch
from onhand.writer.turns import Turns
from onhand.writer.waiting import deliver


class Mutation(NamedTuple):
    """One way to be wrong."""

    what: str
    apply: Callable[..., None]
    by: tuple[str, ...]
    seeds: int = 20

    def is_caught_by(self, broken):
        """Tell whether a finding is what this mutation breaks."""
        return any(each in broken for each in self.by)


# ---- supply ----


def offsets_without_numbers(patch):
    real = Supply.freeze

    def freeze(self, expired_us=0):
        image = real(self, expired_us)
        image.__class__, image.supply = LateImage, self
        return image

    patch.setattr(Supply, "freeze", freeze)


class LateImage(Image):
    """An image whose offsets are read when it is written."""

    @property
    def offsets(self):
        count = len(self.__dict__["offsets"])
        return tuple(self.supply.applied_offset(number) for number in range(count))

    @offsets.setter
    def offsets(self, offsets):
        self.__dict__["offsets"] = offsets


def outputs_not_waited_for(patch):
    real = Engine._divert

    def divert(self, raw, batch):
        log = self._log
        self._log = Hasty(log)
        try:
            real(self, raw, batch)
        finally:
            self._log = log

    patch.setattr(Engine, "_divert", divert)


class Hasty:
    """A log that is not waited for."""

    def __init__(self, log):
        self._log = log

    def __getattr__(self, name):
        return getattr(self._log, name)

    def append(self, records):
        try:
            return self._log.append(records)
        except LogUnavailable:
            return []


def dead_letters_dropped(patch):
    real = Engine._divert

    def divert(self, raw, batch):
        batch.rejects = []
        real(self, raw, batch)

    patch.setattr(Engine, "_divert", divert)


def counts_as_of_arrival(patch):
    real = Supply.apply

    def apply(self, batch, expired_us=0):
        counted = batch.events["type"] == decode.TYPE_NUMBERS["count"]
        batch.events["occurred_us"][counted] = batch.events["append_us"][counted]
        return real(self, batch, expired_us)

    patch.setattr(Supply, "apply", apply)


def ids_forgotten_at_restart(patch):
    load, apply = Supply.load.__func__, Supply.apply

    def loaded(cls, path, checkpoint, **options):
        supply = load(cls, path, checkpoint, **options)
        supply.life = options["generation"]
        return supply

    def applied(self, batch, expired_us=0):
        # Ids are known by their hash: another one in each life, and none from before is known.
        events = batch.events
        batch.events = events.copy()
        batch.events["id_lo"] ^= getattr(self, "life", 0) << 8
        try:
            return apply(self, batch, expired_us)
        finally:
            batch.events = events

    patch.setattr(Supply, "load", classmethod(loaded))
    patch.setattr(Supply, "apply", applied)


def ids_let_go_of_early(patch):
    real = Supply.freeze
    patch.setattr(Supply, "freeze", lambda self, _expired_us=0: real(self, 1 << 61))


def published_at_once(patch):
    def publish(self):
        self._publish()
        self.is_published = True

    patch.setattr(Shard, "_publish_when_caught_up", publish)


def slowest_shard_sets_the_mark(patch):
    patch.setattr(opening, "_furthest", lambda reader: reader.progress().offsets)


def resumed_at_the_furthest_shard(patch):
    real = Engine.__init__

    def init(self, *, starts, **arguments):
        real(self, starts=starts, **arguments)
        self._starts = [max(offsets) for offsets in zip(*starts, strict=True)]

    patch.setattr(Engine, "__init__", init)


def always_as_of_now(patch):
    real = Supply.stamp

    def stamp(self, *, heartbeat_us, as_of_us, lag_events):
        del as_of_us
        real(self, heartbeat_us=heartbeat_us, as_of_us=heartbeat_us, lag_events=lag_events)

    patch.setattr(Supply, "stamp", stamp)


def never_too_late(patch):
    real = Engine.window
    patch.setattr(
        Engine, "window", lambda self: msgspec.structs.replace(real(self), late_us=-1, count_us=-1)
    )


def claims_moved_as_sales(patch):
    real = decode.check_object

    def check_object(found, *, is_ledger=False):
        event = real(found, is_ledger=is_ledger)
        return msgspec.structs.replace(event, is_claim=False)

    patch.setattr(decode, "check_object", check_object)


def checkpoint_not_synced(patch):
    real = Checkpoints._write_durably

    def write_durably(self, *arguments):
        disk = self._disk
        self._disk = Unsynced(disk)
        try:
            real(self, *arguments)
        finally:
            self._disk = disk

    patch.setattr(Checkpoints, "_write_durably", write_durably)


class Unsynced:
    """A disk whose files are not waited for, only their names."""

    def __init__(self, disk):
        self._disk = disk

    def __getattr__(self, name):
        return getattr(self._disk, name)

    def sync(self, file):
        del file

    sync_data = sync


# ---- what is promised ----


def lowered_before_supply(patch):
    real = SupplyWatch._follow_progress

    def follow(self, *arguments):
        real(self, *arguments)
        self._book.applied(self._book.last_sequence)

    patch.setattr(SupplyWatch, "_follow_progress", follow)


def flight_forgotten_at_start(patch):
    patch.setattr(OrderStore, "load_ledger_events", lambda _self, _after: [])


def promised_beyond_the_shelf(patch):
    real = TableStock.group_cells

    def group_cells(self, skus, group):
        names, cells = real(self, skus, group)
        return names, cells + 1

    patch.setattr(TableStock, "group_cells", group_cells)
    promisable = TableStock.promisable
    patch.setattr(TableStock, "promisable", lambda self, *cell: promisable(self, *cell) + 1)


def freed_before_the_commit(patch):
    patch.setattr(
        TableStock,
        "reserve",
        lambda self, sku, location, delta: self.demand.add(sku, location, delta),
    )


def released_units_kept(patch):
    real = TableStock.reserve

    def reserve(self, sku, location, delta):
        if delta > 0:
            real(self, sku, location, delta)

    patch.setattr(TableStock, "reserve", reserve)


def handed_over_twice(patch):
    def hand_over(allocation, *, till):
        progress.hand_over(allocation, till=till)
        return till

    patch.setattr(claims, "hand_over", hand_over)


def missed_units_kept_on_hand(patch):
    patch.setattr(tasks, "write_off", lambda *_arguments: None)


def sequence_skipped(patch):
    real = Book.hand_over

    def hand_over(self, make, reserved):
        if self.last_sequence % 5 == 3:
            self.last_sequence += 1
        return real(self, make, reserved)

    patch.setattr(Book, "hand_over", hand_over)


def holds_never_expire(patch):
    patch.setattr(upkeep, "due", lambda *_arguments: Expired(0, 0))


# ---- commits and answers ----


def answered_before_the_commit(patch):
    real = Turns._write

    def write(self, commit, waiting):
        deliver(self.give_back())
        real(self, commit, waiting)

    patch.setattr(Turns, "_write", write)


def failed_commit_not_undone(patch):
    patch.setattr(Deciding, "rollback", Deciding.settle)


def unknown_commit_taken_as_lost(patch):
    real = OrderStore.settle

    def settle(self):
        real(self)
        return False

    patch.setattr(OrderStore, "settle", settle)


def unknown_commit_taken_as_made(patch):
    real = OrderStore.settle

    def settle(self):
        real(self)
        return True

    patch.setattr(OrderStore, "settle", settle)


def no_fence(patch):
    values = {
        "commit_number": sa.bindparam("after"),
        "event_number": sa.bindparam("events"),
        "ledger_sequence": sa.bindparam("sequence"),
    }
    fence = sa.update(writer).values(values).returning(writer.c.commit_number)
    patch.setattr(order_store, "_FENCE", fence)


def answers_forgotten(patch):
    patch.setattr(Deciding, "_known", lambda _self, _waiting: {})


# ---- claims and what is sent ----


def claims_decided_again(patch):
    numbers = iter(range(1 << 30))
    patch.setattr(claims_feed, "key_of", lambda _claim: next(numbers).to_bytes(16, "big"))


def sent_before_committed(patch):
    real = Turns._write

    def write(self, commit, waiting):
        for row in commit.ledger_events:
            self._outbox._ledger._log.append([outbox.NewRecord("stock.ledger", row.document)])
        real(self, commit, waiting)

    patch.setattr(Turns, "_write", write)


def sent_again_from_the_wrong_place(patch):
    real = outbox._Lane._send

    def send(self, records):
        try:
            real(self, records)
        except LogUnavailable:
            self.error = "not tried again"

    patch.setattr(outbox._Lane, "_send", send)


def successors_events_sent(patch):
    patch.setattr(Pack, "up_to", lambda self, _number: self)


MUTATIONS = {
    mutation.apply.__name__: mutation
    for mutation in (
        Mutation(
            "a checkpoint has numbers of one moment and offsets of another",
            offsets_without_numbers,
            ("numbers follow from offsets",),
        ),
        Mutation(
            "a poll goes on though its dead letters and claims were not acknowledged",
            outputs_not_waited_for,
            ("outputs come before offsets",),
        ),
        Mutation(
            "refused events are dropped",
            dead_letters_dropped,
            ("outputs come before offsets",),
        ),
        Mutation(
            "a count rules over movements that occurred after it and came before it",
            counts_as_of_arrival,
            ("numbers follow from offsets",),
        ),
        Mutation(
            "ids are forgotten at a restart",
            ids_forgotten_at_restart,
            ("numbers follow from offsets",),
        ),
        Mutation(
            "ids are let go of before their window is over",
            ids_let_go_of_early,
            ("only what is refused or claimed is passed on", "the engine does not fail"),
        ),
        Mutation(
            "a new table is published before it has caught up",
            published_at_once,
            ("no generation is from the past",),
        ),
        Mutation(
            "a new table is published when it has what the slowest shard had",
            slowest_shard_sets_the_mark,
            ("no generation is from the past",),
            120,
        ),
        Mutation(
            "lanes resume at the furthest shard's offsets",
            resumed_at_the_furthest_shard,
            ("numbers follow from offsets",),
            40,
        ),
        Mutation(
            "as_of is always now",
            always_as_of_now,
            ("as_of says what is applied",),
        ),
        Mutation(
            "events that are too late are applied",
            never_too_late,
            ("outputs come before offsets", "only what is refused or claimed is passed on"),
        ),
        Mutation(
            "a till's claim moves stock by itself",
            claims_moved_as_sales,
            ("outputs come before offsets", "numbers follow from offsets"),
        ),
        Mutation(
            "a checkpoint is named before it is on the disk",
            checkpoint_not_synced,
            ("the engine does not fail",),
            60,
        ),
        Mutation(
            "reserved is lowered before supply has applied the hand-over",
            lowered_before_supply,
            ("reserved is open and in flight",),
        ),
        Mutation(
            "a starting writer forgets what is in flight",
            flight_forgotten_at_start,
            ("reserved is open and in flight",),
            40,
        ),
        Mutation(
            "one unit more is promised than is there",
            promised_beyond_the_shelf,
            ("never oversold",),
        ),
        Mutation(
            "what a batch frees is lowered before its commit",
            freed_before_the_commit,
            ("what is promised is seen by readers",),
            60,
        ),
        Mutation(
            "what is released stays reserved",
            released_units_kept,
            ("reserved is open and in flight",),
        ),
        Mutation(
            "a hand-over told by app and till leaves twice",
            handed_over_twice,
            ("every unit is told of once",),
        ),
        Mutation(
            "units missing at the pick stay on hand",
            missed_units_kept_on_hand,
            ("every unit is told of once",),
        ),
        Mutation(
            "a ledger sequence is skipped",
            sequence_skipped,
            ("the engine does not fail",),
        ),
        Mutation(
            "holds do not expire",
            holds_never_expire,
            ("what has run out is released",),
        ),
        Mutation(
            "commands are answered before their commit",
            answered_before_the_commit,
            ("an answer is on disk before it is told",),
        ),
        Mutation(
            "a commit that failed is not undone",
            failed_commit_not_undone,
            ("reserved is open and in flight",),
            40,
        ),
        Mutation(
            "a commit of unknown outcome counts as lost",
            unknown_commit_taken_as_lost,
            ("reserved is open and in flight",),
            40,
        ),
        Mutation(
            "a commit of unknown outcome counts as made",
            unknown_commit_taken_as_made,
            ("an answer is on disk before it is told",),
            20,
        ),
        Mutation(
            "a writer that was overtaken goes on to commit",
            no_fence,
            ("sequences have no gap", "a key is answered once"),
            20,
        ),
        Mutation(
            "a command sent again is decided again",
            answers_forgotten,
            ("a key is answered once",),
        ),
        Mutation(
            "a claim told twice is decided twice",
            claims_decided_again,
            ("everything comes to rest",),
        ),
        Mutation(
            "movements are sent before their commit",
            sent_before_committed,
            ("only what is committed is sent",),
        ),
        Mutation(
            "what the log did not take is not sent again",
            sent_again_from_the_wrong_place,
            ("what is sent has no gap",),
            20,
        ),
        Mutation(
            "a writer that was overtaken sends its successor's events",
            successors_events_sent,
            ("the engine does not fail",),
            60,
        ),
    )
}


def table():
    """Write the list as docs/simulation.md has it."""
    rows = [
        f"| {each.what} | {'; or '.join(each.by)} | {each.seeds} |" for each in MUTATIONS.values()
    ]
    head = ["| the engine is wrong so | found by | within seeds |", "| --- | --- | ---: |"]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    print(table())  # noqa: T201
