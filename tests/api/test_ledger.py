"""The ledger on SQLite and on PostgreSQL: the same body of tests, two databases."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from onhand.errors import (
    InvalidInput,
    LedgerTooNew,
    LedgerUnavailable,
    SettingsError,
    WrongDataDirectory,
)
from onhand.ledger import Authenticator, SetupStore, TokenStore, open_ledger
from onhand.ledger.engine import unavailable
from onhand.ledger.migrate import MIGRATIONS
from onhand.ledger.schema import REVISIONS, VERSION_TABLE, metadata
from onhand.model.setup import SafetyRule, Setup, Sku, parse_location
from onhand.settings import Settings

LEAST = {"name": "Main Street", "type": "store"}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request, tmp_path):
    if request.param == "sqlite":
        return Settings(data=tmp_path)
    return Settings(data=tmp_path, database=request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(settings):
    with contextlib.closing(open_ledger(settings)) as opened:
        yield opened


@pytest.fixture
def setup(ledger):
    return SetupStore(ledger, clock_us=lambda: 7)


@pytest.fixture
def tokens(ledger):
    return TokenStore(ledger, clock_us=lambda: 7)


def test_location_is_created_then_replaced(setup):
    """Putting a location says whether it is new, and leaves nothing of the one before."""
    assert setup.put_location(parse_location("a", {**LEAST, "groups": ["west"]})) is True
    assert setup.put_location(parse_location("a", {**LEAST, "name": "Other"})) is False
    (found,) = setup.list_locations()
    assert (found.name, found.groups) == ("Other", ())


def test_locations_are_listed_in_one_order(setup):
    """Locations come by id in code point order, whatever the database's collation."""
    for location_id in ("b", "A", "é", "a", "B"):
        setup.put_location(parse_location(location_id, LEAST))
    assert [each.id for each in setup.list_locations()] == ["A", "B", "a", "b", "é"]


def test_many_locations_are_put_at_once(setup):
    """A list of locations is one change and tells how many are new."""
    setup.put_location(parse_location("a", LEAST))
    version = setup.setup_version()
    assert setup.put_locations([parse_location(name, LEAST) for name in "abc"]) == 2
    assert setup.setup_version() == version + 1


def test_skus_are_replaced_one_by_one(setup):
    """Putting SKUs replaces those named and keeps the rest."""
    setup.put_skus([Sku(sku="a", category="x", name="A"), Sku(sku="b")])
    setup.put_skus([Sku(sku="a", category="y")])
    assert setup.load_setup().skus == {"a": Sku(sku="a", category="y"), "b": Sku(sku="b")}


def test_setup_is_brought_up_to_date(setup):
    """Loading on top of what is known reads only what changed, and gives the same set-up."""
    setup.put_skus([Sku(sku="a", category="x"), Sku(sku="b")])
    known = setup.load_setup()
    assert setup.load_setup(known) is known
    setup.put_location(parse_location("l", LEAST))
    setup.put_skus([Sku(sku="a", category="y"), Sku(sku="c")])
    assert setup.load_setup(known) == setup.load_setup()
    assert setup.load_setup(known).skus["b"] is known.skus["b"]
    ahead = Setup(version=99, skus={"gone": Sku(sku="gone")})
    assert setup.load_setup(ahead) == setup.load_setup()


def test_more_skus_than_a_statement_takes(setup):
    """Tens of thousands of SKUs go in with one call."""
    setup.put_skus([Sku(sku=str(number)) for number in range(12_000)])
    assert len(setup.load_setup().skus) == 12_000


def test_safety_stock_replaces_every_rule(setup):
    """New rules stand in the place of all earlier ones, in their order."""
    setup.put_location(parse_location("a", {**LEAST, "groups": ["west"]}))
    setup.replace_safety_stock([{"sku": "x", "quantity": 1}])
    given = setup.replace_safety_stock(
        [{"group": "west", "quantity": -2}, {"category": "c", "location": "a", "quantity": 3}]
    )
    assert setup.load_setup().safety_rules == given
    assert given[0] == SafetyRule(group="west", quantity=-2)
    assert setup.replace_safety_stock([]) == ()
    assert setup.load_setup().safety_rules == ()


def test_refused_safety_stock_changes_nothing(setup):
    """A list with one wrong rule leaves the rules and the version as they were."""
    setup.replace_safety_stock([{"sku": "x", "quantity": 1}])
    before = setup.load_setup()
    with pytest.raises(InvalidInput) as caught:
        setup.replace_safety_stock([{"sku": "y", "quantity": 1}, {"group": "?", "quantity": 1}])
    assert caught.value.errors[0].pointer == "/1/group"
    assert setup.load_setup() == before


def test_every_change_raises_the_version(setup):
    """The version rises with each change of set-up, and belongs to what is loaded."""
    seen = [setup.setup_version()]
    for change in (
        lambda: setup.put_location(parse_location("a", LEAST)),
        lambda: setup.put_skus([Sku(sku="a")]),
        lambda: setup.replace_safety_stock([]),
    ):
        change()
        seen.append(setup.setup_version())
    assert seen == sorted(set(seen))
    assert setup.load_setup().version == seen[-1]


def test_another_connection_sees_a_change_at_once(settings, setup):
    """What one process puts, another reads right after."""
    with contextlib.closing(open_ledger(settings)) as other:
        reader = SetupStore(other)
        before = reader.setup_version()
        setup.put_location(parse_location("a", LEAST))
        assert reader.setup_version() > before
        assert "a" in reader.load_setup().locations


def test_token_is_stored_hashed(ledger, tokens):
    """The ledger holds no part of a token's secret."""
    made = tokens.create("associate", ["b", "a", "b"], label="till 3")
    prefix, token_id, secret = made.split("_", 2)
    assert prefix == "oh"
    assert len(secret) >= 43
    with ledger.read() as connection:
        row = connection.execute(sa.text("SELECT * FROM token")).one()
    assert secret not in str(row)
    (listed,) = tokens.list_tokens()
    assert (listed.id, listed.role, listed.locations) == (token_id, "associate", ("a", "b"))
    assert (listed.label, listed.created_us, listed.revoked_us) == ("till 3", 7, None)


@pytest.mark.parametrize(
    ("role", "locations", "pointer"),
    [
        ("boss", [], "/role"),
        ("associate", [], "/locations"),
        ("orders", ["a"], "/locations"),
        ("associate", ["a\n"], "/locations/0"),
    ],
)
def test_token_that_makes_no_sense_is_refused(tokens, role, locations, pointer):
    """Unknown roles, associates of nowhere and bound roles other than associate are refused."""
    with pytest.raises(InvalidInput) as caught:
        tokens.create(role, locations)
    assert caught.value.errors[0].pointer == pointer
    assert tokens.list_tokens() == []


def test_token_opens_what_its_role_says(tokens):
    """A token is accepted with its grant; anything near it is not."""
    made = tokens.create("associate", ["a"])
    other = tokens.create("admin")
    authenticator = Authenticator(tokens)
    authenticator.refresh()
    for _ in range(2):  # proven by hash, then from memory
        grant = authenticator.authenticate(f"Bearer {made}")
        assert (grant.role, grant.locations) == ("associate", frozenset({"a"}))
    assert authenticator.authenticate(f"bearer {made}") == grant
    swapped = "_".join([*made.split("_", 2)[:2], other.split("_", 2)[2]])
    for wrong in (
        None,
        "",
        "Bearer ",
        made,
        f"Basic {made}",
        f"Bearer {made}x",
        f"Bearer {made[:-1]}",
        f"Bearer x{made[1:]}",
        f"Bearer {made[:-1]}é",
        f"Bearer {swapped}",
        f"Bearer {made.upper()}",
    ):
        assert authenticator.authenticate(wrong) is None, wrong


def test_near_miss_is_refused_before_the_token_was_ever_shown(tokens):
    """A wrong secret is refused by the stored hash alone, without a right one before it."""
    made = tokens.create("admin")
    authenticator = Authenticator(tokens)
    authenticator.refresh()
    assert authenticator.authenticate(f"Bearer {made[:-1]}") is None
    assert authenticator.authenticate(f"Bearer {made.replace('_', '-')}") is None
    assert authenticator.authenticate(f"Bearer {made}") is not None


def test_revoked_token_stops_working_within_a_second(settings, tokens):
    """A server that follows the ledger accepts a new token and refuses a revoked one in time."""
    with (
        contextlib.closing(open_ledger(settings)) as other,
        contextlib.closing(Authenticator(TokenStore(other))) as authenticator,
    ):
        authenticator.start()
        made = tokens.create("orders")
        header = f"Bearer {made}"
        assert wait_until(lambda: authenticator.authenticate(header) is not None)
        assert tokens.revoke(made.split("_")[1]) is True
        assert wait_until(lambda: authenticator.authenticate(header) is None)
    assert tokens.revoke(made.split("_")[1]) is False
    assert tokens.list_tokens()[0].revoked_us == 7


def test_no_authentication_opens_everything():
    """Without a store every request is an admin's."""
    authenticator = Authenticator(None)
    authenticator.start()
    assert authenticator.authenticate(None).role == "admin"
    authenticator.close()


def test_migrations_make_what_the_schema_says(ledger):
    """The tables that migrations make are those of the schema, and their numbers agree."""
    with ledger.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": VERSION_TABLE, "compare_type": True},
        )
        assert compare_metadata(context, metadata) == []
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    walked = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(script.revision for script in walked)[::-1] == REVISIONS


def test_ledger_of_a_newer_version_is_refused(settings, ledger):
    """A schema this version does not know is not touched."""
    with ledger.write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(LedgerTooNew, match="at schema 9999"):
        open_ledger(settings)


def test_ledger_belongs_to_one_deployment(settings, ledger):
    """The first data directory that opens a ledger for good is the only one."""
    ledger.close()
    open_ledger(settings, cluster_id="one").close()
    open_ledger(settings, cluster_id="one").close()
    open_ledger(settings).close()
    with pytest.raises(WrongDataDirectory, match="belongs to deployment one, not to two"):
        open_ledger(settings, cluster_id="two")


def test_failed_change_is_rolled_back(ledger, setup):
    """A transaction that ends in an error leaves nothing behind."""

    def change():
        with ledger.write() as connection:
            connection.execute(sa.text("UPDATE revision SET version = 99"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    assert setup.setup_version() == 0


def test_processes_that_start_at_once_share_one_ledger(settings):
    """Several processes opening a new ledger together all succeed, and it is made once."""
    code = (
        "import sys; from pathlib import Path; from onhand.settings import Settings\n"
        "from onhand.ledger import SetupStore, open_ledger\n"
        "from onhand.model.setup import Sku\n"
        "database = sys.argv[2] or None\n"
        "settings = Settings(data=Path(sys.argv[1]), database=database)\n"
        "ledger = open_ledger(settings, cluster_id='c')\n"
        "SetupStore(ledger).put_skus([Sku(sku=sys.argv[3])])\n"
    )
    arguments = [sys.executable, "-c", code, str(settings.data), settings.database or ""]
    running = [
        subprocess.Popen([*arguments, str(number)], stderr=subprocess.PIPE, env=os.environ)
        for number in range(4)
    ]
    outcomes = [(process.communicate()[1], process.returncode) for process in running]
    assert [code for _, code in outcomes] == [0] * 4, outcomes
    with contextlib.closing(open_ledger(settings, cluster_id="c")) as opened:
        assert set(SetupStore(opened).load_setup().skus) == {"0", "1", "2", "3"}


def test_embedded_ledger_is_durable_at_commit(tmp_path):
    """SQLite runs with a write-ahead log and waits for the disk at every commit."""
    with (
        contextlib.closing(open_ledger(Settings(data=tmp_path))) as opened,
        opened.read() as connection,
    ):
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    assert (tmp_path / "ledger.sqlite3").exists()


def test_unreachable_database_is_told_with_advice():
    """A dead database is one line that names it without its password and says what to do."""
    settings = Settings(database="postgresql://me:hush@127.0.0.1:1/stock")
    with pytest.raises(LedgerUnavailable) as caught:
        open_ledger(settings)
    text = str(caught.value)
    assert "127.0.0.1:1/stock" in text
    assert "Start PostgreSQL" in text
    assert "hush" not in text


def test_unreadable_address_is_told_without_its_password():
    """An address that cannot be read is bad usage, and is not repeated."""
    with pytest.raises(SettingsError, match="cannot be read as an address") as caught:
        open_ledger(Settings(database="postgresql://me:hush@db:port/x"))
    assert "hush" not in str(caught.value)


@pytest.mark.postgres
def test_missing_database_is_told_with_advice(postgres_server):
    """A server without the named database is told apart from one that is down."""
    url = f"{postgres_server.rpartition('/')[0]}/nowhere"
    with pytest.raises(LedgerUnavailable, match="Create the database"):
        open_ledger(Settings(database=url))


def test_damaged_file_is_told_with_advice(tmp_path):
    """A file that is no database is not overwritten."""
    (tmp_path / "ledger.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerUnavailable, match="restore it from a backup"):
        open_ledger(Settings(data=tmp_path))
    assert (tmp_path / "ledger.sqlite3").read_bytes().startswith(b"no database")


def test_full_disk_is_told_with_advice(tmp_path):
    """A database that cannot grow says to free space, and keeps what it had."""
    with contextlib.closing(open_ledger(Settings(data=tmp_path))) as opened:
        with opened.write() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            with pytest.raises(LedgerUnavailable, match="Free space on the disk"):
                fill(opened, connection)
        assert SetupStore(opened).load_setup().skus == {}


def test_held_lock_is_told_with_advice(tmp_path, monkeypatch):
    """A ledger that another process keeps locked is told, not waited for endlessly."""
    monkeypatch.setattr("onhand.ledger.engine.BUSY_TIMEOUT_MS", 50)
    with (
        contextlib.closing(open_ledger(Settings(data=tmp_path))) as opened,
        contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="Another process holds the ledger"):
            SetupStore(opened).put_skus([Sku(sku="a")])


def fill(ledger, connection):
    """Write more than fits, in the caller's transaction, and word the failure."""
    try:
        connection.exec_driver_sql("INSERT INTO sku VALUES ('a', 'c', 'u', zeroblob(10000000), 1)")
    except sa.exc.DBAPIError as error:
        raise unavailable(ledger.place, error) from error


def wait_until(condition, seconds=1.0):
    # Counted by its own sleeps: a machine that is held up holds up both threads.
    for _ in range(round(seconds / 0.01)):
        if condition():
            return True
        time.sleep(0.01)
    return False
