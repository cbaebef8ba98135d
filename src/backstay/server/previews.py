"""What a draft would do before it is kept: a policy's times and retention, a rule's verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain import due, retention
from backstay.domain.content_rule import ContentRule, Verdict
from backstay.domain.default_rules import linux_rules, windows_rules
from backstay.domain.due import Due
from backstay.domain.entry import FileStat
from backstay.domain.policy import BackupPolicy
from backstay.domain.retention import PointInTime, RetentionPolicy
from backstay.server import content_rules
from backstay.server.backup_sets import full_name
from backstay.server.tables import BackupSetRow, RestorePointRow


@dataclass(frozen=True)
class PointVerdict:
    """Whether a draft's retention keeps a restore point, and all its reasons."""

    row: RestorePointRow
    keep: bool
    reasons: tuple[str, ...]


def next_backups(policy: BackupPolicy, now: datetime, count: int) -> list[Due]:
    """The next scheduled times that ask for a backup, and when each may begin."""
    return list(islice(due.upcoming(policy.schedules, policy.window, now), count))


def retention_of(
    db: Session, backup_set: BackupSetRow, policy: RetentionPolicy, now: datetime
) -> list[PointVerdict]:
    """What a draft's retention would make of the restore points that a set has, the newest first."""
    rows = db.scalars(
        select(RestorePointRow).where(
            RestorePointRow.backup_set_id == backup_set.id, RestorePointRow.expired_at.is_(None)
        )
    ).all()
    name = full_name(backup_set)
    points = [
        PointInTime(row.id, name, row.committed_at, bool(row.held_by), not row.problems and not row.damaged)
        for row in rows
    ]
    by_id = {row.id: row for row in rows}
    return [
        PointVerdict(by_id[one.point.id], one.keep, one.reasons)
        for one in retention.plan(points, policy, now)
    ]


def explain(
    text: str,
    path: bytes,
    *,
    windows: bool,
    with_default_rules: bool,
    is_folder: bool,
    stat: FileStat | None,
    now: datetime,
) -> Sequence[tuple[bytes, Verdict]]:
    """What a rule says of a path and of each folder above it, from the top to the first that is left out.

    Raises:
        UsageError: a line of the rule cannot be understood.
    """
    rule = whole_rule(text, default_rules=with_default_rules, windows=windows)
    relative = path.replace(b"\\", b"/") if windows else path
    return rule.explain(relative.strip(b"/"), is_folder, stat, int(now.timestamp() * 1e9))


def whole_rule(text: str, *, default_rules: bool, windows: bool) -> ContentRule:
    """The rule as an agent applies it: the default rules first, where they hold. Raises UsageError."""
    own = content_rules.parsed(text)
    if not default_rules:
        return own
    return (windows_rules() if windows else linux_rules()) + own
