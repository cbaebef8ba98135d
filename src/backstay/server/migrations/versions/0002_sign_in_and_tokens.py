"""Failed sign-ins counted by name and address; tokens that know where they come from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "sign_in_failures",
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_sign_in_failures_last_at", "sign_in_failures", ["last_at"])
    with op.batch_alter_table("administrators", schema=None) as batch_op:
        batch_op.drop_column("failed_sign_ins")
        batch_op.drop_column("locked_until")
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("last_used_address", sa.String(length=64), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("parent_id", BIG, nullable=True))
        batch_op.create_index("ix_api_tokens_parent_id", ["parent_id"])
        batch_op.create_foreign_key("fk_api_tokens_parent_id", "api_tokens", ["parent_id"], ["id"])


def downgrade() -> None:
    """Back to the version before."""
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.drop_constraint("fk_api_tokens_parent_id", type_="foreignkey")
        batch_op.drop_index("ix_api_tokens_parent_id")
        batch_op.drop_column("parent_id")
        batch_op.drop_column("last_used_address")
    with op.batch_alter_table("administrators", schema=None) as batch_op:
        batch_op.add_column(sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("failed_sign_ins", BIG, nullable=False, server_default="0"))
    op.drop_table("sign_in_failures")
