"""How well each backup set is protected at this time, and when it runs next."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeVar

from sqlalchemy import ScalarSelect, Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, defer, joinedload

from backstay.domain.job import GOOD_STATES, OPEN_STATES, JobKind
from backstay.domain.policy import BackupPolicy
from backstay.domain.schedule import next_runs
from backstay.server.policies import policy_of
from backstay.server.tables import BackupSetRow, FileServer, JobRow, RestorePointRow

_GRACE = timedelta(hours=6)
"""A scheduled backup may take so long before its set counts as overdue."""

_Id = TypeVar("_Id", int, str)

_OPEN = [state.value for state in OPEN_STATES]
_GOOD = {state.value for state in GOOD_STATES}
_NOT_JUDGED = {*_OPEN, "cancelled", "skipped", *_GOOD}


class Protection(StrEnum):
    """How a set stands; the first that applies counts."""

    DISABLED = "disabled"
    UNPROTECTED = "unprotected"
    """It has no restore point."""
    FAILING = "failing"
    """Its last backup failed or was aborted."""
    OVERDUE = "overdue"
    """Its newest complete restore point is older than its schedule allows."""
    INCOMPLETE = "incomplete"
    """Its newest restore point lacks files."""
    PROTECTED = "protected"


@dataclass(frozen=True)
class Standing:
    """One set, and what its protection is judged by.

    Attributes:
        newest: the newest restore point.
        good_at: when the newest complete and undamaged one was committed.
        job: the last backup job, whatever its state; `running`: it is not over.
        next_run: None where nothing is scheduled.
    """

    set: BackupSetRow
    state: Protection
    newest: RestorePointRow | None
    good_at: datetime | None
    job: JobRow | None
    next_run: datetime | None

    @property
    def running(self) -> bool:
        """Whether a backup of it is open."""
        return self.job is not None and self.job.state in _OPEN


def standings(
    db: Session, now: datetime, *, file_server_id: int | None = None, set_ids: Sequence[int] | None = None
) -> list[Standing]:
    """All sets that are not removed, by file server and name."""
    point, job = aliased(RestorePointRow), aliased(JobRow)
    there = (point.backup_set_id == BackupSetRow.id, point.expired_at.is_(None))
    newest = _newest(select(point.id).where(*there), point.committed_at)
    good = _newest(
        select(point.committed_at).where(*there, point.problems == 0, point.damaged.is_(False)),
        point.committed_at,
    )
    last = _newest(
        select(job.id).where(job.backup_set_id == BackupSetRow.id, job.kind == JobKind.BACKUP.value),
        job.created_at,
    )
    query = (
        select(BackupSetRow, newest.label("newest"), good.label("good"), last.label("last"))
        .join(FileServer)
        .where(BackupSetRow.removed_at.is_(None), FileServer.removed_at.is_(None))
        .order_by(FileServer.name, BackupSetRow.name)
        .options(
            joinedload(BackupSetRow.file_server),
            joinedload(BackupSetRow.policy),
            joinedload(BackupSetRow.content_rule),
        )
    )
    if file_server_id is not None:
        query = query.where(BackupSetRow.file_server_id == file_server_id)
    if set_ids is not None:
        query = query.where(BackupSetRow.id.in_(set_ids))
    rows = db.execute(query).all()
    points = _points(db, (row.newest for row in rows))
    jobs = _jobs(db, (row.last for row in rows))
    timetable = Timetable(now)
    found = []
    for row in rows:
        backup_set: BackupSetRow = row[0]
        next_run, longest = timetable.of(backup_set)
        newest_point, last_job = points.get(row.newest), jobs.get(row.last)
        state = _judge(backup_set, newest_point, row.good, last_job, longest, now)
        found.append(
            Standing(
                backup_set, state, newest_point, row.good, last_job, next_run if backup_set.enabled else None
            )
        )
    return found


class Timetable:
    """When sets run next; sets that share a policy and override nothing share the reckoning."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._of_schedules: dict[tuple[tuple[str, str], ...], tuple[datetime | None, timedelta | None]] = {}
        self._policies: dict[int, BackupPolicy] = {}

    def policy(self, backup_set: BackupSetRow) -> BackupPolicy:
        """The policy that holds for a set."""
        shared = not backup_set.policy_layer and not backup_set.file_server.policy_layer
        if not shared or backup_set.policy_id is None:
            return policy_of(backup_set).policy
        if backup_set.policy_id not in self._policies:
            self._policies[backup_set.policy_id] = policy_of(backup_set).policy
        return self._policies[backup_set.policy_id]

    def of(self, backup_set: BackupSetRow) -> tuple[datetime | None, timedelta | None]:
        """The next run, and the longest time between two runs; None where nothing is scheduled."""
        schedules = self.policy(backup_set).schedules
        key = tuple((one.rule, one.time_zone) for one in schedules)
        if key not in self._of_schedules:
            runs = next_runs(schedules, self._now, 8)
            gaps = [later - earlier for earlier, later in pairwise(runs)]
            self._of_schedules[key] = (runs[0] if runs else None, max(gaps, default=None))
        return self._of_schedules[key]


def _judge(
    backup_set: BackupSetRow,
    newest: RestorePointRow | None,
    good_at: datetime | None,
    job: JobRow | None,
    longest: timedelta | None,
    now: datetime,
) -> Protection:
    if not backup_set.enabled:
        return Protection.DISABLED
    if newest is None:
        return Protection.UNPROTECTED
    if job is not None and job.state not in _NOT_JUDGED:
        return Protection.FAILING
    if longest is not None and (good_at is None or now - good_at > longest + _GRACE):
        return Protection.OVERDUE
    return Protection.INCOMPLETE if newest.problems or newest.damaged else Protection.PROTECTED


def _newest(query: Select[Any], by: InstrumentedAttribute[datetime]) -> ScalarSelect[Any]:
    return query.order_by(by.desc()).limit(1).correlate(BackupSetRow).scalar_subquery()


def _points(db: Session, ids: Iterable[str | None]) -> dict[str, RestorePointRow]:
    query = select(RestorePointRow)
    return {
        row.id: row for some in _some(ids) for row in db.scalars(query.where(RestorePointRow.id.in_(some)))
    }


def _jobs(db: Session, ids: Iterable[int | None]) -> dict[int, JobRow]:
    query = select(JobRow).options(defer(JobRow.steps), defer(JobRow.request))
    return {row.id: row for some in _some(ids) for row in db.scalars(query.where(JobRow.id.in_(some)))}


def _some(ids: Iterable[_Id | None]) -> Iterator[list[_Id]]:
    wanted = [one for one in ids if one is not None]
    for start in range(0, len(wanted), 5000):
        yield wanted[start : start + 5000]
