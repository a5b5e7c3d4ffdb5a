"""The tables about customers, for SQLite and PostgreSQL alike.

With PostgreSQL they stand beside the ledger's. With SQLite they are a file of their own: purchases
come by the thousand a second, and in the ledger's file every one of their commits would hold up the
order writer's. A change needs a migration (``versions``) and its number in :data:`REVISIONS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

from onhand.ledger.migrate import Schema

REVISIONS: Final = ("0001",)
"""Every version of these tables, oldest first."""

VERSION_TABLE: Final = "onhand_customers_schema"

HAS_CUSTOMER: Final = text("customer IS NOT NULL")
HAS_BASKET: Final = text("basket_id IS NOT NULL")
HAS_REFERENCE: Final = text("reference IS NOT NULL")
"""Conditions of partial indexes."""

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# Rows are numbered as they come, so that the oldest are found without an index of times.
_NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")

purchase = Table(
    "purchase",
    metadata,
    Column("number", _NUMBER, primary_key=True),
    Column("kind", String(16), nullable=False),  # purchase or return
    Column("source", String(128), nullable=False),
    Column("event_id", String(128), nullable=False),
    Column("customer", String(128)),
    Column("basket_id", String(128)),
    Column("reference", String(128)),
    Column("location", String(64), nullable=False),
    Column("occurred_us", BigInteger, nullable=False),
    Column("appended_us", BigInteger, nullable=False),  # when the event entered the log
    Column("document", LargeBinary, nullable=False),  # JSON of onhand.customers.purchases.Details
    Index("uq_purchase_event_id_source", "event_id", "source", unique=True),
    Index(
        "ix_purchase_customer",
        "customer",
        "occurred_us",
        "number",
        sqlite_where=HAS_CUSTOMER,
        postgresql_where=HAS_CUSTOMER,
    ),
    Index(
        "ix_purchase_basket_id",
        "basket_id",
        sqlite_where=HAS_BASKET,
        postgresql_where=HAS_BASKET,
    ),
    Index(
        "ix_purchase_reference",
        "reference",
        sqlite_where=HAS_REFERENCE,
        postgresql_where=HAS_REFERENCE,
    ),
)

feed_offset = Table(
    "feed_offset",
    metadata,
    # How far the log is read: moved in the transaction that stores what was read.
    Column("topic", String(200), primary_key=True),
    # "partition" is a word of SQL; SQLAlchemy quotes it.
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

wishlist = Table(
    "wishlist",
    metadata,
    Column("customer", String(128), primary_key=True),
    Column("document", LargeBinary, nullable=False),  # JSON [{"sku", "note"?}, ...]
    Column("updated_us", BigInteger, nullable=False),
)

erasure = Table(
    "erasure",
    metadata,
    # Who was erased, for as long as events of the time before may still come from the log.
    Column("customer_sha256", String(64), primary_key=True),
    Column("token", String(128), nullable=False),  # what stands in place of the id
    Column("erased_us", BigInteger, nullable=False),
)

SCHEMA: Final = Schema(
    "customers' tables", metadata, REVISIONS, VERSION_TABLE, Path(__file__).parent / "versions"
)
