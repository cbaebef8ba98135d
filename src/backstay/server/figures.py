"""How large each repository is, noted once an hour, whichever server process does it."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backstay.domain.errors import BackstayError
from backstay.server.control import Control
from backstay.server.tables import PackRow, RepositoryFigures, RepositoryRow, RestorePointRow
from backstay.server.upkeep_schedule import claim

_log = structlog.get_logger()

TASK = "figures"
EVERY = timedelta(hours=1)
KEPT = timedelta(days=3 * 366)


def note_all(control: Control) -> int:
    """Note the figures of each repository for which it is time; a chore. Returns of how many."""
    with control.database.read() as db:
        repositories = list(db.scalars(select(RepositoryRow.id)))
    # The same time for all, so that they can be added up.
    noted, now = 0, control.clock()
    for repository_id in repositories:
        try:
            noted += _note_one(control, repository_id, now)
        except BackstayError as error:
            # One storage that does not answer must not keep the others from being looked at.
            _log.warning("no figures", repository=repository_id, what=error.what)
    return noted


def _note_one(control: Control, repository_id: str, now: datetime) -> bool:
    with control.database.begin() as db:
        task = claim(db, repository_id, TASK, now, lambda: now)
        if task is None or task.due_at > now:
            return False
        task.due_at = now.replace(minute=0, second=0, microsecond=0) + EVERY
    free = control.repositories.get(repository_id).storage.free_bytes()
    with control.database.begin() as db:
        db.add(figures_now(db, repository_id, now, free))
        db.execute(
            delete(RepositoryFigures).where(
                RepositoryFigures.repository_id == repository_id, RepositoryFigures.at < now - KEPT
            )
        )
    return True


def figures_now(db: Session, repository_id: str, now: datetime, free_bytes: int | None) -> RepositoryFigures:
    """What the database says of a repository; not added to it.

    `source_bytes` is what all restore points hold, as if each were kept by itself, `stored_bytes` the size of
    all packs.
    """
    packs, stored = db.execute(
        select(func.count(), func.coalesce(func.sum(PackRow.size), 0)).where(
            PackRow.repository_id == repository_id
        )
    ).one()
    living = (RestorePointRow.repository_id == repository_id) & RestorePointRow.expired_at.is_(None)
    source = db.scalar(select(func.coalesce(func.sum(RestorePointRow.bytes), 0)).where(living))
    points = db.scalar(select(func.count()).select_from(RestorePointRow).where(living))
    return RepositoryFigures(
        repository_id=repository_id,
        at=now,
        stored_bytes=int(stored),
        source_bytes=int(source or 0),
        packs=packs,
        restore_points=points or 0,
        free_bytes=free_bytes,
    )


def history(db: Session, repository_id: str, since: datetime, *, most: int = 1000) -> list[RepositoryFigures]:
    """The figures since a time, the oldest first; thinned out evenly to at most so many, the newest kept."""
    rows = db.scalars(
        select(RepositoryFigures)
        .where(RepositoryFigures.repository_id == repository_id, RepositoryFigures.at >= since)
        .order_by(RepositoryFigures.at)
    ).all()
    step = -(-len(rows) // most) if rows else 1
    return list(rows[::-1][::step][::-1])


def latest(db: Session, repository_id: str) -> RepositoryFigures | None:
    """The figures that were noted last."""
    return db.scalars(
        select(RepositoryFigures)
        .where(RepositoryFigures.repository_id == repository_id)
        .order_by(RepositoryFigures.at.desc())
        .limit(1)
    ).first()
