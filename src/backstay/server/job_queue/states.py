"""A job's state, and its log: what every change of a job goes through."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.errors import NotFound
from backstay.domain.job import OPEN_STATES, JobState, check_transition
from backstay.server.tables import JobMessage, JobRow

OPEN = [state.value for state in OPEN_STATES]
WAITING = [JobState.QUEUED.value, JobState.WAITING_FOR_AGENT.value]

_BAD = {JobState.FAILED, JobState.ABORTED, JobState.SKIPPED}


def get_job(db: Session, job_id: int, *, to_change: bool = False) -> JobRow:
    """The job of this number. Raises NotFound.

    Args:
        to_change: nobody else changes it until this transaction ends.
    """
    job = db.get(JobRow, job_id, with_for_update=to_change or None)
    if job is None:
        raise NotFound(f"there is no job {job_id}", hint="`backstay jobs` lists them")
    return job


def set_state(
    db: Session, job: JobRow, state: JobState, now: datetime, *, reason: str = "", hint: str = ""
) -> None:
    """Change a job's state, and note when it began or ended. Raises JobStateError."""
    check_transition(job.id, JobState(job.state), state)
    job.state = state.value
    job.revision += 1
    if reason:
        job.reason, job.hint = reason, hint
        log(db, job, reason, now, level="error" if state in _BAD else "info")
    if state is JobState.RUNNING:
        job.started_at = job.started_at or now
    elif state.ended:
        job.ended_at = now
        job.leased_until = None
        job.steps = _ended_steps(job.steps, state, now)


def log(db: Session, job: JobRow, text: str, now: datetime, *, level: str = "info") -> None:
    """Add a line to the job's log."""
    db.add(JobMessage(job_id=job.id, at=now, level=level, text=text))


def log_once(db: Session, job: JobRow, text: str, now: datetime) -> None:
    """Add a warning to the job's log, unless it is there already."""
    there = select(JobMessage.id).where(JobMessage.job_id == job.id, JobMessage.text == text)
    if db.scalars(there.limit(1)).first() is None:
        log(db, job, text, now, level="warning")


def _ended_steps(steps: list[Any], state: JobState, now: datetime) -> list[Any]:
    """No step goes on when its job has ended."""
    how = {JobState.CANCELLED: "cancelled", JobState.ABORTED: "aborted"}.get(state, "failed")
    at = int(now.timestamp() * 1e9)
    return [
        {**step, "state": how, "ended_ns": at} if step.get("state") == "running" else step for step in steps
    ]
