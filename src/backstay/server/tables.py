"""The tables of the control plane, the same on SQLite and PostgreSQL.

Times are aware datetimes in UTC. What is read as a whole and never searched (a policy's values, a job's
steps) is JSON; everything that is searched or joined is a column. Paths are bytes.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy import text as sql
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC; SQLite has no zones, so they are put on again when it is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone was about to be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

BigId = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map: ClassVar = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        bytes: LargeBinary,
        int: BigId,
    }


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


class Administrator(Base):
    """A person who signs in. `role` is one of access.Role."""

    __tablename__ = "administrators"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    display_name: Mapped[str] = mapped_column(String(255), default="")
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str] = mapped_column(Text)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    last_sign_in_at: Mapped[datetime | None]


class SignInSession(Base):
    """A browser's session; only the hash of its secret is kept."""

    __tablename__ = "sign_in_sessions"
    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    administrator_id: Mapped[int] = mapped_column(ForeignKey("administrators.id"), index=True)
    csrf_token: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(String(64), default="")
    user_agent: Mapped[str] = mapped_column(String(255), default="")
    administrator: Mapped[Administrator] = relationship()


class SignInFailures(Base):
    """Attempts to sign in under a name, or from an address, that came to nothing; see sign_in_limits.py."""

    __tablename__ = "sign_in_failures"
    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(index=True)
    locked_until: Mapped[datetime | None]


class ApiToken(Base):
    """Lets a program act for an administrator, within scopes; only the hash of its secret is kept.

    Attributes:
        parent_id: the token that made this one: it is revoked with it.
    """

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    administrator_id: Mapped[int] = mapped_column(ForeignKey("administrators.id"), index=True)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    last_used_address: Mapped[str] = mapped_column(String(64), default="")
    revoked_at: Mapped[datetime | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("api_tokens.id"), index=True)
    administrator: Mapped[Administrator] = relationship()


class AuditEntry(Base):
    """One change, chained: `digest` covers this entry and the digest before it."""

    __tablename__ = "audit"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(String(255))
    address: Mapped[str] = mapped_column(String(64), default="")
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text)
    before: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    after: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    previous: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))


class AlertRow(Base):
    """Something that needs a person; active until its cause is gone.

    Attributes:
        kind: one of alerts.AlertKind; `subject`: what it is about, so that a cause has one alert.
        sent_at: when it was last sent; `resolved_at`: when the cause was found to be gone;
            `resolution_sent_at`: when that was sent, or settled without a message.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index("ix_alerts_active", "resolved_at", "kind"),
        Index(
            "ix_alerts_one_active",
            "kind",
            "subject",
            unique=True,
            sqlite_where=sql("resolved_at IS NULL"),
            postgresql_where=sql("resolved_at IS NULL"),
        ),
        Index("ix_alerts_raised", "raised_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    severity: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(String(255), index=True)
    text: Mapped[str] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text, default="")
    file_server_id: Mapped[int | None] = mapped_column(ForeignKey("file_servers.id"))
    backup_set_id: Mapped[int | None] = mapped_column(ForeignKey("backup_sets.id"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    raised_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str] = mapped_column(String(255), default="")
    acknowledged_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    resolution_sent_at: Mapped[datetime | None]


class NotificationChannel(Base):
    """Where alerts are sent.

    Attributes:
        kind: one of notifications.registry; `sealed_target`: its settings as JSON; sealed, for they hold
            passwords.
        reminder_seconds: how often alerts that nobody has acknowledged are told of again, all in one message;
            0: never. `reminded_at`: when that was last done.
        send_resolved: whether it also tells that a cause is gone.
        last_error: of the last attempt, if it failed; `failing_since`: of the first that failed in a row.
    """

    __tablename__ = "notification_channels"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    sealed_target: Mapped[bytes]
    least_severity: Mapped[str] = mapped_column(String(16), default="warning")
    reminder_seconds: Mapped[int] = mapped_column(default=86400)
    send_resolved: Mapped[bool] = mapped_column(default=True)
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    last_sent_at: Mapped[datetime | None]
    reminded_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(Text, default="")
    failing_since: Mapped[datetime | None]


class Delivery(Base):
    """A message that is to be sent through one channel, or was. A channel has one open at most.

    Attributes:
        raised, reminded, resolved: numbers of the alerts that it tells of.
        not_before: it is sent, or tried again, no earlier.
        leased_until: a server process is sending it; another may when this has passed.
        closed_at: it was sent, or given up (`error` says why).
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index(
            "ix_deliveries_one_open",
            "channel_id",
            unique=True,
            sqlite_where=sql("closed_at IS NULL"),
            postgresql_where=sql("closed_at IS NULL"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("notification_channels.id"), index=True)
    raised: Mapped[list[Any]] = mapped_column(default=list)
    reminded: Mapped[list[Any]] = mapped_column(default=list)
    resolved: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime]
    not_before: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    closed_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")


class Turn(Base):
    """What one server process does for all: when it was last done, and what is remembered until the next."""

    __tablename__ = "turns"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    taken_at: Mapped[datetime]
    memory: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Setting(Base):
    """Settings that administrators change while the server runs, by name."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    updated_at: Mapped[datetime]
