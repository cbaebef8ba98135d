"""What several backup sets share under a name: how a policy or a content rule is found, named and removed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from backstay.domain.errors import Conflict, NotFound
from backstay.server import audit
from backstay.server.access import Actor
from backstay.server.names import checked_name, checked_text
from backstay.server.tables import BackupSetRow, ContentRuleRow, FileServer, PolicyRow

_Row = TypeVar("_Row", PolicyRow, ContentRuleRow)


@dataclass(frozen=True)
class Shared(Generic[_Row]):
    """One kind of what is shared.

    Attributes:
        table: of the rows.
        used: the column by which a backup set names one.
        word: for it in messages; `short` where it was named just before; `action` in the audit log.
        command: lists them.
        shown: what the audit log shows of one.
    """

    table: type[_Row]
    used: InstrumentedAttribute[int | None]
    word: str
    short: str
    action: str
    command: str
    shown: Callable[[_Row], dict[str, Any]]

    def get(self, db: Session, number: int) -> _Row:
        """The one of this number. Raises NotFound."""
        row = db.get(self.table, number)
        if row is None:
            raise NotFound(f"there is no {self.word} {number}", hint=f"`{self.command}` lists them")
        return row

    def page(self, db: Session, *, search: str, after: str, limit: int) -> tuple[list[tuple[_Row, int]], int]:
        """By name, from the one after `after`, each with how many sets use it; and their number."""
        query = select(self.table)
        if search:
            query = query.where(self.table.name.icontains(search, autoescape=True))
        total = db.scalar(select(func.count()).select_from(query.subquery())) or 0
        uses = (
            select(func.count())
            .where(self.used == self.table.id, BackupSetRow.removed_at.is_(None))
            .scalar_subquery()
        )
        query = query.where(self.table.name > after).order_by(self.table.name).limit(limit)
        return [(row, used) for row, used in db.execute(query.add_columns(uses)).all()], total

    def sets_using(self, db: Session, row: _Row, limit: int) -> list[BackupSetRow]:
        """Backup sets that use it, by file server and name."""
        query = (
            select(BackupSetRow)
            .join(BackupSetRow.file_server)
            .where(self.used == row.id, BackupSetRow.removed_at.is_(None))
            .order_by(FileServer.name, BackupSetRow.name)
            .limit(limit)
        )
        return list(db.scalars(query))

    def count_using(self, db: Session, row: _Row) -> int:
        """How many backup sets use it."""
        using = (self.used == row.id, BackupSetRow.removed_at.is_(None))
        return db.scalar(select(func.count()).select_from(BackupSetRow).where(*using)) or 0

    def add(self, db: Session, actor: Actor, row: _Row, *, now: datetime) -> None:
        """Keep a new one. Raises Conflict: there is one of that name."""
        self._refuse_taken(db, row.name)
        try:
            with db.begin_nested():
                db.add(row)
        except IntegrityError:
            raise self._taken(row.name) from None
        audit.record(db, actor, f"{self.action}.create", row.name, now=now, after=self.shown(row))

    def describe(self, db: Session, row: _Row, *, name: str | None, comment: str | None) -> None:
        """Change name and comment where they are given. Raises UsageError, Conflict."""
        if comment is not None:
            row.comment = checked_text("the comment", comment)
        if name is not None and name.strip() != row.name:
            checked = checked_name(f"a {self.word}", name)
            self._refuse_taken(db, checked)
            row.name = checked

    def note_change(
        self, db: Session, actor: Actor, row: _Row, before: dict[str, Any], *, now: datetime
    ) -> None:
        """Put into the audit log how it differs from what was `shown` before, if it does."""
        differs = audit.difference(before, self.shown(row))
        if differs:
            row.updated_at = now
            db.flush()
            old, new = differs
            audit.record(db, actor, f"{self.action}.change", before["name"], now=now, before=old, after=new)

    def remove(self, db: Session, actor: Actor, row: _Row, *, now: datetime) -> None:
        """Remove it. Raises Conflict: a set uses it."""
        used = self.sets_using(db, row, 4)
        if used:
            names = ", ".join(f"{one.file_server.name}/{one.name}" for one in used[:3])
            more = ", …" if len(used) > 3 else ""
            raise Conflict(
                f"the {self.word} {row.name} is used by {names}{more}",
                hint=f"give these sets another {self.short} first",
            )
        # Sets that were removed still name it; they are brought back without it.
        for removed in db.scalars(select(BackupSetRow).where(self.used == row.id)):
            setattr(removed, self.used.key, None)
        db.flush()
        audit.record(db, actor, f"{self.action}.remove", row.name, now=now, before=self.shown(row))
        db.delete(row)
        db.flush()

    def _refuse_taken(self, db: Session, name: str) -> None:
        if db.scalar(select(self.table.id).where(self.table.name == name)) is not None:
            raise self._taken(name)

    def _taken(self, name: str) -> Conflict:
        return Conflict(f"there is a {self.word} {name} already", hint="choose another name")
