"""Legal hold, deleting by hand, trying out another retention, and what would be lost with it."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from backstay.domain.entry import Grade
from backstay.domain.errors import NotFound
from backstay.domain.retention import RetentionPolicy
from backstay.protocol.policy_document import RetentionDocument
from backstay.server import last_copies, retention
from backstay.server.api.dependencies import Browsing, ControlDep, Retainer, Viewer
from backstay.server.api.fields import Body, Limit, Number, PathView
from backstay.server.api.repositories import SetPlanView, plan_view_of
from backstay.server.api.restore_points import PointId
from backstay.server.catalogue import get_restore_point
from backstay.server.tables import BackupSetRow, RestorePointRow

router = APIRouter(tags=["retention"])

After = Annotated[str, Query(max_length=200_000, description="`next` of the answer before")]


class Reason(Body):
    """Why; kept in the audit log."""

    reason: str = Field(min_length=1, max_length=1000)


class HoldView(BaseModel):
    """Who holds a restore point, and why."""

    id: str
    held_by: str
    hold_reason: str


class DeletedPoints(BaseModel):
    """How many points the next prune takes out, and how many stay as they are on legal hold."""

    going: int
    held: int


class LastCopyView(PathView):
    """A file version that no restore point has that stays."""

    restore_point: str = Field(description="the newest point that has it")
    size: int
    modified_ns: str
    grade: str


class LastCopiesView(BaseModel):
    """What was found so far."""

    items: list[LastCopyView]
    next: str | None = Field(description="give it as `after` to go on; null when all was looked at")


class TriedRetention(Body):
    """A retention to try out."""

    retention: RetentionDocument


def _hold_view(row: RestorePointRow) -> HoldView:
    return HoldView(id=row.id, held_by=row.held_by, hold_reason=row.hold_reason)


@router.put("/restore-points/{point_id}/hold")
def hold(control: ControlDep, actor: Retainer, point_id: PointId, wanted: Reason) -> HoldView:
    """Put a restore point under legal hold: nothing takes it out until that is released."""
    with control.database.begin() as db:
        return _hold_view(retention.hold(db, actor, point_id, wanted.reason, now=control.clock()))


@router.post("/restore-points/{point_id}/release")
def release(control: ControlDep, actor: Retainer, point_id: PointId, wanted: Reason) -> HoldView:
    """End a legal hold."""
    with control.database.begin() as db:
        return _hold_view(retention.release(db, actor, point_id, wanted.reason, now=control.clock()))


@router.post("/restore-points/{point_id}/delete", status_code=202)
def delete_point(control: ControlDep, actor: Retainer, point_id: PointId, wanted: Reason) -> DeletedPoints:
    """Have the next prune take a restore point out, whatever retention says; look at last-copies first."""
    with control.database.begin() as db:
        retention.delete_point(db, actor, point_id, wanted.reason, now=control.clock())
    return DeletedPoints(going=1, held=0)


@router.post("/backup-sets/{backup_set_id}/delete-points", status_code=202)
def delete_points_of_removed_set(
    control: ControlDep, actor: Retainer, backup_set_id: Number, wanted: Reason
) -> DeletedPoints:
    """Have the next prune take out all restore points of a set that was removed."""
    with control.database.begin() as db:
        going, held = retention.delete_points_of_removed_set(
            db, actor, backup_set_id, wanted.reason, now=control.clock()
        )
    return DeletedPoints(going=going, held=held)


@router.get("/restore-points/{point_id}/last-copies")
def last_copies_of_point(
    control: ControlDep, actor: Browsing, point_id: PointId, after: After = "", limit: Limit = 200
) -> LastCopiesView:
    """Which files' only version goes with this restore point. An answer takes about two seconds at most."""
    with control.database.read() as db:
        row = get_restore_point(db, point_id)
        going, staying = last_copies.going_with(db, row)
    found = last_copies.find_last_copies(control, row.repository_id, going, staying, after=after, limit=limit)
    return _view(found)


@router.get("/backup-sets/{backup_set_id}/retention-plan")
def plan_of_set(control: ControlDep, actor: Viewer, backup_set_id: Number) -> SetPlanView:
    """What retention makes of a set's restore points, and why."""
    with control.database.read() as db:
        return plan_view_of(retention.plan_set(db, _set(db, backup_set_id), control.clock()))


@router.post("/backup-sets/{backup_set_id}/retention-plan")
def try_retention(
    control: ControlDep, actor: Viewer, backup_set_id: Number, wanted: TriedRetention
) -> SetPlanView:
    """What another retention would make of them; changes nothing."""
    policy = RetentionPolicy(**wanted.retention.model_dump())
    with control.database.read() as db:
        backup_set = _set(db, backup_set_id)
        return plan_view_of(retention.plan_set(db, backup_set, control.clock(), policy=policy))


@router.post("/backup-sets/{backup_set_id}/last-copies")
def last_copies_by_retention(
    control: ControlDep,
    actor: Browsing,
    backup_set_id: Number,
    wanted: TriedRetention,
    after: After = "",
    limit: Limit = 200,
) -> LastCopiesView:
    """Which files' only version would go with another retention."""
    policy = RetentionPolicy(**wanted.retention.model_dump())
    with control.database.read() as db:
        backup_set = _set(db, backup_set_id)
        plan = retention.plan_set(db, backup_set, control.clock(), policy=policy)
    going, staying = last_copies.going_by(plan)
    found = last_copies.find_last_copies(
        control, backup_set.repository_id, going, staying, after=after, limit=limit
    )
    return _view(found)


def _set(db: Session, backup_set_id: int) -> BackupSetRow:
    row = db.get(BackupSetRow, backup_set_id)
    if row is None:
        raise NotFound(f"there is no backup set {backup_set_id}", hint="list them to see their numbers")
    return row


def _view(found: last_copies.LastCopies) -> LastCopiesView:
    items = [
        LastCopyView(
            **PathView.of(one.path).model_dump(),
            restore_point=one.point_id,
            size=one.entry.size,
            modified_ns=str(one.entry.mtime_ns),
            grade=Grade(one.entry.grade).name.lower(),
        )
        for one in found.items
    ]
    return LastCopiesView(items=items, next=found.next)
