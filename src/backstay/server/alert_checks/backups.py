"""Backups that did not happen, failed, or are not complete."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.job import GOOD_STATES, OPEN_STATES, JobKind, JobState
from backstay.domain.schedule import next_runs
from backstay.server.alert_checks.finding import AlertKind, Facts, Finding, Severity, ago, moment
from backstay.server.alert_checks.set_facts import SetFacts
from backstay.server.tables import JobProblem, JobRow, RepositoryRow

_NAMED_FILES = 5


def missed(facts: Facts) -> Iterator[Finding]:
    """A scheduled time has passed, and neither has a backup ended well since nor is one on its way."""
    grace = timedelta(seconds=facts.limits.missed_after_seconds)
    for one in facts.sets:
        due = _missed_time(one, facts.now, grace)
        if due is None:
            continue
        good = one.protected_at
        last = (
            f"the last good one ended {ago(facts.now, good)}" if good else "there has never been a good one"
        )
        yield Finding(
            AlertKind.MISSED,
            Severity.CRITICAL,
            one.subject,
            f"{one.name} was not backed up as scheduled at {moment(due)}{_why_missed(one, due)}; {last}",
            "see that its agent runs and that the backup window is long enough, then back up now",
            file_server_id=one.row.file_server_id,
            backup_set_id=one.row.id,
            job_id=one.last.id if one.last else None,
        )


def _missed_time(one: SetFacts, now: datetime, grace: timedelta) -> datetime | None:
    until = now - grace
    for job in one.open_jobs:
        waits_for_its_time = job.not_before is not None and job.not_before > until
        if job.state == JobState.RUNNING.value or waits_for_its_time:
            return None
    good = one.protected_at
    last = one.last
    asked_for = last.scheduled_for if last is not None and last.state in _NOT_RUN else None
    if asked_for is not None and asked_for <= until and not one.open_jobs and (not good or good < asked_for):
        return asked_for
    if not one.schedules:
        return None
    due = next_runs(one.schedules, _looked_at_until(one), 2)
    # What waits for its agent, or for another job, is not missed before the next time comes.
    late = due[1:] if one.open_jobs else due
    return due[0] if late and late[0] <= until else None


_NOT_RUN = {JobState.SKIPPED.value, JobState.CANCELLED.value}


def _looked_at_until(one: SetFacts) -> datetime:
    """Scheduled times up to here were met, or have an alert of their own, or did not exist yet."""
    times = [one.row.created_at, one.row.updated_at, one.protected_at]
    if one.row.policy is not None:
        times.append(one.row.policy.updated_at)
    if one.last_run is not None:
        times.append(one.last_run.created_at)
    return max(at for at in times if at is not None)


def _why_missed(one: SetFacts, due: datetime) -> str:
    waiting = [job for job in one.open_jobs if job.state == JobState.WAITING_FOR_AGENT.value]
    if waiting:
        return f": job {waiting[0].id} waits for the agent"
    if one.open_jobs:
        return f": job {one.open_jobs[0].id} is still queued"
    if one.last is not None and one.last.state in _NOT_RUN and (one.last.scheduled_for or due) >= due:
        return f": {one.last.reason}" if one.last.reason else f": job {one.last.id} was {one.last.state}"
    return ""


def failed(facts: Facts) -> Iterator[Finding]:
    """The last backup of a set failed or was aborted, and no further attempt is to come."""
    for one in facts.sets:
        job = one.last_run
        if job is None or JobState(job.state) in GOOD_STATES or one.another_attempt_is_open:
            continue
        good = one.protected_at
        if good is not None and job.ended_at is not None and good > job.ended_at:
            continue
        tried = f" after {job.attempt} attempts" if job.attempt > 1 else ""
        yield Finding(
            AlertKind.FAILED,
            Severity.CRITICAL,
            one.subject,
            f"the backup of {one.name} {_ended(job)}{tried}: {job.reason or 'no reason was given'}",
            job.hint or f"look at job {job.id}, then back up again",
            file_server_id=one.row.file_server_id,
            backup_set_id=one.row.id,
            job_id=job.id,
        )


def server_jobs_failed(facts: Facts) -> Iterator[Finding]:
    """The last verify, prune or drill of a repository failed."""
    db = facts.db
    for repository in db.scalars(select(RepositoryRow)).all():
        for kind in (kind for kind in JobKind if not kind.runs_on_agent):
            job = db.scalars(
                select(JobRow)
                .where(
                    JobRow.repository_id == repository.id,
                    JobRow.kind == kind.value,
                    JobRow.state.not_in([state.value for state in OPEN_STATES]),
                )
                .order_by(JobRow.created_at.desc(), JobRow.id.desc())
                .limit(1)
            ).first()
            if job is None or job.state not in {JobState.FAILED.value, JobState.ABORTED.value}:
                continue
            yield Finding(
                AlertKind.FAILED,
                Severity.CRITICAL,
                f"repository:{repository.id}:{kind.value}",
                f"the {kind.value} of the repository {repository.name} {_ended(job)}: {job.reason}",
                job.hint or f"look at job {job.id}, then run it again",
                job_id=job.id,
            )


def _ended(job: JobRow) -> str:
    return "failed" if job.state == JobState.FAILED.value else "was aborted"


def incomplete(facts: Facts) -> Iterator[Finding]:
    """The last backup of a set ended well, yet some files are not in it as they should be."""
    for one in facts.sets:
        job = one.last_good
        if job is None or job.state != JobState.SUCCEEDED_WITH_WARNINGS.value:
            continue
        standing = facts.standing_for(AlertKind.INCOMPLETE, one.subject)
        if standing is not None and standing.job_id == job.id:
            # Reading ten thousand names for each set again would find the same.
            severity, text, hint = Severity(standing.severity), standing.text, standing.hint
        else:
            severity, text, hint = _incomplete_text(facts, one, job)
        yield Finding(
            AlertKind.INCOMPLETE,
            severity,
            one.subject,
            text,
            hint,
            file_server_id=one.row.file_server_id,
            backup_set_id=one.row.id,
            job_id=job.id,
        )


def _incomplete_text(facts: Facts, one: SetFacts, job: JobRow) -> tuple[Severity, str, str]:
    count = max(job.problem_count, 1)
    text = f"the last backup of {one.name} lacks a good copy of {count} file{'s' if count > 1 else ''}"
    stale = _stale_paths(facts, one, job)
    if not stale:
        return Severity.WARNING, text, f"job {job.id} lists each with its reason"
    named = ", ".join(os.fsdecode(path) for path in stale[:_NAMED_FILES])
    more = f" and {len(stale) - _NAMED_FILES} more" if len(stale) > _NAMED_FILES else ""
    named = named.encode("utf-8", "backslashreplace").decode()
    text += f"; without a good copy for {facts.limits.stale_days} days or longer: {named}{more}"
    hint = f"close what holds them, let the set use recovery points, or exclude them; see job {job.id}"
    return Severity.CRITICAL, text, hint


def _stale_paths(facts: Facts, one: SetFacts, job: JobRow) -> list[bytes]:
    """Files with a problem in every backup that ended well since the limit, and in the one before it."""
    limit = facts.now - timedelta(days=facts.limits.stale_days)
    good = [state.value for state in GOOD_STATES]
    of_set = (JobRow.backup_set_id == one.row.id, JobRow.kind == JobKind.BACKUP.value, JobRow.state.in_(good))
    db = facts.db
    before = db.scalars(
        select(JobRow.id)
        .where(*of_set, JobRow.created_at <= limit)
        .order_by(JobRow.created_at.desc())
        .limit(1)
    ).first()
    if before is None:
        return []
    since = db.scalars(
        select(JobRow.id).where(*of_set, JobRow.created_at > limit).order_by(JobRow.created_at)
    ).all()
    left = _problem_paths(db, job.id)
    for number in [before, *since]:
        if not left:
            break
        left &= _problem_paths(db, number)
    return sorted(left)


def _problem_paths(db: Session, job_id: int) -> set[bytes]:
    return set(db.scalars(select(JobProblem.path).where(JobProblem.job_id == job_id)).all())
