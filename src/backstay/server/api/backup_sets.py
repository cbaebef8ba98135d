"""Backup sets: list, look, make, change, switch on and off, remove; and "Back up now"."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from backstay.domain.schedule import next_runs
from backstay.protocol.policy_document import PolicyValues
from backstay.server import backup_sets
from backstay.server.api.dependencies import ControlDep, Editor, Runner, Viewer
from backstay.server.api.fields import Body, Limit, Name, Number, Reference, Search
from backstay.server.api.jobs import JobView, view_of_job
from backstay.server.api.paths import BytesOfPath, PathInput
from backstay.server.backup_sets import UNCHANGED, NewSet, SetChange, SetFilter
from backstay.server.fleet import is_connected
from backstay.server.policies import policy_of
from backstay.server.set_paths import ENCODED, MOST_PATHS, shown_path
from backstay.server.tables import BackupSetRow

router = APIRouter(tags=["backup sets"])

_RUNS_SHOWN = 5

Paths = Annotated[
    list[PathInput],
    Field(min_length=1, max_length=MOST_PATHS, description="absolute", examples=[["/srv/data", "/home"]]),
]


class FileServerOfSet(Reference):
    """The file server of a set."""

    connected: bool


class BackupSetView(BaseModel):
    """A backup set."""

    id: int
    name: str
    file_server: FileServerOfSet
    paths: list[PathInput]
    policy: Reference | None
    content_rule: Reference | None
    repository_id: str
    cross_mounts: bool
    enabled: bool
    policy_layer: PolicyValues = Field(description="what this set alone sets")
    next_run: datetime | None
    created_at: datetime
    updated_at: datetime


class ResolvedPolicyView(BaseModel):
    """The policy that holds for a set."""

    values: PolicyValues
    origins: dict[str, str] = Field(
        description="of each value who set it: built-in, the policy, file server or set"
    )


class BackupSetDetail(BackupSetView):
    """A backup set, the policy that holds for it, and its next scheduled times."""

    resolved_policy: ResolvedPolicyView
    next_runs: list[datetime]


class BackupSetList(BaseModel):
    """A page of backup sets."""

    total: int
    items: list[BackupSetView]
    next: str | None = Field(description="give it as `after` to see the next page")


class NewBackupSet(Body):
    """A backup set to be made."""

    file_server_id: Number
    name: Name
    paths: Paths
    policy_id: Number | None = None
    content_rule_id: Number | None = None
    repository_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    cross_mounts: bool = False
    enabled: bool = True
    policy_layer: PolicyValues = PolicyValues()


class ChangedBackupSet(Body):
    """What is to be changed; null takes policy or content rule away, what is absent stays as it is."""

    paths: Paths | None = None
    policy_id: Number | None = None
    content_rule_id: Number | None = None
    cross_mounts: bool | None = None
    enabled: bool | None = None
    policy_layer: PolicyValues | None = Field(default=None, description="replaces all values the set had")


def view_of_set(row: BackupSetRow, now: datetime) -> BackupSetView:
    """A set as the API shows it."""
    due = row.next_due_at
    return BackupSetView(
        id=row.id,
        name=row.name,
        file_server=FileServerOfSet(
            id=row.file_server.id, name=row.file_server.name, connected=is_connected(row.file_server, now)
        ),
        paths=[_shown(path) for path in row.paths],
        policy=Reference(id=row.policy.id, name=row.policy.name) if row.policy else None,
        content_rule=(
            Reference(id=row.content_rule.id, name=row.content_rule.name) if row.content_rule else None
        ),
        repository_id=row.repository_id,
        cross_mounts=row.cross_mounts,
        enabled=row.enabled,
        policy_layer=PolicyValues.model_validate(row.policy_layer or {}),
        next_run=due if due is not None and due > now else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _shown(kept: str) -> PathInput:
    shown = shown_path(kept)
    encoded = shown.removeprefix(ENCODED)
    return shown if encoded == shown else BytesOfPath(base64=encoded)


def _written(path: PathInput) -> str:
    return path if isinstance(path, str) else ENCODED + path.base64


def _detail(row: BackupSetRow, now: datetime) -> BackupSetDetail:
    resolved = policy_of(row)
    runs = next_runs(resolved.policy.schedules, now, _RUNS_SHOWN) if row.enabled else []
    view = view_of_set(row, now).model_dump() | {"next_run": runs[0] if runs else None}
    return BackupSetDetail(
        **view,
        resolved_policy=ResolvedPolicyView(
            values=PolicyValues.of(resolved.policy), origins=dict(resolved.origins)
        ),
        next_runs=runs,
    )


@router.get("/backup-sets")
def list_backup_sets(
    control: ControlDep,
    actor: Viewer,
    search: Search = "",
    file_server_id: Number | None = None,
    policy_id: Number | None = None,
    content_rule_id: Number | None = None,
    file_server: Annotated[Search, Query(description="exactly this name")] = "",
    name: Annotated[Search, Query(description="exactly this name")] = "",
    enabled: bool | None = None,
    after: Annotated[Number | None, Query(description="`next` of the page before")] = None,
    limit: Limit = 100,
) -> BackupSetList:
    """Backup sets by file server and name."""
    wanted = SetFilter(
        search=search,
        file_server_id=file_server_id,
        policy_id=policy_id,
        content_rule_id=content_rule_id,
        file_server=file_server,
        name=name,
        enabled=enabled,
    )
    now = control.clock()
    with control.database.read() as db:
        rows, total = backup_sets.list_backup_sets(db, wanted, after=after, limit=limit)
        items = [view_of_set(row, now) for row in rows]
    return BackupSetList(total=total, items=items, next=str(items[-1].id) if len(items) == limit else None)


@router.post("/backup-sets", status_code=201)
def create_backup_set(control: ControlDep, actor: Editor, wanted: NewBackupSet) -> BackupSetDetail:
    """Make a backup set.

    Under the name of one that was removed, that one comes back with its restore points.
    """
    now = control.clock()
    given = {"policy_layer": wanted.policy_layer, "paths": [_written(path) for path in wanted.paths]}
    new = NewSet(**(wanted.model_dump() | given))
    with control.database.begin() as db:
        return _detail(backup_sets.create_backup_set(db, actor, new, now=now), now)


@router.get("/backup-sets/{set_id}")
def get_backup_set(control: ControlDep, actor: Viewer, set_id: Number) -> BackupSetDetail:
    """One backup set, the policy that holds for it, and who set each of its values."""
    with control.database.read() as db:
        return _detail(backup_sets.get_backup_set(db, set_id), control.clock())


@router.patch("/backup-sets/{set_id}")
def change_backup_set(
    control: ControlDep, actor: Editor, set_id: Number, wanted: ChangedBackupSet
) -> BackupSetDetail:
    """Change a backup set."""
    given = wanted.model_fields_set
    change = SetChange(
        paths=None if wanted.paths is None else [_written(path) for path in wanted.paths],
        policy_id=wanted.policy_id if "policy_id" in given else UNCHANGED,
        content_rule_id=wanted.content_rule_id if "content_rule_id" in given else UNCHANGED,
        cross_mounts=wanted.cross_mounts,
        enabled=wanted.enabled,
        policy_layer=wanted.policy_layer,
    )
    return _changed(control, actor, set_id, change)


@router.post("/backup-sets/{set_id}/enable")
def enable_backup_set(control: ControlDep, actor: Editor, set_id: Number) -> BackupSetDetail:
    """Switch a set on; what was scheduled while it was off is not made up for."""
    return _changed(control, actor, set_id, SetChange(enabled=True))


@router.post("/backup-sets/{set_id}/disable")
def disable_backup_set(control: ControlDep, actor: Editor, set_id: Number) -> BackupSetDetail:
    """Switch a set off: nothing starts any more; what runs goes on."""
    return _changed(control, actor, set_id, SetChange(enabled=False))


def _changed(control: ControlDep, actor: Editor, set_id: int, change: SetChange) -> BackupSetDetail:
    now = control.clock()
    with control.database.begin() as db:
        detail = _detail(backup_sets.change_backup_set(db, actor, set_id, change, now=now), now)
    control.wakeups.wake()
    return detail


@router.delete("/backup-sets/{set_id}", status_code=204)
def remove_backup_set(control: ControlDep, actor: Editor, set_id: Number) -> None:
    """Remove a set. Its open jobs are cancelled; its restore points stay."""
    with control.database.begin() as db:
        backup_sets.remove_backup_set(db, actor, set_id, now=control.clock())
    control.wakeups.wake()


@router.post("/backup-sets/{set_id}/backup", status_code=201)
def back_up_now(control: ControlDep, actor: Runner, set_id: Number) -> JobView:
    """Back up now. Where the agent is not running the job has failed already, and says so."""
    with control.database.begin() as db:
        view = view_of_job(backup_sets.back_up_now(db, actor, set_id, now=control.clock()))
    control.wakeups.wake()
    return view
