"""Reports and outcomes: what who runs a job says of it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backstay.domain.job import JobState
from backstay.protocol.report import Outcome, ProblemReport, Report, ReportReply, StepReport
from backstay.server.job_queue.attempts import restart, retry
from backstay.server.job_queue.leases import lease_of
from backstay.server.job_queue.requests import REQUEST_STEP
from backstay.server.job_queue.states import log, set_state
from backstay.server.tables import JobProblem, JobRow


def report(db: Session, job: JobRow, report: Report, now: datetime) -> ReportReply:
    """Take in how a job goes, renew its lease, and say whether to go on."""
    job.steps = _merged_steps(job.steps, report.steps, now)
    job.progress = report.progress.model_dump(mode="json")
    job.revision += 1
    for message in report.messages:
        log(db, job, message, now)
    job.leased_until = now + lease_of(db, job)
    return reply_to(job.cancel_requested_by, now)


def reply_to(cancel_requested_by: str, now: datetime) -> ReportReply:
    """What a report that came in time is answered."""
    time_ns = int(now.timestamp() * 1e9)
    if cancel_requested_by:
        reason = f"cancelled by {cancel_requested_by}"
        return ReportReply(verdict="cancel", reason=reason, server_time_ns=time_ns)
    return ReportReply(verdict="go_on", server_time_ns=time_ns)


def _merged_steps(before: list[Any], steps: Iterable[StepReport], now: datetime) -> list[Any]:
    """The agent's steps; the first keeps what the server did of it."""
    merged = [step.model_dump(mode="json") for step in steps]
    if not merged:
        return before
    if not before or before[0]["name"] != REQUEST_STEP:
        return merged
    if merged[0]["name"] != REQUEST_STEP:
        ended_ns = before[0]["ended_ns"] or merged[0]["started_ns"]
        return [{**before[0], "state": "done", "ended_ns": ended_ns}, *merged]
    own = [text for text in before[0]["messages"] if text not in merged[0]["messages"]]
    merged[0]["messages"] = own + merged[0]["messages"]
    merged[0]["started_ns"] = before[0]["started_ns"]
    return merged


def finish(db: Session, job: JobRow, outcome: Outcome, now: datetime) -> JobState:
    """Take in how a job ended; a failure that may pass is followed by another attempt, as the policy says.

    Returns the state that the job has now.
    """
    job.steps = _merged_steps(job.steps, outcome.steps, now)
    job.figures = outcome.figures
    job.problem_count = max(outcome.problem_count, len(outcome.problems))
    if outcome.restore_point:
        job.restore_point_id = outcome.restore_point
    for message in outcome.messages:
        log(db, job, message, now)
    add_problems(db, job, outcome.problems)
    state = JobState(outcome.state)
    if state is JobState.SUCCEEDED and job.problem_count:
        state = JobState.SUCCEEDED_WITH_WARNINGS
    reason = outcome.reason
    if state is JobState.CANCELLED and job.cancel_requested_by:
        reason = f"cancelled by {job.cancel_requested_by}"
    elif state is JobState.CANCELLED:
        # Nobody asked for it here: the agent was told to stop.
        state, reason = JobState.ABORTED, reason or "the agent was stopped"
    set_state(db, job, state, now, reason=reason, hint=outcome.hint)
    if state is JobState.FAILED and outcome.retryable:
        retry(db, job, now)
    if state is JobState.ABORTED:
        restart(db, job, now)
    return state


def add_problems(db: Session, job: JobRow, problems: Iterable[ProblemReport]) -> None:
    """Note files that are not as they should be."""
    db.add_all(
        JobProblem(job_id=job.id, path=one.path, reason=one.reason, grade=one.grade) for one in problems
    )
