"""Bring a ledger to this version's schema, or refuse one that is newer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from onhand.errors import LedgerTooNew
from onhand.ledger.schema import REVISIONS, VERSION_TABLE
from onhand.logging import get_logger

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = get_logger(__name__)

LOCK_KEY: Final = 0x6F6E68616E64  # "onhand"
"""PostgreSQL advisory lock under which the schema changes."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def is_current(connection: Connection) -> bool:
    """Tell whether the schema is this version's.

    Raises
    ------
    LedgerTooNew
        When a newer onhand has changed it.
    """
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return False
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant of ours
    if found is not None and found not in REVISIONS:
        what = f"the ledger is at schema {found}, this onhand knows up to {REVISIONS[-1]}"
        raise LedgerTooNew(what, "Run the newer onhand that wrote it, or restore an older backup")
    return bool(found == REVISIONS[-1])


def migrate(connection: Connection) -> None:
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
    if is_current(connection):
        return
    # Imported here: a ledger that is current, the usual case, starts without Alembic.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.info("ledger_migrated", schema=REVISIONS[-1])
