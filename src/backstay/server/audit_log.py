"""Reading the audit log."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from backstay.server.database import Database
from backstay.server.tables import AuditEntry

_AT_ONCE = 500


@dataclass(frozen=True)
class AuditFilter:
    """Which entries; what is empty or None does not limit them.

    Attributes:
        who, subject: a part of it, whatever the capitals.
        action: how it begins: "policy." or "policy.change".
        since, until: of the first moment, and of the first that does not belong to it any more.
    """

    who: str = ""
    subject: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None


def list_entries(
    db: Session, wanted: AuditFilter, *, below: int | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The newest entries first, from the one below the number `below`."""
    query = _chosen(wanted)
    if below is not None:
        query = query.where(AuditEntry.number < below)
    return list(db.scalars(query.order_by(AuditEntry.number.desc()).limit(limit)))


def every_entry(database: Database, wanted: AuditFilter) -> Iterator[AuditEntry]:
    """All entries from the oldest on; the database is not held between them."""
    number = 0
    while True:
        with database.read() as db:
            query = _chosen(wanted).where(AuditEntry.number > number)
            rows = db.scalars(query.order_by(AuditEntry.number).limit(_AT_ONCE)).all()
        yield from rows
        if len(rows) < _AT_ONCE:
            return
        number = rows[-1].number


def _chosen(wanted: AuditFilter) -> Select[AuditEntry]:
    query = select(AuditEntry)
    if wanted.who:
        query = query.where(AuditEntry.who.icontains(wanted.who, autoescape=True))
    if wanted.subject:
        query = query.where(AuditEntry.subject.icontains(wanted.subject, autoescape=True))
    if wanted.action:
        query = query.where(AuditEntry.action.startswith(wanted.action, autoescape=True))
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntry.at < wanted.until)
    return query
