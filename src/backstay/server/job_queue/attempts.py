"""Other attempts: after a failure that may pass, and after an abort where the policy asks for one."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.job import JobKind, Trigger
from backstay.server.job_queue.leases import policy_for
from backstay.server.job_queue.requests import request_backup
from backstay.server.job_queue.states import OPEN, log
from backstay.server.tables import BackupSetRow, JobRow


def retry(db: Session, job: JobRow, now: datetime) -> None:
    """Request another attempt of a backup that failed, as often as its policy says."""
    if job.backup_set is None or job.kind != JobKind.BACKUP.value or not _wanted(job.backup_set):
        return
    retries = policy_for(db, job).retries
    if job.attempt > retries.count:
        return
    later = now + retries.delay
    again = request_backup(
        db,
        job.backup_set,
        now=now,
        trigger=Trigger.RETRY,
        requested_by=f"job {job.id}, which failed",
        not_before=later,
        not_after=job.not_after,
        attempt=job.attempt + 1,
        retry_of=job.retry_of or job.id,
    )
    log(db, job, f"tried again as job {again.id} at {later:%H:%M:%S} UTC", now)


def restart(db: Session, job: JobRow, now: datetime) -> None:
    """A fresh backup at once after one that was aborted, where the policy asks for it."""
    if job.backup_set is None or job.kind != JobKind.BACKUP.value or not _wanted(job.backup_set):
        return
    if policy_for(db, job).restart_after_abort:
        again = request_backup(
            db,
            job.backup_set,
            now=now,
            trigger=Trigger.RESTART,
            requested_by=f"job {job.id}, which was aborted",
            not_after=job.not_after,
        )
        log(db, job, f"followed by job {again.id}", now)


def _wanted(backup_set: BackupSetRow) -> bool:
    """Whether backups of the set are still wanted."""
    return backup_set.enabled and backup_set.removed_at is None


def will_be_retried(db: Session, job: JobRow) -> bool:
    """Whether another attempt of this job is still to come or under way: alerts wait for the last."""
    first = job.retry_of or job.id
    return (
        db.scalars(
            select(JobRow.id).where(JobRow.retry_of == first, JobRow.id > job.id, JobRow.state.in_(OPEN))
        ).first()
        is not None
    )
