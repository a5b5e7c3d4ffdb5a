"""The ledger's tables, for SQLite and PostgreSQL alike.

A change here needs a migration beside it (``migrations/versions``) and its number in
:data:`REVISIONS`; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every version of the schema, oldest first. A ledger at any other is from a newer onhand."""

VERSION_TABLE: Final = "onhand_schema"

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

deployment = Table(
    "deployment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("cluster_id", String(64)),  # null until a data directory claims the ledger
)

revision = Table(
    "revision",
    metadata,
    # One row for each part that other processes watch: raised in the transaction of the change.
    Column("name", String(32), primary_key=True),
    Column("version", BigInteger, nullable=False),
)

location = Table(
    "location",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("document", Text, nullable=False),  # JSON of onhand.model.setup.Location
    Column("updated_us", BigInteger, nullable=False),
)

sku = Table(
    "sku",
    metadata,
    Column("sku", String(64), primary_key=True),
    Column("category", String(64)),
    Column("unit", String(64)),
    Column("name", String(200)),
    # The set-up's version at which the row last changed: readers fetch what is newer than theirs.
    Column("version", BigInteger, nullable=False),
    Index("ix_sku_version", "version"),
)

safety_rule = Table(
    "safety_rule",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),  # as the rules were given
    Column("sku", String(64)),
    Column("category", String(64)),
    Column("location", String(64)),
    # `group` is a word of SQL.
    Column("group_name", String(64)),
    Column("quantity", BigInteger, nullable=False),
)

token = Table(
    "token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("locations", Text, nullable=False),  # JSON array, empty unless the role is associate
    Column("label", String(200), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
)

# What is promised. A row is the columns that something is looked up by, and the whole document.

HOLD_IS_ACTIVE: Final = text("status = 'active'")
HOLD_IS_FINISHED: Final = text("status <> 'active'")
ORDER_IS_OPEN: Final = text("is_open")
ORDER_IS_CLOSED: Final = text("NOT is_open")
"""Conditions of partial indexes; a query must repeat them to the letter to profit."""

writer = Table(
    "writer",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("epoch", BigInteger, nullable=False),  # raised by whoever takes over
    Column("owner", String(200), nullable=False),
    Column("taken_us", BigInteger, nullable=False),
    Column("commit_number", BigInteger, nullable=False),  # raised by every commit
    Column("settlement", BigInteger, nullable=False),  # raised to find out what became of one
    Column("event_number", BigInteger, nullable=False),  # of the newest order event
    Column("event_published", BigInteger, nullable=False),
    Column("ledger_sequence", BigInteger, nullable=False),  # of the newest ledger event
    Column("ledger_published", BigInteger, nullable=False),
)

hold = Table(
    "hold",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    # Every row is in one of the two: opening reads the one, pruning the other.
    Index(
        "ix_hold_active",
        "expires_us",
        sqlite_where=HOLD_IS_ACTIVE,
        postgresql_where=HOLD_IS_ACTIVE,
    ),
    Index(
        "ix_hold_finished",
        "expires_us",
        sqlite_where=HOLD_IS_FINISHED,
        postgresql_where=HOLD_IS_FINISHED,
    ),
)

orders = Table(
    "orders",  # `order` is a word of SQL
    metadata,
    Column("id", String(128), primary_key=True),
    Column("status", String(32), nullable=False),
    Column("customer", String(128)),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("ix_orders_customer", "customer", "created_us", "id"),
    Index("ix_orders_status", "status", "created_us", "id"),
    Index(
        "ix_orders_open",
        "created_us",
        sqlite_where=ORDER_IS_OPEN,
        postgresql_where=ORDER_IS_OPEN,
    ),
    Index(
        "ix_orders_closed",
        "updated_us",
        "id",
        sqlite_where=ORDER_IS_CLOSED,
        postgresql_where=ORDER_IS_CLOSED,
    ),
)

task = Table(
    "task",
    metadata,
    Column("id", String(160), primary_key=True),  # the order's, and a short number
    Column("order_id", String(128), nullable=False),
    Column("location", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_task_due", "location", "status", "due_us", "id"),
    # By time first: a commit then writes one page of it, and not one for each of its locations.
    Index("ix_task_created", "created_us", "location"),
)

RETURN_IS_OPEN: Final = text("is_open")

returns = Table(
    "returns",  # `return` is a word of SQL
    metadata,
    Column("id", String(128), primary_key=True),
    Column("status", String(32), nullable=False),
    Column("order_id", String(128)),
    Column("receipt", String(128)),  # of a purchase at a till, where there is no order
    Column("created_us", BigInteger, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("ix_returns_order", "order_id", "created_us", "id"),
    Index("ix_returns_receipt", "receipt", "created_us", "id"),
    Index("ix_returns_status", "status", "created_us", "id"),
    Index(
        "ix_returns_open",
        "created_us",
        sqlite_where=RETURN_IS_OPEN,
        postgresql_where=RETURN_IS_OPEN,
    ),
)

return_policy = Table(
    "return_policy",
    metadata,
    # Every version stays: returns name the one that decided about them.
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),  # JSON of onhand.model.return_policy.ReturnPolicy
    Column("created_us", BigInteger, nullable=False),
)

answer = Table(
    "answer",
    metadata,
    # One row a commit; onhand.ledger.answer_index finds a key's.
    Column("commit_number", BigInteger, primary_key=True, autoincrement=False),
    Column("created_us", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),  # the first 8 bytes of each key
    Column("records", LargeBinary, nullable=False),  # MessagePack [[key, body_sha, ...], ...]
    Index("ix_answer_created", "created_us"),
)

ledger_event = Table(
    "ledger_event",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # without gaps
    Column("document", LargeBinary, nullable=False),  # value of the record on stock.ledger
    Column("reserved", LargeBinary, nullable=False),  # JSON [[sku, location, quantity], ...]
    Column("created_us", BigInteger, nullable=False),
)

order_event = Table(
    "order_event",
    metadata,
    # One row a commit: its events carry the numbers from first_number to last_number.
    Column("last_number", BigInteger, primary_key=True, autoincrement=False),
    Column("first_number", BigInteger, nullable=False),
    Column("records", LargeBinary, nullable=False),  # MessagePack [[key, value], ...]
)

claim_offset = Table(
    "claim_offset",
    metadata,
    # "partition" is a word of SQL; SQLAlchemy quotes it.
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)
