"""How large the repositories are and were, and what deduplication and compression save."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backstay.server.tables import RepositoryFigures, RepositoryRow

_MOST_POINTS = 200


@dataclass(frozen=True)
class StorageFigures:
    """All repositories together at one time.

    Attributes:
        stored: bytes that they take.
        source: bytes of all files in all restore points, as if each were kept by itself.
        free: bytes that are left where they lie; None where a store has no end.
    """

    at: datetime
    stored: int
    source: int
    free: int | None

    @property
    def factor(self) -> float | None:
        """How many times smaller it is than its source."""
        return self.source / self.stored if self.stored else None


def growth(db: Session, since: datetime, repository_id: str | None = None) -> list[StorageFigures]:
    """The figures since then, the oldest first; of one repository, or of all together."""
    query = (
        select(
            RepositoryFigures.at,
            func.sum(RepositoryFigures.stored_bytes),
            func.sum(RepositoryFigures.source_bytes),
            func.sum(RepositoryFigures.free_bytes),
        )
        .where(RepositoryFigures.at >= since)
        .group_by(RepositoryFigures.at)
        .order_by(RepositoryFigures.at)
    )
    if repository_id is not None:
        query = query.where(RepositoryFigures.repository_id == repository_id)
    found = [
        StorageFigures(at, int(stored), int(source), int(free) if free is not None else None)
        for at, stored, source, free in db.execute(query)
    ]
    step = max(1, len(found) // _MOST_POINTS)
    return found[::-step][::-1]


def latest(db: Session) -> StorageFigures | None:
    """The newest figures of all repositories together; None where nothing was measured yet."""
    newest = (
        select(RepositoryFigures.repository_id, func.max(RepositoryFigures.id).label("id"))
        .group_by(RepositoryFigures.repository_id)
        .subquery()
    )
    rows = db.scalars(select(RepositoryFigures).join(newest, RepositoryFigures.id == newest.c.id)).all()
    if not rows:
        return None
    free = [row.free_bytes for row in rows if row.free_bytes is not None]
    return StorageFigures(
        max(row.at for row in rows),
        sum(row.stored_bytes for row in rows),
        sum(row.source_bytes for row in rows),
        min(free) if free else None,
    )


def chart(figures: Sequence[StorageFigures]) -> dict[str, Any] | None:
    """As the console draws it; None where there is no line to draw yet."""
    return _lines([one.at for one in figures], {"Stored": [one.stored for one in figures]})


def chart_of(rows: Sequence[RepositoryFigures]) -> dict[str, Any] | None:
    """The growth of one repository, beside what it protects."""
    stored, source = [row.stored_bytes for row in rows], [row.source_bytes for row in rows]
    return _lines([row.at for row in rows], {"Stored": stored, "Protected": source})


def _lines(times: Sequence[datetime], lines: dict[str, list[int]]) -> dict[str, Any] | None:
    if len(times) < 2:
        return None
    looks: tuple[dict[str, Any], ...] = ({"tone": "accent"}, {"tone": "calm", "fill": False})
    return {
        "times": [int(at.timestamp()) for at in times],
        "unit": "bytes",
        "series": [
            {"label": label, "values": values, **look}
            for (label, values), look in zip(lines.items(), looks, strict=False)
        ],
    }


def repositories(db: Session) -> list[tuple[RepositoryRow, RepositoryFigures | None]]:
    """Each repository with its newest figures."""
    found = []
    for row in db.scalars(select(RepositoryRow).order_by(RepositoryRow.created_at)):
        figures = db.scalars(
            select(RepositoryFigures)
            .where(RepositoryFigures.repository_id == row.id)
            .order_by(RepositoryFigures.id.desc())
            .limit(1)
        ).first()
        found.append((row, figures))
    return found
