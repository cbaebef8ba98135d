"""The job queue: the only place that changes a job's state.

A job is leased to one agent process, or to one server process, under an epoch that rises with every lease:
who reports with an older epoch, or from another process, is told that the job is lost to it. Nothing is kept
in memory, so that any server process may answer, and one that dies loses nothing.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, false, or_, select
from sqlalchemy.orm import Session, aliased

from backstay.domain.errors import Conflict, Forbidden, NotFound
from backstay.domain.job import OPEN_STATES, JobKind, JobState, Trigger, check_transition
from backstay.domain.policy import BackupPolicy
from backstay.protocol.report import Outcome, ProblemReport, Report, ReportReply, StepReport
from backstay.server.fleet import is_connected, is_silent
from backstay.server.policies import policy_of
from backstay.server.tables import (
    BackupSetRow,
    FileServer,
    JobMessage,
    JobProblem,
    JobRow,
    RestorePointRow,
)

REQUEST_STEP = "request"

SERVER_LEASE = timedelta(minutes=2)
"""A job that a server process runs is given up when its lease was not renewed for so long."""

LEAST_AGENT_LEASE = timedelta(minutes=5)
_LEASE_MARGIN = timedelta(minutes=2)

_OPEN = [state.value for state in OPEN_STATES]
_WAITING = [JobState.QUEUED.value, JobState.WAITING_FOR_AGENT.value]


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


_BAD = {JobState.FAILED, JobState.ABORTED, JobState.SKIPPED}


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
        silent = _silence(server, now)
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
        reason = f"the agent is not running: {_silence(server, now)}"
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
            JobRow.repository_id == repository_id, JobRow.kind == kind.value, JobRow.state.in_(_OPEN)
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


def _silence(server: FileServer, now: datetime) -> str:
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
    about_to_run = and_(
        JobRow.state.in_(_WAITING), or_(JobRow.not_before.is_(None), JobRow.not_before <= now)
    )
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


def file_servers_with_work(db: Session, now: datetime) -> list[int]:
    """File servers with a job that waits and may begin; where another of its set runs, it has to wait on."""
    found = db.scalars(
        select(JobRow.file_server_id)
        .where(
            JobRow.state.in_(_WAITING),
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
            JobRow.state.in_(_WAITING),
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


def report(db: Session, job: JobRow, report: Report, now: datetime) -> ReportReply:
    """Take in how a job goes, renew its lease, and say whether to go on."""
    job.steps = _merged_steps(job.steps, report.steps, now)
    job.progress = report.progress.model_dump(mode="json")
    job.revision += 1
    for message in report.messages:
        log(db, job, message, now)
    on_agent = JobKind(job.kind).runs_on_agent
    job.leased_until = now + (agent_lease(policy_for(db, job)) if on_agent else SERVER_LEASE)
    time_ns = int(now.timestamp() * 1e9)
    if job.cancel_requested_by:
        return ReportReply(
            verdict="cancel", reason=f"cancelled by {job.cancel_requested_by}", server_time_ns=time_ns
        )
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
        _retry(db, job, now)
    if state is JobState.ABORTED:
        _restart(db, job, now)
    return state


def add_problems(db: Session, job: JobRow, problems: Iterable[ProblemReport]) -> None:
    """Note files that are not as they should be."""
    db.add_all(
        JobProblem(job_id=job.id, path=one.path, reason=one.reason, grade=one.grade) for one in problems
    )


def _retry(db: Session, job: JobRow, now: datetime) -> None:
    if job.backup_set is None or job.kind != JobKind.BACKUP.value or not _wanted(job.backup_set):
        return
    retries = policy_for(db, job).retries
    if job.attempt > retries.count:
        return
    later = now + retries.delay
    again = request_backup(
        db,
        job.backup_set,
        now=now,
        trigger=Trigger.RETRY,
        requested_by=f"job {job.id}, which failed",
        not_before=later,
        not_after=job.not_after,
        attempt=job.attempt + 1,
        retry_of=job.retry_of or job.id,
    )
    log(db, job, f"tried again as job {again.id} at {later:%H:%M:%S} UTC", now)


def _restart(db: Session, job: JobRow, now: datetime) -> None:
    """A fresh backup at once after one that was aborted, where the policy asks for it."""
    if job.backup_set is None or job.kind != JobKind.BACKUP.value or not _wanted(job.backup_set):
        return
    if policy_for(db, job).restart_after_abort:
        again = request_backup(
            db,
            job.backup_set,
            now=now,
            trigger=Trigger.RESTART,
            requested_by=f"job {job.id}, which was aborted",
            not_after=job.not_after,
        )
        log(db, job, f"followed by job {again.id}", now)


def _wanted(backup_set: BackupSetRow) -> bool:
    """Whether backups of the set are still wanted."""
    return backup_set.enabled and backup_set.removed_at is None


def will_be_retried(db: Session, job: JobRow) -> bool:
    """Whether another attempt of this job is still to come or under way: alerts wait for the last."""
    first = job.retry_of or job.id
    return (
        db.scalars(
            select(JobRow.id).where(JobRow.retry_of == first, JobRow.id > job.id, JobRow.state.in_(_OPEN))
        ).first()
        is not None
    )


def cancel(db: Session, job: JobRow, by: str, now: datetime) -> None:
    """Cancel a job: at once if nobody runs it, else as soon as its agent hears of it. Raises Conflict."""
    state = JobState(job.state)
    if state.ended:
        raise Conflict(f"job {job.id} has ended already: {state.in_words}")
    if state is JobState.RUNNING:
        job.cancel_requested_by = by
        job.revision += 1
        log(db, job, f"{by} asked for it to be cancelled", now)
    else:
        set_state(db, job, JobState.CANCELLED, now, reason=f"cancelled by {by}")


def abort_lost(db: Session, server: FileServer, now: datetime, *, machine_restarted: bool) -> list[JobRow]:
    """Abort what an agent process ran that is no more, as another has taken its place."""
    what = f"the file server {server.name}" if machine_restarted else f"the agent of {server.name}"
    jobs = db.scalars(
        select(JobRow)
        .where(
            JobRow.file_server_id == server.id,
            JobRow.state == JobState.RUNNING.value,
            JobRow.leased_to != server.instance,
        )
        .with_for_update()
    ).all()
    for job in jobs:
        if _settle_committed(db, job, now):
            continue
        hint = "a fresh backup follows the schedule, or start one now; what was stored is not sent again"
        set_state(db, job, JobState.ABORTED, now, reason=f"{what} was restarted while it ran", hint=hint)
        _restart(db, job, now)
    return list(jobs)


def _settle_committed(db: Session, job: JobRow, now: datetime) -> bool:
    """End a backup by what its restore point says, where it was committed and the outcome never came."""
    if job.kind != JobKind.BACKUP.value or job.restore_point_id is None:
        return False
    point = db.get(RestorePointRow, job.restore_point_id)
    if point is None:
        return False
    job.problem_count = point.problems
    state = JobState.SUCCEEDED_WITH_WARNINGS if point.problems else JobState.SUCCEEDED
    log(db, job, "the agent went away after the restore point was committed", now, level="warning")
    set_state(db, job, state, now)
    return True


_RUN_BY_REVOKED = (
    select(JobRow)
    .join(JobRow.file_server)
    .where(JobRow.state == JobState.RUNNING.value, FileServer.agent_key_hash.is_(None))
)


def reap(db: Session, now: datetime) -> list[JobRow]:
    """End jobs that nobody renews, and skip those whose window has closed. Returns those that have ended."""
    ended: list[JobRow] = []
    for job in db.scalars(_RUN_BY_REVOKED.with_for_update(of=JobRow, skip_locked=True)).all():
        if not _settle_committed(db, job, now):
            hint = "enrol the file server's agent anew, then back up again"
            set_state(db, job, JobState.ABORTED, now, reason="its agent's credential was revoked", hint=hint)
        ended.append(job)
    silent = select(JobRow).where(JobRow.state == JobState.RUNNING.value, JobRow.leased_until < now)
    for job in db.scalars(silent.with_for_update(skip_locked=True)).all():
        if _settle_committed(db, job, now):
            ended.append(job)
            continue
        who = job.file_server.name if job.file_server else "the server process that ran it"
        reason = f"nothing was heard of {who} for too long"
        set_state(db, job, JobState.ABORTED, now, reason=reason, hint="look at its connection and its log")
        _restart(db, job, now)
        ended.append(job)
    late = select(JobRow).where(JobRow.state.in_(_WAITING), JobRow.not_after <= now)
    for job in db.scalars(late.with_for_update(skip_locked=True)).all():
        set_state(db, job, JobState.SKIPPED, now, reason=_why_skipped(db, job, now))
        ended.append(job)
    waiting = (
        select(JobRow)
        .join(JobRow.file_server)
        .where(JobRow.state == JobState.QUEUED.value, is_silent(now))
        .with_for_update(of=JobRow, skip_locked=True)
    )
    for job in db.scalars(waiting).all():
        if job.file_server is not None:
            set_state(db, job, JobState.WAITING_FOR_AGENT, now)
            log(db, job, f"waiting for the agent: {_silence(job.file_server, now)}", now)
    return ended


def _why_skipped(db: Session, job: JobRow, now: datetime) -> str:
    closed = f"the backup window closed at {job.not_after:%H:%M} UTC" if job.not_after else "it is too late"
    if job.state == JobState.WAITING_FOR_AGENT.value and job.file_server is not None:
        return f"{closed} while it waited for the agent: {_silence(job.file_server, now)}"
    other = db.scalars(
        select(JobRow).where(
            JobRow.backup_set_id == job.backup_set_id, JobRow.state == JobState.RUNNING.value
        )
    ).first()
    return (
        f"{closed} while job {other.id} of the same set was running" if other else f"{closed} before it began"
    )
