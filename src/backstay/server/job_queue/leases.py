"""Leases: who runs a job, under which epoch, and for how long without a word."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session, aliased

from backstay.domain.errors import Forbidden, NotFound
from backstay.domain.job import JobKind, JobState
from backstay.domain.policy import BackupPolicy
from backstay.server.job_queue.states import WAITING, get_job, log, set_state
from backstay.server.policies import policy_of
from backstay.server.tables import FileServer, JobRow

SERVER_LEASE = timedelta(minutes=2)
"""A job that a server process runs is given up when its lease was not renewed for so long."""

LEAST_AGENT_LEASE = timedelta(minutes=5)
_LEASE_MARGIN = timedelta(minutes=2)


def file_servers_with_work(db: Session, now: datetime) -> list[int]:
    """File servers with a job that waits and may begin; where another of its set runs, it has to wait on."""
    found = db.scalars(
        select(JobRow.file_server_id)
        .where(
            JobRow.state.in_(WAITING),
            JobRow.file_server_id.is_not(None),
            JobRow.kind.in_([JobKind.BACKUP.value, JobKind.RESTORE.value]),
            or_(JobRow.not_before.is_(None), JobRow.not_before <= now),
            or_(JobRow.not_after.is_(None), JobRow.not_after > now),
        )
        .distinct()
    )
    return [number for number in found if number is not None]


def has_work(db: Session, server: FileServer, instance: str, busy: Iterable[int], now: datetime) -> bool:
    """Whether there is a job that `lease_for_agent` would give."""
    if db.scalars(_work_for(server, now)).first() is not None:
        return True
    return _untold(db, server, instance, busy) is not None


def runs_for(db: Session, server: FileServer, now: datetime) -> bool:
    """Whether a job of this file server runs that was not given up."""
    running = select(JobRow.id).where(
        JobRow.file_server_id == server.id,
        JobRow.state == JobState.RUNNING.value,
        JobRow.leased_until > now,
    )
    return db.scalars(running.limit(1)).first() is not None


def _untold(db: Session, server: FileServer, instance: str, busy: Iterable[int]) -> JobRow | None:
    """A job that this process was given and knows nothing of: the answer to its question was lost."""
    given = select(JobRow).where(
        JobRow.file_server_id == server.id,
        JobRow.state == JobState.RUNNING.value,
        JobRow.leased_to == instance,
        JobRow.id.not_in(list(busy)),
    )
    return next((job for job in db.scalars(given) if not job.progress), None)


def _work_for(server: FileServer, now: datetime) -> Select[JobRow]:
    running = aliased(JobRow)
    same_set_runs = (
        select(running.id)
        .where(running.backup_set_id == JobRow.backup_set_id, running.state == JobState.RUNNING.value)
        .exists()
    )
    return (
        select(JobRow)
        .where(
            JobRow.file_server_id == server.id,
            JobRow.state.in_(WAITING),
            JobRow.kind.in_([JobKind.BACKUP.value, JobKind.RESTORE.value]),
            or_(JobRow.not_before.is_(None), JobRow.not_before <= now),
            or_(JobRow.not_after.is_(None), JobRow.not_after > now),
            ~and_(JobRow.backup_set_id.is_not(None), same_set_runs),
        )
        .order_by(JobRow.id)
        .limit(1)
    )


def lease_for_agent(
    db: Session, server: FileServer, instance: str, now: datetime, busy: Iterable[int] = ()
) -> JobRow | None:
    """Give the agent process its next job, or None; the job is running from now on.

    Of one set only one job runs at a time, the oldest first. A job that the process was given and is not
    among those that it is busy with is given again.
    """
    # Two processes that say they are this agent take turns: each would find another job of the same set.
    db.execute(select(FileServer.id).where(FileServer.id == server.id).with_for_update(key_share=True))
    untold = _untold(db, server, instance, busy)
    if untold is not None:
        untold.lease_epoch += 1
        untold.leased_until = now + agent_lease(policy_for(db, untold))
        log(db, untold, "given to the agent again, as it knew nothing of it", now, level="warning")
        return untold
    job = db.scalars(_work_for(server, now).with_for_update(skip_locked=True)).first()
    if job is None:
        return None
    _start(db, job, instance, now, agent_lease(policy_for(db, job)))
    log(db, job, f"taken by the agent of {server.name}", now)
    return job


def lease_for_server(db: Session, instance: str, now: datetime) -> JobRow | None:
    """Give this server process its next job of those that servers run, or None."""
    job = db.scalars(
        select(JobRow)
        .where(
            JobRow.state == JobState.QUEUED.value,
            JobRow.kind.in_([kind.value for kind in JobKind if not kind.runs_on_agent]),
            or_(JobRow.not_before.is_(None), JobRow.not_before <= now),
        )
        .order_by(JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if job is not None:
        _start(db, job, instance, now, SERVER_LEASE)
    return job


def _start(db: Session, job: JobRow, instance: str, now: datetime, lease: timedelta) -> None:
    job.lease_epoch += 1
    job.leased_to = instance
    job.leased_until = now + lease
    set_state(db, job, JobState.RUNNING, now)


def policy_for(db: Session, job: JobRow) -> BackupPolicy:
    """The policy of the job's set; the built-in one for a job without a set."""
    return policy_of(job.backup_set).policy if job.backup_set is not None else BackupPolicy()


def agent_lease(policy: BackupPolicy) -> timedelta:
    """How long a job may be silent: the agent gives up by itself when the policy's patience is over."""
    return max(LEAST_AGENT_LEASE, policy.retries.network_patience + _LEASE_MARGIN)


def held_job(
    db: Session,
    job_id: int,
    epoch: int,
    instance: str,
    server_id: int | None = None,
    *,
    to_change: bool = True,
) -> JobRow:
    """The job, which the process of this instance must hold under this epoch.

    Args:
        to_change: as for `get_job`; False where the transaction only reads.

    Raises:
        NotFound, Forbidden: it was given up, ended, or leased anew: this process is fenced off.
    """
    job = get_job(db, job_id, to_change=to_change)
    if server_id is not None and job.file_server_id != server_id:
        raise NotFound(f"there is no job {job_id} of this file server")
    if job.state != JobState.RUNNING.value or job.lease_epoch != epoch or job.leased_to != instance:
        state = JobState(job.state).in_words
        why = f" ({job.reason})" if job.reason else ""
        raise Forbidden(
            f"job {job_id} is lost to this process: it is {state}{why}",
            hint="nothing that is still done for it counts; a fresh job goes on from what was stored",
        )
    return job
