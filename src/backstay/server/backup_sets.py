"""Backup sets: made, changed, switched on and off, removed; and "Back up now"."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from backstay.domain.errors import Conflict, NotFound, UsageError
from backstay.domain.job import OPEN_STATES, JobState, Trigger
from backstay.protocol.policy_document import PolicyValues
from backstay.server import audit, job_queue, scheduler
from backstay.server.access import Actor, Permission
from backstay.server.content_rules import get_rule
from backstay.server.fleet import get_file_server
from backstay.server.named_policies import as_json, get_policy, replace_values
from backstay.server.names import checked_name
from backstay.server.repositories import default_repository
from backstay.server.set_paths import checked_paths, shown_path
from backstay.server.tables import BackupSetRow, FileServer, JobRow, RepositoryRow

_OPEN = [state.value for state in OPEN_STATES]


@dataclass(frozen=True)
class NewSet:
    """A backup set to be made; what is None is as the server has it by default."""

    file_server_id: int
    name: str
    paths: Sequence[str]
    policy_id: int | None = None
    content_rule_id: int | None = None
    repository_id: str | None = None
    cross_mounts: bool = False
    enabled: bool = True
    policy_layer: PolicyValues = field(default_factory=PolicyValues)


UNCHANGED = "unchanged"


@dataclass(frozen=True)
class SetChange:
    """What is to be changed of a set; None: nothing, and for the numbers `UNCHANGED`.

    Its name, file server and repository are part of its restore points, and never change.
    """

    paths: Sequence[str] | None = None
    policy_id: int | str | None = UNCHANGED
    content_rule_id: int | str | None = UNCHANGED
    cross_mounts: bool | None = None
    enabled: bool | None = None
    policy_layer: PolicyValues | None = None


@dataclass(frozen=True)
class SetFilter:
    """Which sets; an empty value means any.

    Attributes:
        search: part of the set's or of its file server's name.
        file_server, name: exactly these names.
    """

    search: str = ""
    file_server_id: int | None = None
    policy_id: int | None = None
    content_rule_id: int | None = None
    repository_id: str = ""
    file_server: str = ""
    name: str = ""
    enabled: bool | None = None


def get_backup_set(db: Session, set_id: int, *, to_change: bool = False) -> BackupSetRow:
    """The backup set of this number. Raises NotFound."""
    row = db.get(BackupSetRow, set_id, with_for_update={"key_share": True} if to_change else None)
    if row is None or row.removed_at is not None:
        raise NotFound(f"there is no backup set {set_id}", hint="`backstay sets list` lists them")
    return row


def list_backup_sets(
    db: Session, wanted: SetFilter, *, after: int | None = None, limit: int = 100
) -> tuple[list[BackupSetRow], int]:
    """Sets by file server and name, from the one after the set `after`; and how many there are in all."""
    query = select(BackupSetRow).join(BackupSetRow.file_server).where(*_conditions(wanted))
    total = db.scalar(select(func.count()).select_from(query.subquery())) or 0
    place = tuple_(FileServer.name, BackupSetRow.name)
    if after is not None:
        last = db.get(BackupSetRow, after)
        if last is None:
            raise UsageError(f"the page after the set {after} is not there", hint="begin at the first page")
        query = query.where(place > (last.file_server.name, last.name))
    query = query.order_by(FileServer.name, BackupSetRow.name).limit(limit)
    rows = db.scalars(
        query.options(
            joinedload(BackupSetRow.file_server),
            joinedload(BackupSetRow.policy),
            joinedload(BackupSetRow.content_rule),
        )
    )
    return list(rows), total


def _conditions(wanted: SetFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [BackupSetRow.removed_at.is_(None), FileServer.removed_at.is_(None)]
    if wanted.search:
        found.append(
            BackupSetRow.name.icontains(wanted.search, autoescape=True)
            | FileServer.name.icontains(wanted.search, autoescape=True)
        )
    if wanted.file_server_id is not None:
        found.append(BackupSetRow.file_server_id == wanted.file_server_id)
    if wanted.policy_id is not None:
        found.append(BackupSetRow.policy_id == wanted.policy_id)
    if wanted.content_rule_id is not None:
        found.append(BackupSetRow.content_rule_id == wanted.content_rule_id)
    if wanted.repository_id:
        found.append(BackupSetRow.repository_id == wanted.repository_id)
    if wanted.file_server:
        found.append(FileServer.name == wanted.file_server)
    if wanted.name:
        found.append(BackupSetRow.name == wanted.name)
    if wanted.enabled is not None:
        found.append(BackupSetRow.enabled.is_(wanted.enabled))
    return found


def create_backup_set(db: Session, actor: Actor, new: NewSet, *, now: datetime) -> BackupSetRow:
    """Make a backup set. Under the name of one that was removed, that one is brought back with its points.

    Raises:
        NotFound: file server, policy, rule or repository.
        UsageError: a path, name or value makes no sense.
        Conflict: the file server has a set of that name.
    """
    actor.require(Permission.EDIT)
    server = get_file_server(db, new.file_server_id)
    name = checked_name("a backup set", new.name)
    new.policy_layer.policy()
    values: dict[str, Any] = {
        "policy_id": get_policy(db, new.policy_id).id if new.policy_id is not None else None,
        "content_rule_id": get_rule(db, new.content_rule_id).id if new.content_rule_id is not None else None,
        "paths": checked_paths(new.paths, windows=_is_windows(server)),
        "cross_mounts": new.cross_mounts,
        "enabled": new.enabled,
        "policy_layer": as_json(new.policy_layer),
        "updated_at": now,
        "removed_at": None,
        "scheduled_until": now,
        "next_due_at": now,
    }
    taken = Conflict(f"{server.name} has a backup set {name} already", hint="choose another name")
    row = db.scalars(
        select(BackupSetRow)
        .where(BackupSetRow.file_server_id == server.id, BackupSetRow.name == name)
        .with_for_update(key_share=True)
    ).first()
    if row is None:
        repository_id = _repository(db, new.repository_id)
        row = BackupSetRow(
            file_server_id=server.id, name=name, repository_id=repository_id, created_at=now, **values
        )
        try:
            with db.begin_nested():
                db.add(row)
        except IntegrityError:
            raise taken from None
    elif row.removed_at is None:
        raise taken
    else:
        if new.repository_id not in {None, row.repository_id}:
            raise Conflict(
                f"a set {name} of {server.name} was removed, and its points are in another repository",
                hint="choose another name, or the repository in which they are",
            )
        for attribute, value in values.items():
            setattr(row, attribute, value)
        db.flush()
        db.expire(row, ["policy", "content_rule"])
    scheduler.look(db, row, now)
    audit.record(db, actor, "backup_set.create", full_name(row), now=now, after=_shown(row))
    return row


def change_backup_set(
    db: Session, actor: Actor, set_id: int, change: SetChange, *, now: datetime
) -> BackupSetRow:
    """Change a set. A set that is switched on again makes up for nothing that was scheduled meanwhile.

    Raises:
        NotFound: set, policy or rule.
        UsageError: a path or value makes no sense.
    """
    actor.require(Permission.EDIT)
    row = get_backup_set(db, set_id, to_change=True)
    before = _shown(row)
    this = BackupSetRow.id == row.id
    if change.paths is not None:
        row.paths = checked_paths(change.paths, windows=_is_windows(row.file_server))
    if change.cross_mounts is not None:
        row.cross_mounts = change.cross_mounts
    if isinstance(change.content_rule_id, int):
        row.content_rule_id = get_rule(db, change.content_rule_id).id
    elif change.content_rule_id is None:
        row.content_rule_id = None
    if change.policy_id not in {UNCHANGED, row.policy_id}:
        scheduler.settle(db, this, now)
        row.policy_id = get_policy(db, change.policy_id).id if isinstance(change.policy_id, int) else None
        db.flush()
        scheduler.reckon_anew(db, this, now)
    if change.policy_layer is not None:
        change.policy_layer.policy()
        replace_values(db, row, "policy_layer", change.policy_layer, this, now)
    if change.enabled is not None and change.enabled != row.enabled:
        if row.enabled:
            scheduler.settle(db, this, now)
            _end_waiting(db, row, now)
        row.enabled = change.enabled
        db.flush()
        scheduler.reckon_anew(db, this, now)
    db.flush()
    db.refresh(row)
    scheduler.look(db, row, now)
    differs = audit.difference(before, _shown(row))
    if differs:
        row.updated_at = now
        db.flush()
        audit.record(
            db, actor, "backup_set.change", full_name(row), now=now, before=differs[0], after=differs[1]
        )
    return row


def remove_backup_set(db: Session, actor: Actor, set_id: int, *, now: datetime) -> list[JobRow]:
    """Remove a set: its open jobs are cancelled; its points stay until retention or a person ends them.

    Returns the jobs that were cancelled, or asked to stop. Raises NotFound.
    """
    actor.require(Permission.EDIT)
    row = get_backup_set(db, set_id, to_change=True)
    row.removed_at = row.updated_at = now
    row.next_due_at = None
    open_jobs = db.scalars(
        select(JobRow)
        .where(JobRow.backup_set_id == row.id, JobRow.state.in_(_OPEN))
        .order_by(JobRow.id)
        .with_for_update()
    ).all()
    for job in open_jobs:
        job_queue.cancel(db, job, f"{actor.name}, who removed the set", now)
    audit.record(db, actor, "backup_set.remove", full_name(row), now=now, before=_shown(row))
    return list(open_jobs)


def back_up_now(db: Session, actor: Actor, set_id: int, *, now: datetime) -> JobRow:
    """Request a backup by hand; one whose agent is not running has failed already.

    Raises:
        NotFound.
        Conflict: a backup of the set is under way, or it is switched off.
    """
    actor.require(Permission.RUN)
    row = get_backup_set(db, set_id)
    job = job_queue.request_backup(db, row, now=now, trigger=Trigger.ADMINISTRATOR, requested_by=actor.name)
    audit.record(db, actor, "backup_set.backup", full_name(row), now=now, after={"job": job.id})
    return job


def full_name(row: BackupSetRow) -> str:
    """As people name a set among those of all file servers."""
    return f"{row.file_server.name}/{row.name}"


def _end_waiting(db: Session, row: BackupSetRow, now: datetime) -> None:
    """Nothing starts by itself any more; what runs, and what somebody asked for, goes on."""
    waiting = select(JobRow).where(
        JobRow.backup_set_id == row.id,
        JobRow.state.in_([JobState.QUEUED.value, JobState.WAITING_FOR_AGENT.value]),
        JobRow.trigger != Trigger.ADMINISTRATOR.value,
    )
    for job in db.scalars(waiting.order_by(JobRow.id).with_for_update()).all():
        job_queue.set_state(db, job, JobState.SKIPPED, now, reason="the backup set was switched off")


def _repository(db: Session, repository_id: str | None) -> str:
    if repository_id is None:
        first = default_repository(db)
        if first is None:
            raise Conflict("the server keeps no repository yet", hint="make one first")
        return first.id
    if db.get(RepositoryRow, repository_id) is None:
        raise NotFound(f"there is no repository {repository_id}", hint="GET /api/v1/repositories lists them")
    return repository_id


def _is_windows(server: FileServer) -> bool | None:
    return server.system.lower().startswith("win") if server.system else None


def _shown(row: BackupSetRow) -> dict[str, Any]:
    return {
        "paths": [shown_path(path) for path in row.paths],
        "policy": row.policy.name if row.policy else None,
        "content_rule": row.content_rule.name if row.content_rule else None,
        "cross_mounts": row.cross_mounts,
        "enabled": row.enabled,
        "policy_layer": row.policy_layer,
    }
