"""Looks into packs soon after they were stored: only what was found to be what it says counts for others.

A stolen file server can store, under the id of content that it knows, something else (docs/format.md,
"What a stolen credential can do"). Until a pack is checked only its own file server relies on it; one that is
found to lie is condemned, so that the next backups store its blobs anew.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from backstay.domain.errors import BackstayError
from backstay.domain.job import JobKind, JobState
from backstay.server import audit
from backstay.server.access import SYSTEM
from backstay.server.control import Control
from backstay.server.reconcile import SETTLED
from backstay.server.tables import FileServer, JobRow, PackRow, RepositoryRow
from backstay.server.upkeep_schedule import claim
from backstay.server.worker_process import WorkerProcess

TASK = "check_packs"
_LEASE = timedelta(minutes=2)
_GIVES_WAY = timedelta(seconds=30)
"""A check reads, decompresses and hashes all that was stored, only so that others with the same files need
not store them: it may wait so long. Most backups are over by then."""
_AT_ONCE = 16
_NICE = 19
_log = structlog.get_logger()


def check_when_quiet(control: Control) -> int:
    """As `check_new`, a chore; but while backups run, packs wait for it for half a minute."""
    now = control.clock()
    backing_up = select(JobRow.id).where(
        JobRow.kind == JobKind.BACKUP.value, JobRow.state == JobState.RUNNING.value
    )
    with control.database.read() as db:
        oldest = db.scalar(select(func.min(PackRow.stored_at)).where(_waiting(now)))
        if oldest is None or (oldest > now - _GIVES_WAY and db.scalar(select(backing_up.exists()))):
            return 0
    return check_new(control)


def check_new(control: Control) -> int:
    """Check all packs that nobody has checked. Returns how many."""
    waits = _waiting(control.clock())
    some = select(PackRow.digest).where(waits, PackRow.repository_id == RepositoryRow.id).exists()
    with control.database.read() as db:
        repositories = list(db.scalars(select(RepositoryRow).where(RepositoryRow.reads.is_(True), some)))
    checked = 0
    for repository in repositories:
        if _take(control, repository.id):
            try:
                checked += _check(control, repository)
            finally:
                _let_go(control, repository.id)
    return checked


def waiting(db: Session, repository_id: str) -> int:
    """How many packs of a repository are still to be checked."""
    unchecked = PackRow.checked_at.is_(None) & PackRow.damaged.is_(False)
    found = select(func.count()).select_from(PackRow)
    return db.scalar(found.where(unchecked, PackRow.repository_id == repository_id)) or 0


def _waiting(now: datetime) -> ColumnElement[bool]:
    # A request to store it that was signed may still change what is there.
    settled = PackRow.presigned_until.is_(None) | (PackRow.presigned_until < now)
    return PackRow.checked_at.is_(None) & PackRow.damaged.is_(False) & settled


def _take(control: Control, repository_id: str) -> bool:
    """Whether this process alone checks the repository's packs from now on."""
    now = control.clock()
    with control.database.begin() as db:
        row = claim(db, repository_id, TASK, now, lambda: now)
        if row is None or (row.leased_until is not None and row.leased_until > now):
            return row is not None and row.leased_to == control.instance
        row.leased_to, row.leased_until = control.instance, now + _LEASE
        return True


def _let_go(control: Control, repository_id: str) -> None:
    with control.database.begin() as db:
        row = claim(db, repository_id, TASK, control.clock(), control.clock)
        if row is not None and row.leased_to == control.instance:
            row.leased_to, row.leased_until = "", None


def _check(control: Control, repository: RepositoryRow) -> int:
    opened = control.repositories.get(repository.id)
    if not opened.secrets.can_read:
        return 0
    cache = control.settings.folder / "cache"
    missing: set[str] = set()
    with WorkerProcess(opened, repository.location, cache, TASK, {}, nice=_NICE) as worker:
        while (message := worker.receive(1.0)) is not None:
            if control.stopping.is_set():
                worker.cancel("the server is stopped")
            if message["kind"] == "ask":
                worker.answer(_next_batch(control, repository.id, message["value"], missing))
            elif message["kind"] == "done":
                return int(message["result"]["checked"])
            elif message["kind"] == "failed":
                raise BackstayError(f"packs could not be checked: {message['what']}", hint=message["hint"])
            elif message["kind"] == "cancelled":
                return 0
    raise BackstayError("the process that checks packs ended early", hint="it is started again by itself")


def _next_batch(
    control: Control, repository_id: str, found: list[tuple[str, str, bool]], missing: set[str]
) -> list[str]:
    """Note what was found of the last packs, and give the next ones; none where others do that now."""
    now = control.clock()
    with control.database.begin() as db:
        row = claim(db, repository_id, TASK, now, lambda: now)
        if row is None or row.leased_to != control.instance:
            return []
        row.leased_until = now + _LEASE
        for digest, why, is_missing in found:
            if is_missing:
                missing.add(digest)
            _note(db, repository_id, digest, why, is_missing, now)
        return list(
            db.scalars(
                select(PackRow.digest)
                .where(_waiting(now), PackRow.repository_id == repository_id, PackRow.digest.not_in(missing))
                .order_by(PackRow.stored_at, PackRow.digest)
                .limit(_AT_ONCE)
            )
        )


def _note(db: Session, repository_id: str, digest: str, why: str, is_missing: bool, now: datetime) -> None:
    row = db.get(PackRow, (repository_id, digest))
    if row is None:
        return
    if is_missing:
        # Its upload may still be under way; later nobody must rely on what is not there.
        if now - (row.presigned_until or row.stored_at) >= SETTLED:
            db.delete(row)
    elif not why:
        row.checked_at = now
    else:
        row.damaged = True
        server = db.get(FileServer, row.file_server_id) if row.file_server_id is not None else None
        after = {"why": why, "stored_by": server.name if server is not None else None}
        audit.record(db, SYSTEM, "pack.condemn", digest, now=now, after=after)
        _log.error("pack condemned", pack=digest, **after)
    db.flush()
