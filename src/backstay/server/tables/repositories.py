"""Repositories, and what the server does for each again and again."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from backstay.server.tables.base import Base


class RepositoryRow(Base):
    """A repository that this server keeps.

    Attributes:
        id: 32 hexadecimal digits of the repository's id.
        location: as `storage.registry.open_storage` reads it.
        sealed_passphrase: opens it; sealed with the server's own key (settings.py).
        reads: whether the server holds the private key; False where only the customer does.
        data_path: "gateway" through the server, or "direct" by presigned requests to S3.
    """

    __tablename__ = "repositories"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    location: Mapped[str] = mapped_column(Text)
    sealed_passphrase: Mapped[bytes]
    reads: Mapped[bool] = mapped_column(default=True)
    data_path: Mapped[str] = mapped_column(String(16), default="gateway")
    created_at: Mapped[datetime]


class RepositoryFigures(Base):
    """How large a repository was at some time: the growth chart."""

    __tablename__ = "repository_figures"
    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[str] = mapped_column(ForeignKey("repositories.id"), index=True)
    at: Mapped[datetime] = mapped_column(index=True)
    stored_bytes: Mapped[int]
    source_bytes: Mapped[int]
    packs: Mapped[int]
    restore_points: Mapped[int]
    free_bytes: Mapped[int | None]


class UpkeepTask(Base):
    """Something that is done for a repository again and again, by one server process at a time.

    Attributes:
        name: one of upkeep_schedule.TASKS, or of a chore.
        due_at: when it is to be done next.
        job_id: the job that was asked for last.
        leased_to, leased_until: the process that does it just now, where it is no job.
    """

    __tablename__ = "upkeep_tasks"
    repository_id: Mapped[str] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    due_at: Mapped[datetime]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    leased_to: Mapped[str] = mapped_column(String(64), default="")
    leased_until: Mapped[datetime | None]
