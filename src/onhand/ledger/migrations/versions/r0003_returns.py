"""Returns, and the policies that decide about them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of returns and of their policies."""
    op.create_table(
        "returns",
        sa.Column("id", sa.String(128)),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("order_id", sa.String(128)),
        sa.Column("receipt", sa.String(128)),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_returns"),
    )
    op.create_index("ix_returns_order", "returns", ["order_id", "created_us", "id"])
    op.create_index("ix_returns_receipt", "returns", ["receipt", "created_us", "id"])
    op.create_index("ix_returns_status", "returns", ["status", "created_us", "id"])
    is_open = sa.text("is_open")
    op.create_index(
        "ix_returns_open",
        "returns",
        ["created_us"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "return_policy",
        sa.Column("version", sa.BigInteger, autoincrement=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_return_policy"),
    )


def downgrade() -> None:
    """Drop everything this revision made."""
    op.drop_table("return_policy")
    op.drop_table("returns")
