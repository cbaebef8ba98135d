"""Retention: which restore points go, why, and who may stop it. Only the server decides, by its own clock.

A restore point goes in two steps. It is marked as expired, in a transaction that looks once more whether it
is on legal hold; then the prune job takes exactly what is marked out of the repository. A hold that comes
before the mark wins; one that comes after it is refused, saying so.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, NotFound, UsageError
from backstay.domain.retention import PointInTime, RetentionPolicy, plan
from backstay.server import audit
from backstay.server.access import SYSTEM, Actor
from backstay.server.catalogue import get_restore_point
from backstay.server.names import checked_text
from backstay.server.policies import policy_of
from backstay.server.tables import BackupSetRow, RestorePointRow

_MOST_REASON = 1000


@dataclass(frozen=True)
class PointDecision:
    """Whether a restore point stays, and all reasons for that."""

    row: RestorePointRow
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class SetPlan:
    """What retention makes of one backup set's restore points, the newest first.

    Attributes:
        policy: None where none is applied, as the set was removed.
        origin: who set the retention: a policy, a file server, the set, or "built-in".
    """

    backup_set: BackupSetRow
    policy: RetentionPolicy | None
    origin: str
    decisions: list[PointDecision]


def plan_set(
    db: Session, backup_set: BackupSetRow, now: datetime, *, policy: RetentionPolicy | None = None
) -> SetPlan:
    """Decide for each restore point of a set.

    Args:
        policy: another retention to try; None: the set's own.
    """
    rows = db.scalars(
        select(RestorePointRow)
        .where(RestorePointRow.backup_set_id == backup_set.id, RestorePointRow.expired_at.is_(None))
        .order_by(RestorePointRow.committed_at.desc(), RestorePointRow.id.desc())
    ).all()
    removed = backup_set.removed_at or backup_set.file_server.removed_at
    if removed is not None and policy is None:
        why = f"its backup set was removed at {removed:%Y-%m-%d %H:%M} UTC: stays until it is deleted by hand"
        return SetPlan(backup_set, None, "", [PointDecision(row, True, (why,)) for row in rows])
    origin = "tried out"
    if policy is None:
        resolved = policy_of(backup_set)
        policy, origin = resolved.policy.retention, resolved.origins["retention"]
    by_id = {row.id: row for row in rows}
    points = [
        PointInTime(
            row.id, backup_set.name, row.committed_at, bool(row.held_by), not row.problems and not row.damaged
        )
        for row in rows
    ]
    decisions = [
        PointDecision(by_id[one.point.id], one.keep, one.reasons) for one in plan(points, policy, now)
    ]
    return SetPlan(backup_set, policy, origin, decisions)


def plan_repository(
    db: Session, repository_id: str, now: datetime, *, after: int = 0, limit: int | None = None
) -> list[SetPlan]:
    """Decide for each restore point of a repository, set by set.

    Args:
        after, limit: only sets with greater numbers than this, and only so many.
    """
    sets = db.scalars(
        select(BackupSetRow)
        .where(
            BackupSetRow.id > after,
            select(RestorePointRow.id)
            .where(
                RestorePointRow.backup_set_id == BackupSetRow.id,
                RestorePointRow.repository_id == repository_id,
                RestorePointRow.expired_at.is_(None),
            )
            .exists(),
        )
        .order_by(BackupSetRow.id)
        .limit(limit)
    ).all()
    return [plan_set(db, backup_set, now) for backup_set in sets]


def would_expire(db: Session, repository_id: str, present: Collection[str], now: datetime) -> list[str]:
    """Ids of those of `present` that `expire` would choose; changes nothing."""
    going = set(_marked(db, repository_id))
    for one in plan_repository(db, repository_id, now):
        going |= {decision.row.id for decision in one.decisions if not decision.keep}
    return sorted(going & set(present))


def expire(db: Session, repository_id: str, present: Collection[str], now: datetime) -> list[str]:
    """Mark what retention lets go, and say which points are to be taken out of the repository now.

    Args:
        present: ids of the points that the repository has.

    Returns:
        Those of `present` that are marked, now or by an earlier run that died before it was done.
    """
    marked: dict[str, str] = {}
    for one in plan_repository(db, repository_id, now):
        for decision in one.decisions:
            if not decision.keep and _mark(db, decision.row.id, "; ".join(decision.reasons), now):
                marked[decision.row.id] = decision.row.expired_reason or "; ".join(decision.reasons)
    if marked:
        audit.record(db, SYSTEM, "restore_point.expire", f"{len(marked)} points", now=now, after=marked)
    return sorted(set(_marked(db, repository_id)) & set(present))


def _marked(db: Session, repository_id: str) -> Sequence[str]:
    return db.scalars(
        select(RestorePointRow.id).where(
            RestorePointRow.repository_id == repository_id,
            RestorePointRow.expired_at.is_not(None),
            RestorePointRow.held_by == "",
        )
    ).all()


def _mark(db: Session, point_id: str, reason: str, now: datetime) -> bool:
    """Mark a point unless somebody holds it: the database decides, whatever was read before."""
    done = db.scalars(
        update(RestorePointRow)
        .where(
            RestorePointRow.id == point_id,
            RestorePointRow.held_by == "",
            RestorePointRow.expired_at.is_(None),
        )
        .values(expired_at=now, expired_reason=reason)
        .returning(RestorePointRow.id)
        .execution_options(synchronize_session="fetch")
    ).all()
    return bool(done)


def hold(db: Session, actor: Actor, point_id: str, reason: str, *, now: datetime) -> RestorePointRow:
    """Put a restore point under legal hold: nothing takes it out until the hold is released.

    Raises:
        NotFound, UsageError: no reason was given.
        Conflict: it has expired already, and is being taken out.
    """
    reason = _reasonable(reason)
    known = db.get(RestorePointRow, point_id)
    if known is not None and known.expired_at is not None:
        raise _going(known)
    row = get_restore_point(db, point_id)
    before = {"held_by": row.held_by, "reason": row.hold_reason} if row.held_by else None
    held = db.scalars(
        update(RestorePointRow)
        .where(RestorePointRow.id == row.id, RestorePointRow.expired_at.is_(None))
        .values(held_by=actor.name, hold_reason=reason, held_at=now)
        .returning(RestorePointRow.id)
        .execution_options(synchronize_session=False)
    ).all()
    if not held:
        raise _going(row)
    db.refresh(row)
    after = {"held_by": actor.name, "reason": reason}
    audit.record(db, actor, "restore_point.hold", row.id, now=now, before=before, after=after)
    return row


def _going(row: RestorePointRow) -> Conflict:
    return Conflict(
        f"the restore point {row.id[:10]} has expired and is being taken out",
        hint="restore from it at once what is needed, or hold a newer one",
    )


def release(db: Session, actor: Actor, point_id: str, reason: str, *, now: datetime) -> RestorePointRow:
    """End a legal hold; retention then judges the point as any other.

    Raises:
        NotFound, UsageError: no reason was given.
        Conflict: nobody holds it.
    """
    reason = _reasonable(reason)
    row = get_restore_point(db, point_id)
    if not row.held_by:
        raise Conflict(f"the restore point {row.id[:10]} is not on legal hold")
    before = {"held_by": row.held_by, "reason": row.hold_reason}
    row.held_by, row.hold_reason, row.held_at = "", "", None
    db.flush()
    audit.record(db, actor, "restore_point.release", row.id, now=now, before=before, after={"reason": reason})
    return row


def delete_point(db: Session, actor: Actor, point_id: str, reason: str, *, now: datetime) -> RestorePointRow:
    """Have the next prune take a restore point out, whatever retention says.

    Raises:
        NotFound, UsageError: no reason was given.
        Conflict: it is on legal hold.
    """
    reason = _reasonable(reason)
    row = get_restore_point(db, point_id)
    if not _mark(db, row.id, f"deleted by {actor.name}: {reason}", now):
        raise Conflict(
            f"the restore point {row.id[:10]} is on legal hold", hint="release the hold first, if it may go"
        )
    after = {"reason": reason, "committed_at": row.committed_at.isoformat()}
    audit.record(db, actor, "restore_point.delete", row.id, now=now, after=after)
    return row


def delete_points_of_removed_set(
    db: Session, actor: Actor, backup_set_id: int, reason: str, *, now: datetime
) -> tuple[int, int]:
    """Have the next prune take out all points of a set that was removed.

    Returns:
        How many will go, and how many stay as they are on legal hold.

    Raises:
        NotFound, UsageError: no reason was given.
        Conflict: the set is still there.
    """
    reason = _reasonable(reason)
    backup_set = db.get(BackupSetRow, backup_set_id)
    if backup_set is None:
        raise NotFound(f"there is no backup set {backup_set_id}", hint="list them to see their numbers")
    if backup_set.removed_at is None and backup_set.file_server.removed_at is None:
        raise Conflict(
            f"the backup set {backup_set.name} has not been removed",
            hint="remove it first, or change its retention",
        )
    rows = db.scalars(
        select(RestorePointRow.id).where(
            RestorePointRow.backup_set_id == backup_set_id, RestorePointRow.expired_at.is_(None)
        )
    ).all()
    gone = [row for row in rows if _mark(db, row, f"deleted by {actor.name}: {reason}", now)]
    subject = f"{backup_set.file_server.name}/{backup_set.name}"
    after = {"reason": reason, "points": gone}
    audit.record(db, actor, "backup_set.delete_points", subject, now=now, after=after)
    return len(gone), len(rows) - len(gone)


def _reasonable(reason: str) -> str:
    reason = checked_text("the reason", reason.strip(), _MOST_REASON)
    if not reason:
        raise UsageError("a reason is needed", hint="say why in a sentence: it is kept in the audit log")
    return reason
