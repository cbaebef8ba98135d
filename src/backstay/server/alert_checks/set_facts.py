"""How the last backups of every set went, read with few indexed queries."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, select
from sqlalchemy.orm import Session, joinedload, load_only

from backstay.domain.job import GOOD_STATES, OPEN_STATES, JobKind, JobState, Trigger
from backstay.domain.schedule import Schedule
from backstay.server.policies import policy_of
from backstay.server.tables import BackupSetRow, FileServer, JobRow, RestorePointRow

_GOOD = [state.value for state in GOOD_STATES]
_BAD = [JobState.FAILED.value, JobState.ABORTED.value]
_ENDED = [state.value for state in JobState if state.ended]
_CHUNK = 500


@dataclass(frozen=True)
class SetFacts:
    """One backup set.

    Attributes:
        schedules: of its resolved policy.
        last: the job that was asked for last and has ended, however it did.
        last_run: the last that ended well or badly, so neither cancelled nor skipped.
        last_good: the last that ended well.
        last_point_at: when its latest restore point was committed.
        open_jobs: not ended yet, the oldest first.
    """

    row: BackupSetRow
    schedules: tuple[Schedule, ...]
    last: JobRow | None
    last_run: JobRow | None
    last_good: JobRow | None
    last_point_at: datetime | None
    open_jobs: tuple[JobRow, ...]

    @property
    def subject(self) -> str:
        """As alerts name it."""
        return f"set:{self.row.id}"

    @property
    def name(self) -> str:
        """As people name it."""
        return f"{self.row.file_server.name}: {self.row.name}"

    @property
    def protected_at(self) -> datetime | None:
        """When the last good backup ended."""
        times = [self.last_point_at, self.last_good.ended_at if self.last_good else None]
        return max((at for at in times if at is not None), default=None)

    @property
    def another_attempt_is_open(self) -> bool:
        """Whether a failure is not yet the last word: it is being tried again."""
        again = {Trigger.RETRY.value, Trigger.RESTART.value}
        return any(job.trigger in again for job in self.open_jobs)


def load_sets(db: Session) -> list[SetFacts]:
    """Every set that is switched on, of every file server that is still there."""
    found = db.execute(
        select(
            BackupSetRow,
            _latest(JobRow.state.in_(_ENDED)),
            _latest(JobRow.state.in_(_GOOD + _BAD)),
            _latest(JobRow.state.in_(_GOOD)),
            select(RestorePointRow.committed_at)
            .where(RestorePointRow.backup_set_id == BackupSetRow.id)
            .order_by(RestorePointRow.committed_at.desc())
            .limit(1)
            .scalar_subquery(),
        )
        .join(BackupSetRow.file_server)
        .where(
            BackupSetRow.enabled.is_(True),
            BackupSetRow.removed_at.is_(None),
            FileServer.removed_at.is_(None),
        )
        .options(joinedload(BackupSetRow.file_server), joinedload(BackupSetRow.policy))
    ).all()
    wanted = {number for row in found for number in row[1:4] if number is not None}
    jobs = _jobs(db, sorted(wanted))
    open_jobs: dict[int, list[JobRow]] = {}
    for job in db.scalars(
        select(JobRow)
        .where(JobRow.state.in_([state.value for state in OPEN_STATES]), JobRow.backup_set_id.is_not(None))
        .order_by(JobRow.id)
        .options(_COLUMNS)
    ):
        if job.kind == JobKind.BACKUP.value:
            open_jobs.setdefault(job.backup_set_id or 0, []).append(job)
    return [
        SetFacts(
            row=row,
            schedules=policy_of(row).policy.schedules,
            last=jobs.get(last or 0),
            last_run=jobs.get(run or 0),
            last_good=jobs.get(good or 0),
            last_point_at=point,
            open_jobs=tuple(open_jobs.get(row.id, ())),
        )
        for row, last, run, good, point in found
    ]


_COLUMNS = load_only(
    JobRow.kind,
    JobRow.state,
    JobRow.trigger,
    JobRow.backup_set_id,
    JobRow.created_at,
    JobRow.scheduled_for,
    JobRow.not_before,
    JobRow.ended_at,
    JobRow.reason,
    JobRow.hint,
    JobRow.attempt,
    JobRow.retry_of,
    JobRow.problem_count,
)


def _latest(condition: ColumnElement[bool]) -> ScalarSelect[int]:
    return (
        select(JobRow.id)
        .where(JobRow.backup_set_id == BackupSetRow.id, JobRow.kind == JobKind.BACKUP.value, condition)
        .order_by(JobRow.created_at.desc(), JobRow.id.desc())
        .limit(1)
        .correlate(BackupSetRow)
        .scalar_subquery()
    )


def _jobs(db: Session, numbers: list[int]) -> dict[int, JobRow]:
    jobs: dict[int, JobRow] = {}
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        for job in db.scalars(select(JobRow).where(JobRow.id.in_(chunk)).options(_COLUMNS)):
            jobs[job.id] = job
    return jobs
