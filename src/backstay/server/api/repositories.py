"""Repositories: what they hold, how they grow, what their upkeep is and does."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backstay.domain.errors import NotFound
from backstay.domain.job import JobKind
from backstay.protocol.policy_document import ScheduleDocument
from backstay.server import figures, pack_checks, retention, upkeep_schedule
from backstay.server.api.dependencies import ControlDep, Manager, Retainer, Runner, Viewer
from backstay.server.control import Control
from backstay.server.tables import PackRow, RepositoryFigures, RepositoryRow

router = APIRouter(tags=["repositories"])

RepositoryId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hexadecimal digits")]


class FiguresView(BaseModel):
    """How large a repository was at some time."""

    model_config = ConfigDict(from_attributes=True)
    at: datetime
    stored_bytes: int = Field(description="all packs, as stored")
    source_bytes: int = Field(description="what all restore points hold, as if each were kept by itself")
    packs: int
    restore_points: int
    free_bytes: int | None = Field(description="room left in the storage; null where it cannot tell")


class RepositoryView(BaseModel):
    """A repository that the server keeps."""

    id: str
    name: str
    location: str
    reads: bool = Field(description="whether the server holds the private key")
    data_path: str
    created_at: datetime
    figures: FiguresView = Field(description="as the database has them now; `free_bytes` as noted last")
    packs_to_check: int = Field(description="stored lately, and not looked into yet")
    packs_damaged: int
    due: dict[str, datetime] = Field(description="when each upkeep task is due next")


class Verify(BaseModel):
    """How much to read."""

    model_config = ConfigDict(extra="forbid")
    data_percent: float = Field(default=100.0, ge=0, le=100, allow_inf_nan=False)


class Prune(BaseModel):
    """How to prune."""

    model_config = ConfigDict(extra="forbid")
    dry_run: bool = Field(default=False, description="change nothing; the job's figures say what would be")
    grace_hours: float = Field(
        default=24.0, ge=0, le=10_000, allow_inf_nan=False, description="how long condemned packs stay"
    )


class Drill(BaseModel):
    """How many files of each set's newest restore point to read."""

    model_config = ConfigDict(extra="forbid")
    files: int = Field(default=50, ge=1, le=100_000)


class RequestedJob(BaseModel):
    """The job that was asked for: follow it under /jobs."""

    job: int


class DecisionView(BaseModel):
    """What retention makes of a restore point, and why."""

    id: str
    committed_at: datetime
    keep: bool
    reasons: list[str]
    held_by: str
    damaged: bool


class SetPlanView(BaseModel):
    """What retention makes of one set's restore points, the newest first."""

    backup_set_id: int
    backup_set: str
    file_server: str
    origin: str = Field(description="who set the retention; empty where the set was removed")
    retention: dict[str, Any] | None
    keeps: int
    expires: int
    decisions: list[DecisionView]


class RetentionPlanView(BaseModel):
    """What the next prune takes out. What it frees is told by a prune with `dry_run`."""

    sets: list[SetPlanView]
    next: int | None = Field(description="give it as `after` to see the next sets")


class UpkeepSchedules(BaseModel):
    """When each task runs, for all repositories; null: never."""

    model_config = ConfigDict(extra="forbid")
    prune: ScheduleDocument | None = None
    verify_sample: ScheduleDocument | None = None
    verify_full: ScheduleDocument | None = None
    drill: ScheduleDocument | None = None


def _row(db: Session, repository_id: str) -> RepositoryRow:
    row = db.get(RepositoryRow, repository_id)
    if row is None:
        raise NotFound(f"there is no repository {repository_id}", hint="GET /api/v1/repositories lists them")
    return row


def view_of(control: Control, db: Session, row: RepositoryRow) -> RepositoryView:
    """A repository as the API shows it."""
    latest = figures.latest(db, row.id)
    now = figures.figures_now(db, row.id, control.clock(), latest.free_bytes if latest else None)
    damaged = select(func.count()).where(PackRow.repository_id == row.id, PackRow.damaged.is_(True))
    return RepositoryView(
        id=row.id,
        name=row.name,
        location=row.location,
        reads=row.reads,
        data_path=row.data_path,
        created_at=row.created_at,
        figures=FiguresView.model_validate(now),
        packs_to_check=pack_checks.waiting(db, row.id),
        packs_damaged=db.scalar(damaged) or 0,
        due=upkeep_schedule.next_due(db, row.id),
    )


def plan_view_of(one: retention.SetPlan) -> SetPlanView:
    """A set's plan as the API shows it."""
    return SetPlanView(
        backup_set_id=one.backup_set.id,
        backup_set=one.backup_set.name,
        file_server=one.backup_set.file_server.name,
        origin=one.origin,
        retention=vars(one.policy) if one.policy is not None else None,
        keeps=sum(decision.keep for decision in one.decisions),
        expires=sum(not decision.keep for decision in one.decisions),
        decisions=[
            DecisionView(
                id=decision.row.id,
                committed_at=decision.row.committed_at,
                keep=decision.keep,
                reasons=list(decision.reasons),
                held_by=decision.row.held_by,
                damaged=decision.row.damaged,
            )
            for decision in one.decisions
        ],
    )


@router.get("/repositories")
def list_repositories(control: ControlDep, actor: Viewer) -> list[RepositoryView]:
    """All repositories, the oldest first."""
    with control.database.read() as db:
        rows = db.scalars(select(RepositoryRow).order_by(RepositoryRow.created_at)).all()
        return [view_of(control, db, row) for row in rows]


@router.get("/repositories/{repository_id}")
def get_repository(control: ControlDep, actor: Viewer, repository_id: RepositoryId) -> RepositoryView:
    """One repository."""
    with control.database.read() as db:
        return view_of(control, db, _row(db, repository_id))


@router.get("/repositories/{repository_id}/figures")
def repository_figures(
    control: ControlDep,
    actor: Viewer,
    repository_id: RepositoryId,
    days: Annotated[int, Query(ge=1, le=3660)] = 90,
    most: Annotated[int, Query(ge=2, le=10_000)] = 500,
) -> list[FiguresView]:
    """How it grew, the oldest first, thinned out to at most `most` rows."""
    with control.database.read() as db:
        _row(db, repository_id)
        rows: list[RepositoryFigures] = figures.history(
            db, repository_id, control.clock() - timedelta(days=days), most=most
        )
        return [FiguresView.model_validate(row) for row in rows]


@router.post("/repositories/{repository_id}/verify", status_code=202)
def verify_now(
    control: ControlDep, actor: Runner, repository_id: RepositoryId, wanted: Verify
) -> RequestedJob:
    """Look for damage now."""
    with control.database.begin() as db:
        job = upkeep_schedule.request_job(
            db, actor, JobKind.VERIFY, repository_id, now=control.clock(), request=wanted.model_dump()
        )
    control.wakeups.wake()
    return RequestedJob(job=job.id)


@router.post("/repositories/{repository_id}/drill", status_code=202)
def drill_now(control: ControlDep, actor: Runner, repository_id: RepositoryId, wanted: Drill) -> RequestedJob:
    """Read files chosen by chance out of each set's newest restore point now."""
    with control.database.begin() as db:
        job = upkeep_schedule.request_job(
            db, actor, JobKind.DRILL, repository_id, now=control.clock(), request=wanted.model_dump()
        )
    control.wakeups.wake()
    return RequestedJob(job=job.id)


@router.post("/repositories/{repository_id}/prune", status_code=202)
def prune_now(
    control: ControlDep, actor: Retainer, repository_id: RepositoryId, wanted: Prune
) -> RequestedJob:
    """Apply retention and free room now; with `dry_run` only find out what would be."""
    request = {"dry_run": wanted.dry_run, "grace_seconds": wanted.grace_hours * 3600}
    with control.database.begin() as db:
        job = upkeep_schedule.request_job(
            db, actor, JobKind.PRUNE, repository_id, now=control.clock(), request=request
        )
    control.wakeups.wake()
    return RequestedJob(job=job.id)


@router.get("/repositories/{repository_id}/retention-plan")
def retention_plan(
    control: ControlDep,
    actor: Viewer,
    repository_id: RepositoryId,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RetentionPlanView:
    """What would expire and what stays, with all reasons, set by set."""
    with control.database.read() as db:
        _row(db, repository_id)
        plans = retention.plan_repository(db, repository_id, control.clock(), after=after, limit=limit)
        views = [plan_view_of(one) for one in plans]
    return RetentionPlanView(sets=views, next=views[-1].backup_set_id if len(views) == limit else None)


@router.get("/upkeep/schedules")
def get_schedules(control: ControlDep, actor: Viewer) -> UpkeepSchedules:
    """When repositories are pruned, verified and drilled."""
    with control.database.read() as db:
        return UpkeepSchedules.model_validate(upkeep_schedule.schedules(db))


@router.patch("/upkeep/schedules")
def set_schedules(control: ControlDep, actor: Manager, wanted: UpkeepSchedules) -> UpkeepSchedules:
    """Change the schedules that are named; null switches a task off."""
    changes = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    with control.database.begin() as db:
        after = upkeep_schedule.set_schedules(db, actor, changes, now=control.clock())
    return UpkeepSchedules.model_validate(after)
