"""When each repository is pruned and verified, and the asking for it, once, whichever server process looks.

A task's row in the database says when it is due; who finds that it is asks for the job and moves the time in
one transaction, with the row locked.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, NotFound
from backstay.domain.job import JobKind, JobState, Trigger
from backstay.domain.schedule import Schedule
from backstay.protocol.policy_document import ScheduleDocument
from backstay.server import audit, job_queue
from backstay.server.access import Actor
from backstay.server.control import Control
from backstay.server.tables import JobRow, RepositoryRow, Setting, UpkeepTask

SETTING = "upkeep"
_AGAIN_AFTER = {JobState.ABORTED.value: timedelta(minutes=5), JobState.FAILED.value: timedelta(hours=6)}


@dataclass(frozen=True)
class Task:
    """A job that is asked for on schedule: its kind, what exactly, and when where nobody set it."""

    kind: JobKind
    request: Mapping[str, Any]
    rule: str


TASKS: Final[Mapping[str, Task]] = {
    "prune": Task(JobKind.PRUNE, {}, "30 3 * * *"),
    "verify_sample": Task(JobKind.VERIFY, {"data_percent": 5.0}, "30 4 * * sat"),
    "verify_full": Task(JobKind.VERIFY, {"data_percent": 100.0}, "0 5 1 * *"),
    "drill": Task(JobKind.DRILL, {"files": 50}, "30 5 * * sun"),
}
"""Scheduled while it is nobody's working day; each can be set, or switched off."""


def schedules(db: Session) -> dict[str, ScheduleDocument | None]:
    """The schedule of each task; None where it is switched off."""
    found: dict[str, ScheduleDocument | None] = {
        name: ScheduleDocument(rule=task.rule) for name, task in TASKS.items()
    }
    row = db.get(Setting, SETTING)
    for name, value in (row.value if row is not None else {}).items():
        if name in found:
            found[name] = ScheduleDocument.model_validate(value) if value is not None else None
    return found


def set_schedules(
    db: Session, actor: Actor, wanted: Mapping[str, ScheduleDocument | None], *, now: datetime
) -> dict[str, ScheduleDocument | None]:
    """Change the schedules of some tasks. Raises NotFound, UsageError."""
    before = schedules(db)
    for name, one in wanted.items():
        if name not in TASKS:
            raise NotFound(f"there is no upkeep task {name}", hint=f"there are: {', '.join(TASKS)}")
        if one is not None:
            Schedule(one.rule, one.time_zone)
    after = before | dict(wanted)
    as_json = [
        {name: one.model_dump(mode="json") if one is not None else None for name, one in each.items()}
        for each in (before, after)
    ]
    row = db.get(Setting, SETTING)
    if row is None:
        db.add(Setting(name=SETTING, value=as_json[1], updated_at=now))
    else:
        row.value, row.updated_at = as_json[1], now
    for task in db.scalars(select(UpkeepTask).where(UpkeepTask.name.in_(list(wanted)))):
        # Reckoned anew when it is looked at next.
        db.delete(task)
    db.flush()
    audit.record(db, actor, "upkeep.schedule", "upkeep", now=now, before=as_json[0], after=as_json[1])
    return after


def next_due(db: Session, repository_id: str) -> dict[str, datetime]:
    """When each task of a repository is due next, as far as that is known."""
    rows = db.scalars(select(UpkeepTask).where(UpkeepTask.repository_id == repository_id))
    return {row.name: row.due_at for row in rows if row.name in TASKS}


def request_job(
    db: Session,
    actor: Actor,
    kind: JobKind,
    repository_id: str,
    *,
    now: datetime,
    trigger: Trigger = Trigger.ADMINISTRATOR,
    request: Mapping[str, Any] | None = None,
) -> JobRow:
    """Ask for a job of the server's; of each kind one at a time for a repository.

    Raises:
        NotFound: no such repository.
        Conflict: one of that kind is open already.
    """
    # Who asks at the same time waits here, and then finds the job.
    repository = db.scalars(
        select(RepositoryRow).where(RepositoryRow.id == repository_id).with_for_update()
    ).first()
    if repository is None:
        raise NotFound(f"there is no repository {repository_id}", hint="GET /api/v1/repositories lists them")
    job = job_queue.request_server_job(
        db,
        kind,
        repository_id,
        now=now,
        trigger=trigger,
        requested_by=actor.name if trigger is Trigger.ADMINISTRATOR else "the schedule",
        request=dict(request or {}),
    )
    if trigger is Trigger.ADMINISTRATOR:
        after = {"job": job.id, **dict(request or {})}
        audit.record(db, actor, f"{kind.value}.request", repository.name, now=now, after=after)
    return job


def look(control: Control) -> list[int]:
    """Ask for whatever is due; a chore. Returns the numbers of the jobs."""
    with control.database.read() as db:
        repositories = list(db.scalars(select(RepositoryRow.id)))
    asked: list[int] = []
    for repository_id in repositories:
        for name, task in TASKS.items():
            with suppress(Conflict), control.database.begin() as db:
                job_id = _look_at(db, repository_id, name, task, control.clock())
                if job_id is not None:
                    asked.append(job_id)
    if asked:
        control.wakeups.wake()
    return asked


def _look_at(db: Session, repository_id: str, name: str, task: Task, now: datetime) -> int | None:
    document = schedules(db)[name]
    if document is None:
        return None
    schedule = Schedule(document.rule, document.time_zone)
    row = claim(db, repository_id, name, now, lambda: _next(schedule, now))
    if row is None:
        return None
    last = db.get(JobRow, row.job_id) if row.job_id is not None else None
    again = _AGAIN_AFTER.get(last.state) if last is not None else None
    if last is not None and again is not None and last.ended_at is not None and _worth_another(last):
        row.due_at = min(row.due_at, last.ended_at + again)
    if row.due_at > now:
        return None
    row.due_at = _next(schedule, now)
    try:
        with db.begin_nested():
            job = request_job(
                db,
                _SCHEDULE,
                task.kind,
                repository_id,
                now=now,
                trigger=Trigger.SCHEDULE,
                request=task.request,
            )
    except Conflict:
        # Somebody asked for it by hand, or the full verify is still reading: a little later, then.
        row.due_at = min(row.due_at, now + timedelta(hours=1))
        return None
    row.job_id = job.id
    return job.id


_SCHEDULE: Final = Actor("the schedule", frozenset())


def _worth_another(job: JobRow) -> bool:
    """A job that found damage has done its work; one that could not do it has not."""
    return "damages" not in job.figures and "failures" not in job.figures


def _next(schedule: Schedule, after: datetime) -> datetime:
    return next(iter(schedule.next_runs(after, 1)), after + timedelta(days=36500))


def claim(
    db: Session, repository_id: str, name: str, now: datetime, first_due: Callable[[], datetime]
) -> UpkeepTask | None:
    """The row of a task, locked until the transaction ends; made where there is none yet.

    Returns:
        None where another process makes or holds it just now.
    """
    row = db.scalars(
        select(UpkeepTask)
        .where(UpkeepTask.repository_id == repository_id, UpkeepTask.name == name)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).first()
    if row is not None or db.get(UpkeepTask, (repository_id, name)) is not None:
        return row
    row = UpkeepTask(repository_id=repository_id, name=name, due_at=first_due(), leased_to="")
    try:
        with db.begin_nested():
            db.add(row)
            db.flush()
    except IntegrityError:
        return None
    return row
