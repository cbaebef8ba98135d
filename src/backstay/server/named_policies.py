"""The named policies: made, changed, removed; and the layers that file servers and sets lay over them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from backstay.protocol.policy_document import PolicyValues
from backstay.server import audit, scheduler
from backstay.server.access import Actor, Permission
from backstay.server.fleet import get_file_server
from backstay.server.names import checked_name, checked_text
from backstay.server.shared_by_sets import Shared
from backstay.server.tables import BackupSetRow, FileServer, PolicyRow


@dataclass(frozen=True)
class PolicyChange:
    """What is to be changed of a policy; None: nothing. `values` replace all values it had."""

    name: str | None = None
    comment: str | None = None
    values: PolicyValues | None = None


def _shown(row: PolicyRow) -> dict[str, Any]:
    return {"name": row.name, "comment": row.comment, "values": row.values}


_POLICIES: Final = Shared(
    PolicyRow, BackupSetRow.policy_id, "policy", "policy", "policy", "backstay policies list", _shown
)


def get_policy(db: Session, policy_id: int) -> PolicyRow:
    """The policy of this number. Raises NotFound."""
    return _POLICIES.get(db, policy_id)


def list_policies(
    db: Session, *, search: str = "", after: str = "", limit: int = 100
) -> tuple[list[tuple[PolicyRow, int]], int]:
    """Policies by name, from the one after `after`, each with how many sets use it; and their number."""
    return _POLICIES.page(db, search=search, after=after, limit=limit)


def sets_using(db: Session, policy: PolicyRow, *, limit: int = 100) -> list[BackupSetRow]:
    """Backup sets that use a policy, by file server and name."""
    return _POLICIES.sets_using(db, policy, limit)


def count_using(db: Session, policy: PolicyRow) -> int:
    """How many backup sets use a policy."""
    return _POLICIES.count_using(db, policy)


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
    _POLICIES.add(db, actor, row, now=now)
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
    _POLICIES.describe(db, row, name=change.name, comment=change.comment)
    _POLICIES.note_change(db, actor, row, before, now=now)
    return row


def remove_policy(db: Session, actor: Actor, policy_id: int, *, now: datetime) -> None:
    """Remove a policy that no set uses.

    Raises:
        NotFound.
        Conflict: it is used.
    """
    actor.require(Permission.EDIT)
    _POLICIES.remove(db, actor, get_policy(db, policy_id), now=now)


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
