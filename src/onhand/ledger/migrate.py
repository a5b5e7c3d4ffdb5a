"""Bring a database to this version's schema, or refuse one that is newer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from onhand.errors import LedgerTooNew
from onhand.ledger.schema import REVISIONS, VERSION_TABLE, metadata
from onhand.logging import get_logger

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

log = get_logger(__name__)

LOCK_KEY: Final = 0x6F6E68616E64  # "onhand"
"""PostgreSQL advisory lock under which the schema changes."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Schema(NamedTuple):
    """Tables that are migrated together; several may share a database.

    ``revisions`` are all their versions, oldest first, and ``version_table`` names the one that a
    database is at. ``versions`` is where the migrations lie.
    """

    name: str
    metadata: MetaData
    revisions: tuple[str, ...]
    version_table: str
    versions: Path


LEDGER: Final = Schema("ledger", metadata, REVISIONS, VERSION_TABLE, MIGRATIONS / "versions")


def is_current(connection: Connection, schema: Schema = LEDGER) -> bool:
    """Tell whether the schema is this version's.

    Raises
    ------
    LedgerTooNew
        When a newer onhand has changed it.
    """
    if not sa.inspect(connection).has_table(schema.version_table):
        return False
    query = f"SELECT version_num FROM {schema.version_table}"  # noqa: S608 - a constant of ours
    found = connection.execute(sa.text(query)).scalar()
    if found is not None and found not in schema.revisions:
        newest = schema.revisions[-1]
        what = f"the {schema.name} is at schema {found}, this onhand knows up to {newest}"
        raise LedgerTooNew(what, "Run the newer onhand that wrote it, or restore an older backup")
    return bool(found == schema.revisions[-1])


def migrate(connection: Connection, schema: Schema = LEDGER) -> None:
    """Run every missing revision in the connection's transaction.

    The caller holds a write transaction. Of two processes that start at once, the second waits
    and then finds nothing to do.

    Raises
    ------
    LedgerTooNew
        When a newer onhand has changed the schema.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
    if is_current(connection, schema):
        return
    # Imported here: a ledger that is current, the usual case, starts without Alembic.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("version_locations", str(schema.versions).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    command.upgrade(config, "head")
    log.info("database_migrated", tables=schema.name, schema=schema.revisions[-1])
