"""Restores: order one onto a file server."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from backstay.server import restores
from backstay.server.api.dependencies import ControlDep, Restorer
from backstay.server.api.paths import PathInput, path_bytes

router = APIRouter(tags=["restores"])


class NewRestore(BaseModel):
    """What to restore, where to, and how."""

    model_config = ConfigDict(extra="forbid")
    restore_point: str = Field(max_length=64, description="its id, or the first digits of it")
    file_server_id: int | None = Field(
        default=None, ge=1, le=2**53, description="onto which; none: the one that was backed up"
    )
    target: PathInput = Field(description="folder to restore into; / is the original place")
    paths: list[PathInput] = Field(default=[], max_length=10_000)
    existing: restores.Existing = "refuse"
    with_permissions: bool = True
    numeric_ids: bool = False
    strip: bool = False
    verified: bool = True
    dry_run: bool = False


class RestoreOrdered(BaseModel):
    """The job that restores."""

    job: int
    state: str
    reason: str


@router.post("/restores", status_code=201)
def order_restore(control: ControlDep, actor: Restorer, wanted: NewRestore) -> RestoreOrdered:
    """Order a restore onto a file server. With `dry_run` the job's figures say what would be written."""
    order = restores.RestoreOrder(
        restore_point=wanted.restore_point,
        target=path_bytes(wanted.target),
        file_server_id=wanted.file_server_id,
        paths=[path_bytes(path) for path in wanted.paths],
        existing=wanted.existing,
        with_permissions=wanted.with_permissions,
        numeric_ids=wanted.numeric_ids,
        strip=wanted.strip,
        verified=wanted.verified,
        dry_run=wanted.dry_run,
    )
    with control.database.begin() as db:
        job = restores.request_restore(db, actor, order, now=control.clock())
        ordered = RestoreOrdered(job=job.id, state=job.state, reason=job.reason)
    control.wakeups.wake()
    return ordered
