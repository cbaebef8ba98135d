"""Jobs: list, look, log, files with problems; cancel, run again. What happens live is in `job_events`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from backstay.domain.job import JobKind, JobState, Trigger
from backstay.protocol.report import ProgressReport, StepReport
from backstay.server import job_queue, jobs
from backstay.server.api.dependencies import ControlDep, Viewer
from backstay.server.api.fields import Cursor, Limit, Moment, Number, PathView, Reference
from backstay.server.control import Control
from backstay.server.jobs import JobFilter
from backstay.server.tables import JobMessage, JobRow

router = APIRouter(tags=["jobs"])

RepositoryId = Annotated[str, Query(max_length=32, pattern="^[0-9a-f]*$")]
Place = Annotated[int, Query(ge=0, le=2**53, description="`next` of the page before")]


class ProgressView(PathView):
    """How far the running step is."""

    step: str
    files: int
    bytes: int
    expected_files: int
    expected_bytes: int
    bytes_per_second: float
    seconds_left: float | None


class JobView(BaseModel):
    """A job."""

    id: int
    kind: JobKind
    state: JobState
    trigger: Trigger
    requested_by: str
    file_server: Reference | None
    backup_set: Reference | None
    repository_id: str | None
    restore_point: str | None
    created_at: datetime
    scheduled_for: datetime | None = Field(description="the schedule's time that asked for it")
    not_before: datetime | None = Field(description="it waits until then")
    not_after: datetime | None = Field(description="if it has not begun by then it is skipped")
    started_at: datetime | None
    ended_at: datetime | None
    attempt: int
    retry_of: int | None = Field(description="the first attempt")
    cancel_requested_by: str
    reason: str = Field(description="why it ended as it did")
    hint: str
    problem_count: int = Field(description="files that are not as they should be")
    progress: ProgressView | None
    revision: int = Field(description="rises with every change")


class JobDetail(JobView):
    """A job with its steps and figures."""

    steps: list[StepReport]
    figures: dict[str, Any]
    request: dict[str, Any]
    will_be_retried: bool = Field(description="whether another attempt is still to come or under way")


class JobList(BaseModel):
    """A page of jobs, the newest first."""

    items: list[JobView]
    next: str | None = Field(description="give it as `after` to see the next page")


class MessageView(BaseModel):
    """A line of a job's log."""

    id: int
    at: datetime
    level: str
    text: str


class MessageList(BaseModel):
    """A part of a job's log, the oldest line first."""

    items: list[MessageView]
    next: int | None = Field(description="give it as `after` to see what follows")


class ProblemView(PathView):
    """A file that is not as it should be, and why."""

    reason: str
    grade: str


class ProblemList(BaseModel):
    """A page of a job's files with problems."""

    total: int
    items: list[ProblemView]
    next: int | None = Field(description="give it as `after` to see what follows")


def view_of_job(row: JobRow) -> JobView:
    """A job as the API shows it."""
    server, backup_set = row.file_server, row.backup_set
    return JobView(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        trigger=Trigger(row.trigger),
        requested_by=row.requested_by,
        file_server=Reference(id=server.id, name=server.name) if server else None,
        backup_set=Reference(id=backup_set.id, name=backup_set.name) if backup_set else None,
        repository_id=row.repository_id,
        restore_point=row.restore_point_id,
        created_at=row.created_at,
        scheduled_for=row.scheduled_for,
        not_before=row.not_before,
        not_after=row.not_after,
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempt=row.attempt,
        retry_of=row.retry_of,
        cancel_requested_by=row.cancel_requested_by,
        reason=row.reason,
        hint=row.hint,
        problem_count=row.problem_count,
        progress=_progress(row.progress),
        revision=row.revision,
    )


def detail_of_job(row: JobRow, *, will_be_retried: bool) -> JobDetail:
    """A job with everything that is read as a whole."""
    return JobDetail(
        **view_of_job(row).model_dump(),
        steps=[StepReport.model_validate(step) for step in row.steps],
        figures=row.figures,
        request=row.request,
        will_be_retried=will_be_retried,
    )


def view_of_message(row: JobMessage) -> MessageView:
    """A line of a log as the API shows it."""
    return MessageView(id=row.id, at=row.at, level=row.level, text=row.text)


def _progress(kept: dict[str, Any]) -> ProgressView | None:
    if not kept:
        return None
    report = ProgressReport.model_validate(kept)
    return ProgressView(**(report.model_dump(exclude={"path"}) | PathView.of(report.path).model_dump()))


@router.get("/jobs")
def list_jobs(
    control: ControlDep,
    actor: Viewer,
    kind: Annotated[list[JobKind] | None, Query(max_length=16)] = None,
    state: Annotated[list[JobState] | None, Query(max_length=16)] = None,
    trigger: Trigger | None = None,
    file_server_id: Number | None = None,
    backup_set_id: Number | None = None,
    repository_id: RepositoryId = "",
    since: Moment | None = None,
    until: Moment | None = None,
    after: Cursor = "",
    limit: Limit = 100,
) -> JobList:
    """Jobs, the newest first; `since` and `until` say when they were requested."""
    wanted = JobFilter(
        kinds=kind or (),
        states=state or (),
        trigger=trigger,
        file_server_id=file_server_id,
        backup_set_id=backup_set_id,
        repository_id=repository_id,
        since=since,
        until=until,
    )
    with control.database.read() as db:
        rows, following = jobs.list_jobs(db, wanted, after=after, limit=limit)
        return JobList(items=[view_of_job(row) for row in rows], next=following)


@router.get("/jobs/{job_id}")
def get_job(control: ControlDep, actor: Viewer, job_id: Number) -> JobDetail:
    """One job with its steps and figures."""
    with control.database.read() as db:
        row = job_queue.get_job(db, job_id)
        return detail_of_job(row, will_be_retried=job_queue.will_be_retried(db, row))


@router.get("/jobs/{job_id}/messages")
def list_messages(
    control: ControlDep, actor: Viewer, job_id: Number, after: Place = 0, limit: Limit = 500
) -> MessageList:
    """A job's log, line by line."""
    with control.database.read() as db:
        job_queue.get_job(db, job_id)
        items = [view_of_message(row) for row in jobs.messages_of(db, job_id, after=after, limit=limit)]
    return MessageList(items=items, next=items[-1].id if len(items) == limit else None)


@router.get("/jobs/{job_id}/problems")
def list_problems(
    control: ControlDep, actor: Viewer, job_id: Number, after: Place = 0, limit: Limit = 100
) -> ProblemList:
    """The files that a job could not treat as it should: the first 10,000 of them are kept."""
    with control.database.read() as db:
        total = job_queue.get_job(db, job_id).problem_count
        rows = jobs.problems_of(db, job_id, after=after, limit=limit)
    items = [
        ProblemView(reason=row.reason, grade=row.grade, **PathView.of(row.path).model_dump()) for row in rows
    ]
    return ProblemList(total=total, items=items, next=rows[-1].id if len(rows) == limit else None)


@router.get(
    "/jobs/{job_id}/log",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/plain": {}}, "description": "the whole log, a line each"}},
)
def get_log(control: ControlDep, actor: Viewer, job_id: Number) -> StreamingResponse:
    """A job's whole log as text."""
    with control.database.read() as db:
        job_queue.get_job(db, job_id)
    headers = {"Content-Disposition": f'inline; filename="job-{job_id}.log"'}
    return StreamingResponse(_log(control, job_id), media_type="text/plain; charset=utf-8", headers=headers)


def _log(control: Control, job_id: int) -> Iterator[str]:
    after = 0
    while True:
        with control.database.read() as db:
            lines, after = jobs.log_lines(db, job_id, after=after)
        if not lines:
            return
        yield "".join(lines)


@router.post("/jobs/{job_id}/cancel")
def cancel_job(control: ControlDep, actor: Viewer, job_id: Number) -> JobView:
    """Cancel a job: at once if nobody runs it, else as soon as its agent hears of it."""
    with control.database.begin() as db:
        view = view_of_job(jobs.cancel(db, actor, job_id, now=control.clock()))
    control.wakeups.wake()
    return view


@router.post("/jobs/{job_id}/run-again", status_code=201)
def run_again(control: ControlDep, actor: Viewer, job_id: Number) -> JobView:
    """Request once more what a job did that is over; answers with the new job."""
    with control.database.begin() as db:
        view = view_of_job(jobs.run_again(db, actor, job_id, now=control.clock()))
    control.wakeups.wake()
    return view
