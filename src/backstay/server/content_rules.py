"""The named content rules: made, changed, removed; what they leave out is domain.content_rule's to say."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backstay.domain.content_rule import ContentRule
from backstay.domain.errors import Conflict, NotFound
from backstay.server import audit
from backstay.server.access import Actor, Permission
from backstay.server.names import checked_name, checked_text
from backstay.server.tables import BackupSetRow, ContentRuleRow, FileServer

LONGEST_TEXT = 200_000


@dataclass(frozen=True)
class RuleChange:
    """What is to be changed of a content rule; None: nothing."""

    name: str | None = None
    comment: str | None = None
    text: str | None = None
    default_rules: bool | None = None


def get_rule(db: Session, rule_id: int) -> ContentRuleRow:
    """The content rule of this number. Raises NotFound."""
    row = db.get(ContentRuleRow, rule_id)
    if row is None:
        raise NotFound(f"there is no content rule {rule_id}", hint="`backstay rules list` lists them")
    return row


def list_rules(
    db: Session, *, search: str = "", after: str = "", limit: int = 100
) -> tuple[list[tuple[ContentRuleRow, int]], int]:
    """Rules by name, from the one after `after`, each with how many sets use it; and their number."""
    query = select(ContentRuleRow)
    if search:
        query = query.where(ContentRuleRow.name.icontains(search, autoescape=True))
    total = db.scalar(select(func.count()).select_from(query.subquery())) or 0
    uses = (
        select(func.count())
        .where(BackupSetRow.content_rule_id == ContentRuleRow.id, BackupSetRow.removed_at.is_(None))
        .scalar_subquery()
    )
    query = query.where(ContentRuleRow.name > after).order_by(ContentRuleRow.name).limit(limit)
    return [(row, used) for row, used in db.execute(query.add_columns(uses)).all()], total


def sets_under(db: Session, rule: ContentRuleRow, *, limit: int = 100) -> list[BackupSetRow]:
    """Backup sets that use a rule, by file server and name."""
    query = (
        select(BackupSetRow)
        .join(BackupSetRow.file_server)
        .where(BackupSetRow.content_rule_id == rule.id, BackupSetRow.removed_at.is_(None))
        .order_by(FileServer.name, BackupSetRow.name)
        .limit(limit)
    )
    return list(db.scalars(query))


def count_under(db: Session, rule: ContentRuleRow) -> int:
    """How many backup sets use a rule."""
    using = (BackupSetRow.content_rule_id == rule.id, BackupSetRow.removed_at.is_(None))
    return db.scalar(select(func.count()).select_from(BackupSetRow).where(*using)) or 0


def parsed(text: str) -> ContentRule:
    """The rule that these lines are. Raises UsageError: a line cannot be understood; it says which."""
    return ContentRule.parse(checked_text("the content rule", text, LONGEST_TEXT), "the rule")


def create_rule(
    db: Session,
    actor: Actor,
    *,
    name: str,
    text: str,
    default_rules: bool = True,
    comment: str = "",
    now: datetime,
) -> ContentRuleRow:
    """Make a content rule.

    Raises:
        UsageError: a line cannot be understood, or that cannot be a name.
        Conflict: there is one of that name.
    """
    actor.require(Permission.EDIT)
    parsed(text)
    row = ContentRuleRow(
        name=checked_name("a content rule", name),
        comment=checked_text("the comment", comment),
        text=text,
        default_rules=default_rules,
        created_at=now,
        updated_at=now,
    )
    _refuse_taken(db, row.name)
    try:
        with db.begin_nested():
            db.add(row)
    except IntegrityError:
        raise Conflict(f"there is a content rule {row.name} already", hint="choose another name") from None
    audit.record(db, actor, "content_rule.create", row.name, now=now, after=_shown(row))
    return row


def change_rule(
    db: Session, actor: Actor, rule_id: int, change: RuleChange, *, now: datetime
) -> ContentRuleRow:
    """Change a content rule, for all sets that use it. Raises NotFound, UsageError, Conflict."""
    actor.require(Permission.EDIT)
    row = get_rule(db, rule_id)
    before = _shown(row)
    if change.text is not None:
        parsed(change.text)
        row.text = change.text
    if change.comment is not None:
        row.comment = checked_text("the comment", change.comment)
    if change.default_rules is not None:
        row.default_rules = change.default_rules
    if change.name is not None and change.name.strip() != row.name:
        name = checked_name("a content rule", change.name)
        _refuse_taken(db, name)
        row.name = name
    differs = audit.difference(before, _shown(row))
    if differs:
        row.updated_at = now
        db.flush()
        audit.record(
            db, actor, "content_rule.change", before["name"], now=now, before=differs[0], after=differs[1]
        )
    return row


def remove_rule(db: Session, actor: Actor, rule_id: int, *, now: datetime) -> None:
    """Remove a content rule that no set uses.

    Raises:
        NotFound.
        Conflict: it is used.
    """
    actor.require(Permission.EDIT)
    row = get_rule(db, rule_id)
    used = sets_under(db, row, limit=4)
    if used:
        names = ", ".join(f"{one.file_server.name}/{one.name}" for one in used[:3])
        more = ", …" if len(used) > 3 else ""
        raise Conflict(
            f"the content rule {row.name} is used by {names}{more}",
            hint="give these sets another rule first",
        )
    # Sets that were removed still name it; they are brought back without it.
    for removed in db.scalars(select(BackupSetRow).where(BackupSetRow.content_rule_id == row.id)):
        removed.content_rule_id = None
    db.flush()
    audit.record(db, actor, "content_rule.remove", row.name, now=now, before=_shown(row))
    db.delete(row)
    db.flush()


def _shown(row: ContentRuleRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "comment": row.comment,
        "text": row.text,
        "default_rules": row.default_rules,
    }


def _refuse_taken(db: Session, name: str) -> None:
    if db.scalar(select(ContentRuleRow.id).where(ContentRuleRow.name == name)) is not None:
        raise Conflict(f"there is a content rule {name} already", hint="choose another name")
