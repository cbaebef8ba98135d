"""Channels as administrators keep them: make, change, remove, try."""

import json
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, DeliveryFailed, NotFound, UsageError
from backstay.server import audit
from backstay.server.access import Actor, Permission
from backstay.server.alert_checks.finding import Severity
from backstay.server.control import Control
from backstay.server.notifications.channel import Target
from backstay.server.notifications.message import Message
from backstay.server.notifications.registry import kind_of, open_channel, read_target
from backstay.server.settings import ServerKey
from backstay.server.tables import Delivery, NotificationChannel

PURPOSE = "target of a notification channel"


def list_channels(db: Session) -> list[NotificationChannel]:
    """All channels by name."""
    return list(db.scalars(select(NotificationChannel).order_by(NotificationChannel.name)).all())


def get_channel(db: Session, channel_id: int) -> NotificationChannel:
    """The channel of this number. Raises NotFound."""
    row = db.get(NotificationChannel, channel_id)
    if row is None:
        raise NotFound(
            f"there is no notification channel {channel_id}", hint="list them to see their numbers"
        )
    return row


def target_of(key: ServerKey, row: NotificationChannel) -> Target:
    """Where the channel sends. Raises ServerError where the key is another."""
    values: dict[str, Any] = json.loads(key.open(row.sealed_target, PURPOSE))
    return read_target(row.kind, values)


def create_channel(
    db: Session,
    actor: Actor,
    key: ServerKey,
    *,
    now: datetime,
    name: str,
    kind: str,
    target: dict[str, Any],
    least_severity: Severity = Severity.WARNING,
    reminder_seconds: int = 86400,
    send_resolved: bool = True,
    enabled: bool = True,
) -> NotificationChannel:
    """Make a channel. Raises Conflict, Forbidden, UsageError."""
    actor.require(Permission.MANAGE)
    _check_name(db, name, None)
    row = NotificationChannel(
        name=name,
        kind=kind_of(kind).name,
        sealed_target=_sealed(key, read_target(kind, target)),
        least_severity=least_severity.value,
        reminder_seconds=reminder_seconds,
        send_resolved=send_resolved,
        enabled=enabled,
        created_at=now,
    )
    db.add(row)
    db.flush()
    audit.record(db, actor, "notification_channel.create", name, now=now, after={"kind": kind} | _shown(row))
    return row


def change_channel(
    db: Session,
    actor: Actor,
    key: ServerKey,
    channel_id: int,
    *,
    now: datetime,
    name: str | None = None,
    target: dict[str, Any] | None = None,
    least_severity: Severity | None = None,
    reminder_seconds: int | None = None,
    send_resolved: bool | None = None,
    enabled: bool | None = None,
) -> NotificationChannel:
    """Change what is given. A secret that `target` leaves out, or gives as null, stays as it is.

    Raises:
        Conflict, Forbidden, NotFound, UsageError.
    """
    actor.require(Permission.MANAGE)
    row = get_channel(db, channel_id)
    before = _shown(row)
    if name is not None and name != row.name:
        _check_name(db, name, row.id)
        row.name = name
    changed: dict[str, Any] = {}
    if target is not None:
        old = target_of(key, row)
        kept = old.revealed()
        values = {k: v for k, v in target.items() if not (k in old.secret_fields() and v is None)}
        new = read_target(row.kind, {k: kept[k] for k in old.secret_fields() if k not in values} | values)
        if new != old:
            row.sealed_target = _sealed(key, new)
            changed["target"] = "changed"
    if least_severity is not None:
        row.least_severity = least_severity.value
    if reminder_seconds is not None:
        row.reminder_seconds = reminder_seconds
    if send_resolved is not None:
        row.send_resolved = send_resolved
    if enabled is not None:
        row.enabled = enabled
        if not enabled:
            row.last_error, row.failing_since = "", None
    after = _shown(row)
    differing = {field for field in after if after[field] != before[field]}
    if differing or changed:
        audit.record(
            db,
            actor,
            "notification_channel.change",
            row.name,
            now=now,
            before={field: before[field] for field in differing},
            after={field: after[field] for field in differing} | changed,
        )
    db.flush()
    return row


def remove_channel(db: Session, actor: Actor, channel_id: int, *, now: datetime) -> None:
    """Remove a channel, and what was still to be sent through it. Raises Forbidden, NotFound."""
    actor.require(Permission.MANAGE)
    row = get_channel(db, channel_id)
    audit.record(db, actor, "notification_channel.remove", row.name, now=now, before=_shown(row))
    db.execute(delete(Delivery).where(Delivery.channel_id == row.id))
    db.delete(row)


def send_test(control: Control, actor: Actor, channel_id: int) -> NotificationChannel:
    """Send a message through the channel now, outside any transaction.

    Raises:
        Forbidden, NotFound, ServerError.
        DeliveryFailed: as the channel says; it is noted at the channel, too.
    """
    actor.require(Permission.MANAGE)
    now = control.clock()
    with control.database.read() as db:
        row = get_channel(db, channel_id)
        channel = open_channel(row.kind, target_of(control.key, row))
    failure: DeliveryFailed | None = None
    try:
        channel.send(Message(secrets.token_hex(8), now, control.settings.public_url, is_test=True))
    except DeliveryFailed as error:
        failure = error
    with control.database.begin() as db:
        row = get_channel(db, channel_id)
        note_result(row, failure, now)
        audit.record(
            db, actor, "notification_channel.test", row.name, now=now, after={"error": row.last_error}
        )
    if failure is not None:
        raise failure
    return row


def note_result(row: NotificationChannel, failure: DeliveryFailed | None, now: datetime) -> None:
    """Note at the channel how sending went."""
    if failure is None:
        row.last_error, row.failing_since = "", None
    else:
        row.last_error, row.failing_since = failure.what, row.failing_since or now


def _check_name(db: Session, name: str, own: int | None) -> None:
    if not 1 <= len(name) <= 64 or not name.isprintable() or name != name.strip():
        raise UsageError("that cannot be a channel's name", hint="use 1 to 64 printable characters")
    other = db.scalars(select(NotificationChannel).where(NotificationChannel.name == name)).first()
    if other is not None and other.id != own:
        raise Conflict(f"there is a channel {name} already", hint="choose another name, or change that one")


def _sealed(key: ServerKey, target: Target) -> bytes:
    return key.seal(json.dumps(target.revealed()).encode(), PURPOSE)


def _shown(row: NotificationChannel) -> dict[str, Any]:
    return {
        "name": row.name,
        "least_severity": row.least_severity,
        "reminder_seconds": row.reminder_seconds,
        "send_resolved": row.send_resolved,
        "enabled": row.enabled,
    }
