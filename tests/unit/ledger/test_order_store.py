"""The order store on SQLite and on PostgreSQL: what is committed is read back, paged, pruned."""

import contextlib
import threading

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite

from onhand.errors import InvalidInput, WriterFenced
from onhand.ledger import (
    OrderReads,
    OrderStore,
    SetupStore,
    bulk,
    old_rows,
    open_ledger,
    rows,
    schema,
)
from onhand.ledger.answer_index import AnswerIndex
from onhand.ledger.migrate import LEDGER, MIGRATIONS
from onhand.ledger.old_rows import BEGIN, OldRows, Place
from onhand.ledger.order_store import DAY_US
from onhand.ledger.rows import Commit, HoldRow, OrderRow
from onhand.settings import Settings
from tests.order_rows import answer, batch, event, hold, key, ledger_event, order, return_, task

NOW_US = 100 * DAY_US


def numbers(pending):
    return [each.number for each in pending]


def count(ledger, table):
    with ledger.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (rows.HoldRow, schema.hold),
        (rows.OrderRow, schema.orders),
        (rows.TaskRow, schema.task),
        (rows.ReturnRow, schema.returns),
        (rows.LedgerEventRow, schema.ledger_event),
    ],
)
def test_rows_are_shaped_as_their_tables(row, table):
    """A row's fields are its table's columns, the key first."""
    assert row._fields == tuple(column.name for column in table.columns)
    assert row._fields[:1] == tuple(column.name for column in table.primary_key)


def test_everything_committed_is_read_back(store):
    """Each kind of row comes back as it was handed over."""
    store.commit(batch(1))
    assert store.hold("h000003") == hold(3)
    assert store.order("o000003") == order(3)
    assert store.order("o000003").is_open is True
    assert store.answers([key(3), key(99)]) == {key(3): answer(3)}
    assert list(store.load_ledger_events(0)) == [ledger_event(1)]
    assert store.last_sequence() == 1
    assert store.claim_offsets() == {0: 1}
    assert [each[1:] for each in store.pending_events(9)] == [event(3), event(4), event(5)]
    assert (store.hold("?"), store.order("?")) == (None, None)


def test_odd_text_and_bytes_survive(store):
    """Ids, customers and documents of any characters, and empty ones, come back unchanged."""
    odd = 'é"\\,{}\x1e\u2028😀 NULL'
    document = odd.encode()
    made = OrderRow(odd, "open", odd, -1, 2**62, False, document)
    none = OrderRow("none", "open", None, 0, 0, True, b"")
    refused = answer(1, refused=True)
    store.commit(Commit(orders=[made, none], answers=[refused], events=[event(1)]))
    assert store.load_orders([odd, "none"]) == {odd: made, "none": none}
    assert store.orders(customer=odd).rows == [made]
    found = store.answers([refused.key])[refused.key]
    assert found == refused
    assert found.refused is True


@pytest.mark.parametrize("size", [1, 3, 4, 5, 63, 255, 256, 257, 700])
def test_batches_of_every_size_are_whole(store, size):
    """However rows divide into statements, all are written and then replaced."""
    store.commit(batch(1, size))
    assert len(list(store.load_open())) == 2 * size
    numbers_ = range(size, 2 * size)
    store.commit(Commit(holds=[hold(each, "released") for each in numbers_]))
    ids = [f"h{each:06d}" for each in numbers_]
    found = store.load_holds(ids)
    assert {each.status for each in found.values()} == {"released"}
    assert sorted(found) == ids
    assert len(store.answers([key(each) for each in (*numbers_, -1)])) == size


def test_last_of_several_rows_of_one_key_counts(store):
    """A batch may name a row more than once; what it says last is written."""
    store.commit(Commit(holds=[hold(1), hold(2), hold(1, "released")]))
    assert store.hold("h000001").status == "released"
    assert store.hold("h000002").status == "active"


def test_answers_of_earlier_writers_are_found(store, make_store):
    """Who takes over knows every answer that is kept, the newest of several for one key."""
    for number in range(1, 6):
        store.commit(batch(number, size=40))
    store.commit(Commit(answers=[answer(41, refused=True)]))
    other = make_store()
    other.take_over("other", 1)
    assert other.statistics().answer_count == 201
    found = other.answers([key(each) for each in range(300)])
    assert set(found) == {key(each) for each in range(40, 240)}
    assert found[key(41)] == answer(41, refused=True)
    assert found[key(42)] == answer(42)


def test_answers_outlive_their_memory(store, monkeypatch):
    """Answers that are no longer kept whole in memory are read from the ledger."""
    monkeypatch.setattr(store, "_index", AnswerIndex(young_max=10))
    for number in range(1, 31):
        store.commit(Commit(answers=[answer(each) for each in range(number * 4, number * 4 + 4)]))
    everything = range(4, 124)
    known, numbers_ = store._index.find([key(each) for each in everything])
    assert len(known) == 12
    assert numbers_ == list(range(1, 28))
    found = store.answers([key(each) for each in everything])
    assert found == {key(each): answer(each) for each in everything}


def test_key_that_is_no_hash_is_refused(store):
    """Keys must be long enough to be told apart in memory; a batch with a short one is refused."""
    with pytest.raises(ValueError, match="16 to 32 bytes"):
        store.commit(Commit(holds=[hold(1)], answers=[answer(1)._replace(key=b"short")]))
    assert store.hold("h000001") is None
    with pytest.raises(ValueError, match="16 to 32 bytes"):
        store.answers([b"short"])


def test_no_key_is_looked_up_for_nothing(store):
    """Asking for no keys answers with nothing."""
    assert store.answers([]) == {}
    assert store.load_orders([]) == {}


def test_many_keys_are_looked_up_at_once(store):
    """More keys than a statement takes are all found."""
    store.commit(Commit(answers=[answer(each) for each in range(2_500)]))
    found = store.answers([key(each) for each in range(2_600)])
    assert len(found) == 2_500
    assert found[key(2_499)] == answer(2_499)


def test_empty_commit_changes_nothing(store):
    """A commit without rows is none at all."""
    assert Commit().is_empty
    assert not batch(1).is_empty
    assert not Commit(ledger_published=1).is_empty
    store.commit(Commit())
    assert store.statistics().position.commit_number == 0


def test_what_is_open_is_loaded(store):
    """Active holds and open orders are loaded, finished ones are not."""
    store.commit(
        Commit(
            holds=[hold(1), hold(2, "released")],
            orders=[order(1), order(2, status="fulfilled", is_open=False)],
        )
    )
    assert list(store.load_open()) == [hold(1), order(1)]
    assert [type(row) for row in store.load_open()] == [HoldRow, OrderRow]


def test_loading_what_is_open_sees_one_moment(store):
    """Rows committed while a load runs are not half in it."""
    store.commit(Commit(holds=[hold(each) for each in range(10)]))
    with contextlib.closing(store.load_open()) as loading:
        seen = [next(loading)]
        store.commit(Commit(holds=[hold(99)], orders=[order(1)]))
        seen += loading
    assert {row.id for row in seen} == {f"h{each:06d}" for each in range(10)}


def test_partial_indexes_are_used_for_loading(store, ledger):
    """What is open is found without reading what is finished."""
    store.commit(batch(1))
    is_embedded = ledger.engine.dialect.name == "sqlite"
    with ledger.read() as connection:
        if not is_embedded:
            # A table this small is cheaper to read whole.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for query, index in (
            ("SELECT * FROM hold WHERE status = 'active'", "ix_hold_active"),
            ("SELECT * FROM orders WHERE is_open", "ix_orders_open"),
        ):
            explain = "EXPLAIN QUERY PLAN" if is_embedded else "EXPLAIN"
            plan = connection.exec_driver_sql(f"{explain} {query}").all()
            assert index in str(plan)


def test_claim_offsets_are_kept_by_partition(store):
    """Each partition keeps its newest offset."""
    store.commit(Commit(claim_offsets={0: 5, 3: 1}))
    store.commit(Commit(claim_offsets={3: 9}))
    assert store.claim_offsets() == {0: 5, 3: 9}


def test_ledger_events_leave_no_gap(store):
    """A sequence that is not the next one is refused before anything is written."""
    store.commit(Commit(ledger_events=[ledger_event(1), ledger_event(2)]))
    for wrong in ([ledger_event(2)], [ledger_event(4)], [ledger_event(3), ledger_event(5)]):
        with pytest.raises(ValueError, match=r"where 3 is due|where 4 is due"):
            store.commit(Commit(ledger_events=wrong, holds=[hold(1)]))
    assert store.hold("h000001") is None
    assert [each.sequence for each in store.load_ledger_events(1)] == [2]
    assert store.last_sequence() == 2


def test_events_are_numbered_without_gaps(store, make_store):
    """Numbers go on over commits and writers, and reading may begin within a commit."""
    store.commit(Commit(events=[event(each) for each in range(5)]))
    other = make_store()
    other.take_over("other", 2)
    other.commit(Commit(events=[event(5), event(6)]))
    pending = other.pending_events(100)
    assert numbers(pending) == [1, 2, 3, 4, 5, 6, 7]
    assert [each.key for each in pending] == [f"o{each}" for each in range(7)]
    assert numbers(other.pending_events(2)) == [1, 2]
    other.commit(Commit(events_published=3))
    assert numbers(other.pending_events(3)) == [4, 5, 6]


def test_published_events_are_dropped(store, ledger):
    """Once published, events are neither read again nor kept; a position never goes back."""
    for number in (1, 2, 3):
        store.commit(batch(number))
    store.commit(Commit(events_published=4, ledger_published=2))
    assert numbers(store.pending_events(9)) == [5, 6, 7, 8, 9]
    assert [each.sequence for each in store.pending_ledger_events(9)] == [3]
    assert count(ledger, schema.order_event) == 2
    store.commit(Commit(events_published=2, ledger_published=1))
    assert numbers(store.pending_events(1)) == [5]
    store.commit(Commit(events_published=9, ledger_published=3))
    assert store.pending_events(9) == []
    assert store.pending_ledger_events(9) == []
    assert count(ledger, schema.order_event) == 0
    assert len(list(store.load_ledger_events(0))) == 3
    store.commit(Commit(events=[event(1)]))
    assert numbers(store.pending_events(9)) == [10]


def test_nothing_beyond_the_newest_is_published(store):
    """A position that was never written is not taken."""
    store.commit(batch(1))
    with pytest.raises(ValueError, match="beyond the newest"):
        store.commit(Commit(events_published=4))
    with pytest.raises(ValueError, match="beyond the newest"):
        store.commit(Commit(ledger_published=2))
    assert len(store.pending_events(9)) == 3
    assert len(store.pending_ledger_events(9)) == 1


def test_commit_needs_a_writer(make_store):
    """A store that has not taken over writes nothing."""
    store = make_store()
    with pytest.raises(ValueError, match="take_over comes before"):
        store.commit(batch(1))
    with pytest.raises(ValueError, match="no commit is of unknown outcome"):
        store.settle()


def test_who_was_overtaken_changes_nothing(make_store, ledger):
    """With two writers on one ledger the older one's commits are refused, now and later."""
    old, new = make_store(), make_store()
    first = old.take_over("old", 1)
    old.commit(batch(1))
    assert new.take_over("new", 2) == first + 1
    with pytest.raises(WriterFenced, match="another order writer has taken over"):
        old.commit(batch(2))
    new.commit(batch(2))
    with pytest.raises(WriterFenced):
        old.commit(Commit(holds=[hold(1, "released")]))
    assert new.claim_offsets() == {0: 2}
    assert len(list(new.load_open())) == 12
    with ledger.read() as connection:
        assert connection.execute(sa.select(schema.writer.c.owner)).scalar_one() == "new"
    assert old.take_over("old", 3) == first + 2
    old.commit(batch(3))
    with pytest.raises(WriterFenced):
        new.commit(batch(3))


def test_of_many_that_commit_at_once_one_is_the_writer(make_store):
    """However take-overs and commits interleave, each commit is whole and none is lost."""
    written = []
    lock = threading.Lock()

    def run(name):
        store = make_store()
        store.take_over(name, 1)
        try:
            for number in range(50):
                store.commit(Commit(holds=[HoldRow(f"{name}-{number}", "active", 1, b"{}")]))
                with lock:
                    written.append(f"{name}-{number}")
        except WriterFenced:
            pass

    threads = [threading.Thread(target=run, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = make_store()
    assert {row.id for row in reader.load_open()} == set(written)
    assert any(row.endswith("-49") for row in written)


def test_orders_are_paged_newest_first(store):
    """Pages follow each other without gap or repetition, ties included."""
    store.commit(Commit(orders=[order(each, created_us=each // 3) for each in range(20)]))
    seen, cursor = [], None
    while True:
        page = store.orders(cursor=cursor, limit=3)
        seen += page.rows
        cursor = page.next
        if cursor is None:
            break
    assert [row.id for row in seen] == [f"o{each:06d}" for each in reversed(range(20))]


def test_orders_are_chosen_by_customer_and_status(store):
    """A list holds a customer's orders, those of a status, or both, in the same order."""
    statuses = ("open", "fulfilled", "cancelled", "partially_fulfilled")
    made = [order(each, status=statuses[each % 4], customer="ab"[each % 2]) for each in range(16)]
    store.commit(Commit(orders=made))
    newest = made[::-1]
    assert store.orders().rows == newest
    assert store.orders(customer="a").rows == [row for row in newest if row.customer == "a"]
    assert store.orders(status="fulfilled").rows == [r for r in newest if r.status == "fulfilled"]
    both = store.orders(customer="a", status="cancelled", limit=2)
    expected = [r for r in newest if (r.customer, r.status) == ("a", "cancelled")]
    assert both.rows == expected[:2]
    rest = store.orders(customer="a", status="cancelled", cursor=both.next)
    assert (rest.rows, rest.next) == (expected[2:], None)


def test_pages_stay_while_orders_are_added(store):
    """Orders made between two pages move nothing from one page to another."""
    store.commit(Commit(orders=[order(each) for each in range(10)]))
    first = store.orders(limit=4)
    store.commit(Commit(orders=[order(each) for each in range(10, 30)]))
    second = store.orders(limit=10, cursor=first.next)
    assert [row.created_us for row in first.rows + second.rows] == list(reversed(range(10)))


def test_tasks_are_paged_by_due_time_with_their_orders(store):
    """A location's tasks come by due time, of one status or of all, with every order once."""
    made = [task(each, each % 3, due_us=100 - each // 2) for each in range(10)]
    done = [task(each, 0, status="done", due_us=98) for each in (20, 21)]
    elsewhere = [task(30, 1, location="other", due_us=0)]
    store.commit(Commit(tasks=made + done + elsewhere, orders=[order(each) for each in range(3)]))
    expected = sorted(made, key=lambda row: (row.due_us, row.id))
    page = store.tasks("store", "open", limit=4)
    assert page.tasks == expected[:4]
    assert page.documents == {
        row.order_id: order(int(row.order_id[1:])).document for row in expected[:4]
    }
    store.commit(Commit(tasks=[task(40, 0, due_us=1)]))
    assert store.tasks("store", "open", cursor=page.next).tasks == expected[4:]
    every = store.tasks("store")
    assert every.next is None
    by_due = sorted([*made, *done, task(40, 0, due_us=1)], key=lambda row: (row.due_us, row.id))
    assert every.tasks == by_due
    assert store.tasks("nowhere") == rows.TaskPage([], {}, None)


@pytest.mark.parametrize("cursor", ["", "?", "é", "AAAA", "kwECAw", "x" * 5])
def test_wrong_cursor_is_refused(store, cursor):
    """A cursor that is none of ours names the field."""
    for ask in (store.orders, lambda **given: store.tasks("store", **given)):
        with pytest.raises(InvalidInput) as caught:
            ask(cursor=cursor)
        assert caught.value.errors[0].pointer == "/cursor"


def test_old_rows_are_found_the_oldest_first_and_a_few_at_a_time(store):
    """Young, active, unapplied and unpublished ones are not among them."""
    old = OldRows(store)
    store.commit(
        Commit(
            holds=[
                hold(3, "expired", 9),
                hold(1, "released", 8),
                hold(2, "expired", 10),
                hold(4, "active", 1),
            ],
            ledger_events=[ledger_event(each, min(each, 9)) for each in range(1, 9)],
        )
    )
    for each in (7, 5, 6):
        store.commit(Commit(answers=[answer(each, created_us=each)]))
    store.commit(Commit(ledger_published=5))
    assert old.holds(10, 9) == ["h000001", "h000003"]
    assert old.holds(10, 1) == ["h000001"]
    assert old.answers(7, 9, 9) == ([3, 4], False)
    assert old.answers(7, 1, 9) == ([3], True)
    assert old.answers(7, 9, 1) == ([3], True)
    assert old.first_answer() == 2
    assert old.ledger_events(10, 7, 9) == [1, 2, 3, 4, 5]
    assert old.ledger_events(10, 3, 9) == [1, 2, 3]
    assert old.ledger_events(3, 7, 9) == [1, 2]
    assert old.ledger_events(10, 7, 2) == [1, 2]


def test_closed_orders_are_old_some_time_after_their_last_change(store):
    """A walk goes on where it was; what is open is not on its way."""
    closed = [
        order(each, status=status, is_open=False)._replace(updated_us=updated_us)
        for each, status, updated_us in (
            (4, "cancelled", 20),
            (2, "fulfilled", 22),
            (3, "cancelled", 22),
            (1, "fulfilled", 30),
        )
    ]
    store.commit(Commit(orders=[*closed, order(0)]))
    old = OldRows(store)
    assert old.orders(20, BEGIN, 9) == []
    assert old.orders(30, BEGIN, 9) == closed[:3]
    assert old.orders(31, Place(22, "o000002"), 9) == closed[2:]
    assert old.orders(31, BEGIN, 1) == closed[:1]


def test_returns_of_no_order_are_old_some_time_after_they_were_announced(store):
    """Those of an order go with it, and open ones stay."""
    store.commit(
        Commit(
            returns=[
                return_(1, receipt="a", status="closed", is_open=False),
                return_(2, receipt="a"),
                return_(3, order_id="o000003", status="closed", is_open=False),
                return_(4, status="cancelled", is_open=False),
            ]
        )
    )
    old = OldRows(store)
    assert [row.id for row in old.returns(9, BEGIN, 9)] == ["r000001", "r000004"]
    assert [row.id for row in old.returns(4, BEGIN, 9)] == ["r000001"]
    assert [row.id for row in old.returns(9, Place(1, "r000001"), 9)] == ["r000004"]


def test_rows_are_dropped_by_key_and_nothing_else_is(store, ledger, make_store):
    """A key that is not there is none's."""
    for each in range(1, 4):
        store.commit(batch(each, size=40))
    numbers = range(40, 100)
    store.drop(
        {
            schema.hold: [f"h{each:06d}" for each in numbers],
            schema.orders: ["o000040", "nobody's"],
            schema.task: [],
            schema.answer: [1],
            schema.ledger_event: [2],
        }
    )
    assert store.hold("h000099") is None
    assert store.hold("h000100") is not None
    counts = {table: count(ledger, table) for table in (schema.hold, schema.orders, schema.task)}
    assert counts == {schema.hold: 60, schema.orders: 119, schema.task: 120}
    assert [each.sequence for each in store.load_ledger_events(0)] == [1, 3]
    store.forget_answers_before(OldRows(store).first_answer())
    next_store = make_store()
    next_store.take_over("next", 1)
    assert list(next_store.answers([key(40), key(80)])) == [key(80)]


def test_whoever_was_overtaken_drops_nothing(store, make_store):
    """The writer that has taken over may have opened an order again."""
    store.commit(batch(1))
    make_store().take_over("next", NOW_US)
    with pytest.raises(WriterFenced):
        store.drop({schema.orders: ["o000003"]})
    assert store.order("o000003") == order(3)
    with pytest.raises(WriterFenced):
        store.commit(batch(2))


@pytest.mark.parametrize("query", ["_ANSWERS", "_HOLDS", "_ORDERS", "_RETURNS", "_LEDGER_EVENTS"])
def test_looking_for_old_rows_reads_no_others(tmp_path, query):
    """SQLite finds them by an index, in order, and sorts nothing."""
    wanted = getattr(old_rows, query)
    text, names = bulk.compile_text("sqlite", wanted)
    with (
        contextlib.closing(open_ledger(Settings(data=tmp_path))) as ledger,
        ledger.read() as connection,
    ):
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", (1,) * len(names)).all()
    steps = [row.detail for row in plan]
    assert not any("TEMP B-TREE" in step for step in steps), steps
    assert any(step.startswith("SEARCH") and "<?" in step for step in steps), steps


def test_size_grows_with_what_is_kept(store):
    """What is told is what the database takes on disk."""
    before = store.size_bytes()
    for each in range(20):
        store.commit(batch(each + 1, size=100))
    assert store.size_bytes() > before + 100_000


def test_other_processes_read_what_is_committed(settings, store):
    """A read on a ledger opened anew sees a commit as soon as it has returned."""
    with contextlib.closing(open_ledger(settings)) as other:
        reads = OrderReads(other)
        assert reads.hold("h000003") is None
        store.commit(batch(1))
        assert reads.hold("h000003") == hold(3)


def test_ledger_of_the_previous_version_is_migrated(settings):
    """A ledger without orders keeps its set-up and gets the new tables."""
    with contextlib.closing(open_ledger(settings)) as ledger:
        with ledger.write() as connection:
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.set_main_option("version_locations", str(LEDGER.versions))
            config.set_main_option("path_separator", "newline")
            config.attributes["connection"] = connection
            config.attributes["schema"] = LEDGER
            command.downgrade(config, "0001")
        SetupStore(ledger).put_skus([])
        version = SetupStore(ledger).setup_version()
        with ledger.read() as connection:
            assert not sa.inspect(connection).has_table("hold")
    with contextlib.closing(open_ledger(settings)) as ledger:
        assert SetupStore(ledger).setup_version() == version > 0
        store = OrderStore(ledger)
        store.take_over("test", 1)
        store.commit(batch(1))
        assert store.order("o000003") == order(3)
        store.close()


def test_statements_of_one_size_are_compiled_once():
    """A batch of a size seen before is written by the very same statement."""
    made = [list(bulk.upserts("sqlite", schema.hold, [hold(n) for n in range(43)])) for _ in "ab"]
    assert [text for text, _ in made[0]] == [text for text, _ in made[1]]
    assert all(a is b for (a, _), (b, _) in zip(*made, strict=True))
    assert [len(parameters) for _, parameters in made[0]] == [32 * 4, 11 * 4]


@pytest.mark.parametrize(
    ("name", "insert", "size"),
    [("sqlite", sqlite.insert, 31), ("postgresql", postgresql.insert, 64)],
)
@pytest.mark.parametrize("table", [schema.hold, schema.orders, schema.task, schema.answer])
def test_statements_of_many_rows_are_what_sqlalchemy_writes(name, insert, size, table):
    """Rows after the first are written as the toolkit would write them, number by number."""
    columns = [column.name for column in table.columns]
    statement = insert(table).values([dict.fromkeys(columns)] * size)
    expected, _ = bulk.compile_text(
        name,
        statement.on_conflict_do_update(
            index_elements=columns[:1],
            set_={column: statement.excluded[column] for column in columns[1:]},
        ),
    )
    rows = [(number, *columns[1:]) for number in range(size)]
    ((text, parameters),) = bulk.upserts(name, table, rows)
    assert text == expected
    assert len(parameters) == size * len(columns)


def test_load_that_is_given_up_leaves_the_ledger_usable(store):
    """Whoever stops reading midway holds nothing up."""
    for number in range(1, 7):
        store.commit(batch(number, size=256))
    for _ in range(20):  # more than the pool has connections
        loading = store.load_open()
        next(loading)
        loading.close()
    store.commit(batch(7, size=256))
    assert len(list(store.load_open())) == 7 * 512
