"""The feed keeps each purchase once, whatever becomes of it, and bounds what it keeps."""

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from onhand.customers.purchases import read_purchase, window_of
from onhand.customers.schema import REVISIONS, SCHEMA, VERSION_TABLE, metadata
from onhand.customers.store import FeedOvertaken, open_customers
from onhand.errors import LedgerTooNew
from onhand.ledger.migrate import MIGRATIONS

DAY_US = 86_400_000_000


def test_purchases_of_every_topic_are_kept(till, sale):
    """Any type may be on any topic; what is no purchase is passed over."""
    till.tell(sale())
    till.tell(sale(type="return", disposition="sellable"), topic="stock.returns")
    till.tell(sale(), sale(customer_id=None), topic="stock.counts")
    till.read()
    assert sorted(till.bought()) == ["s-1", "s-2", "s-3"]
    assert till.counted("onhand_purchases_stored_total") == 3
    assert till.counted("onhand_purchases_lag_events") == 0


def test_a_feed_goes_on_where_the_last_one_stored(till, sale):
    """Nothing is read twice, nothing is left out, also of polls that stored nothing."""
    till.tell(sale(), sale(customer_id=None))
    till.read()
    offsets = till.store.offsets()
    assert offsets["stock.sales", 0] == till.log.end_offsets([("stock.sales", 0)])["stock.sales", 0]
    till.tell(sale())
    till.read()
    assert till.bought() == ["s-3", "s-1"]
    assert till.counted("onhand_purchases_stored_total") == 2


def test_the_same_event_twice_is_one_purchase(till, sale):
    """By source and id; the same id of another source is another purchase."""
    once = sale()
    till.tell(once, once)
    till.tell(once, topic="stock.returns")
    till.read()
    till.tell(once, once | {"source": "till-2"})
    till.read()
    assert till.bought() == ["s-1", "s-1"]


def test_two_feeds_store_nothing_twice(till, sale):
    """The slower one is told, and starts again from what is stored."""
    till.tell(sale())
    slow, fast = till.feed(), till.feed()
    slow_reader = slow._open()
    till.read(fast)
    with pytest.raises(FeedOvertaken):
        slow.step(slow_reader)
    slow_reader.close()
    till.tell(sale())
    till.read(slow)
    assert till.bought() == ["s-2", "s-1"]


def test_a_running_feed_follows(till, sale):
    """Purchases come in while it runs; it ends when it is told to."""
    till.tell(sale())
    till.run(lambda: till.bought() == ["s-1"])
    till.tell(sale())
    till.run(lambda: till.bought() == ["s-2", "s-1"])


def test_a_transaction_that_fails_stores_neither_purchase_nor_offset(till, sale):
    """They are one: so reading again is right."""
    window = window_of(till.settings)
    row = read_purchase(_bytes(sale()), (), till.now_us, window)
    broken = row._replace(location=None)
    with pytest.raises(sa.exc.IntegrityError):
        till.store.store([row, broken], {}, {("stock.sales", 0): 7})
    assert till.store.offsets() == {}
    assert till.bought() == []


def test_what_was_dropped_from_the_log_is_counted(till, sale):
    """The feed goes on with what there is."""
    till.tell(sale())
    till.read()
    till.tell(sale())
    till.now_us += DAY_US
    till.log.prune(till.now_us, {})
    till.tell(sale())
    till.read()
    assert till.bought() == ["s-3", "s-1"]
    assert till.counted("onhand_purchases_skipped_total") == 1


def test_old_purchases_are_dropped(till, sale):
    """By the time that they entered the log, in steps; newer ones stay."""
    till.tell(*(sale() for _ in range(7)))
    till.read()
    till.now_us += 11 * DAY_US
    till.tell(sale())
    feed = till.read()
    assert till.store.purchase_count() == 8
    assert till.store.prune(till.now_us - 10 * DAY_US, 5) == 5
    reader = feed._open()
    feed._tidy(reader)
    reader.close()
    assert till.bought() == ["s-8"]
    assert till.counted("onhand_purchases_kept") == 1


def test_purchases_are_listed_by_time(till, sale):
    """The newest first, whatever order they came in; pages neither repeat nor miss any."""
    times = [f"2026-01-0{day}T00:00:00Z" for day in (3, 1, 2, 2)]
    force = (("onhand-force", b"too_late"),)
    rows = [
        read_purchase(_bytes(sale(occurred_at=each)), force, till.now_us, window_of(till.settings))
        for each in times
    ]
    till.store.store(rows, {}, {})
    assert till.bought() == ["s-1", "s-4", "s-3", "s-2"]
    found, before = [], None
    while page := till.store.of_customer("kim", before, 1):
        found += [row.event_id for row in page]
        before = (page[-1].occurred_us, page[-1].number)
    assert found == till.bought()


def test_erased_customers_do_not_come_back(till, sale):
    """What was bought before, and is read after, is the token's; later purchases are new."""
    till.tell(sale())
    till.read()
    before = sale()
    till.now_us += 60_000_000
    erased = till.store.begin_erasure("kim", "erased-1", till.now_us)
    assert till.store.begin_erasure("kim", "erased-2", till.now_us) == erased
    assert till.store.erase_some("kim", erased.token) == 1
    till.now_us += 60_000_000
    till.tell(before, sale(customer_id="bo"), sale())
    till.read()
    assert till.bought("erased-1") == ["s-2", "s-1"]
    assert till.bought() == ["s-4"]
    assert till.bought("bo") == ["s-3"]


def test_an_erasure_is_forgotten_once_nothing_can_come_of_before(till):
    """Not before, and with it the last trace of the id."""
    till.store.begin_erasure("kim", "erased-1", till.now_us)
    assert till.store.forget_erasures(till.now_us) == 0
    assert till.store.forget_erasures(till.now_us + 1) == 1


def test_wish_lists_are_replaced_and_removed(till):
    """One document a customer."""
    assert till.store.wishes("kim") is None
    till.store.put_wishes("kim", b"[1]", 1)
    till.store.put_wishes("kim", b"[2]", 2)
    assert till.store.wishes("kim") == b"[2]"
    till.store.begin_erasure("kim", "erased-1", 3)
    assert till.store.wishes("kim") is None
    till.store.put_wishes("kim", b"[3]", 4)
    till.store.put_wishes("kim", None, 5)
    assert till.store.wishes("kim") is None


def test_migrations_make_what_the_schema_says(till):
    """The tables that migrations make are those of the schema, and their numbers agree."""
    with till.database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(SCHEMA.versions))
    config.set_main_option("path_separator", "newline")
    walked = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(script.revision for script in walked)[::-1] == REVISIONS


def test_tables_of_a_newer_version_are_refused(till):
    """They are not touched."""
    with till.database.write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(LedgerTooNew, match="customers' tables is at schema 9999"):
        open_customers(till.settings)


def _bytes(event):
    return msgspec.json.encode(event)
