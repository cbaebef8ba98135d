"""Restore points to look at: the catalogue's list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session, joinedload

from backstay.domain.errors import UsageError
from backstay.server.tables import RestorePointRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class PointFilter:
    """Which restore points; an empty value means any.

    Attributes:
        since, until: when they were committed, by the server's clock; `until` is not in.
        incomplete: whether files are missing or not as they should be.
    """

    file_server_id: int | None = None
    backup_set_ids: Sequence[int] = ()
    repository_id: str = ""
    held: bool | None = None
    incomplete: bool | None = None
    damaged: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_restore_points(
    db: Session, wanted: PointFilter, *, after: str = "", limit: int = 100
) -> tuple[list[RestorePointRow], str | None]:
    """Those that can be restored, the newest first; and what to give as `after` to see the next page.

    Raises:
        UsageError: `after` is no such thing.
    """
    query = select(RestorePointRow).where(RestorePointRow.expired_at.is_(None), *_conditions(wanted))
    if after:
        moment, point_id = _place(after)
        same = and_(RestorePointRow.committed_at == moment, RestorePointRow.id < point_id)
        query = query.where(
            RestorePointRow.committed_at <= moment, or_(RestorePointRow.committed_at < moment, same)
        )
    query = query.order_by(RestorePointRow.committed_at.desc(), RestorePointRow.id.desc()).limit(limit)
    rows = list(
        db.scalars(
            query.options(joinedload(RestorePointRow.file_server), joinedload(RestorePointRow.backup_set))
        )
    )
    return rows, _cursor(rows[-1]) if len(rows) == limit else None


def _conditions(wanted: PointFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.file_server_id is not None:
        found.append(RestorePointRow.file_server_id == wanted.file_server_id)
    if wanted.backup_set_ids:
        found.append(RestorePointRow.backup_set_id.in_(wanted.backup_set_ids))
    if wanted.repository_id:
        found.append(RestorePointRow.repository_id == wanted.repository_id)
    if wanted.held is not None:
        found.append((RestorePointRow.held_by != "") if wanted.held else (RestorePointRow.held_by == ""))
    if wanted.incomplete is not None:
        has_problems = RestorePointRow.problems > 0
        found.append(has_problems if wanted.incomplete else ~has_problems)
    if wanted.damaged is not None:
        found.append(RestorePointRow.damaged.is_(wanted.damaged))
    if wanted.since is not None:
        found.append(RestorePointRow.committed_at >= wanted.since)
    if wanted.until is not None:
        found.append(RestorePointRow.committed_at < wanted.until)
    return found


def _cursor(point: RestorePointRow) -> str:
    return f"{(point.committed_at - _EPOCH) // _MICROSECOND}-{point.id}"


def _place(cursor: str) -> tuple[datetime, str]:
    moment, _, point_id = cursor.partition("-")
    digits = set(point_id) <= set("0123456789abcdef")
    if not (moment.isdecimal() and moment.isascii() and len(moment) <= 17 and len(point_id) == 64 and digits):
        raise UsageError(
            f"{cursor[:60]!r} is no place in the list of restore points", hint="give what `next` said"
        )
    return _EPOCH + int(moment) * _MICROSECOND, point_id
