"""Tasks by when they were created: new ones lie side by side, wherever they are to be done."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Turn the columns of the index round."""
    op.drop_index("ix_task_created", "task")
    op.create_index("ix_task_created", "task", ["created_us", "location"])


def downgrade() -> None:
    """Turn them back."""
    op.drop_index("ix_task_created", "task")
    op.create_index("ix_task_created", "task", ["location", "created_us"])
