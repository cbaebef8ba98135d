"""Content rules: list, look, make, change, remove."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backstay.server import content_rules
from backstay.server.api.dependencies import ControlDep, Editor, Viewer
from backstay.server.api.fields import Body, Comment, Cursor, Limit, Name, Number, Search, Text
from backstay.server.api.policies import Use, use_of
from backstay.server.content_rules import LONGEST_TEXT, RuleChange
from backstay.server.tables import ContentRuleRow

router = APIRouter(tags=["content rules"])

RuleText = Annotated[
    Text,
    Field(
        max_length=LONGEST_TEXT,
        description="lines as in a .gitignore file in /, and as docs/decisions/0002-content-rules.md says",
    ),
]


class RuleView(BaseModel):
    """A content rule."""

    id: int
    name: str
    comment: str
    text: str
    default_rules: bool = Field(description="whether what the operating system makes again is left out first")
    used_by: int = Field(description="how many backup sets use it")
    created_at: datetime
    updated_at: datetime


class RuleDetail(RuleView):
    """A content rule, and where it is used."""

    uses: list[Use] = Field(description="the first 100; GET /backup-sets?content_rule_id= has all")


class RuleList(BaseModel):
    """A page of content rules."""

    total: int
    items: list[RuleView]
    next: str | None = Field(description="give it as `after` to see the next page")


class NewRule(Body):
    """A content rule to be made."""

    name: Name
    text: RuleText
    comment: Comment = ""
    default_rules: bool = True


class ChangedRule(Body):
    """What is to be changed of a content rule."""

    name: Name | None = None
    text: RuleText | None = None
    comment: Comment | None = None
    default_rules: bool | None = None


def _view(row: ContentRuleRow, used_by: int) -> RuleView:
    return RuleView(
        id=row.id,
        name=row.name,
        comment=row.comment,
        text=row.text,
        default_rules=row.default_rules,
        used_by=used_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


@router.get("/content-rules")
def list_rules(
    control: ControlDep, actor: Viewer, search: Search = "", after: Cursor = "", limit: Limit = 100
) -> RuleList:
    """Content rules by name."""
    with control.database.read() as db:
        rows, total = content_rules.list_rules(db, search=search, after=after, limit=limit)
        items = [_view(row, used) for row, used in rows]
    return RuleList(total=total, items=items, next=items[-1].name if len(items) == limit else None)


@router.post("/content-rules", status_code=201)
def create_rule(control: ControlDep, actor: Editor, wanted: NewRule) -> RuleView:
    """Make a content rule. Lines that cannot be understood are named by their numbers."""
    with control.database.begin() as db:
        row = content_rules.create_rule(
            db,
            actor,
            name=wanted.name,
            text=wanted.text,
            default_rules=wanted.default_rules,
            comment=wanted.comment,
            now=control.clock(),
        )
        return _view(row, 0)


@router.get("/content-rules/{rule_id}")
def get_rule(control: ControlDep, actor: Viewer, rule_id: Number) -> RuleDetail:
    """One content rule, and the sets that use it."""
    with control.database.read() as db:
        row = content_rules.get_rule(db, rule_id)
        uses = [use_of(one) for one in content_rules.sets_under(db, row)]
        view = _view(row, content_rules.count_under(db, row))
    return RuleDetail(**view.model_dump(), uses=uses)


@router.patch("/content-rules/{rule_id}")
def change_rule(control: ControlDep, actor: Editor, rule_id: Number, wanted: ChangedRule) -> RuleView:
    """Change a content rule, for all sets that use it."""
    change = RuleChange(**wanted.model_dump())
    with control.database.begin() as db:
        row = content_rules.change_rule(db, actor, rule_id, change, now=control.clock())
        return _view(row, content_rules.count_under(db, row))


@router.delete("/content-rules/{rule_id}", status_code=204)
def remove_rule(control: ControlDep, actor: Editor, rule_id: Number) -> None:
    """Remove a content rule that no set uses."""
    with control.database.begin() as db:
        content_rules.remove_rule(db, actor, rule_id, now=control.clock())
