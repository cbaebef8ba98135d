"""What jobs have put into repositories: restore points, packs, and the sessions that wrote them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backstay.server.tables.backup_sets import BackupSetRow
from backstay.server.tables.base import Base
from backstay.server.tables.file_servers import FileServer


class RestorePointRow(Base):
    """A committed restore point, as the server stamped it.

    Attributes:
        id: 64 hexadecimal digits, the manifest's BLAKE3.
        committed_at: by the server's clock; retention reckons with it alone.
        held_by: who put it under legal hold, or empty; `hold_reason` says why.
        expired_at: it is taken out, or about to be.
        manifest_time: as the manifest says.
    """

    __tablename__ = "restore_points"
    __table_args__ = (
        Index("ix_points_set_committed", "backup_set_id", "committed_at"),
        Index(
            "ix_points_damaged",
            "repository_id",
            sqlite_where=sql("damaged = 1"),
            postgresql_where=sql("damaged"),
        ),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    repository_id: Mapped[str] = mapped_column(ForeignKey("repositories.id"), index=True)
    file_server_id: Mapped[int] = mapped_column(ForeignKey("file_servers.id"), index=True)
    backup_set_id: Mapped[int] = mapped_column(ForeignKey("backup_sets.id"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    sequence: Mapped[int]
    type: Mapped[str] = mapped_column(String(16))
    committed_at: Mapped[datetime] = mapped_column(index=True)
    manifest_time: Mapped[datetime]
    files: Mapped[int]
    folders: Mapped[int]
    bytes: Mapped[int]
    read_bytes: Mapped[int]
    new_bytes: Mapped[int]
    stored_bytes: Mapped[int]
    problems: Mapped[int]
    held_by: Mapped[str] = mapped_column(String(255), default="")
    hold_reason: Mapped[str] = mapped_column(Text, default="")
    held_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]
    expired_reason: Mapped[str] = mapped_column(Text, default="")
    damaged: Mapped[bool] = mapped_column(default=False)
    verified_at: Mapped[datetime | None]
    file_server: Mapped[FileServer] = relationship()
    backup_set: Mapped[BackupSetRow] = relationship()


class PackRow(Base):
    """A pack that an agent stored, or that was found in the repository.

    Attributes:
        file_server_id: who stored it; None where nobody knows.
        digest: 64 hexadecimal digits.
        session: hexadecimal id of the writing session that its trailer names.
        presigned_until: a request that stores it may still be under way; it is checked afterwards only.
        indexed: whether an index run of the repository names it.
        checked_at: somebody who can read has found every blob to be what its id says: only then do other
            file servers rely on it. `damaged`: it was found not to be so.
    """

    __tablename__ = "packs"
    __table_args__ = (
        Index("ix_packs_session", "session", "indexed"),
        Index("ix_packs_checked", "checked_at"),
        Index(
            "ix_packs_damaged",
            "repository_id",
            sqlite_where=sql("damaged = 1"),
            postgresql_where=sql("damaged"),
        ),
    )
    repository_id: Mapped[str] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    file_server_id: Mapped[int | None] = mapped_column(ForeignKey("file_servers.id"), index=True)
    session: Mapped[str] = mapped_column(String(32))
    size: Mapped[int]
    indexed: Mapped[bool] = mapped_column(default=False)
    stored_at: Mapped[datetime]
    presigned_until: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    damaged: Mapped[bool] = mapped_column(default=False)


class WriterSession(Base):
    """Which file server a writing session of the repository belongs to, and for which job it writes."""

    __tablename__ = "writer_sessions"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    repository_id: Mapped[str] = mapped_column(ForeignKey("repositories.id"))
    file_server_id: Mapped[int] = mapped_column(ForeignKey("file_servers.id"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
