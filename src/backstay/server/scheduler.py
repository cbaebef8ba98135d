"""Asks for backups when schedules say so: each scheduled time once, however many server processes look.

Each set notes up to when its scheduled times were looked at, and when the next is due; a look at a fleet in
which nothing is due is one question to an index. Whoever looks locks the set's row, and a job is unique for
its set and scheduled time, so that no time asks twice, whoever dies meanwhile. Which times ask, and what
becomes of those that nobody saw: domain.due, and docs/decisions/0019-schedules-and-windows.md.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import Session, selectinload

from backstay.domain.due import Due, last_due
from backstay.domain.errors import BackstayError
from backstay.domain.job import JobKind, JobState, Trigger
from backstay.domain.policy import BackupPolicy
from backstay.domain.schedule import next_runs
from backstay.domain.window import BackupWindow
from backstay.server import job_queue
from backstay.server.control import Control
from backstay.server.policies import policy_of
from backstay.server.tables import LONG_AGO, BackupSetRow, JobRow, RestorePointRow

EVERY_SECONDS = 5.0
THE_SCHEDULE = "the schedule"

_BATCH = 50
_LATE = timedelta(minutes=2)
_CLOCKS_DIFFER = timedelta(minutes=1)
"""By so much the clocks of several servers may differ; more means that a clock was set back."""
_AFTER_A_DEFECT = timedelta(minutes=10)
_WAITING = [JobState.QUEUED.value, JobState.WAITING_FOR_AGENT.value]


def tick(control: Control) -> int:
    """Ask for every backup that is due. Returns how many sets were looked at."""
    looked = 0
    while True:
        now = control.clock()
        # Most looks find nothing: they only read, and take no turn among the writers.
        with control.database.read() as db:
            if not db.scalar(select(exists().where(or_(_due(now), _from_the_future(now))))):
                return looked
        with control.database.begin() as db:
            after_clock_was_set_back(db, now)
            sets = _locked(db, _due(now))
            for backup_set in sets:
                look(db, backup_set, now)
        control.wakeups.wake()
        looked += len(sets)
        if not sets:
            return looked


def look(db: Session, backup_set: BackupSetRow, now: datetime) -> None:
    """Ask for a backup of this set, whose row is locked, if one is due; and note when to look again.

    A policy that makes no sense any more (a time zone that this machine does not know) is looked at again
    later, and stops no other set.
    """
    if backup_set.removed_at is not None or not backup_set.enabled:
        backup_set.next_due_at = None
        return
    try:
        policy = policy_of(backup_set).policy
    except BackstayError as error:
        structlog.get_logger().warning("no schedule", backup_set=backup_set.name, what=error.what)
        backup_set.next_due_at = now + _AFTER_A_DEFECT
        return
    since = backup_set.scheduled_until or backup_set.created_at
    if policy.schedules and since < now:
        due = last_due(policy.schedules, _window(db, backup_set, policy), since, now)
        if due is not None:
            _ask(db, backup_set, due, now)
    backup_set.scheduled_until = max(since, now)
    backup_set.next_due_at = next(iter(next_runs(policy.schedules, backup_set.scheduled_until, 1)), None)


def settle(db: Session, which: ColumnElement[bool], now: datetime) -> None:
    """Ask for what is due of these sets by the policy that still holds, just before it is changed."""
    while sets := _locked(db, and_(_due(now), which)):
        for backup_set in sets:
            look(db, backup_set, now)
        db.flush()


def reckon_anew(db: Session, which: ColumnElement[bool], now: datetime) -> None:
    """The schedules of these sets have changed: what the new ones would have asked for before is not due."""
    db.execute(
        update(BackupSetRow)
        .where(which)
        .values(scheduled_until=now, next_due_at=LONG_AGO)
        .execution_options(synchronize_session="fetch")
    )


def after_clock_was_set_back(db: Session, now: datetime) -> None:
    """No set waits until the clock is where it was before.

    A scheduled time that asked already does not ask again when the clock comes by a second time.
    """
    reckon_anew(db, _from_the_future(now), now)


def _due(now: datetime) -> ColumnElement[bool]:
    return BackupSetRow.next_due_at <= now


def _from_the_future(now: datetime) -> ColumnElement[bool]:
    return BackupSetRow.scheduled_until > now + _CLOCKS_DIFFER


def _locked(db: Session, which: ColumnElement[bool]) -> list[BackupSetRow]:
    """Some of the sets, which nobody else looks at until the transaction ends."""
    query = (
        select(BackupSetRow)
        .where(which)
        .order_by(BackupSetRow.next_due_at, BackupSetRow.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True, key_share=True)
        .options(
            selectinload(BackupSetRow.file_server),
            selectinload(BackupSetRow.policy),
        )
        .execution_options(populate_existing=True)
    )
    return list(db.scalars(query))


def _window(db: Session, backup_set: BackupSetRow, policy: BackupPolicy) -> BackupWindow:
    """The window that holds for the set: none for its first full backup, where the policy says so."""
    if policy.window.is_unlimited or not policy.first_full_ignores_window:
        return policy.window
    has_points = db.scalar(
        select(
            exists().where(
                RestorePointRow.backup_set_id == backup_set.id, RestorePointRow.expired_at.is_(None)
            )
        )
    )
    return policy.window if has_points else BackupWindow()


def _ask(db: Session, backup_set: BackupSetRow, due: Due, now: datetime) -> None:
    asked = exists().where(JobRow.backup_set_id == backup_set.id, JobRow.scheduled_for == due.scheduled_for)
    with db.no_autoflush:
        if db.scalar(select(asked)):
            return
    job = job_queue.request_backup(
        db,
        backup_set,
        now=now,
        trigger=Trigger.SCHEDULE,
        requested_by=THE_SCHEDULE,
        scheduled_for=due.scheduled_for,
        not_before=due.not_before,
        not_after=due.not_after,
    )
    late = now - due.scheduled_for > _LATE
    if late:
        text = f"it was due at {_shown(due.scheduled_for)}, when nobody looked at the schedule"
        others = ", and stands for all times that passed unseen" if due.stands_for_others else ""
        job_queue.log(db, job, f"{text} (no server ran, or the clock was set forward){others}", now)
    if due.not_after is not None and due.not_after <= now:
        reason = f"the backup window closed at {_shown(due.not_after)}, while no server ran"
        hint = "start it now, or wait for the next scheduled time"
        job_queue.set_state(db, job, JobState.SKIPPED, now, reason=reason, hint=hint)
        return
    if due.not_before is not None and due.not_before > now:
        job_queue.log(db, job, f"waiting for the backup window, which opens at {_shown(due.not_before)}", now)
    _supersede(db, job, now)


def _supersede(db: Session, newer: JobRow, now: datetime) -> None:
    """Of one set at most one request by schedule waits: the newest."""
    older = select(JobRow).where(
        JobRow.backup_set_id == newer.backup_set_id,
        JobRow.kind == JobKind.BACKUP.value,
        JobRow.state.in_(_WAITING),
        JobRow.trigger != Trigger.ADMINISTRATOR.value,
        JobRow.id < newer.id,
    )
    # Nothing that waits to be written bears upon it: to write it first, set by set, is what takes the time.
    with db.no_autoflush:
        waiting = db.scalars(older.order_by(JobRow.id).with_for_update()).all()
    if not waiting:
        return
    running = db.scalars(
        select(JobRow.id).where(
            JobRow.backup_set_id == newer.backup_set_id, JobRow.state == JobState.RUNNING.value
        )
    ).first()
    for job in waiting:
        if job.state not in _WAITING:
            continue
        while_what = f" while job {running} of the same set was running" if running else ""
        if job.state == JobState.WAITING_FOR_AGENT.value:
            while_what = " while it waited for the agent"
        reason = f"the set's next time came{while_what}: job {newer.id} takes its place"
        job_queue.set_state(db, job, JobState.SKIPPED, now, reason=reason)


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
