"""How well each backup set is protected at this time, and when it runs next."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ScalarSelect, Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, joinedload

from backstay.domain.job import GOOD_STATES, OPEN_STATES, JobKind
from backstay.domain.policy import BackupPolicy
from backstay.domain.schedule import next_runs
from backstay.protocol.policy_document import PolicyValues
from backstay.server.policies import policy_of
from backstay.server.tables import BackupSetRow, FileServer, JobRow, PolicyRow, RestorePointRow

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


class NamedView(NamedTuple):
    """A file server or a policy, by its number."""

    id: int
    name: str


class SetView(NamedTuple):
    """A backup set, as lists show it."""

    id: int
    name: str
    enabled: bool
    paths: Sequence[str]
    file_server: NamedView
    policy: NamedView | None
    removed: bool


class PointView(NamedTuple):
    """A restore point, as lists show it."""

    id: str
    committed_at: datetime
    files: int
    bytes: int
    problems: int
    damaged: bool


class JobView(NamedTuple):
    """A job, as lists show it."""

    id: int
    state: str
    reason: str
    hint: str


@dataclass(frozen=True)
class Standing:
    """One set, and what its protection is judged by.

    Attributes:
        newest: the newest restore point.
        good_at: when the newest complete and undamaged one was committed.
        job: the last backup job, whatever its state; `running`: it is not over.
        next_run: None where nothing is scheduled.
    """

    set: SetView
    state: Protection
    newest: PointView | None
    good_at: datetime | None
    job: JobView | None
    next_run: datetime | None

    @property
    def running(self) -> bool:
        """Whether a backup of it is open."""
        return self.job is not None and self.job.state in _OPEN


def standings(
    db: Session,
    now: datetime,
    *,
    file_server_id: int | None = None,
    set_ids: Sequence[int] | None = None,
    with_removed: bool = False,
) -> list[Standing]:
    """All sets by file server and name; thousands of them in a fraction of a second.

    Args:
        with_removed: also sets that were removed, whose restore points may still be there.
    """
    rows = db.execute(_query(file_server_id, set_ids, with_removed)).all()
    points = _points(db, (row.newest for row in rows))
    jobs = _jobs(db, (row.last for row in rows))
    timetable = _Timetable(db, now, [row.id for row in rows if row.layer or row.server_layer])
    found = []
    for row in rows:
        next_run, longest = timetable.of(row.id, row.policy_id)
        newest, job = points.get(row.newest), jobs.get(row.last)
        policy = timetable.name_of(row.policy_id)
        of = SetView(
            row.id,
            row.name,
            row.enabled,
            row.paths,
            NamedView(row.server_id, row.server_name),
            policy,
            row.removed_at is not None,
        )
        state = _judge(of, newest, row.good, job, longest, now)
        found.append(Standing(of, state, newest, row.good, job, next_run if row.enabled else None))
    return found


def _query(file_server_id: int | None, set_ids: Sequence[int] | None, with_removed: bool) -> Select[Any]:
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
        select(
            BackupSetRow.id,
            BackupSetRow.name,
            BackupSetRow.enabled,
            BackupSetRow.removed_at,
            BackupSetRow.paths,
            BackupSetRow.policy_id,
            BackupSetRow.policy_layer.label("layer"),
            FileServer.id.label("server_id"),
            FileServer.name.label("server_name"),
            FileServer.policy_layer.label("server_layer"),
            newest.label("newest"),
            good.label("good"),
            last.label("last"),
        )
        .join(FileServer, FileServer.id == BackupSetRow.file_server_id)
        .order_by(FileServer.name, BackupSetRow.name)
    )
    if not with_removed:
        query = query.where(BackupSetRow.removed_at.is_(None), FileServer.removed_at.is_(None))
    if file_server_id is not None:
        query = query.where(BackupSetRow.file_server_id == file_server_id)
    if set_ids is not None:
        query = query.where(BackupSetRow.id.in_(set_ids))
    return query


class _Timetable:
    """When sets run next; sets that share a policy and override nothing share the reckoning."""

    def __init__(self, db: Session, now: datetime, own_values: Sequence[int]) -> None:
        self._now = now
        self._policies = {row.id: row for row in db.scalars(select(PolicyRow))}
        self._shared: dict[int | None, tuple[datetime | None, timedelta | None]] = {}
        self._own: Mapping[int, BackupPolicy] = {
            row.id: policy_of(row).policy
            for some in _some(own_values)
            for row in db.scalars(
                select(BackupSetRow)
                .where(BackupSetRow.id.in_(some))
                .options(joinedload(BackupSetRow.file_server), joinedload(BackupSetRow.policy))
            )
        }

    def name_of(self, policy_id: int | None) -> NamedView | None:
        """The policy of this number."""
        row = self._policies.get(policy_id) if policy_id is not None else None
        return NamedView(row.id, row.name) if row is not None else None

    def of(self, set_id: int, policy_id: int | None) -> tuple[datetime | None, timedelta | None]:
        """The next run, and the longest time between two runs; None where nothing is scheduled."""
        own = self._own.get(set_id)
        if own is not None:
            return self._reckon(own)
        if policy_id not in self._shared:
            row = self._policies.get(policy_id) if policy_id is not None else None
            made = PolicyValues.model_validate(row.values).policy() if row is not None else BackupPolicy()
            self._shared[policy_id] = self._reckon(made)
        return self._shared[policy_id]

    def _reckon(self, policy: BackupPolicy) -> tuple[datetime | None, timedelta | None]:
        runs = next_runs(policy.schedules, self._now, 8)
        gaps = [later - earlier for earlier, later in pairwise(runs)]
        return (runs[0] if runs else None, max(gaps, default=None))


def _judge(
    backup_set: SetView,
    newest: PointView | None,
    good_at: datetime | None,
    job: JobView | None,
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


def _points(db: Session, ids: Iterable[str | None]) -> dict[str, PointView]:
    of = RestorePointRow
    query = select(of.id, of.committed_at, of.files, of.bytes, of.problems, of.damaged)
    return {
        row[0]: PointView(*row) for some in _some(ids) for row in db.execute(query.where(of.id.in_(some)))
    }


def _jobs(db: Session, ids: Iterable[int | None]) -> dict[int, JobView]:
    query = select(JobRow.id, JobRow.state, JobRow.reason, JobRow.hint)
    return {
        row[0]: JobView(*row) for some in _some(ids) for row in db.execute(query.where(JobRow.id.in_(some)))
    }


def _some(ids: Iterable[_Id | None]) -> Iterator[list[_Id]]:
    wanted = [one for one in ids if one is not None]
    for start in range(0, len(wanted), 5000):
        yield wanted[start : start + 5000]
