"""Closed orders by when they last changed: the first to be dropped come first."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    closed = sa.text("NOT is_open")
    op.create_index(
        "ix_orders_closed",
        "orders",
        ["updated_us", "id"],
        sqlite_where=closed,
        postgresql_where=closed,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_orders_closed", "orders")
