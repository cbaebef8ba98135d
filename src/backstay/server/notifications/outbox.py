"""Decides what is sent when, and sends it: once each, grouped, tried again until it is taken.

What is to be told is noted as a delivery in the transaction that marks the alerts as sent; sending happens
outside of it, under a lease. So nothing is forgotten when a server process dies, and only what died between
the receiver's taking and the noting of it is sent twice.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from backstay.domain.errors import BackstayError, DeliveryFailed
from backstay.server import alerts, turns
from backstay.server.alert_checks.finding import AlertKind, AlertLimits, Facts, Finding, Severity, moment
from backstay.server.control import Control
from backstay.server.notifications.channel import Channel
from backstay.server.notifications.channels import note_result, target_of
from backstay.server.notifications.message import AlertNote, Message
from backstay.server.notifications.registry import open_channel
from backstay.server.tables import AlertRow, Delivery, NotificationChannel

_log = structlog.get_logger()

EVERY = timedelta(seconds=5)
"""How often there is something looked for that is to be sent."""

_LEASE = timedelta(minutes=2)
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)
_GIVEN_UP_AFTER = timedelta(days=3)
_FORGOTTEN_AFTER = timedelta(days=30)
_FAILING_AFTER = timedelta(minutes=5)


def run(control: Control) -> int:
    """Note what is to be sent, and send what is due. Returns how many messages were sent."""
    plan(control)
    sent = 0
    while (taken := _take(control)) is not None:
        sent += _send(control, *taken)
    return sent


def plan(control: Control) -> None:
    """Note what is to be sent, unless another process did so just now."""
    now = control.clock()
    with control.database.begin() as db:
        if turns.take(db, "notifications", every=EVERY * 0.8, now=now) is None:
            return
        open_deliveries = {
            row.channel_id: row
            for row in db.scalars(select(Delivery).where(Delivery.closed_at.is_(None)).with_for_update())
        }
        if any(row.leased_until is not None and row.leased_until > now for row in open_deliveries.values()):
            # What is being sent at this moment cannot take more; in a few seconds another can.
            return
        limits = alerts.limits_of(db)
        channels = [row for row in db.scalars(select(NotificationChannel)) if row.enabled]
        news = _news(db, limits, channels, now)
        for channel in channels:
            _note(db, channel, open_deliveries.get(channel.id), news, limits, now)
        db.execute(delete(Delivery).where(Delivery.closed_at < now - _FORGOTTEN_AFTER))


@dataclass(frozen=True)
class _News:
    raised: list[AlertRow]
    known: list[AlertRow]
    resolved: list[AlertRow]


def _news(db: Session, limits: AlertLimits, channels: Sequence[NotificationChannel], now: datetime) -> _News:
    flapping = timedelta(seconds=limits.flapping_seconds)
    rows = alerts.unsettled(db)
    gone = {(row.kind, row.subject): row for row in rows if row.resolved_at is not None}
    news = _News([], [], [])
    for row in rows:
        if row.resolved_at is not None:
            continue
        before = gone.get((row.kind, row.subject))
        if before is not None and row.sent_at is None and row.severity == before.severity:
            # It was gone for a moment only: nobody was told so, and nobody is told that it is back.
            row.sent_at = before.sent_at
        if before is not None:
            before.resolution_sent_at = now
        if row.acknowledged_by:
            continue
        if row.sent_at is not None:
            news.known.append(row)
        elif any(_cares(channel, row) for channel in channels):
            row.sent_at = now
            news.raised.append(row)
    for row in gone.values():
        if row.resolution_sent_at is not None or row.resolved_at is None:
            continue
        if row.sent_at is None:
            row.resolution_sent_at = now
        elif now - row.resolved_at >= flapping:
            row.resolution_sent_at = now
            news.resolved.append(row)
    return news


def _cares(channel: NotificationChannel, alert: AlertRow) -> bool:
    """Whether an alert is sent through a channel: not one about itself, which cannot arrive."""
    return Severity(alert.severity).rank >= Severity(
        channel.least_severity
    ).rank and alert.subject != _subject(channel)


def _note(
    db: Session,
    channel: NotificationChannel,
    waiting: Delivery | None,
    news: _News,
    limits: AlertLimits,
    now: datetime,
) -> None:
    raised = _numbers(channel, news.raised)
    reminded = _numbers(channel, news.known) if _reminder_is_due(channel, news.known, now) else []
    resolved = _numbers(channel, news.resolved) if channel.send_resolved else []
    if waiting is not None:
        # What was never told, and is gone, needs no telling.
        untold = set(waiting.raised) & set(resolved)
        resolved = [number for number in resolved if number not in untold]
        waiting.raised = _joined([number for number in waiting.raised if number not in untold], raised)
        waiting.resolved = _joined(waiting.resolved, resolved)
        waiting.reminded = _joined(
            [n for n in waiting.reminded if n not in waiting.resolved],
            [n for n in reminded if n not in waiting.raised],
        )
        if not (waiting.raised or waiting.reminded or waiting.resolved):
            waiting.closed_at = now
    elif raised or reminded or resolved:
        ready = now
        if channel.last_sent_at is not None:
            ready = max(now, channel.last_sent_at + timedelta(seconds=limits.message_seconds))
        db.add(
            Delivery(
                channel_id=channel.id,
                raised=raised,
                reminded=reminded,
                resolved=resolved,
                created_at=now,
                not_before=ready,
            )
        )
    if reminded:
        channel.reminded_at = now


def _numbers(channel: NotificationChannel, rows: Iterable[AlertRow]) -> list[int]:
    return [row.id for row in rows if _cares(channel, row)]


def _joined(first: list[int], second: list[int]) -> list[int]:
    return first + [number for number in second if number not in first]


def _reminder_is_due(channel: NotificationChannel, known: Iterable[AlertRow], now: datetime) -> bool:
    if not channel.reminder_seconds:
        return False
    interval = timedelta(seconds=channel.reminder_seconds)
    if now - (channel.reminded_at or channel.created_at) < interval:
        return False
    return any(
        row.sent_at is not None and now - row.sent_at >= interval for row in known if _cares(channel, row)
    )


def _take(control: Control) -> tuple[int, Channel | BackstayError, Message] | None:
    """The next delivery that is due, leased, with its channel (or why that cannot be opened)."""
    now = control.clock()
    due = (
        select(Delivery)
        .join(NotificationChannel, NotificationChannel.id == Delivery.channel_id)
        .where(
            Delivery.closed_at.is_(None),
            Delivery.not_before <= now,
            or_(Delivery.leased_until.is_(None), Delivery.leased_until <= now),
            NotificationChannel.enabled.is_(True),
        )
        .order_by(Delivery.not_before)
        .limit(1)
    )
    with control.database.read() as db:
        if db.scalars(due).first() is None:
            return None
    with control.database.begin() as db:
        row = db.scalars(due.with_for_update(skip_locked=True, of=Delivery)).first()
        if row is None:
            return None
        row.leased_until = now + _LEASE
        row.attempts += 1
        message = _message(db, control, row, now)
        channel = db.get_one(NotificationChannel, row.channel_id)
        try:
            return row.id, open_channel(channel.kind, target_of(control.key, channel)), message
        except BackstayError as error:
            return row.id, error, message


def _message(db: Session, control: Control, row: Delivery, now: datetime) -> Message:
    numbers = [*row.raised, *row.reminded, *row.resolved]
    found = db.scalars(select(AlertRow).where(AlertRow.id.in_(numbers))).all()
    notes = {alert.id: AlertNote.of(alert) for alert in found}

    def chosen(some: list[int]) -> tuple[AlertNote, ...]:
        return tuple(notes[number] for number in some if number in notes)

    return Message(
        id=f"delivery-{row.id}-{int(row.created_at.timestamp())}",
        at=now,
        url=control.settings.public_url,
        raised=chosen(row.raised),
        reminded=chosen(row.reminded),
        resolved=chosen(row.resolved),
    )


def _send(control: Control, delivery_id: int, channel: Channel | BackstayError, message: Message) -> int:
    failure: DeliveryFailed | None = None
    try:
        if isinstance(channel, BackstayError):
            raise DeliveryFailed(channel.what, hint=channel.hint)
        channel.send(message)
    except DeliveryFailed as error:
        failure = error
    now = control.clock()
    with control.database.begin() as db:
        row = db.get(Delivery, delivery_id, with_for_update=True)
        if row is None or row.closed_at is not None:
            return int(failure is None)
        target = db.get_one(NotificationChannel, row.channel_id)
        note_result(target, failure, now)
        row.leased_until = None
        if failure is None:
            row.closed_at = target.last_sent_at = now
            return 1
        _log.warning("notification failed", channel=target.name, what=failure.what, attempt=row.attempts)
        row.error = failure.what
        row.not_before = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(row.attempts - 1, 10))
        if now - row.created_at > _GIVEN_UP_AFTER:
            row.closed_at = now
    return 0


def channels_failing(facts: Facts) -> Iterator[Finding]:
    """A channel has not taken messages for a while: what it should tell is told by nobody else."""
    rows = facts.db.scalars(
        select(NotificationChannel).where(
            NotificationChannel.enabled.is_(True),
            NotificationChannel.failing_since <= facts.now - _FAILING_AFTER,
        )
    ).all()
    for row in rows:
        assert row.failing_since is not None
        yield Finding(
            AlertKind.CHANNEL_FAILING,
            Severity.CRITICAL,
            _subject(row),
            f"no message gets through the notification channel {row.name} since {moment(row.failing_since)}: "
            f"{row.last_error}",
            "mend its settings and send a test",
        )


def _subject(channel: NotificationChannel) -> str:
    return f"channel:{channel.id}"
