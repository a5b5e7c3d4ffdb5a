"""The ledger's tables, for SQLite and PostgreSQL alike.

A change here needs a migration beside it (``migrations/versions``) and its number in
:data:`REVISIONS`; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

REVISIONS: Final = ("0001",)
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
