"""The named content rules: made, changed, removed; what they leave out is domain.content_rule's to say."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from backstay.domain.content_rule import ContentRule
from backstay.server.access import Actor, Permission
from backstay.server.names import checked_name, checked_text
from backstay.server.shared_by_sets import Shared
from backstay.server.tables import BackupSetRow, ContentRuleRow

LONGEST_TEXT = 200_000


@dataclass(frozen=True)
class RuleChange:
    """What is to be changed of a content rule; None: nothing."""

    name: str | None = None
    comment: str | None = None
    text: str | None = None
    default_rules: bool | None = None


def _shown(row: ContentRuleRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "comment": row.comment,
        "text": row.text,
        "default_rules": row.default_rules,
    }


_RULES: Final = Shared(
    ContentRuleRow,
    BackupSetRow.content_rule_id,
    "content rule",
    "rule",
    "content_rule",
    "backstay rules list",
    _shown,
)


def get_rule(db: Session, rule_id: int) -> ContentRuleRow:
    """The content rule of this number. Raises NotFound."""
    return _RULES.get(db, rule_id)


def list_rules(
    db: Session, *, search: str = "", after: str = "", limit: int = 100
) -> tuple[list[tuple[ContentRuleRow, int]], int]:
    """Rules by name, from the one after `after`, each with how many sets use it; and their number."""
    return _RULES.page(db, search=search, after=after, limit=limit)


def sets_under(db: Session, rule: ContentRuleRow, *, limit: int = 100) -> list[BackupSetRow]:
    """Backup sets that use a rule, by file server and name."""
    return _RULES.sets_using(db, rule, limit)


def count_under(db: Session, rule: ContentRuleRow) -> int:
    """How many backup sets use a rule."""
    return _RULES.count_using(db, rule)


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
    _RULES.add(db, actor, row, now=now)
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
    if change.default_rules is not None:
        row.default_rules = change.default_rules
    _RULES.describe(db, row, name=change.name, comment=change.comment)
    _RULES.note_change(db, actor, row, before, now=now)
    return row


def remove_rule(db: Session, actor: Actor, rule_id: int, *, now: datetime) -> None:
    """Remove a content rule that no set uses.

    Raises:
        NotFound.
        Conflict: it is used.
    """
    actor.require(Permission.EDIT)
    _RULES.remove(db, actor, get_rule(db, rule_id), now=now)
