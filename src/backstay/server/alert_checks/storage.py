"""Repositories that fill up or are damaged."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from backstay.domain.size import format_size
from backstay.server.alert_checks.finding import AlertKind, Facts, Finding, Severity, span
from backstay.server.tables import PackRow, RepositoryFigures, RepositoryRow, RestorePointRow

_LOOK_BACK = timedelta(days=14)
_LEAST_HISTORY = timedelta(hours=12)
_SOON = timedelta(days=3)


def filling(facts: Facts) -> Iterator[Finding]:
    """Little room is left in a storage, or there will be none soon at its present growth."""
    limits = facts.limits
    for repository in facts.db.scalars(select(RepositoryRow)).all():
        figures = facts.db.scalars(
            select(RepositoryFigures)
            .where(
                RepositoryFigures.repository_id == repository.id,
                RepositoryFigures.at > facts.now - _LOOK_BACK,
                RepositoryFigures.free_bytes.is_not(None),
            )
            .order_by(RepositoryFigures.at)
        ).all()
        if not figures:
            continue
        newest = figures[-1]
        free = newest.free_bytes or 0
        part = 100 * free / max(1, free + newest.stored_bytes)
        left = time_left(list(figures))
        soon = left is not None and left <= timedelta(days=limits.full_in_days)
        if part >= limits.least_free_percent and not soon:
            continue
        text = f"the storage of the repository {repository.name} has {format_size(free)} left"
        if left is not None:
            text += f", and is full in {span(left)} if it grows as it did" if soon else ""
        critical = part < limits.least_free_percent / 3 or (left is not None and left <= _SOON)
        yield Finding(
            AlertKind.STORAGE_FILLING,
            Severity.CRITICAL if critical else Severity.WARNING,
            f"repository:{repository.id}",
            text,
            "add room, shorten the retention of large sets, and prune",
        )


def time_left(figures: list[RepositoryFigures]) -> timedelta | None:
    """When a storage is full, from figures of one repository, the oldest first; None where it does not grow.

    What others store on the same disk counts too: the room that vanished, or what was stored, whichever
    is more.
    """
    first, last = figures[0], figures[-1]
    took = last.at - first.at
    if took < _LEAST_HISTORY or last.free_bytes is None:
        return None
    grown = max(last.stored_bytes - first.stored_bytes, (first.free_bytes or 0) - last.free_bytes)
    if grown <= 0:
        return None
    days = last.free_bytes / grown * (took / timedelta(days=1))
    return timedelta(days=min(days, 100_000))


def damage(facts: Facts) -> Iterator[Finding]:
    """A verification has found restore points or packs that are not what they should be."""
    db = facts.db
    points = _counted(
        db,
        select(RestorePointRow.repository_id, func.count())
        .where(RestorePointRow.damaged, RestorePointRow.expired_at.is_(None))
        .group_by(RestorePointRow.repository_id),
    )
    packs = _counted(
        db,
        select(PackRow.repository_id, func.count()).where(PackRow.damaged).group_by(PackRow.repository_id),
    )
    for repository_id in sorted(points.keys() | packs.keys()):
        repository = db.get_one(RepositoryRow, repository_id)
        parts = [
            f"{count} {noun if count == 1 else noun + 's'}"
            for count, noun in (
                (points.get(repository_id), "restore point"),
                (packs.get(repository_id), "pack"),
            )
            if count
        ]
        yield Finding(
            AlertKind.DAMAGE,
            Severity.CRITICAL,
            f"repository:{repository_id}",
            f"the repository {repository.name} is damaged: {' and '.join(parts)}",
            "look at the disk below it; the next backups store again what is missing and can still be read; "
            "`backstay repo verify` names the files",
        )


def _counted(db: Session, query: Select[str, int]) -> dict[str, int]:
    return dict(db.execute(query).all())
