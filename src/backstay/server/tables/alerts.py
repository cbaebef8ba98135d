"""Alerts, and the messages that tell of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from backstay.server.tables.base import Base


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
