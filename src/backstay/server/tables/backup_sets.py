"""Backup sets, and the policies and content rules that several of them share."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backstay.server.tables.base import LONG_AGO, Base
from backstay.server.tables.file_servers import FileServer


class PolicyRow(Base):
    """A named backup policy: `values` is a protocol.policy_document.PolicyValues as JSON."""

    __tablename__ = "policies"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    comment: Mapped[str] = mapped_column(Text, default="")
    values: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ContentRuleRow(Base):
    """A named content rule: lines as a .gitignore file has them."""

    __tablename__ = "content_rules"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    comment: Mapped[str] = mapped_column(Text, default="")
    text: Mapped[str] = mapped_column(Text)
    default_rules: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class BackupSetRow(Base):
    """What to protect on one file server.

    Attributes:
        paths: as text (surrogateescape where a name is no UTF-8).
        policy_layer: values that this set alone overrides.
        scheduled_until: the scheduler has looked at every scheduled time up to here.
        next_due_at: when the scheduler has to look again; None: nothing is scheduled. A time that is over
            means that it has to reckon anew.
    """

    __tablename__ = "backup_sets"
    __table_args__ = (
        UniqueConstraint("file_server_id", "name"),
        Index("ix_sets_due", "next_due_at"),
        Index("ix_sets_scheduled", "scheduled_until"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    file_server_id: Mapped[int] = mapped_column(ForeignKey("file_servers.id"), index=True)
    repository_id: Mapped[str] = mapped_column(ForeignKey("repositories.id"))
    policy_id: Mapped[int | None] = mapped_column(ForeignKey("policies.id"), index=True)
    content_rule_id: Mapped[int | None] = mapped_column(ForeignKey("content_rules.id"))
    name: Mapped[str] = mapped_column(String(64))
    paths: Mapped[list[Any]]
    cross_mounts: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=True)
    policy_layer: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    scheduled_until: Mapped[datetime | None]
    next_due_at: Mapped[datetime | None] = mapped_column(default=LONG_AGO)
    file_server: Mapped[FileServer] = relationship(back_populates="sets")
    policy: Mapped[PolicyRow | None] = relationship()
    content_rule: Mapped[ContentRuleRow | None] = relationship()
