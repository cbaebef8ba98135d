"""Alerts that are one while their cause lasts, what is sent of them, and whose turn it is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "turns",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("memory", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", BIG, nullable=False),
        sa.Column("channel_id", BIG, nullable=False),
        sa.Column("raised", sa.JSON(), nullable=False),
        sa.Column("reminded", sa.JSON(), nullable=False),
        sa.Column("resolved", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("leased_until", TIME, nullable=True),
        sa.Column("attempts", BIG, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["notification_channels.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_deliveries_channel_id", "deliveries", ["channel_id"])
    _partial("ix_deliveries_one_open", "deliveries", ["channel_id"], "closed_at IS NULL", unique=True)
    with op.batch_alter_table("notification_channels") as batch:
        batch.add_column(sa.Column("reminder_seconds", BIG, nullable=False, server_default="86400"))
        batch.add_column(sa.Column("send_resolved", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch.add_column(sa.Column("last_sent_at", TIME, nullable=True))
        batch.add_column(sa.Column("reminded_at", TIME, nullable=True))
        batch.add_column(sa.Column("failing_since", TIME, nullable=True))
    with op.batch_alter_table("alerts") as batch:
        batch.add_column(sa.Column("acknowledged_at", TIME, nullable=True))
    op.create_index("ix_alerts_raised", "alerts", ["raised_at"])
    _partial("ix_alerts_one_active", "alerts", ["kind", "subject"], "resolved_at IS NULL", unique=True)
    with op.batch_alter_table("file_servers") as batch:
        batch.add_column(sa.Column("rival_seen_at", TIME, nullable=True))
        batch.add_column(sa.Column("rival_address", sa.String(length=64), nullable=False, server_default=""))
    op.create_index("ix_jobs_repository_kind", "jobs", ["repository_id", "kind", "created_at"])
    _partial("ix_points_damaged", "restore_points", ["repository_id"], "damaged", sqlite="damaged = 1")
    _partial("ix_packs_damaged", "packs", ["repository_id"], "damaged", sqlite="damaged = 1")


def _partial(
    name: str, table: str, columns: list[str], where: str, *, sqlite: str = "", unique: bool = False
) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(sqlite or where),
        postgresql_where=sa.text(where),
    )


def downgrade() -> None:
    """Back to the version before."""
    op.drop_index("ix_packs_damaged", "packs")
    op.drop_index("ix_points_damaged", "restore_points")
    op.drop_index("ix_jobs_repository_kind", "jobs")
    with op.batch_alter_table("file_servers") as batch:
        batch.drop_column("rival_address")
        batch.drop_column("rival_seen_at")
    op.drop_index("ix_alerts_one_active", "alerts")
    op.drop_index("ix_alerts_raised", "alerts")
    with op.batch_alter_table("alerts") as batch:
        batch.drop_column("acknowledged_at")
    with op.batch_alter_table("notification_channels") as batch:
        batch.drop_column("failing_since")
        batch.drop_column("reminded_at")
        batch.drop_column("last_sent_at")
        batch.drop_column("send_resolved")
        batch.drop_column("reminder_seconds")
    op.drop_table("deliveries")
    op.drop_table("turns")
