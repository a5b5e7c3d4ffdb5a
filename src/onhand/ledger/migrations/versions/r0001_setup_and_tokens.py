"""Set-up and access tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the first tables and the rows that count their versions."""
    op.create_table(
        "deployment",
        sa.Column("id", sa.Integer, autoincrement=False),
        sa.Column("cluster_id", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_deployment"),
    )
    versions = op.create_table(
        "revision",
        sa.Column("name", sa.String(32)),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_revision"),
    )
    op.create_table(
        "location",
        sa.Column("id", sa.String(64)),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_location"),
    )
    op.create_table(
        "sku",
        sa.Column("sku", sa.String(64)),
        sa.Column("category", sa.String(64)),
        sa.Column("unit", sa.String(64)),
        sa.Column("name", sa.String(200)),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sku", name="pk_sku"),
    )
    op.create_index("ix_sku_version", "sku", ["version"])
    op.create_table(
        "safety_rule",
        sa.Column("position", sa.Integer, autoincrement=False),
        sa.Column("sku", sa.String(64)),
        sa.Column("category", sa.String(64)),
        sa.Column("location", sa.String(64)),
        sa.Column("group_name", sa.String(64)),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_safety_rule"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.String(32)),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("locations", sa.Text, nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
    )
    op.bulk_insert(versions, [{"name": "setup", "version": 0}, {"name": "tokens", "version": 0}])


def downgrade() -> None:
    """Drop everything this revision made."""
    for table in ("token", "safety_rule", "sku", "location", "revision", "deployment"):
        op.drop_table(table)
