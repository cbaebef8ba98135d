"""What agents are asked about their disks, and the last lines of their logs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "looks",
        sa.Column("id", BIG, nullable=False),
        sa.Column("file_server_id", BIG, nullable=False),
        sa.Column("asked_by", sa.String(length=255), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("taken_by", sa.String(length=64), nullable=False),
        sa.Column("taken_at", TIME, nullable=True),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["file_server_id"], ["file_servers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_looks_of", "looks", ["file_server_id", "asked_at"])
    op.create_table(
        "agent_log_lines",
        sa.Column("id", BIG, nullable=False),
        sa.Column("file_server_id", BIG, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["file_server_id"], ["file_servers.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_agent_log_lines_of", "agent_log_lines", ["file_server_id", "id"])


def downgrade() -> None:
    """Back to the version before."""
    op.drop_table("agent_log_lines")
    op.drop_table("looks")
