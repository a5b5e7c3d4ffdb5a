"""Purchases, how far they are read, wish lists and erasures."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables about customers."""
    op.create_table(
        "purchase",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("event_id", sa.String(128), nullable=False),
        sa.Column("customer", sa.String(128)),
        sa.Column("basket_id", sa.String(128)),
        sa.Column("reference", sa.String(128)),
        sa.Column("location", sa.String(64), nullable=False),
        sa.Column("occurred_us", sa.BigInteger, nullable=False),
        sa.Column("appended_us", sa.BigInteger, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_purchase"),
    )
    op.create_index("uq_purchase_event_id_source", "purchase", ["event_id", "source"], unique=True)
    _create_partial_index("ix_purchase_customer", ["customer", "occurred_us", "number"])
    _create_partial_index("ix_purchase_basket_id", ["basket_id"])
    _create_partial_index("ix_purchase_reference", ["reference"])
    op.create_table(
        "feed_offset",
        sa.Column("topic", sa.String(200)),
        sa.Column("partition", sa.Integer, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_feed_offset"),
    )
    op.create_table(
        "wishlist",
        sa.Column("customer", sa.String(128)),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("customer", name="pk_wishlist"),
    )
    op.create_table(
        "erasure",
        sa.Column("customer_sha256", sa.String(64)),
        sa.Column("token", sa.String(128), nullable=False),
        sa.Column("erased_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("customer_sha256", name="pk_erasure"),
    )


def _create_partial_index(name: str, columns: list[str]) -> None:
    where = sa.text(f"{columns[0]} IS NOT NULL")
    op.create_index(name, "purchase", columns, sqlite_where=where, postgresql_where=where)
