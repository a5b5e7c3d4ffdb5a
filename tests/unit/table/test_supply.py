"""The writer of a supply table: what it refuses, what it remembers, what it forgets."""

import resource
from contextlib import contextmanager

import numpy as np
import pytest

from onhand.errors import LedgerSequenceGap, TableFull, TableUnavailable
from onhand.model.batch import EVENT, LINE, Batch
from onhand.table.supply import Supply
from tests.needs import small_disk
from tests.supplies import LEDGER, OPTIONS, START_US, MemoryLog, Shards, time_at


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def shards(tmp_path):
    made = Shards(tmp_path)
    yield made
    made.close()


def sale(number, **fields):
    event = {
        "type": "sale",
        "source": "till",
        "id": f"e{number}",
        "occurred_at": time_at(0),
        "location": "store",
        "sku": "a",
        "quantity": 1,
    }
    return event | fields


def sales(log, first, count, **fields):
    return [log.append(sale(number, **fields)) for number in range(first, first + count)]


@contextmanager
def small(tmp_path, **options):
    made = Shards(tmp_path / "small", **options)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def small_directory(tmp_path):
    (tmp_path / "small").mkdir()


def forget(supply):
    supply.freeze().release()
    supply.forget()


def passed(batch):
    """Say of a batch that its judge knew all that is forgotten by now."""
    batch.ids_since_us = batch.counts_since_us = 2**62
    return batch


@pytest.fixture
def tiny_file_system(tmp_path):
    """Return the root of a file system of 24 MiB."""
    with small_disk(tmp_path / "tiny", "24m") as root:
        yield root


@contextmanager
def file_size_limit(size_bytes):
    """Let no file of this process grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_became_of_a_batch_is_told(shards, log):
    """Applied, duplicate and skipped events are told apart and counted by type."""
    positions = [*sales(log, 0, 3), log.append(sale(1)), log.append(sale(9, type="receipt"))]
    (applied,) = shards.apply(log.batch(positions))
    assert (applied.events, applied.duplicates, applied.lines, applied.skipped) == (4, 1, 4, 0)
    assert applied.by_type == (0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    (again,) = shards.apply(log.batch(positions))
    assert (again.events, again.duplicates, again.skipped) == (0, 0, 5)


def test_sums_over_shards_count_every_event_once(tmp_path, log):
    """An event with lines in several shards is counted by type in one of them."""
    with small(tmp_path, shard_count=3) as shards:
        lines = [{"sku": f"sku-{number}", "quantity": 1} for number in range(30)]
        event = {name: value for name, value in sale(0).items() if name not in ("sku", "quantity")}
        results = shards.apply(log.batch([log.append(event | {"lines": lines})]))
        assert sum(applied.lines for applied in results) == 30
        assert sum(applied.by_type[1] for applied in results) == 1
        assert sum(applied.events for applied in results) == 3


def test_offsets_follow_what_was_read_and_not_what_was_applied(shards, log):
    """The next offset counts every record of a poll, also when none of them is applied."""
    batch = log.batch([])
    batch.next_offsets = {1: 17}
    shards.apply(batch)
    assert shards.supply.applied_offset(1) == 17
    batch.next_offsets = {1: 12}
    shards.apply(batch)
    assert shards.supply.applied_offset(1) == 17


def test_the_checkpointed_offset_moves_when_a_checkpoint_is_durable(shards, log):
    """Log readers may be told of an offset only once no restart can go back before it."""
    shards.apply(log.batch(sales(log, 0, 3)))
    image = shards.supply.freeze()
    assert shards.supply.checkpointed_offset(0) == 0
    image.release()
    shards.supply.forget()
    assert shards.supply.checkpointed_offset(0) == 3


def test_history_says_what_each_movement_did(shards, log):
    """A movement that a count took in is superseded; a count stands in the history too."""
    shards.apply(log.batch([log.append(sale(1, occurred_at=time_at(-9)))]))
    shards.apply(log.batch([log.append(sale(2, type="count", quantity=5))]))
    shards.apply(log.batch([log.append(sale(3, occurred_at=time_at(-5)))]))
    received = {"type": "transfer_received", "from": "depot", "to": "store", "transfer_id": "t"}
    event = {name: value for name, value in sale(4).items() if name != "location"}
    shards.apply(log.batch([log.append(event | received | {"occurred_at": time_at(1)})]))
    assert shards.history("a", "store") == [(5, 1, 1 | 4), (1, 1, 128), (9, 5, 1), (1, 1, 1)]
    assert shards.cells() == {("a", "store"): (6, 0, -1, 0)}


def test_changes_name_the_cells_that_changed(shards, log):
    """Changes after a sequence are told in order, as many as asked for."""
    shards.apply(log.batch(sales(log, 0, 3)))
    skus, locations, reached, complete = shards.supply.changes(0, 2)
    assert (skus.tolist(), locations.tolist(), reached, complete) == ([0, 0], [0, 0], 2, True)
    skus, _, reached, complete = shards.supply.changes(reached, 10)
    assert (len(skus), reached, complete) == (1, 3, True)


def test_changes_that_were_overwritten_are_missed_with_a_word(tmp_path, log):
    """A reader that is farther behind than the ring is long is told so."""
    with small(tmp_path, capacity_bytes=8 << 20, history_max=8_192) as shards:
        for start in range(0, 9_000, 1_000):
            shards.apply(passed(log.batch(sales(log, start, 1_000))))
            for _ in range(2):
                forget(shards.supply)
        _, _, reached, complete = shards.supply.changes(0, 100_000)
        assert (reached, complete) == (9_000, False)


# -- the ledger ------------------------------------------------------------------------------------


def test_a_gap_in_the_ledgers_sequence_stops_with_nothing_applied(shards, log):
    """A missing ledger event would be a hand-over lost, so apply stops and names it."""
    shards.apply(log.batch([log.append(sale(0, sequence=1), LEDGER)]))
    positions = [log.append(sale(n, sequence=n), LEDGER) for n in (2, 4)]
    with pytest.raises(LedgerSequenceGap, match="sequence 4 where 3 comes next") as caught:
        shards.apply(log.batch(positions))
    assert (caught.value.expected, caught.value.found) == (3, 4)
    assert shards.cells() == {("a", "store"): (-1, 0, 0, 0)}
    assert shards.supply.statistics().ledger_sequence == 1


def test_the_sequence_moves_on_in_shards_without_a_line(tmp_path, log):
    """Every shard follows the sequence by event, or its next own line would look like a gap."""
    with small(tmp_path, shard_count=4) as shards:
        for number in range(1, 20):
            event = sale(number, sequence=number, sku=f"sku-{number}")
            shards.apply(log.batch([log.append(event, LEDGER)]))
        assert {s.statistics().ledger_sequence for s in shards.supplies} == {19}


def test_a_ledger_event_may_have_the_id_of_another(shards, log):
    """Ledger events are known by their sequence, stock events by their ids."""
    shards.apply(log.batch([log.append(sale(1)), log.append(sale(1, sequence=1), LEDGER)]))
    assert shards.cells() == {("a", "store"): (-2, 0, 0, 0)}


# -- forgetting ------------------------------------------------------------------------------------


def test_ids_are_forgotten_in_steps(tmp_path, log):
    """Announced at one checkpoint, in force when it is durable, evicted after the next."""
    with small(tmp_path, ids_max=1_000) as shards:
        supply = shards.supply
        shards.apply(log.batch(sales(log, 0, 800)))
        assert supply.needs_checkpoint()
        image = supply.freeze()
        # 175 of 800 are announced: back to 5/8 of 1,000.
        announced_us = START_US + 175 * 1_000 + 1
        assert image.ids_since_us == announced_us
        assert supply.ids_since_us == 0
        image.release()
        supply.forget()
        assert supply.ids_since_us == announced_us
        assert supply.statistics().id_count == 800
        forget(supply)
        assert supply.statistics().id_count == 625
        assert supply.ids_since_us == announced_us


def test_expired_ids_leave_though_there_is_room(tmp_path, log):
    """Ids older than any event that is still accepted need no memory."""
    with small(tmp_path, ids_max=1_000) as shards:
        shards.apply(log.batch(sales(log, 0, 100)))
        for _ in range(2):
            shards.supply.freeze(START_US + 50 * 1_000).release()
            shards.supply.forget()
        assert shards.supply.statistics().id_count == 51


def test_what_is_remembered_is_known_after_evictions(tmp_path, log):
    """Taking ids out of the index leaves every other one findable, over many turns of the ring."""
    with small(tmp_path, ids_max=3_000, history_max=4_096) as shards:
        supply = shards.supply
        for start in range(0, 10_000, 250):
            shards.apply(passed(log.batch(sales(log, start, 250))))
            if supply.needs_checkpoint():
                forget(supply)
            positions = [(0, offset) for offset in range(start + 250 - 400, start + 250)]
            again = [log.append(log.partitions[0][o][1], 1) for _, o in positions if o >= 0]
            (applied,) = shards.apply(passed(log.batch(again)))
            assert applied.events == 0
        assert shards.cells() == {("a", "store"): (-10_000, 0, 0, 0)}


def test_a_batch_that_finds_no_room_for_ids_names_the_setting(tmp_path, log):
    """Nothing of it is applied, and it fits after two checkpoints."""
    with small(tmp_path, ids_max=1_000) as shards:
        shards.apply(log.batch(sales(log, 0, 900)))
        batch = log.batch(sales(log, 900, 200, occurred_at=time_at(100)))
        with pytest.raises(TableFull, match="--ids-max"):
            shards.apply(batch)
        assert shards.cells() == {("a", "store"): (-900, 0, 0, 0)}
        for _ in range(2):
            forget(shards.supply)
        shards.apply(batch)
        assert shards.cells() == {("a", "store"): (-1_100, 0, 0, 0)}


def test_a_batch_that_finds_no_room_for_movements_names_the_setting(tmp_path, log):
    """A batch longer than the history can hold never fits, and says what to raise."""
    with small(tmp_path, history_max=1_024) as shards:
        batch = log.batch(sales(log, 0, 1_100))
        for _ in range(2):
            with pytest.raises(TableFull, match="--history-max"):
                shards.apply(batch)
            forget(shards.supply)
        assert shards.cells() == {}


def test_purchase_orders_have_a_limit(tmp_path, log):
    """Lines of purchase orders beyond the limit stop the batch, and name the setting."""
    with small(tmp_path, purchase_orders_max=2) as shards:
        receipts = [
            log.append(sale(number, type="receipt", purchase_order=f"po-{number}"))
            for number in range(3)
        ]
        with pytest.raises(TableFull, match="--purchase-orders-max"):
            shards.apply(log.batch(receipts))
        shards.apply(log.batch(receipts[:2]))
        assert shards.supply.statistics().purchase_order_count == 2


def test_counts_are_told_from_when_on_movements_are_remembered(tmp_path, log):
    """The horizon of counts is the newest occurrence among the movements that go."""
    with small(tmp_path, history_max=1_024) as shards:
        supply = shards.supply
        positions = [
            log.append(sale(number, occurred_at=time_at(number))) for number in range(1_000)
        ]
        shards.apply(log.batch(positions))
        forget(supply)
        # 1,000 movements, of which half a ring stays: 488 go, the newest occurred at second 487.
        assert supply.counts_since_us == START_US + 487_000_000
        assert supply.statistics().movement_count == 1_000
        forget(supply)
        assert supply.statistics().movement_count == 512


def test_a_checkpoint_is_due_before_what_was_announced_is_needed_for_room(tmp_path, log):
    """At 5/8 in use one announces; past 3/4 the next is due, with which it goes."""
    with small(tmp_path, history_max=1_024) as shards:
        supply = shards.supply
        due = []
        for start in range(0, 1_024 - 256 + 8, 8):
            # Small batches: room for a few as large as the largest is kept in any case.
            shards.apply(log.batch(sales(log, start, 8)))
            if supply.needs_checkpoint():
                due.append(start + 8)
                forget(supply)
        assert due == [648, 776]
        # What stayed of the first 648, and what has come since.
        assert supply.statistics().movement_count == 512 + 128
        assert not supply.needs_checkpoint()


def test_an_event_that_needs_what_was_forgotten_meanwhile_stops(tmp_path, log):
    """A batch judged before a horizon is not applied after its eviction: it is judged anew."""
    with small(tmp_path, history_max=1_024) as shards:
        supply = shards.supply
        positions = [
            log.append(sale(number, occurred_at=time_at(number))) for number in range(1_000)
        ]
        shards.apply(log.batch(positions))
        position = log.append(sale("c", type="count", quantity=7, occurred_at=time_at(100)))
        judged_early = log.batch([position])
        forget(supply)
        forget(supply)
        with pytest.raises(TableFull, match="judged anew"):
            shards.apply(judged_early)
        late = log.append(sale("d", type="count", quantity=7, occurred_at=time_at(600)))
        shards.apply(log.batch([late]))
        assert shards.cells() == {("a", "store"): (7 - 399, 0, 0, 0)}


def test_movements_too_old_for_any_count_make_room_at_once(tmp_path, log):
    """Room is made without a checkpoint as long as what goes is older than counts may be."""
    with small(tmp_path, history_max=1_024) as shards:
        for start in range(0, 8_000, 400):
            positions = [
                log.append(sale(number, occurred_at=time_at(number)))
                for number in range(start, start + 400)
            ]
            batch = log.batch(positions, counts_since_us=shards.supply.counts_since_us)
            shards.supply.apply(batch, START_US + start * 1_000_000)
        assert shards.cells() == {("a", "store"): (-8_000, 0, 0, 0)}


# -- bad input and full places ---------------------------------------------------------------------


def one_sale():
    """Make a right batch by hand."""
    events, lines = np.zeros(1, EVENT), np.zeros(1, LINE)
    heap = b"tillidstorea"
    events[0]["source_len"], events[0]["id_len"], events[0]["type"] = 4, 2, 1
    events[0]["location_off"], events[0]["location_len"] = 6, 5
    events[0]["line_count"] = 1
    lines[0]["sku_off"], lines[0]["sku_len"], lines[0]["quantity"] = 11, 1, 1
    lines[0]["sku_hash"] = 8_193_517_215_403_303_166
    return events, lines, heap


@pytest.mark.parametrize(
    ("column", "field", "value"),
    [
        ("events", "type", 0),
        ("events", "type", 11),
        ("events", "partition", 1_024),
        ("events", "first_line", 1),
        ("events", "line_count", 2),
        ("events", "line_count", 2**32 - 1),
        ("events", "source_off", 2**32 - 1),
        ("events", "source_len", 513),
        ("events", "id_len", 13),
        ("events", "location_len", 0),
        ("events", "location_len", 7),
        ("events", "location_off", 2**32 - 1),
        ("events", "reference_len", 13),
        ("lines", "event", 1),
        ("lines", "sku_len", 0),
        ("lines", "sku_len", 257),
        ("lines", "sku_off", 12),
        ("lines", "sku_off", 2**32 - 1),
    ],
)
def test_columns_that_lead_outside_are_refused(shards, column, field, value):
    """No offset or length of a batch is followed before it is known to stay inside."""
    events, lines, heap = one_sale()
    {"events": events, "lines": lines}[column][0][field] = value
    with pytest.raises(ValueError, match="event"):
        shards.apply(Batch(events, lines, heap))
    assert shards.cells() == {}


@pytest.mark.parametrize(("kind", "field"), [(7, "disposition"), (8, "disposition"), (4, "from")])
def test_types_ask_for_their_own_fields(shards, kind, field):
    """A return without a disposition, or a transfer from nowhere, cannot come from decoding."""
    events, lines, heap = one_sale()
    events[0]["type"] = kind
    with pytest.raises(ValueError, match="event 0"):
        shards.apply(Batch(events, lines, heap))
    assert field in ("disposition", "from")


def test_columns_by_number_are_checked(shards):
    """Numbers that were never given are refused before anything is added."""
    skus = shards.supply.resolve_skus(["a", "b"])
    places = shards.supply.resolve_locations(["store"])
    one = np.ones(1, np.int32)
    with pytest.raises(ValueError, match="decoding"):
        shards.supply.apply_columns(skus[:1], np.array([5], np.uint32), one)
    with pytest.raises(ValueError, match="equally long"):
        shards.supply.apply_columns(skus, places, one)
    shards.supply.apply_columns(skus[1:], places, one)
    assert shards.cells() == {("b", "store"): (1, 0, 0, 0)}


def test_a_full_table_stops_with_the_batch_whole(tmp_path, log):
    """Room for a batch is reserved before it is begun, and the message says what to raise."""
    with small(tmp_path, capacity_bytes=8 << 20, ids_max=200_000, history_max=1_024) as shards:
        before = {}

        def fill():
            nonlocal before
            for start in range(0, 100_000, 500):
                positions = [
                    log.append(sale(number, sku=f"sku-{number}"))
                    for number in range(start, start + 500)
                ]
                shards.apply(log.batch(positions))
                before = shards.supply.statistics()
                for _ in range(2):
                    forget(shards.supply)

        with pytest.raises(TableFull, match="--table-bytes-max"):
            fill()
        now = shards.supply.statistics()
        assert (now.cell_count, now.sku_count) == (before.cell_count, before.sku_count)


def test_a_batch_that_stopped_halfway_is_never_kept(tmp_path, log):
    """Columns reserve no room: a table they have filled up applies and freezes no more."""
    with small(tmp_path, capacity_bytes=8 << 20, history_max=1_024) as shards:
        supply = shards.supply
        skus = supply.resolve_skus([str(number) for number in range(1_000)])
        places = supply.resolve_locations([f"store-{number}" for number in range(500)])

        def fill():
            for place in places:
                supply.apply_columns(skus, np.full(1_000, place), np.ones(1_000, np.int32))

        with pytest.raises(TableFull, match="--table-bytes-max"):
            fill()
        for ask in (fill, lambda: shards.apply(log.batch([])), supply.freeze):
            with pytest.raises(TableFull, match="halfway"):
                ask()


def test_a_full_file_system_is_told(tmp_path):
    """Space is taken before it is used, so a full one is an error and no signal."""
    with (
        file_size_limit(1 << 20),
        pytest.raises(TableUnavailable, match="--table-dir"),
    ):
        Shards(tmp_path / "small")
    assert list((tmp_path / "small").iterdir()) == []


def test_a_file_system_that_fills_up_stops_with_the_batch_whole(tiny_file_system, log):
    """A table that cannot grow applies nothing of the batch, and goes on when there is room."""
    shards = Shards(tiny_file_system, ids_max=200_000, history_max=1 << 17)
    shards.apply(log.batch(sales(log, 0, 10)))
    ballast = tiny_file_system / "ballast"
    ballast.write_bytes(bytes(7 << 20))
    batch = log.batch([log.append(sale(n, sku=f"sku-{n}")) for n in range(100, 30_100)])
    with pytest.raises(TableUnavailable, match="no room"):
        shards.apply(batch)
    assert shards.cells() == {("a", "store"): (-10, 0, 0, 0)}
    ballast.unlink()
    small_batch = log.batch([log.append(sale(n, sku=f"sku-{n}")) for n in range(100, 200)])
    shards.apply(small_batch)
    assert len(shards.cells()) == 101
    shards.close()


def test_a_table_that_exists_is_not_overwritten(tmp_path, shards):
    """A generation's file is made once."""
    assert shards.supply is not None
    with pytest.raises(TableUnavailable, match="File exists"):
        Shards(tmp_path)


def test_a_history_beyond_the_table_is_refused(tmp_path):
    """Rings that do not fit table_bytes_max are refused when the table is made."""
    with pytest.raises(TableFull, match="--table-bytes-max"):
        Shards(tmp_path / "small", capacity_bytes=1 << 20, history_max=1 << 16)


def test_a_closed_table_says_so(tmp_path):
    """Whatever is asked of a closed table is an error of the caller, and no crash."""
    supply = Supply.create(
        tmp_path / "t.table",
        cluster_id=bytes(16),
        shard=0,
        shard_count=1,
        generation=1,
        **OPTIONS,
    )
    supply.close()
    supply.close()
    for ask in (
        supply.statistics,
        supply.freeze,
        supply.forget,
        supply.needs_checkpoint,
        lambda: supply.apply(Batch()),
        lambda: supply.applied_offset(0),
        lambda: supply.resolve_skus(["a"]),
        lambda: supply.changes(0, 1),
        lambda: supply.stamp(heartbeat_us=0, as_of_us=0, lag_events=0),
    ):
        with pytest.raises(ValueError, match="open"):
            ask()


def test_a_table_is_frozen_once_at_a_time(shards, log):
    """An image that is still being written holds the buffer, and forgetting waits for it."""
    shards.apply(log.batch(sales(log, 0, 3)))
    image = shards.supply.freeze()
    with pytest.raises(ValueError, match="released"):
        shards.supply.freeze()
    with pytest.raises(ValueError, match="released"):
        shards.supply.forget()
    shards.apply(log.batch(sales(log, 3, 3)))
    image.release()
    image.release()
    shards.supply.forget()
    shards.supply.freeze().release()
