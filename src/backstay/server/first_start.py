"""What a new server begins with, so that the first file server is protected with sane defaults."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.errors import NotFound
from backstay.protocol.policy_document import PolicyValues, RetentionDocument, ScheduleDocument
from backstay.server import administrators, backup_sets, fleet, named_policies
from backstay.server.access import SYSTEM
from backstay.server.control import Control
from backstay.server.database import Lock, hold
from backstay.server.tables import BackupSetRow, FileServer, PolicyRow, Setting

STANDARD_POLICY = "standard"
_SETTLED = "settled in"


def settle_in(control: Control, time_zone: str) -> None:
    """Make the standard policy, once in the life of the database: who removes it does not get it again.

    Args:
        time_zone: IANA name of the zone in which the policy's nights are.
    """
    now = control.clock()
    with control.database.begin() as db:
        hold(db, Lock.ADMINISTRATORS)
        if db.get(Setting, _SETTLED) is not None:
            return
        db.add(Setting(name=_SETTLED, value=True, updated_at=now))
        if db.scalars(select(PolicyRow.id).limit(1)).first() is None:
            named_policies.create_policy(
                db,
                SYSTEM,
                name=STANDARD_POLICY,
                values=PolicyValues(
                    schedules=[ScheduleDocument(rule="30 22 * * *", time_zone=time_zone)],
                    retention=RetentionDocument(
                        keep_days=30, weekly=8, monthly=12, yearly=3, time_zone=time_zone
                    ),
                ),
                comment="every night; 30 days, 8 weeks, 12 months, 3 years",
                now=now,
            )


@dataclass(frozen=True)
class ThisMachine:
    """The server's own machine as a file server: what its agent needs to know."""

    file_server_id: int
    name: str
    secret: str


def first_password(control: Control) -> str | None:
    """Make the first administrator, `admin`, and return the password; None where there is one already."""
    with control.database.begin() as db:
        if administrators.is_set_up(db):
            return None
        return administrators.create_first_administrator(db, now=control.clock()).password


def enrol_this_machine(control: Control) -> ThisMachine:
    """Enrol the server's own machine, in place of an agent of that name whose folder was lost."""
    now, name = control.clock(), socket.gethostname()
    with control.database.begin() as db:
        known = db.scalars(select(FileServer).where(FileServer.name == name)).first()
        if known is not None:
            fleet.revoke_agent(db, SYSTEM, known.id, now=now)
        token = fleet.create_enrolment_token(
            db, SYSTEM, now=now, fingerprint="", valid_for=timedelta(minutes=1), most_uses=1
        )
        identity = fleet.enrol(db, fleet.secret_of(token.token), name, now=now)
    return ThisMachine(identity.file_server_id, identity.name, identity.secret)


def protect(control: Control, file_server_id: int, paths: Sequence[str]) -> None:
    """Let the set `protected` of a file server, made if it is not there, hold these paths too."""
    now = control.clock()
    with control.database.begin() as db:
        found = db.scalars(
            select(BackupSetRow).where(
                BackupSetRow.file_server_id == file_server_id,
                BackupSetRow.name == "protected",
                BackupSetRow.removed_at.is_(None),
            )
        ).first()
        if found is None:
            new = backup_sets.NewSet(file_server_id, "protected", paths, policy_id=_standard(db))
            backup_sets.create_backup_set(db, SYSTEM, new, now=now)
            return
        more = [path for path in paths if path not in found.paths]
        if more:
            change = backup_sets.SetChange(paths=[*found.paths, *more])
            backup_sets.change_backup_set(db, SYSTEM, found.id, change, now=now)


def _standard(db: Session) -> int:
    policy = db.scalars(select(PolicyRow).where(PolicyRow.name == STANDARD_POLICY)).first()
    policy = policy or db.scalars(select(PolicyRow).order_by(PolicyRow.id).limit(1)).first()
    if policy is None:
        raise NotFound("there is no policy", hint="make one: backstay policies create")
    return policy.id
