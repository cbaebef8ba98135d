"""Jobs, their logs and their problems."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backstay.server.tables.backup_sets import BackupSetRow
from backstay.server.tables.base import Base
from backstay.server.tables.file_servers import FileServer


class JobRow(Base):
    """One run of something. `job_queue` alone changes its state.

    Attributes:
        request: what exactly is asked for, by kind (protocol.ticket).
        scheduled_for: the schedule's time that asked for it; unique for a set, so that several servers
            ask once.
        not_before: a retry waits until then.
        not_after: when the window closes; a job that has not begun by then is skipped.
        lease_epoch: rises with every lease; a report with an older one is fenced off.
        leased_to: the agent instance or server process that runs it.
        leased_until: heard of no later, the job is given up.
        attempt: from 1; `retry_of` names the first attempt.
        steps, progress: as last reported; `reason`: why it ended as it did, in words.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("backup_set_id", "scheduled_for"),
        Index("ix_jobs_state", "state", "not_before"),
        Index("ix_jobs_set_created", "backup_set_id", "created_at"),
        Index("ix_jobs_server_created", "file_server_id", "created_at"),
        Index("ix_jobs_created", "created_at"),
        Index("ix_jobs_state_created", "state", "created_at"),
        Index("ix_jobs_kind_created", "kind", "created_at"),
        Index("ix_jobs_repository_kind", "repository_id", "kind", "created_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(32))
    trigger: Mapped[str] = mapped_column(String(16))
    requested_by: Mapped[str] = mapped_column(String(255), default="")
    file_server_id: Mapped[int | None] = mapped_column(ForeignKey("file_servers.id"))
    backup_set_id: Mapped[int | None] = mapped_column(ForeignKey("backup_sets.id"))
    repository_id: Mapped[str | None] = mapped_column(ForeignKey("repositories.id"))
    request: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    scheduled_for: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    not_after: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=1)
    retry_of: Mapped[int | None]
    lease_epoch: Mapped[int] = mapped_column(default=0)
    leased_to: Mapped[str] = mapped_column(String(64), default="")
    leased_until: Mapped[datetime | None]
    cancel_requested_by: Mapped[str] = mapped_column(String(255), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    hint: Mapped[str] = mapped_column(Text, default="")
    steps: Mapped[list[Any]] = mapped_column(default=list)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    figures: Mapped[dict[str, Any]] = mapped_column(default=dict)
    revision: Mapped[int] = mapped_column(default=0)
    restore_point_id: Mapped[str | None] = mapped_column(String(64))
    problem_count: Mapped[int] = mapped_column(default=0)
    file_server: Mapped[FileServer | None] = relationship()
    backup_set: Mapped[BackupSetRow | None] = relationship()


class JobMessage(Base):
    """A line of a job's log."""

    __tablename__ = "job_messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(8), default="info")
    text: Mapped[str] = mapped_column(Text)


class JobProblem(Base):
    """A file that is not in the restore point (or not at the target) as it should be."""

    __tablename__ = "job_problems"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    path: Mapped[bytes]
    reason: Mapped[str] = mapped_column(Text)
    grade: Mapped[str] = mapped_column(String(16), default="")
