"""Jobs to look at, and what administrators do with them; `job_queue` alone changes their states."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, defer, joinedload

from backstay.domain.errors import Conflict, NotFound, UsageError
from backstay.domain.job import JobKind, JobState, Trigger
from backstay.server import audit, job_queue
from backstay.server.access import Actor, Permission
from backstay.server.backup_sets import full_name
from backstay.server.tables import JobMessage, JobProblem, JobRow, RestorePointRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOG_CHUNK = 1000


@dataclass(frozen=True)
class JobFilter:
    """Which jobs; an empty value means any.

    Attributes:
        kinds, states: any of these.
        since, until: when they were requested; `until` is not in.
        trigger: what asked for them.
    """

    kinds: Sequence[JobKind] = ()
    states: Sequence[JobState] = ()
    file_server_id: int | None = None
    backup_set_id: int | None = None
    repository_id: str = ""
    trigger: Trigger | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_jobs(
    db: Session, wanted: JobFilter, *, after: str = "", limit: int = 100
) -> tuple[list[JobRow], str | None]:
    """The newest first, without their steps; and what to give as `after` to see the next page.

    A page costs the same wherever it lies: nothing is counted, nothing skipped over.

    Raises:
        UsageError: `after` is no such thing.
    """
    query = select(JobRow).where(*_conditions(wanted))
    if after:
        query = query.where(_older_than(*_place(after)))
    query = query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit)
    rows = list(
        db.scalars(
            query.options(
                joinedload(JobRow.file_server),
                joinedload(JobRow.backup_set),
                defer(JobRow.steps),
                defer(JobRow.request),
            )
        )
    )
    return rows, _cursor(rows[-1]) if len(rows) == limit else None


def _conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.kinds:
        found.append(JobRow.kind.in_([kind.value for kind in wanted.kinds]))
    if wanted.states:
        found.append(JobRow.state.in_([state.value for state in wanted.states]))
    if wanted.file_server_id is not None:
        found.append(JobRow.file_server_id == wanted.file_server_id)
    if wanted.backup_set_id is not None:
        found.append(JobRow.backup_set_id == wanted.backup_set_id)
    if wanted.repository_id:
        found.append(JobRow.repository_id == wanted.repository_id)
    if wanted.trigger is not None:
        found.append(JobRow.trigger == wanted.trigger.value)
    if wanted.since is not None:
        found.append(JobRow.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(JobRow.created_at < wanted.until)
    return found


def _older_than(created_at: datetime, job_id: int) -> ColumnElement[bool]:
    same_moment = and_(JobRow.created_at == created_at, JobRow.id < job_id)
    # The first condition follows from the second; an index can begin with it.
    return and_(JobRow.created_at <= created_at, or_(JobRow.created_at < created_at, same_moment))


def _cursor(job: JobRow) -> str:
    return f"{(job.created_at - _EPOCH) // _MICROSECOND}-{job.id}"


def _place(cursor: str) -> tuple[datetime, int]:
    moment, _, number = cursor.partition("-")
    if not (
        cursor.isascii()
        and moment.isdecimal()
        and number.isdecimal()
        and len(moment) <= 17
        and len(number) <= 15
    ):
        raise UsageError(f"{cursor[:60]!r} is no place in the list of jobs", hint="give what `next` said")
    return _EPOCH + int(moment) * _MICROSECOND, int(number)


def messages_of(db: Session, job_id: int, *, after: int = 0, limit: int = 500) -> list[JobMessage]:
    """Lines of a job's log, the oldest first, from the one after the line of this number."""
    query = select(JobMessage).where(JobMessage.job_id == job_id, JobMessage.id > after)
    return list(db.scalars(query.order_by(JobMessage.id).limit(limit)))


def problems_of(db: Session, job_id: int, *, after: int = 0, limit: int = 100) -> list[JobProblem]:
    """Files with problems in the order in which they were told, from the one after this number."""
    query = select(JobProblem).where(JobProblem.job_id == job_id, JobProblem.id > after)
    return list(db.scalars(query.order_by(JobProblem.id).limit(limit)))


def log_lines(db: Session, job_id: int, *, after: int = 0) -> tuple[list[str], int]:
    """A part of a job's log as text, one line each; and what to give as `after` for what follows."""
    messages = messages_of(db, job_id, after=after, limit=_LOG_CHUNK)
    lines = [
        f"{one.at:%Y-%m-%dT%H:%M:%SZ} {one.level:<7} {' '.join(one.text.splitlines())}\n" for one in messages
    ]
    return lines, messages[-1].id if messages else after


def cancel(db: Session, actor: Actor, job_id: int, *, now: datetime) -> JobRow:
    """Cancel a job. Raises NotFound, Forbidden; Conflict where it has ended."""
    job = job_queue.get_job(db, job_id, to_change=True)
    actor.require(_permission_for(job.kind))
    job_queue.cancel(db, job, actor.name, now)
    audit.record(db, actor, "job.cancel", subject_of(job), now=now)
    return job


def run_again(db: Session, actor: Actor, job_id: int, *, now: datetime) -> JobRow:
    """Request what this job did once more. Returns the new job.

    Raises:
        NotFound: the job, or what it was about, is not there any more.
        Conflict: the job is not over, or another one does the same now.
    """
    job = job_queue.get_job(db, job_id)
    actor.require(_permission_for(job.kind))
    if not JobState(job.state).ended:
        raise Conflict(f"job {job.id} is not over", hint="wait for its end, or cancel it first")
    again = _again(db, actor, job, now)
    audit.record(db, actor, "job.run_again", subject_of(job), now=now, after={"job": again.id})
    return again


def _again(db: Session, actor: Actor, job: JobRow, now: datetime) -> JobRow:
    if job.kind == JobKind.BACKUP.value and job.backup_set is not None:
        if job.backup_set.removed_at is not None:
            raise NotFound(f"the backup set of job {job.id} was removed", hint="make it again first")
        return job_queue.request_backup(
            db, job.backup_set, now=now, trigger=Trigger.ADMINISTRATOR, requested_by=actor.name
        )
    if job.kind == JobKind.RESTORE.value and job.file_server is not None and job.restore_point_id:
        point = db.get(RestorePointRow, job.restore_point_id)
        if point is None or point.expired_at is not None or job.file_server.removed_at is not None:
            raise NotFound(
                f"what job {job.id} restored, or where to, is not there any more", hint="choose another one"
            )
        return job_queue.request_restore(
            db,
            job.file_server,
            now=now,
            requested_by=actor.name,
            repository_id=point.repository_id,
            restore_point_id=point.id,
            request=job.request,
        )
    assert job.repository_id is not None
    return job_queue.request_server_job(
        db,
        JobKind(job.kind),
        job.repository_id,
        now=now,
        trigger=Trigger.ADMINISTRATOR,
        requested_by=actor.name,
        request=job.request,
    )


def _permission_for(kind: str) -> Permission:
    special = {JobKind.RESTORE.value: Permission.RESTORE, JobKind.PRUNE.value: Permission.RETAIN}
    return special.get(kind, Permission.RUN)


def subject_of(job: JobRow) -> str:
    """The job as the audit log names it."""
    if job.backup_set is not None:
        return f"job {job.id} ({job.kind} of {full_name(job.backup_set)})"
    return f"job {job.id} ({job.kind} on {job.file_server.name})" if job.file_server else f"job {job.id}"


@dataclass(frozen=True)
class Glimpse:
    """A job as the overview sees it; `revision` rises with every change."""

    id: int
    kind: str
    state: str
    revision: int
    file_server_id: int | None
    backup_set_id: int | None


def newest_job_id(db: Session) -> int:
    """The number of the newest job, or 0."""
    return db.scalar(select(func.max(JobRow.id))) or 0


def glimpses(db: Session, known: Sequence[int], newer_than: int, limit: int = 5000) -> list[Glimpse]:
    """Open jobs, those of these numbers, and those with higher ones than `newer_than`; the oldest first."""
    found: dict[int, Glimpse] = {}

    def take(which: ColumnElement[bool]) -> None:
        query = select(
            JobRow.id,
            JobRow.kind,
            JobRow.state,
            JobRow.revision,
            JobRow.file_server_id,
            JobRow.backup_set_id,
        )
        for number, kind, state, revision, server, backup_set in db.execute(query.where(which).limit(limit)):
            found[number] = Glimpse(number, kind, state, revision, server, backup_set)

    take(JobRow.state.in_([state.value for state in JobState if not state.ended]))
    take(JobRow.id > newer_than)
    gone = [number for number in known if number not in found]
    for begin in range(0, len(gone), 500):
        take(JobRow.id.in_(gone[begin : begin + 500]))
    return [found[number] for number in sorted(found)]
