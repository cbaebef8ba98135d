"""Restores onto file servers: what is asked for, checked before an agent hears of it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, UsageError
from backstay.server import audit, fleet, job_queue
from backstay.server.access import Actor, Permission
from backstay.server.catalogue import get_restore_point
from backstay.server.tables import JobRow, RepositoryRow

Existing = Literal["refuse", "overwrite", "skip", "keep-both"]

ORIGINAL_PLACE = b"/"


@dataclass(frozen=True)
class RestoreOrder:
    """What to restore, and how.

    Attributes:
        restore_point: its id.
        file_server_id: whose agent restores; None: the one that was backed up.
        target: folder to restore into; `/` is the original place.
        paths: parts of the restore point; none: all of it.
        existing: what happens to what exists; to the original place "refuse" makes no sense.
        strip: put each path right into the target, without the folders above it.
        dry_run: only find out what would be written.
    """

    restore_point: str
    target: bytes
    file_server_id: int | None = None
    paths: Sequence[bytes] = ()
    existing: Existing = "refuse"
    with_permissions: bool = True
    numeric_ids: bool = False
    strip: bool = False
    verified: bool = True
    dry_run: bool = False


def request_restore(db: Session, actor: Actor, order: RestoreOrder, *, now: datetime) -> JobRow:
    """Request a restore; the job is the agent's as soon as it asks for work.

    Raises:
        Forbidden: the actor may not restore.
        NotFound: there is no such restore point or file server.
        UsageError: the order contradicts itself.
        Conflict: this server cannot read the repository.
    """
    actor.require(Permission.RESTORE)
    point = get_restore_point(db, order.restore_point)
    server = fleet.get_file_server(db, order.file_server_id or point.file_server_id)
    if not order.target.startswith(b"/") and b":" not in order.target[:3]:
        raise UsageError("the target is no absolute path", hint="write it from the root: /srv/restored")
    if order.target == ORIGINAL_PLACE and order.existing == "refuse":
        raise UsageError(
            "a restore to the original place meets what is there",
            hint="say what happens to it: overwrite, skip or keep-both",
        )
    if any(not path.startswith(b"/") for path in order.paths):
        raise UsageError("a path in the restore point begins with /", hint="take it as browsing shows it")
    if not db.get_one(RepositoryRow, point.repository_id).reads:
        raise Conflict(
            "this server holds no private key of the repository, and cannot order a restore",
            hint="restore with `backstay repo restore` and a passphrase or the recovery key",
        )
    job = job_queue.request_restore(
        db,
        server,
        now=now,
        requested_by=actor.name,
        repository_id=point.repository_id,
        restore_point_id=point.id,
        request={
            "target": _text(order.target),
            "paths": [_text(path) for path in order.paths],
            "existing": order.existing,
            "with_permissions": order.with_permissions,
            "numeric_ids": order.numeric_ids,
            "strip": order.strip,
            "verified": order.verified,
            "dry_run": order.dry_run,
        },
    )
    after = {
        "restore_point": point.id,
        "target": order.target.decode(errors="replace"),
        "paths": [path.decode(errors="replace") for path in order.paths[:100]],
        "existing": order.existing,
        "dry_run": order.dry_run,
        "job": job.id,
    }
    audit.record(db, actor, "restore.request", server.name, now=now, after=after)
    return job


def _text(path: bytes) -> str:
    return base64.b64encode(path).decode()
