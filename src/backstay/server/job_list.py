"""Jobs as the overview and a job's page show them."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from backstay.domain.job import OPEN_STATES
from backstay.server.tables import JobMessage, JobRow

_OPEN = [state.value for state in OPEN_STATES]


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


def last_messages(db: Session, job_id: int, limit: int = 500) -> list[JobMessage]:
    """The last lines of a job's log, the oldest of them first."""
    query = select(JobMessage).where(JobMessage.job_id == job_id).order_by(JobMessage.id.desc()).limit(limit)
    return list(reversed(db.scalars(query).all()))
