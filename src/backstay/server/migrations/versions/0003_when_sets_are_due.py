"""When each backup set is due, and jobs by state and kind."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.add_column("backup_sets", sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True))
    # A time that is over: the scheduler reckons every set anew.
    op.execute("UPDATE backup_sets SET next_due_at = created_at")
    op.create_index("ix_sets_due", "backup_sets", ["next_due_at"])
    op.create_index("ix_sets_scheduled", "backup_sets", ["scheduled_until"])
    op.create_index("ix_jobs_state_created", "jobs", ["state", "created_at"])
    op.create_index("ix_jobs_kind_created", "jobs", ["kind", "created_at"])


def downgrade() -> None:
    """To the version before."""
    op.drop_index("ix_jobs_kind_created", "jobs")
    op.drop_index("ix_jobs_state_created", "jobs")
    op.drop_index("ix_sets_scheduled", "backup_sets")
    op.drop_index("ix_sets_due", "backup_sets")
    op.drop_column("backup_sets", "next_due_at")
