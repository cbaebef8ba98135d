"""Restore points: list and look."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from backstay.server import restore_points
from backstay.server.api.dependencies import ControlDep, Viewer
from backstay.server.api.fields import Cursor, Limit, Moment, Number, Reference
from backstay.server.api.jobs import RepositoryId
from backstay.server.catalogue import get_restore_point
from backstay.server.restore_points import PointFilter
from backstay.server.tables import RestorePointRow

router = APIRouter(tags=["restore points"])

PointId = Annotated[
    str,
    Path(min_length=4, max_length=64, pattern="^[0-9a-f]+$", description="or how the only such id begins"),
]


class RestorePointView(BaseModel):
    """A restore point, as the server stamped it."""

    id: str
    file_server: Reference
    backup_set: Reference
    repository_id: str
    job: int | None
    type: str = Field(description="what was read: full, or incremental")
    sequence: int
    committed_at: datetime = Field(description="by the server's clock; retention reckons with it alone")
    files: int
    folders: int
    bytes: int
    read_bytes: int
    new_bytes: int
    stored_bytes: int
    problems: int
    held_by: str
    hold_reason: str
    held_at: datetime | None
    damaged: bool
    verified_at: datetime | None


class RestorePointList(BaseModel):
    """A page of restore points, the newest first."""

    items: list[RestorePointView]
    next: str | None = Field(description="give it as `after` to see the next page")


def view_of_point(row: RestorePointRow) -> RestorePointView:
    """A restore point as the API shows it."""
    return RestorePointView(
        id=row.id,
        file_server=Reference(id=row.file_server.id, name=row.file_server.name),
        backup_set=Reference(id=row.backup_set.id, name=row.backup_set.name),
        repository_id=row.repository_id,
        job=row.job_id,
        type=row.type,
        sequence=row.sequence,
        committed_at=row.committed_at,
        files=row.files,
        folders=row.folders,
        bytes=row.bytes,
        read_bytes=row.read_bytes,
        new_bytes=row.new_bytes,
        stored_bytes=row.stored_bytes,
        problems=row.problems,
        held_by=row.held_by,
        hold_reason=row.hold_reason,
        held_at=row.held_at,
        damaged=row.damaged,
        verified_at=row.verified_at,
    )


@router.get("/restore-points")
def list_restore_points(
    control: ControlDep,
    actor: Viewer,
    file_server_id: Number | None = None,
    backup_set_id: Number | None = None,
    repository_id: RepositoryId = "",
    held: bool | None = None,
    incomplete: bool | None = None,
    damaged: bool | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    after: Cursor = "",
    limit: Limit = 100,
) -> RestorePointList:
    """Restore points, the newest first; `since` and `until` say when they were committed."""
    wanted = PointFilter(
        file_server_id=file_server_id,
        backup_set_ids=(backup_set_id,) if backup_set_id is not None else (),
        repository_id=repository_id,
        held=held,
        incomplete=incomplete,
        damaged=damaged,
        since=since,
        until=until,
    )
    with control.database.read() as db:
        rows, following = restore_points.list_restore_points(db, wanted, after=after, limit=limit)
        return RestorePointList(items=[view_of_point(row) for row in rows], next=following)


@router.get("/restore-points/{point_id}")
def get_point(control: ControlDep, actor: Viewer, point_id: PointId) -> RestorePointView:
    """One restore point."""
    with control.database.read() as db:
        return view_of_point(get_restore_point(db, point_id))
