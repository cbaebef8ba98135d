"""Jobs to look at: lists by what they are, and what one of them has told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer, joinedload

from backstay.domain.job import OPEN_STATES
from backstay.server.tables import JobMessage, JobProblem, JobRow

_OPEN = [state.value for state in OPEN_STATES]


@dataclass(frozen=True)
class JobFilter:
    """Which jobs; an empty value means any.

    Attributes:
        states: names of states.
        older_than: the number of a job: only those before it, for paging.
    """

    states: Sequence[str] = ()
    kind: str = ""
    file_server_id: int | None = None
    backup_set_id: int | None = None
    older_than: int | None = None


def list_jobs(db: Session, wanted: JobFilter, limit: int) -> list[JobRow]:
    """The newest first, without their steps."""
    query = select(JobRow).options(
        joinedload(JobRow.file_server),
        joinedload(JobRow.backup_set),
        defer(JobRow.steps),
        defer(JobRow.request),
    )
    if wanted.states:
        query = query.where(JobRow.state.in_(wanted.states))
    if wanted.kind:
        query = query.where(JobRow.kind == wanted.kind)
    if wanted.file_server_id is not None:
        query = query.where(JobRow.file_server_id == wanted.file_server_id)
    if wanted.backup_set_id is not None:
        query = query.where(JobRow.backup_set_id == wanted.backup_set_id)
    if wanted.older_than is not None:
        query = query.where(JobRow.id < wanted.older_than)
    return list(db.scalars(query.order_by(JobRow.id.desc()).limit(limit)))


def open_jobs(db: Session, limit: int = 100) -> list[JobRow]:
    """Those that are not over, the running ones first."""
    query = (
        select(JobRow)
        .options(joinedload(JobRow.file_server), joinedload(JobRow.backup_set))
        .where(JobRow.state.in_(_OPEN))
        .order_by(JobRow.started_at.is_(None), JobRow.id)
        .limit(limit)
    )
    return list(db.scalars(query))


def outcomes_since(db: Session, since: datetime) -> list[tuple[str, datetime]]:
    """State and time of the request of every job requested since then, the oldest first."""
    query = (
        select(JobRow.state, JobRow.created_at).where(JobRow.created_at >= since).order_by(JobRow.created_at)
    )
    return [(state, at) for state, at in db.execute(query)]


def messages_of(db: Session, job_id: int, *, after: int = 0, limit: int = 500) -> list[JobMessage]:
    """The last lines of a job's log, the oldest of them first; only those after the line of this number."""
    query = (
        select(JobMessage)
        .where(JobMessage.job_id == job_id, JobMessage.id > after)
        .order_by(JobMessage.id.desc())
        .limit(limit)
    )
    return list(reversed(db.scalars(query).all()))


def problems_of(db: Session, job_id: int, *, after: int = 0, limit: int = 100) -> list[JobProblem]:
    """Files with problems, in the order in which they were told."""
    query = (
        select(JobProblem)
        .where(JobProblem.job_id == job_id, JobProblem.id > after)
        .order_by(JobProblem.id)
        .limit(limit)
    )
    return list(db.scalars(query))


def count_problems(db: Session, job_id: int) -> int:
    """How many files with problems are kept of a job."""
    return db.scalar(select(func.count()).where(JobProblem.job_id == job_id)) or 0
