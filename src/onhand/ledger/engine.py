"""Open the ledger, SQLite beside the data or PostgreSQL, and speak to it in transactions."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc

from onhand.errors import LedgerUnavailable, SettingsError, WrongDataDirectory
from onhand.ledger.migrate import LEDGER, Schema, is_current, migrate
from onhand.ledger.schema import deployment, revision
from onhand.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from onhand.settings import Settings

BUSY_TIMEOUT_MS: Final = 10_000
PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    # Some builds overwrite whatever is deleted, which doubles the writing of a queue.
    "secure_delete=FAST",
)
"""How every connection to an SQLite file is set up, besides its busy timeout."""
CONNECT_TIMEOUT_S: Final = 5

_WRITE: Final = "onhand_write"

# A host that vanishes without a word must fail a query in seconds, not when TCP gives up.
_POSTGRES_OPTIONS: Final = {
    "application_name": "onhand",
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class Ledger:
    """The ledger's database. Any thread may use it; a process makes its own after a fork.

    Parameters
    ----------
    engine
        From :func:`open_ledger`.
    place
        Where the ledger lies, without a password, for messages.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        self.engine = engine
        self.place = place

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Hold one consistent view of every table.

        Raises
        ------
        LedgerUnavailable
            When the database fails, with advice.
        """
        with self._transaction(write=False) as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Hold a transaction that commits on leaving and rolls back on an error.

        Raises
        ------
        LedgerUnavailable
            When the database fails, with advice.
        """
        with self._transaction(write=True) as connection:
            yield connection

    def version(self, name: str) -> int:
        """Read how often a part (``setup``, ``tokens``) has changed. About 0.1 ms on SQLite."""
        with self.read() as connection:
            query = sa.select(revision.c.version).where(revision.c.name == name)
            return int(connection.execute(query).scalar_one())

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        options: dict[str, Any] = {_WRITE: write}
        if not write and self.engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        try:
            with (
                self.engine.connect().execution_options(**options) as connection,
                connection.begin(),
            ):
                yield connection
        except (exc.IntegrityError, exc.DataError):
            # A rule of the schema was broken: that is for the caller to know, or our own fault.
            raise
        except (exc.DBAPIError, exc.TimeoutError) as error:
            raise unavailable(self.place, error) from error


def open_ledger(settings: Settings, *, cluster_id: str | None = None) -> Ledger:
    """Open the ledger that the settings name, creating or migrating it first.

    Parameters
    ----------
    cluster_id
        Identity of the data directory. The first one given is written into the ledger, and from
        then on no other may use it: a ledger and the tables it explains belong together.

    Raises
    ------
    LedgerUnavailable
        When the database cannot be reached or opened.
    LedgerTooNew
        When a newer onhand has changed its schema.
    WrongDataDirectory
        When it belongs to another data directory.
    """
    ledger = open_database(settings, settings.ledger_path, LEDGER)
    try:
        if cluster_id is not None:
            _claim(ledger, cluster_id)
    except BaseException:
        ledger.close()
        raise
    return ledger


def open_database(settings: Settings, path: Path, schema: Schema) -> Ledger:
    """Open a database, creating or migrating its tables first.

    Parameters
    ----------
    path
        The SQLite file that has them when the settings name no PostgreSQL.

    Raises
    ------
    LedgerUnavailable
        When the database cannot be reached or opened.
    LedgerTooNew
        When a newer onhand has changed the schema.
    """
    if settings.database is not None:
        ledger = _connect_postgres(settings.database)
        lock: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    else:
        ledger = _connect_sqlite(path)
        lock = _file_lock(path)
    try:
        with lock:
            _prepare(ledger, schema)
    except BaseException:
        ledger.close()
        raise
    return ledger


def bump(connection: Connection, name: str) -> int:
    """Raise a part's version inside the transaction that changes it, and answer the new one.

    Call it first: its row lock puts writers of the part in one order.
    """
    statement = (
        sa.update(revision)
        .where(revision.c.name == name)
        .values(version=revision.c.version + 1)
        .returning(revision.c.version)
    )
    return int(connection.execute(statement).scalar_one())


def unavailable(place: str, error: Exception) -> LedgerUnavailable:
    """Word a database's error with advice; the first line of its own text is kept.

    Parameters
    ----------
    error
        SQLAlchemy's or the driver's.
    """
    original = getattr(error, "orig", None) or error
    text = str(original).strip().partition("\n")[0].rstrip(".")
    fallback = "Check that the database runs and that its address and password are right"
    advice = next((said for sign, said in _ADVICE.items() if sign in text), fallback)
    return LedgerUnavailable(f"the ledger at {place} failed: {mask_url(text)}", advice)


_ADVICE: Final = {
    "unable to open database file": "Check that the data directory exists and can be written",
    "readonly database": "Give this user the right to write the data directory",
    "attempt to write a readonly": "Give this user the right to write the data directory",
    "disk is full": "Free space on the disk of the data directory",
    "disk I/O error": "Check the disk of the data directory and the space left on it",
    "is locked": "Another process holds the ledger for long; wait for it or stop it",
    "not a database": "The file is damaged or no ledger; restore it from a backup",
    "malformed": "The file is damaged; restore it from a backup",
    "password authentication": "Correct the user and password in --database",
    "does not exist": "Create the database and its user, or correct --database",
    "refused": "Start PostgreSQL, or correct the host and port in --database",
    "resolve host": "Correct the host in --database",
    "timeout": "Check that PostgreSQL can be reached from here, or correct --database",
    "permission denied": "Grant the user of --database the right to create and write tables",
    "too many clients": "Raise max_connections of PostgreSQL",
}


def _connect_sqlite(path: Path) -> Ledger:
    place = str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot create the data directory {path.parent}: {error.strerror}"
        raise LedgerUnavailable(what, "Correct --data") from error
    url = sa.URL.create("sqlite+pysqlite", database=place)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _prepare_sqlite_connection)
    event.listen(engine, "begin", _begin_sqlite)
    return Ledger(engine, place)


def _prepare_sqlite_connection(connection: Any, _record: object) -> None:
    # The driver's own habit of opening transactions late would let a read and the write that
    # depends on it fall into different snapshots; BEGIN is ours, in _begin_sqlite.
    connection.isolation_level = None
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: upgrading a read later fails under contention.
    write = connection.get_execution_options().get(_WRITE, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _connect_postgres(url: str) -> Ledger:
    try:
        parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    except (exc.ArgumentError, ValueError) as error:
        # The address itself stays out of the message: it holds a password.
        advice = "Write it as postgresql://USER:PASSWORD@HOST:PORT/NAME"
        raise SettingsError("database cannot be read as an address", advice) from error
    engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args=_POSTGRES_OPTIONS)
    place = f"{parsed.host or 'localhost'}:{parsed.port or 5432}/{parsed.database or ''}"
    return Ledger(engine, place)


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    # Switching a new file to WAL does not wait for another process doing the same, so opening is
    # taken in turns.
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(ledger: Ledger, schema: Schema) -> None:
    with ledger.read() as connection:
        current = is_current(connection, schema)
    if not current:
        with ledger.write() as connection:
            migrate(connection, schema)


def _claim(ledger: Ledger, cluster_id: str) -> None:
    query = sa.select(deployment.c.cluster_id).where(deployment.c.id == 1)
    with ledger.read() as connection:
        owner = connection.execute(query).scalar()
    if owner is None:
        with ledger.write() as connection:
            bump(connection, "setup")  # serialises two first starts
            owner = connection.execute(query).scalar()
            if owner is None:
                connection.execute(deployment.insert().values(id=1, cluster_id=cluster_id))
                owner = cluster_id
    if owner != cluster_id:
        what = f"the ledger at {ledger.place} belongs to deployment {owner}, not to {cluster_id}"
        raise WrongDataDirectory(what, "Use the data directory and the database that go together")
