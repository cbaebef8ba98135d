"""Requests: how a job comes to be."""

from datetime import datetime
from typing import Any

from sqlalchemy import and_, false, or_, select
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict
from backstay.domain.job import JobKind, JobState, Trigger
from backstay.protocol.report import StepReport
from backstay.server.fleet import is_connected
from backstay.server.job_queue.states import OPEN, WAITING, log, set_state
from backstay.server.tables import BackupSetRow, FileServer, JobRow

REQUEST_STEP = "request"


def request_backup(
    db: Session,
    backup_set: BackupSetRow,
    *,
    now: datetime,
    trigger: Trigger,
    requested_by: str,
    scheduled_for: datetime | None = None,
    not_after: datetime | None = None,
    not_before: datetime | None = None,
    attempt: int = 1,
    retry_of: int | None = None,
) -> JobRow:
    """Request a backup; see WORKFLOW.md, "Step 1 in detail".

    A manual request for an agent that is not running makes a job that has failed already.

    Raises:
        Conflict: asked for by hand while another job of the set is open, or the set is switched off.
    """
    server = backup_set.file_server
    by_hand = trigger is Trigger.ADMINISTRATOR
    if by_hand:
        _refuse_second(db, backup_set, now)
    job = JobRow(
        kind=JobKind.BACKUP.value,
        state=JobState.QUEUED.value,
        trigger=trigger.value,
        requested_by=requested_by,
        file_server_id=server.id,
        backup_set_id=backup_set.id,
        repository_id=backup_set.repository_id,
        created_at=now,
        scheduled_for=scheduled_for,
        not_before=not_before,
        not_after=not_after,
        attempt=attempt,
        retry_of=retry_of,
        steps=[_request_step(now, requested_by)],
    )
    db.add(job)
    db.flush()
    log(db, job, f"requested by {requested_by}", now)
    if not is_connected(server, now):
        silent = silence_of(server, now)
        if by_hand:
            hint = "start the agent there (`systemctl start backstay-agent`), then back up again"
            set_state(db, job, JobState.FAILED, now, reason=f"the agent is not running: {silent}", hint=hint)
        else:
            set_state(db, job, JobState.WAITING_FOR_AGENT, now)
            log(db, job, f"waiting for the agent: {silent}", now)
    return job


def request_restore(
    db: Session,
    server: FileServer,
    *,
    now: datetime,
    requested_by: str,
    repository_id: str,
    restore_point_id: str,
    request: dict[str, Any],
) -> JobRow:
    """Request a restore onto a file server, whose agent must be running.

    Args:
        request: fields of a RestoreTicket: target, paths, existing and so on.
    """
    job = JobRow(
        kind=JobKind.RESTORE.value,
        state=JobState.QUEUED.value,
        trigger=Trigger.ADMINISTRATOR.value,
        requested_by=requested_by,
        file_server_id=server.id,
        repository_id=repository_id,
        restore_point_id=restore_point_id,
        request=request,
        created_at=now,
        steps=[_request_step(now, requested_by)],
    )
    db.add(job)
    db.flush()
    log(db, job, f"requested by {requested_by}", now)
    if not is_connected(server, now):
        hint = "start the agent there (`systemctl start backstay-agent`), then restore again"
        reason = f"the agent is not running: {silence_of(server, now)}"
        set_state(db, job, JobState.FAILED, now, reason=reason, hint=hint)
    return job


def request_server_job(
    db: Session,
    kind: JobKind,
    repository_id: str,
    *,
    now: datetime,
    trigger: Trigger,
    requested_by: str,
    request: dict[str, Any] | None = None,
) -> JobRow:
    """Request a job that the server itself runs.

    Raises:
        Conflict: one of that kind is open already for the repository.
    """
    other = db.scalars(
        select(JobRow).where(
            JobRow.repository_id == repository_id, JobRow.kind == kind.value, JobRow.state.in_(OPEN)
        )
    ).first()
    if other is not None:
        raise Conflict(f"job {other.id} does that already", hint=f"follow it: `backstay jobs {other.id}`")
    job = JobRow(
        kind=kind.value,
        state=JobState.QUEUED.value,
        trigger=trigger.value,
        requested_by=requested_by,
        repository_id=repository_id,
        request=request or {},
        created_at=now,
    )
    db.add(job)
    db.flush()
    log(db, job, f"requested by {requested_by}", now)
    return job


def _request_step(now: datetime, requested_by: str) -> dict[str, Any]:
    at = int(now.timestamp() * 1e9)
    step = StepReport(
        name=REQUEST_STEP, state="running", started_ns=at, messages=[f"requested by {requested_by}"]
    )
    return step.model_dump(mode="json")


def silence_of(server: FileServer, now: datetime) -> str:
    """Why the agent of a file server counts as not running, in words."""
    if server.agent_key_hash is None:
        return f"{server.name} has no agent that is enrolled"
    if server.last_seen_at is None:
        return f"the agent of {server.name} has never been heard of"
    return f"{server.name} was last heard of at {server.last_seen_at:%Y-%m-%d %H:%M:%S} UTC"


def _refuse_second(db: Session, backup_set: BackupSetRow, now: datetime) -> None:
    if backup_set.removed_at is not None or not backup_set.enabled:
        raise Conflict(
            f"the set {backup_set.name} is switched off", hint="switch it on first, then back up again"
        )
    # Two who ask at the same time take turns here.
    db.execute(
        select(BackupSetRow.id).where(BackupSetRow.id == backup_set.id).with_for_update(key_share=True)
    )
    about_to_run = and_(JobRow.state.in_(WAITING), or_(JobRow.not_before.is_(None), JobRow.not_before <= now))
    # What waits for an agent that is not running stands in nobody's way: the request fails, and says why.
    if not is_connected(backup_set.file_server, now):
        about_to_run = false()
    open_job = db.scalars(
        select(JobRow)
        .where(
            JobRow.backup_set_id == backup_set.id,
            JobRow.kind == JobKind.BACKUP.value,
            or_(JobRow.state == JobState.RUNNING.value, about_to_run),
        )
        .order_by(JobRow.state != JobState.RUNNING.value, JobRow.id)
    ).first()
    if open_job is not None:
        state = JobState(open_job.state).in_words
        raise Conflict(
            f"job {open_job.id} of the set {backup_set.name} is {state} already",
            hint=f"follow it with `backstay jobs show {open_job.id} --follow`, or cancel it first",
        )
