"""Sets that nothing backs up, and policies that back up nothing."""

from collections.abc import Iterator

from sqlalchemy import select

from backstay.server.alert_checks.finding import AlertKind, Facts, Finding, Severity
from backstay.server.tables import BackupSetRow, FileServer, PolicyRow


def uncovered(facts: Facts) -> Iterator[Finding]:
    """No policy covers a set, or none that has a schedule."""
    for one in facts.sets:
        if one.schedules:
            continue
        policy = one.row.policy
        text = (
            f"the policy {policy.name} has no schedule: {one.name} is backed up by hand only"
            if policy is not None
            else f"no policy covers {one.name}: it is backed up by hand only"
        )
        yield Finding(
            AlertKind.SET_UNCOVERED,
            Severity.WARNING,
            one.subject,
            text,
            "give it a policy with a schedule, or a schedule of its own",
            file_server_id=one.row.file_server_id,
            backup_set_id=one.row.id,
        )


def protects_nothing(facts: Facts) -> Iterator[Finding]:
    """A policy has no set that is switched on."""
    used = (
        select(BackupSetRow.id)
        .join(FileServer, FileServer.id == BackupSetRow.file_server_id)
        .where(
            BackupSetRow.policy_id == PolicyRow.id,
            BackupSetRow.enabled.is_(True),
            BackupSetRow.removed_at.is_(None),
            FileServer.removed_at.is_(None),
        )
        .exists()
    )
    for policy in facts.db.scalars(select(PolicyRow).where(~used)).all():
        yield Finding(
            AlertKind.POLICY_PROTECTS_NOTHING,
            Severity.INFO,
            f"policy:{policy.id}",
            f"the policy {policy.name} protects nothing: no backup set that is switched on has it",
            "give it to a backup set, or delete it",
        )
