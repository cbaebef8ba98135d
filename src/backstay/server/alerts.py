"""Alerts: what needs a person. One explicit list of checks; each derives what is wrong now from the database.

An alert is one row while its cause lasts (kind and subject), resolved when the cause is gone; a cause that
comes back is a new row. Who acknowledges an alert takes it on: it is not sent again, and stays until its
cause is gone.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, NotFound
from backstay.server import audit, turns
from backstay.server.access import Actor, Permission
from backstay.server.alert_checks import agents, audit_chain, backups, coverage, host, storage
from backstay.server.alert_checks.finding import (
    AlertKind,
    AlertLimits,
    CheckFunction,
    Facts,
    Finding,
    Severity,
)
from backstay.server.control import Control
from backstay.server.tables import AlertRow, Setting

__all__ = [
    "CHECKS",
    "HOST_CHECKS",
    "AlertKind",
    "AlertLimits",
    "Severity",
    "acknowledge",
    "counts",
    "evaluate",
    "get_alert",
    "limits_of",
    "list_alerts",
    "set_limits",
]

_log = structlog.get_logger()

EVERY = timedelta(seconds=15)
"""How often causes are looked for."""

_SHARE = 0.02
"""Of a processor's time, looking for causes may take so much."""
_SELDOMEST = timedelta(minutes=2)
_HOST_FORGOTTEN = timedelta(days=1)
_SEEN_EVERY = timedelta(hours=1)
_LIMITS = "alert_limits"


@dataclass(frozen=True)
class Check:
    """A look for causes of one kind; those of one kind may be found by several."""

    kind: AlertKind
    find: CheckFunction


def _channels_failing(facts: Facts) -> Iterable[Finding]:
    from backstay.server.notifications.outbox import channels_failing

    return channels_failing(facts)


CHECKS: list[Check] = [
    Check(AlertKind.MISSED, backups.missed),
    Check(AlertKind.FAILED, backups.failed),
    Check(AlertKind.FAILED, backups.server_jobs_failed),
    Check(AlertKind.INCOMPLETE, backups.incomplete),
    Check(AlertKind.AGENT_SILENT, agents.silent),
    Check(AlertKind.CLOCK_WRONG, agents.clock_wrong),
    Check(AlertKind.TWO_AGENTS, agents.two_agents),
    Check(AlertKind.STORAGE_FILLING, storage.filling),
    Check(AlertKind.DAMAGE, storage.damage),
    Check(AlertKind.SET_UNCOVERED, coverage.uncovered),
    Check(AlertKind.POLICY_PROTECTS_NOTHING, coverage.protects_nothing),
    Check(AlertKind.AUDIT_BROKEN, audit_chain.broken),
    Check(AlertKind.CHANNEL_FAILING, _channels_failing),
]
"""What any server process finds for all of them."""

HOST_CHECKS: list[Check] = [
    Check(AlertKind.CERTIFICATE_EXPIRING, host.certificate_expiring),
    Check(AlertKind.DISK_FILLING, host.disk_filling),
]
"""What the processes of each machine find there."""


def evaluate(control: Control) -> int:
    """Look for causes: raise, change and resolve alerts, unless another process did so just now.

    Returns how many alerts were raised or resolved.
    """
    prefix = host.host_subject("")
    changed = _evaluate(control, "alerts", CHECKS, _theirs(CHECKS, lambda _: True))
    return changed + _evaluate(
        control,
        f"alerts@{host.host_name()}",
        HOST_CHECKS,
        _theirs(HOST_CHECKS, lambda s: s.startswith(prefix)),
    )


def _pause(memory: dict[str, Any]) -> timedelta:
    """Several processes that wake at almost the same time count as one; in a large fleet it is seldomer."""
    took = timedelta(seconds=float(memory.get("took", 0.0)))
    return min(max(EVERY * 0.8, took / _SHARE), _SELDOMEST)


def _theirs(checks: Sequence[Check], subject: Callable[[str], bool]) -> Callable[[AlertRow], bool]:
    kinds = {check.kind.value for check in checks}
    return lambda alert: alert.kind in kinds and subject(alert.subject)


def _evaluate(control: Control, name: str, checks: Sequence[Check], own: Callable[[AlertRow], bool]) -> int:
    now = control.clock()
    with control.database.begin() as db:
        taken = turns.take(db, name, every=_pause, now=now)
        if taken is None:
            return 0
        turn, before = taken
        memory = dict(turn.memory)
        unbroken = before is not None and now - before < 10 * EVERY
        if not unbroken or "watching_since" not in memory:
            memory["watching_since"] = now.isoformat()
        turn.memory = memory
    began = time.thread_time()
    with control.database.read() as db:
        facts = Facts(
            control=control,
            db=db,
            now=now,
            limits=limits_of(db),
            standing=_standing(db, own),
            watching_since=datetime.fromisoformat(memory["watching_since"]),
            memory=deepcopy(memory),
        )
        findings = {(one.kind.value, one.subject): one for check in checks for one in check.find(facts)}
        took = time.thread_time() - began
        if abs(took - float(memory.get("took", 0.0))) > 0.2:
            facts.memory["took"] = round(took, 3)
        if not _differ(facts.standing, findings, now) and facts.memory == memory:
            return 0
    with control.database.begin() as db:
        held = turns.still_held(db, turn)
        if held is None:
            return 0
        held.memory = facts.memory
        raised, resolved = _reconcile(db, own, findings, now)
    for row in raised:
        _log.warning("alert", alert=row.id, kind=row.kind, severity=row.severity, what=row.text)
    for row in resolved:
        _log.info("alert resolved", alert=row.id, kind=row.kind, subject=row.subject)
    return len(raised) + len(resolved)


def _standing(db: Session, own: Callable[[AlertRow], bool]) -> dict[tuple[str, str], AlertRow]:
    rows = db.scalars(select(AlertRow).where(AlertRow.resolved_at.is_(None))).all()
    return {(row.kind, row.subject): row for row in rows if own(row)}


def _differ(
    standing: Mapping[tuple[str, str], AlertRow], findings: dict[tuple[str, str], Finding], now: datetime
) -> bool:
    return standing.keys() != findings.keys() or any(
        _changed(standing[key], finding) or now - standing[key].last_seen_at > _SEEN_EVERY
        for key, finding in findings.items()
    )


def _changed(row: AlertRow, finding: Finding) -> bool:
    return (row.text, row.hint, row.severity, row.job_id) != (
        finding.text,
        finding.hint,
        finding.severity.value,
        finding.job_id,
    )


def _reconcile(
    db: Session, own: Callable[[AlertRow], bool], findings: dict[tuple[str, str], Finding], now: datetime
) -> tuple[list[AlertRow], list[AlertRow]]:
    """Make the alerts what was found; returns those that were raised, and those that were resolved.

    All in one go, and nothing is logged here: when a whole site goes silent, others wait for this.
    """
    standing = _standing(db, own)
    raised: list[AlertRow] = []
    for key, finding in findings.items():
        row = standing.pop(key, None)
        if row is None:
            raised.append(_raised(finding, now))
        elif _changed(row, finding) or now - row.last_seen_at > _SEEN_EVERY:
            _renew(row, finding, now)
    db.add_all(raised)
    for row in standing.values():
        row.resolved_at = now
    forgotten = _forget_hosts(db, now)
    db.flush()
    return raised, [*standing.values(), *forgotten]


def _raised(finding: Finding, now: datetime) -> AlertRow:
    return AlertRow(
        kind=finding.kind.value,
        severity=finding.severity.value,
        subject=finding.subject,
        text=finding.text,
        hint=finding.hint,
        file_server_id=finding.file_server_id,
        backup_set_id=finding.backup_set_id,
        job_id=finding.job_id,
        raised_at=now,
        last_seen_at=now,
    )


def _renew(row: AlertRow, finding: Finding, now: datetime) -> None:
    if finding.severity.rank > Severity(row.severity).rank:
        # Worse than what was sent, and than what somebody took on.
        row.sent_at = None
        row.acknowledged_by, row.acknowledged_at = "", None
    row.text, row.hint, row.severity = finding.text, finding.hint, finding.severity.value
    row.job_id, row.last_seen_at = finding.job_id, now


def _forget_hosts(db: Session, now: datetime) -> Sequence[AlertRow]:
    """A machine on which no server runs any more resolves nothing: its alerts are resolved for it."""
    rows = db.scalars(
        select(AlertRow).where(
            AlertRow.resolved_at.is_(None),
            AlertRow.kind.in_([check.kind.value for check in HOST_CHECKS]),
            AlertRow.last_seen_at < now - _HOST_FORGOTTEN,
        )
    ).all()
    for row in rows:
        row.resolved_at = now
    return rows


def get_alert(db: Session, alert_id: int) -> AlertRow:
    """The alert of this number. Raises NotFound."""
    row = db.get(AlertRow, alert_id)
    if row is None:
        raise NotFound(f"there is no alert {alert_id}", hint="`backstay alerts` lists them")
    return row


def list_alerts(
    db: Session,
    *,
    active: bool | None = True,
    kind: AlertKind | None = None,
    severity: Severity | None = None,
    file_server_id: int | None = None,
    backup_set_id: int | None = None,
    limit: int = 100,
    before: int | None = None,
) -> tuple[list[AlertRow], int]:
    """Alerts, the newest first, from the one before number `before`; and how many there are in all.

    Args:
        active: those that are active, those that are resolved, or both (None).
        severity: those as bad as this, or worse.
    """
    query = select(AlertRow)
    if active is not None:
        query = query.where(AlertRow.resolved_at.is_(None) if active else AlertRow.resolved_at.is_not(None))
    if kind is not None:
        query = query.where(AlertRow.kind == kind.value)
    if severity is not None:
        worse = [one.value for one in Severity if one.rank >= severity.rank]
        query = query.where(AlertRow.severity.in_(worse))
    if file_server_id is not None:
        query = query.where(AlertRow.file_server_id == file_server_id)
    if backup_set_id is not None:
        query = query.where(AlertRow.backup_set_id == backup_set_id)
    total = db.scalar(select(func.count()).select_from(query.subquery())) or 0
    if before is not None:
        query = query.where(AlertRow.id < before)
    return list(db.scalars(query.order_by(AlertRow.id.desc()).limit(limit)).all()), total


def counts(db: Session) -> dict[tuple[AlertKind, Severity], int]:
    """How many alerts are active, by kind and severity."""
    rows = db.execute(
        select(AlertRow.kind, AlertRow.severity, func.count())
        .where(AlertRow.resolved_at.is_(None))
        .group_by(AlertRow.kind, AlertRow.severity)
    ).all()
    known = {kind.value for kind in AlertKind}
    return {(AlertKind(kind), Severity(severity)): count for kind, severity, count in rows if kind in known}


def acknowledge(db: Session, actor: Actor, alert_id: int, *, now: datetime) -> AlertRow:
    """Take an alert on: it is not sent again. Doing so again changes nothing.

    Raises:
        NotFound, Forbidden.
        Conflict: its cause is gone already.
    """
    actor.require(Permission.RUN)
    row = get_alert(db, alert_id)
    if row.resolved_at is not None:
        raise Conflict(
            f"alert {alert_id} is resolved already", hint="its cause is gone: nothing is to be done"
        )
    if row.acknowledged_by:
        return row
    row.acknowledged_by, row.acknowledged_at = actor.name, now
    audit.record(db, actor, "alert.acknowledge", f"alert {alert_id}", now=now, after={"text": row.text})
    return row


def limits_of(db: Session) -> AlertLimits:
    """From when on something is an alert."""
    row = db.get(Setting, _LIMITS)
    return AlertLimits.model_validate(row.value) if row is not None else AlertLimits()


def set_limits(db: Session, actor: Actor, limits: AlertLimits, *, now: datetime) -> AlertLimits:
    """Change from when on something is an alert. Raises Forbidden."""
    actor.require(Permission.MANAGE)
    before = limits_of(db)
    if before == limits:
        return limits
    row = db.get(Setting, _LIMITS)
    if row is None:
        db.add(Setting(name=_LIMITS, value=limits.model_dump(), updated_at=now))
    else:
        row.value, row.updated_at = limits.model_dump(), now
    old, new = before.model_dump(), limits.model_dump()
    audit.record(
        db,
        actor,
        "alert_limits.change",
        "alert limits",
        now=now,
        before={name: old[name] for name in old if old[name] != new[name]},
        after={name: new[name] for name in new if old[name] != new[name]},
    )
    return limits


def unsettled(db: Session) -> Sequence[AlertRow]:
    """Alerts that are active, or resolved and that not yet told."""
    return db.scalars(
        select(AlertRow)
        .where(or_(AlertRow.resolved_at.is_(None), AlertRow.resolution_sent_at.is_(None)))
        .order_by(AlertRow.id)
    ).all()
