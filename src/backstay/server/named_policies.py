"""The named policies: made, changed, removed; and the layers that file servers and sets lay over them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, NotFound
from backstay.protocol.policy_document import PolicyValues
from backstay.server import audit, scheduler
from backstay.server.access import Actor, Permission
from backstay.server.fleet import get_file_server
from backstay.server.names import checked_name, checked_text
from backstay.server.tables import BackupSetRow, FileServer, PolicyRow


@dataclass(frozen=True)
class PolicyChange:
    """What is to be changed of a policy; None: nothing. `values` replace all values it had."""

    name: str | None = None
    comment: str | None = None
    values: PolicyValues | None = None


def get_policy(db: Session, policy_id: int) -> PolicyRow:
    """The policy of this number. Raises NotFound."""
    row = db.get(PolicyRow, policy_id)
    if row is None:
        raise NotFound(f"there is no policy {policy_id}", hint="`backstay policies list` lists them")
    return row


def list_policies(
    db: Session, *, search: str = "", after: str = "", limit: int = 100
) -> tuple[list[tuple[PolicyRow, int]], int]:
    """Policies by name, from the one after `after`, each with how many sets use it; and their number."""
    query = select(PolicyRow)
    if search:
        query = query.where(PolicyRow.name.icontains(search, autoescape=True))
    total = db.scalar(select(func.count()).select_from(query.subquery())) or 0
    uses = (
        select(func.count())
        .where(BackupSetRow.policy_id == PolicyRow.id, BackupSetRow.removed_at.is_(None))
        .scalar_subquery()
    )
    query = query.where(PolicyRow.name > after).order_by(PolicyRow.name).limit(limit)
    return [(row, used) for row, used in db.execute(query.add_columns(uses)).all()], total


def sets_using(db: Session, policy: PolicyRow, *, limit: int = 100) -> list[BackupSetRow]:
    """Backup sets that use a policy, by file server and name."""
    query = (
        select(BackupSetRow)
        .join(BackupSetRow.file_server)
        .where(BackupSetRow.policy_id == policy.id, BackupSetRow.removed_at.is_(None))
        .order_by(FileServer.name, BackupSetRow.name)
        .limit(limit)
    )
    return list(db.scalars(query))


def count_using(db: Session, policy: PolicyRow) -> int:
    """How many backup sets use a policy."""
    using = (BackupSetRow.policy_id == policy.id, BackupSetRow.removed_at.is_(None))
    return db.scalar(select(func.count()).select_from(BackupSetRow).where(*using)) or 0


def create_policy(
    db: Session, actor: Actor, *, name: str, values: PolicyValues, comment: str = "", now: datetime
) -> PolicyRow:
    """Make a policy.

    Raises:
        UsageError: a value makes no sense, or that cannot be a name.
        Conflict: there is one of that name.
    """
    actor.require(Permission.EDIT)
    values.policy()
    row = PolicyRow(
        name=checked_name("a policy", name),
        comment=checked_text("the comment", comment),
        values=as_json(values),
        created_at=now,
        updated_at=now,
    )
    _add(db, row)
    audit.record(db, actor, "policy.create", row.name, now=now, after=_shown(row))
    return row


def change_policy(
    db: Session, actor: Actor, policy_id: int, change: PolicyChange, *, now: datetime
) -> PolicyRow:
    """Change a policy, for all sets that use it.

    What is due by its old schedules is asked for before they are gone.

    Raises:
        NotFound, UsageError.
        Conflict: there is another one of that name.
    """
    actor.require(Permission.EDIT)
    row = get_policy(db, policy_id)
    before = _shown(row)
    if change.values is not None:
        change.values.policy()
        replace_values(db, row, "values", change.values, BackupSetRow.policy_id == row.id, now)
    if change.comment is not None:
        row.comment = checked_text("the comment", change.comment)
    if change.name is not None and change.name.strip() != row.name:
        name = checked_name("a policy", change.name)
        _refuse_taken(db, name)
        row.name = name
    differs = audit.difference(before, _shown(row))
    if differs:
        row.updated_at = now
        db.flush()
        audit.record(db, actor, "policy.change", before["name"], now=now, before=differs[0], after=differs[1])
    return row


def remove_policy(db: Session, actor: Actor, policy_id: int, *, now: datetime) -> None:
    """Remove a policy that no set uses.

    Raises:
        NotFound.
        Conflict: it is used.
    """
    actor.require(Permission.EDIT)
    row = get_policy(db, policy_id)
    used = sets_using(db, row, limit=4)
    if used:
        names = ", ".join(f"{one.file_server.name}/{one.name}" for one in used[:3])
        more = ", …" if len(used) > 3 else ""
        raise Conflict(
            f"the policy {row.name} is used by {names}{more}", hint="give these sets another policy first"
        )
    # Sets that were removed still name it; they are brought back without it.
    for removed in db.scalars(select(BackupSetRow).where(BackupSetRow.policy_id == row.id)):
        removed.policy_id = None
    db.flush()
    audit.record(db, actor, "policy.remove", row.name, now=now, before=_shown(row))
    db.delete(row)
    db.flush()


def change_layer_of_file_server(
    db: Session, actor: Actor, file_server_id: int, values: PolicyValues, *, now: datetime
) -> FileServer:
    """Set the values that hold for every set of a file server. Raises NotFound, UsageError."""
    actor.require(Permission.EDIT)
    server = get_file_server(db, file_server_id)
    values.policy()
    before = {"policy": server.policy_layer}
    replace_values(db, server, "policy_layer", values, BackupSetRow.file_server_id == server.id, now)
    differs = audit.difference(before, {"policy": server.policy_layer})
    if differs:
        audit.record(
            db, actor, "file_server.policy", server.name, now=now, before=differs[0], after=differs[1]
        )
    return server


def replace_values(
    db: Session,
    row: PolicyRow | FileServer | BackupSetRow,
    attribute: str,
    values: PolicyValues,
    affected: ColumnElement[bool],
    now: datetime,
) -> None:
    """Write a layer's values; where its schedules differ, the affected sets' next times are reckoned anew."""
    new, old = as_json(values), getattr(row, attribute) or {}
    moves = any(new.get(name) != old.get(name) for name in ("schedules", "window"))
    if moves:
        scheduler.settle(db, affected, now)
    setattr(row, attribute, new)
    db.flush()
    if moves:
        scheduler.reckon_anew(db, affected, now)


def as_json(values: PolicyValues) -> dict[str, Any]:
    """As it is kept: absent values are left out."""
    return values.model_dump(mode="json", exclude_none=True)


def _shown(row: PolicyRow) -> dict[str, Any]:
    return {"name": row.name, "comment": row.comment, "values": row.values}


def _refuse_taken(db: Session, name: str) -> None:
    if db.scalar(select(PolicyRow.id).where(PolicyRow.name == name)) is not None:
        raise Conflict(f"there is a policy {name} already", hint="choose another name")


def _add(db: Session, row: PolicyRow) -> None:
    _refuse_taken(db, row.name)
    try:
        with db.begin_nested():
            db.add(row)
    except IntegrityError:
        raise Conflict(f"there is a policy {row.name} already", hint="choose another name") from None
