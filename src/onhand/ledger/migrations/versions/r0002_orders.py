"""Holds, orders, tasks, answers, and what the order writer hands on."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the order writer and the row that fences it."""
    _create_documents()
    _create_packed()
    _create_ledger_events()
    _create_writer()


def downgrade() -> None:
    """Drop everything this revision made."""
    for table in (
        "writer",
        "claim_offset",
        "order_event",
        "ledger_event",
        "answer",
        "task",
        "orders",
        "hold",
    ):
        op.drop_table(table)


def _create_documents() -> None:
    op.create_table(
        "hold",
        sa.Column("id", sa.String(128)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_hold"),
    )
    _create_partial_index("ix_hold_active", "hold", "expires_us", "status = 'active'")
    _create_partial_index("ix_hold_finished", "hold", "expires_us", "status <> 'active'")
    op.create_table(
        "orders",
        sa.Column("id", sa.String(128)),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("customer", sa.String(128)),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
    )
    op.create_index("ix_orders_customer", "orders", ["customer", "created_us", "id"])
    op.create_index("ix_orders_status", "orders", ["status", "created_us", "id"])
    _create_partial_index("ix_orders_open", "orders", "created_us", "is_open")
    op.create_table(
        "task",
        sa.Column("id", sa.String(160)),
        sa.Column("order_id", sa.String(128), nullable=False),
        sa.Column("location", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
    )
    op.create_index("ix_task_due", "task", ["location", "status", "due_us", "id"])


def _create_packed() -> None:
    op.create_table(
        "answer",
        sa.Column("commit_number", sa.BigInteger, autoincrement=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("commit_number", name="pk_answer"),
    )
    op.create_index("ix_answer_created", "answer", ["created_us"])
    op.create_table(
        "order_event",
        sa.Column("last_number", sa.BigInteger, autoincrement=False),
        sa.Column("first_number", sa.BigInteger, nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("last_number", name="pk_order_event"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Compressing a batch would cost more than all else in its commit.
        for table in ("answer", "order_event"):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN records SET STORAGE EXTERNAL")


def _create_ledger_events() -> None:
    op.create_table(
        "ledger_event",
        sa.Column("sequence", sa.BigInteger, autoincrement=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("reserved", sa.LargeBinary, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_ledger_event"),
    )


def _create_writer() -> None:
    op.create_table(
        "claim_offset",
        sa.Column("partition", sa.Integer, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("partition", name="pk_claim_offset"),
    )
    counters = (
        "epoch",
        "taken_us",
        "commit_number",
        "settlement",
        "event_number",
        "event_published",
        "ledger_sequence",
        "ledger_published",
    )
    writer = op.create_table(
        "writer",
        sa.Column("id", sa.Integer, autoincrement=False),
        sa.Column("owner", sa.String(200), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counters),
        sa.PrimaryKeyConstraint("id", name="pk_writer"),
    )
    op.bulk_insert(writer, [{"id": 1, "owner": "", **dict.fromkeys(counters, 0)}])


def _create_partial_index(name: str, table: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
