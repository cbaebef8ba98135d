"""Ends that nobody who runs a job tells of: it is cancelled, lost, silent, or too late."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict
from backstay.domain.job import JobKind, JobState
from backstay.server.fleet import is_silent
from backstay.server.job_queue.attempts import restart
from backstay.server.job_queue.leases import LEAST_AGENT_LEASE, lease_of
from backstay.server.job_queue.requests import silence_of
from backstay.server.job_queue.states import WAITING, log, set_state
from backstay.server.silence import RunningLease, Silence
from backstay.server.tables import FileServer, JobRow, RestorePointRow


def cancel(db: Session, job: JobRow, by: str, now: datetime) -> None:
    """Cancel a job: at once if nobody runs it, else as soon as its agent hears of it. Raises Conflict."""
    state = JobState(job.state)
    if state.ended:
        raise Conflict(f"job {job.id} has ended already: {state.in_words}")
    if state is JobState.RUNNING:
        job.cancel_requested_by = by
        job.revision += 1
        log(db, job, f"{by} asked for it to be cancelled", now)
    else:
        set_state(db, job, JobState.CANCELLED, now, reason=f"cancelled by {by}")


def abort_lost(db: Session, server: FileServer, now: datetime, *, machine_restarted: bool) -> list[JobRow]:
    """Abort what an agent process ran that is no more, as another has taken its place."""
    what = f"the file server {server.name}" if machine_restarted else f"the agent of {server.name}"
    jobs = db.scalars(
        select(JobRow)
        .where(
            JobRow.file_server_id == server.id,
            JobRow.state == JobState.RUNNING.value,
            JobRow.leased_to != server.instance,
        )
        .order_by(JobRow.id)
        .with_for_update()
    ).all()
    for job in jobs:
        if _settle_committed(db, job, now):
            continue
        hint = "a fresh backup follows the schedule, or start one now; what was stored is not sent again"
        set_state(db, job, JobState.ABORTED, now, reason=f"{what} was restarted while it ran", hint=hint)
        restart(db, job, now)
    return list(jobs)


def _settle_committed(db: Session, job: JobRow, now: datetime) -> bool:
    """End a backup by what its restore point says, where it was committed and the outcome never came."""
    if job.kind != JobKind.BACKUP.value or job.restore_point_id is None:
        return False
    point = db.get(RestorePointRow, job.restore_point_id)
    if point is None:
        return False
    job.problem_count = point.problems
    state = JobState.SUCCEEDED_WITH_WARNINGS if point.problems else JobState.SUCCEEDED
    log(db, job, "the agent went away after the restore point was committed", now, level="warning")
    set_state(db, job, state, now)
    return True


_RUN_BY_REVOKED = (
    select(JobRow)
    .join(JobRow.file_server)
    .where(JobRow.state == JobState.RUNNING.value, FileServer.agent_key_hash.is_(None))
)


_LEASES = select(JobRow.id, JobRow.lease_epoch, JobRow.leased_until).where(
    JobRow.state == JobState.RUNNING.value
)


def reap(db: Session, now: datetime, silence: Silence | None = None) -> list[JobRow]:
    """End jobs that nobody renews, and skip those whose window has closed. Returns those that have ended.

    Args:
        silence: what this process has listened to; None: the clock is believed.
    """
    if silence is not None:
        silence.listen((RunningLease(*row) for row in db.execute(_LEASES)), now)
    ended: list[JobRow] = []
    for job in db.scalars(_RUN_BY_REVOKED.with_for_update(of=JobRow, skip_locked=True)).all():
        if not _settle_committed(db, job, now):
            hint = "enrol the file server's agent anew, then back up again"
            set_state(db, job, JobState.ABORTED, now, reason="its agent's credential was revoked", hint=hint)
        ended.append(job)
    silent = select(JobRow).where(JobRow.state == JobState.RUNNING.value, JobRow.leased_until < now)
    for job in db.scalars(silent.with_for_update(skip_locked=True)).all():
        lease = RunningLease(job.id, job.lease_epoch, job.leased_until)
        if silence is not None and not silence.was_listened_to(
            lease, whole=lease_of(db, job), least=LEAST_AGENT_LEASE
        ):
            continue
        if _settle_committed(db, job, now):
            ended.append(job)
            continue
        who = job.file_server.name if job.file_server else "the server process that ran it"
        reason = f"nothing was heard of {who} for too long"
        set_state(db, job, JobState.ABORTED, now, reason=reason, hint="look at its connection and its log")
        restart(db, job, now)
        ended.append(job)
    late = select(JobRow).where(JobRow.state.in_(WAITING), JobRow.not_after <= now)
    for job in db.scalars(late.with_for_update(skip_locked=True)).all():
        set_state(db, job, JobState.SKIPPED, now, reason=_why_skipped(db, job, now))
        ended.append(job)
    waiting = (
        select(JobRow)
        .join(JobRow.file_server)
        .where(JobRow.state == JobState.QUEUED.value, is_silent(now))
        .with_for_update(of=JobRow, skip_locked=True)
    )
    for job in db.scalars(waiting).all():
        if job.file_server is not None:
            set_state(db, job, JobState.WAITING_FOR_AGENT, now)
            log(db, job, f"waiting for the agent: {silence_of(job.file_server, now)}", now)
    return ended


def _why_skipped(db: Session, job: JobRow, now: datetime) -> str:
    closed = f"the backup window closed at {job.not_after:%H:%M} UTC" if job.not_after else "it is too late"
    if job.state == JobState.WAITING_FOR_AGENT.value and job.file_server is not None:
        return f"{closed} while it waited for the agent: {silence_of(job.file_server, now)}"
    other = db.scalars(
        select(JobRow).where(
            JobRow.backup_set_id == job.backup_set_id, JobRow.state == JobState.RUNNING.value
        )
    ).first()
    return (
        f"{closed} while job {other.id} of the same set was running" if other else f"{closed} before it began"
    )
