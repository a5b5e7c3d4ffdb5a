"""When each task was created: what a location was given of its day's capacity."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the time; tasks of before count for no day."""
    op.add_column(
        "task",
        sa.Column("created_us", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    )
    op.create_index("ix_task_created", "task", ["location", "created_us"])


def downgrade() -> None:
    """Drop everything this revision made."""
    op.drop_index("ix_task_created", "task")
    op.drop_column("task", "created_us")
