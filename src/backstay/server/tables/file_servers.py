"""File servers, and the tokens by which their agents enrol."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backstay.server.tables.base import Base

if TYPE_CHECKING:
    from backstay.server.tables.backup_sets import BackupSetRow


class FileServer(Base):
    """A protected machine, and its agent.

    Attributes:
        name: unique; part of every restore point, so it never changes.
        agent_key_hash: SHA-256 of the agent's secret; None until enrolled, or when revoked.
        agent_epoch: rises with each enrolment and each revocation: who comes with an older one is fenced off.
        machine_id: of the machine, as its operating system names it; two machines with one identity differ.
        boot_id: of the machine's boot, as last reported.
        instance: random, of the running agent process.
        clock_offset: seconds that its clock is ahead of the server's.
        rival_seen_at, rival_address: when and where from another machine last spoke with this one's identity.
        inventory: volumes, shares and top folders with sizes, as the agent reported them.
    """

    __tablename__ = "file_servers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    system: Mapped[str] = mapped_column(String(32), default="")
    version: Mapped[str] = mapped_column(String(64), default="")
    agent_key_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    agent_epoch: Mapped[int] = mapped_column(default=1)
    machine_id: Mapped[str] = mapped_column(String(64), default="")
    boot_id: Mapped[str] = mapped_column(String(64), default="")
    instance: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    clock_offset: Mapped[float] = mapped_column(default=0.0)
    rival_seen_at: Mapped[datetime | None]
    rival_address: Mapped[str] = mapped_column(String(64), default="")
    last_seen_at: Mapped[datetime | None]
    enrolled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    policy_layer: Mapped[dict[str, Any]] = mapped_column(default=dict)
    inventory: Mapped[dict[str, Any]] = mapped_column(default=dict)
    sets: Mapped[list["BackupSetRow"]] = relationship(back_populates="file_server")


class AgentLogLine(Base):
    """A line of an agent's own log, the last few hundred of each; the time by the server's clock."""

    __tablename__ = "agent_log_lines"
    __table_args__ = (Index("ix_agent_log_lines_of", "file_server_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    file_server_id: Mapped[int] = mapped_column(ForeignKey("file_servers.id"))
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)


class LookRow(Base):
    """A question about what is on a file server's disk, and its answer; kept for minutes.

    Attributes:
        asked_by: the only one who is told the answer.
        request: fields of a LookTicket.
        epoch: rises each time that it is handed to an agent; `taken_by`: its process.
        answer: a LookAnswer.
    """

    __tablename__ = "looks"
    __table_args__ = (Index("ix_looks_of", "file_server_id", "asked_at"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    file_server_id: Mapped[int] = mapped_column(ForeignKey("file_servers.id"))
    asked_by: Mapped[str] = mapped_column(String(255))
    asked_at: Mapped[datetime]
    request: Mapped[dict[str, Any]]
    epoch: Mapped[int] = mapped_column(default=0)
    taken_by: Mapped[str] = mapped_column(String(64), default="")
    taken_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    answer: Mapped[dict[str, Any]] = mapped_column(default=dict)


class EnrolmentToken(Base):
    """Lets agents enrol, many or few, until it expires or is revoked. Only its hash is kept."""

    __tablename__ = "enrolment_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    comment: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(255), default="")
    expires_at: Mapped[datetime]
    most_uses: Mapped[int | None]
    uses: Mapped[int] = mapped_column(default=0)
    revoked_at: Mapped[datetime | None]
