"""Tables of the control plane."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "administrators",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("must_change_password", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_sign_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_sign_ins", BIG, nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "audit",
        sa.Column("number", BIG, autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_at"), ["at"], unique=False)

    op.create_table(
        "content_rules",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("default_rules", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "enrolment_tokens",
        sa.Column("id", BIG, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("most_uses", BIG, nullable=True),
        sa.Column("uses", BIG, nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_table(
        "file_servers",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("system", sa.String(length=32), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("agent_key_hash", sa.String(length=64), nullable=True),
        sa.Column("agent_epoch", BIG, nullable=False),
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("instance", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("clock_offset", sa.Double(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy_layer", sa.JSON(), nullable=False),
        sa.Column("inventory", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    with op.batch_alter_table("file_servers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_file_servers_agent_key_hash"), ["agent_key_hash"], unique=False)

    op.create_table(
        "notification_channels",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sealed_target", sa.LargeBinary(), nullable=False),
        sa.Column("least_severity", sa.String(length=16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "policies",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "repositories",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("sealed_passphrase", sa.LargeBinary(), nullable=False),
        sa.Column("reads", sa.Boolean(), nullable=False),
        sa.Column("data_path", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("administrator_id", BIG, nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["administrator_id"],
            ["administrators.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_hash"),
    )
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_api_tokens_administrator_id"), ["administrator_id"], unique=False
        )

    op.create_table(
        "backup_sets",
        sa.Column("id", BIG, nullable=False),
        sa.Column("file_server_id", BIG, nullable=False),
        sa.Column("repository_id", sa.String(length=32), nullable=False),
        sa.Column("policy_id", BIG, nullable=True),
        sa.Column("content_rule_id", BIG, nullable=True),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("cross_mounts", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("policy_layer", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scheduled_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["content_rule_id"],
            ["content_rules.id"],
        ),
        sa.ForeignKeyConstraint(
            ["file_server_id"],
            ["file_servers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"],
            ["policies.id"],
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("file_server_id", "name"),
    )
    with op.batch_alter_table("backup_sets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_backup_sets_file_server_id"), ["file_server_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_backup_sets_policy_id"), ["policy_id"], unique=False)

    op.create_table(
        "packs",
        sa.Column("repository_id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("file_server_id", BIG, nullable=True),
        sa.Column("session", sa.String(length=32), nullable=False),
        sa.Column("size", BIG, nullable=False),
        sa.Column("indexed", sa.Boolean(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("presigned_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("damaged", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_server_id"],
            ["file_servers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest"),
    )
    with op.batch_alter_table("packs", schema=None) as batch_op:
        batch_op.create_index("ix_packs_checked", ["checked_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_packs_file_server_id"), ["file_server_id"], unique=False)
        batch_op.create_index("ix_packs_session", ["session", "indexed"], unique=False)

    op.create_table(
        "repository_figures",
        sa.Column("id", BIG, nullable=False),
        sa.Column("repository_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored_bytes", BIG, nullable=False),
        sa.Column("source_bytes", BIG, nullable=False),
        sa.Column("packs", BIG, nullable=False),
        sa.Column("restore_points", BIG, nullable=False),
        sa.Column("free_bytes", BIG, nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("repository_figures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_repository_figures_at"), ["at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_repository_figures_repository_id"), ["repository_id"], unique=False
        )

    op.create_table(
        "sign_in_sessions",
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("administrator_id", BIG, nullable=False),
        sa.Column("csrf_token", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["administrator_id"],
            ["administrators.id"],
        ),
        sa.PrimaryKeyConstraint("secret_hash"),
    )
    with op.batch_alter_table("sign_in_sessions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sign_in_sessions_administrator_id"), ["administrator_id"], unique=False
        )

    op.create_table(
        "jobs",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("requested_by", sa.String(length=255), nullable=False),
        sa.Column("file_server_id", BIG, nullable=True),
        sa.Column("backup_set_id", BIG, nullable=True),
        sa.Column("repository_id", sa.String(length=32), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("scheduled_for", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", BIG, nullable=False),
        sa.Column("retry_of", BIG, nullable=True),
        sa.Column("lease_epoch", BIG, nullable=False),
        sa.Column("leased_to", sa.String(length=64), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_by", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("revision", BIG, nullable=False),
        sa.Column("restore_point_id", sa.String(length=64), nullable=True),
        sa.Column("problem_count", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["backup_set_id"],
            ["backup_sets.id"],
        ),
        sa.ForeignKeyConstraint(
            ["file_server_id"],
            ["file_servers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("backup_set_id", "scheduled_for"),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_created", ["created_at"], unique=False)
        batch_op.create_index("ix_jobs_server_created", ["file_server_id", "created_at"], unique=False)
        batch_op.create_index("ix_jobs_set_created", ["backup_set_id", "created_at"], unique=False)
        batch_op.create_index("ix_jobs_state", ["state", "not_before"], unique=False)

    op.create_table(
        "alerts",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("file_server_id", BIG, nullable=True),
        sa.Column("backup_set_id", BIG, nullable=True),
        sa.Column("job_id", BIG, nullable=True),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=255), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["backup_set_id"],
            ["backup_sets.id"],
        ),
        sa.ForeignKeyConstraint(
            ["file_server_id"],
            ["file_servers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.create_index("ix_alerts_active", ["resolved_at", "kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_alerts_subject"), ["subject"], unique=False)

    op.create_table(
        "job_messages",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("job_messages", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_messages_job_id"), ["job_id"], unique=False)

    op.create_table(
        "job_problems",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("grade", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("job_problems", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_problems_job_id"), ["job_id"], unique=False)

    op.create_table(
        "restore_points",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("repository_id", sa.String(length=32), nullable=False),
        sa.Column("file_server_id", BIG, nullable=False),
        sa.Column("backup_set_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=True),
        sa.Column("sequence", BIG, nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("manifest_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("files", BIG, nullable=False),
        sa.Column("folders", BIG, nullable=False),
        sa.Column("bytes", BIG, nullable=False),
        sa.Column("read_bytes", BIG, nullable=False),
        sa.Column("new_bytes", BIG, nullable=False),
        sa.Column("stored_bytes", BIG, nullable=False),
        sa.Column("problems", BIG, nullable=False),
        sa.Column("held_by", sa.String(length=255), nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_reason", sa.Text(), nullable=False),
        sa.Column("damaged", sa.Boolean(), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["backup_set_id"],
            ["backup_sets.id"],
        ),
        sa.ForeignKeyConstraint(
            ["file_server_id"],
            ["file_servers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("restore_points", schema=None) as batch_op:
        batch_op.create_index("ix_points_set_committed", ["backup_set_id", "committed_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_restore_points_committed_at"), ["committed_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_restore_points_file_server_id"), ["file_server_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_restore_points_repository_id"), ["repository_id"], unique=False)

    op.create_table(
        "writer_sessions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("repository_id", sa.String(length=32), nullable=False),
        sa.Column("file_server_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["file_server_id"],
            ["file_servers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("writer_sessions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_writer_sessions_file_server_id"), ["file_server_id"], unique=False
        )


def downgrade() -> None:
    """Back to the version before."""
    with op.batch_alter_table("writer_sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_writer_sessions_file_server_id"))

    op.drop_table("writer_sessions")
    with op.batch_alter_table("restore_points", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_restore_points_repository_id"))
        batch_op.drop_index(batch_op.f("ix_restore_points_file_server_id"))
        batch_op.drop_index(batch_op.f("ix_restore_points_committed_at"))
        batch_op.drop_index("ix_points_set_committed")

    op.drop_table("restore_points")
    with op.batch_alter_table("job_problems", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_problems_job_id"))

    op.drop_table("job_problems")
    with op.batch_alter_table("job_messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_messages_job_id"))

    op.drop_table("job_messages")
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_alerts_subject"))
        batch_op.drop_index("ix_alerts_active")

    op.drop_table("alerts")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_state")
        batch_op.drop_index("ix_jobs_set_created")
        batch_op.drop_index("ix_jobs_server_created")
        batch_op.drop_index("ix_jobs_created")

    op.drop_table("jobs")
    with op.batch_alter_table("sign_in_sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sign_in_sessions_administrator_id"))

    op.drop_table("sign_in_sessions")
    with op.batch_alter_table("repository_figures", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_repository_figures_repository_id"))
        batch_op.drop_index(batch_op.f("ix_repository_figures_at"))

    op.drop_table("repository_figures")
    with op.batch_alter_table("packs", schema=None) as batch_op:
        batch_op.drop_index("ix_packs_session")
        batch_op.drop_index(batch_op.f("ix_packs_file_server_id"))
        batch_op.drop_index("ix_packs_checked")

    op.drop_table("packs")
    with op.batch_alter_table("backup_sets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_backup_sets_policy_id"))
        batch_op.drop_index(batch_op.f("ix_backup_sets_file_server_id"))

    op.drop_table("backup_sets")
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_tokens_administrator_id"))

    op.drop_table("api_tokens")
    op.drop_table("settings")
    op.drop_table("repositories")
    op.drop_table("policies")
    op.drop_table("notification_channels")
    with op.batch_alter_table("file_servers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_file_servers_agent_key_hash"))

    op.drop_table("file_servers")
    op.drop_table("enrolment_tokens")
    op.drop_table("content_rules")
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_at"))

    op.drop_table("audit")
    op.drop_table("administrators")
