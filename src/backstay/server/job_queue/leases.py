"""Leases: who runs a job, under which epoch, and for how long without a word."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, or_, select
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

_other = aliased(JobRow)
_SAME_SET_RUNS = (
    select(_other.id)
    .where(_other.backup_set_id == JobRow.backup_set_id, _other.state == JobState.RUNNING.value)
    .exists()
)
# Questions that every agent asks again and again are made once: to make one takes longer than to answer it.
_WORK = (
    select(JobRow)
    .where(
        JobRow.file_server_id == bindparam("file_server"),
        JobRow.state.in_(WAITING),
        JobRow.kind.in_([JobKind.BACKUP.value, JobKind.RESTORE.value]),
        or_(JobRow.not_before.is_(None), JobRow.not_before <= bindparam("now")),
        or_(JobRow.not_after.is_(None), JobRow.not_after > bindparam("now")),
        ~and_(JobRow.backup_set_id.is_not(None), _SAME_SET_RUNS),
    )
    .order_by(JobRow.id)
    .limit(1)
)
_IS_WORK = _WORK.with_only_columns(JobRow.id)
_WORK_TO_TAKE = _WORK.with_for_update(skip_locked=True)
_GIVEN = select(JobRow.id, JobRow.progress).where(
    JobRow.file_server_id == bindparam("file_server"),
    JobRow.state == JobState.RUNNING.value,
    JobRow.leased_to == bindparam("instance"),
)
_WITH_WORK = (
    select(JobRow.file_server_id)
    .where(
        JobRow.state.in_(WAITING),
        JobRow.file_server_id.is_not(None),
        JobRow.kind.in_([JobKind.BACKUP.value, JobKind.RESTORE.value]),
        or_(JobRow.not_before.is_(None), JobRow.not_before <= bindparam("now")),
        or_(JobRow.not_after.is_(None), JobRow.not_after > bindparam("now")),
    )
    .distinct()
)


def file_servers_with_work(db: Session, now: datetime) -> list[int]:
    """File servers with a job that waits and may begin; where another of its set runs, it has to wait on."""
    found = db.scalars(_WITH_WORK, {"now": now})
    return [number for number in found if number is not None]


def has_work(db: Session, file_server_id: int, instance: str, busy: Iterable[int], now: datetime) -> bool:
    """Whether there is a job that `lease_for_agent` would give."""
    if db.scalars(_IS_WORK, {"file_server": file_server_id, "now": now}).first():
        return True
    return _untold(db, file_server_id, instance, busy) is not None


def runs_for(db: Session, server: FileServer, now: datetime) -> bool:
    """Whether a job of this file server runs that was not given up."""
    running = select(JobRow.id).where(
        JobRow.file_server_id == server.id,
        JobRow.state == JobState.RUNNING.value,
        JobRow.leased_until > now,
    )
    return db.scalars(running.limit(1)).first() is not None


def _untold(db: Session, file_server_id: int, instance: str, busy: Iterable[int]) -> int | None:
    """A job that this process was given and knows nothing of: the answer to its question was lost."""
    known = set(busy)
    given = db.execute(_GIVEN, {"file_server": file_server_id, "instance": instance})
    return next((number for number, progress in given if not progress and number not in known), None)


def lease_for_agent(
    db: Session, server: FileServer, instance: str, now: datetime, busy: Iterable[int] = ()
) -> JobRow | None:
    """Give the agent process its next job, or None; the job is running from now on.

    Of one set only one job runs at a time, the oldest first. A job that the process was given and is not
    among those that it is busy with is given again.
    """
    # Two processes that say they are this agent take turns: each would find another job of the same set.
    db.execute(select(FileServer.id).where(FileServer.id == server.id).with_for_update(key_share=True))
    number = _untold(db, server.id, instance, busy)
    untold = get_job(db, number, to_change=True) if number is not None else None
    if untold is not None and (untold.state, untold.leased_to) == (JobState.RUNNING.value, instance):
        untold.lease_epoch += 1
        untold.leased_until = now + agent_lease(policy_for(db, untold))
        log(db, untold, "given to the agent again, as it knew nothing of it", now, level="warning")
        return untold
    job = db.scalars(_WORK_TO_TAKE, {"file_server": server.id, "now": now}).first()
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


def lease_of(db: Session, job: JobRow) -> timedelta:
    """How long this job may be silent."""
    return agent_lease(policy_for(db, job)) if JobKind(job.kind).runs_on_agent else SERVER_LEASE


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


_STANDING = (
    select(FileServer.agent_key_hash, FileServer.instance, JobRow.cancel_requested_by)
    .join(FileServer, FileServer.id == JobRow.file_server_id)
    .where(
        JobRow.id == bindparam("job"),
        JobRow.state == JobState.RUNNING.value,
        JobRow.lease_epoch == bindparam("epoch"),
        JobRow.leased_to == bindparam("instance"),
        JobRow.file_server_id == bindparam("file_server"),
    )
)


def cancelled_by(
    db: Session, job_id: int, epoch: int, instance: str, file_server_id: int, key_hash: str
) -> str | None:
    """Who wants a job cancelled, or empty; None where this agent does not hold it: `held_job` says why."""
    held = {"job": job_id, "epoch": epoch, "instance": instance, "file_server": file_server_id}
    row = db.execute(_STANDING, held).first()
    if row is None or row[0] != key_hash or row[1] != instance:
        return None
    return str(row[2])
