"""Content rules: the list, and one of them with what it would leave out."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.datastructures import FormData
from starlette.responses import Response

from backstay.domain.content_rule import Verdict
from backstay.domain.errors import BackstayError, UsageError
from backstay.server import browsing, content_rules, fleet, previews, protection, rule_effects
from backstay.server.access import Permission
from backstay.server.tables import ContentRuleRow
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/rules")

_MOST_CHOICES = 2000


@router.get("")
def list_them(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], after: str = "") -> Response:
    """All content rules."""
    with visit.control.database.read() as db:
        rows, total = content_rules.list_rules(db, after=after, limit=200)
    shown = [(row, used, lines_of(row.text)) for row, used in rows]
    return visit.page("rules.html", here="rules", rows=shown, total=total)


def lines_of(text: str) -> list[str]:
    """The lines that decide something."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@router.get("/new")
def show_new(visit: Annotated[Visit, Depends(seeing(Permission.EDIT))]) -> Response:
    """An empty form."""
    return _form(visit, None)


@router.post("/new")
def create(visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm) -> Response:
    """Make a content rule."""
    try:
        with visit.control.database.begin() as db:
            row = content_rules.create_rule(
                db,
                visit.actor,
                name=text_of(form, "name"),
                text=_lines(form),
                default_rules=text_of(form, "default_rules") == "true",
                comment=text_of(form, "comment"),
                now=visit.now,
            )
    except UsageError as error:
        return _form(visit, None, error=error, typed=form)
    return visit.go("/rules", f"The content rule {row.name} is there")


@router.post("/preview")
def preview(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], form: SentForm) -> Response:
    """What the lines in the form do to a path, and to the newest copy of a set: changes nothing."""
    path, set_id = text_of(form, "path"), text_of(form, "of_set")
    error: BackstayError | None = None
    verdicts: Sequence[tuple[bytes, Verdict]] = ()
    effect = subject = None
    with_defaults = text_of(form, "default_rules") == "true"
    try:
        rule = previews.whole_rule(_lines(form), default_rules=with_defaults, windows=False)
        if path:
            verdicts = previews.explain(
                _lines(form),
                path.encode("utf-8", "surrogateescape"),
                windows=False,
                with_default_rules=with_defaults,
                is_folder=path.endswith("/"),
                stat=None,
                now=visit.now,
            )
        if set_id.isdecimal() and visit.may(Permission.BROWSE):
            with visit.control.database.read() as db:
                points = browsing.points_of_set(db, int(set_id), most=1)
                subject = points[0] if points else None
            if subject is not None:
                opened = browsing.open_point(visit.control, subject.repository_id, subject.id)
                effect = rule_effects.effect_on(opened, rule)
    except BackstayError as refused:
        error = refused
    return visit.part(
        "rule_preview.html", error=error, path=path, verdicts=verdicts, effect=effect, subject=subject
    )


@router.get("/{rule_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], rule_id: int) -> Response:
    """One content rule, to be changed by whoever may."""
    with visit.control.database.read() as db:
        row = content_rules.get_rule(db, rule_id)
    return _form(visit, row)


@router.post("/{rule_id}")
def change(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, rule_id: int
) -> Response:
    """Change it for every set that uses it."""
    wanted = content_rules.RuleChange(
        text_of(form, "name"),
        text_of(form, "comment"),
        _lines(form),
        text_of(form, "default_rules") == "true",
    )
    with visit.control.database.read() as db:
        row = content_rules.get_rule(db, rule_id)
    try:
        with visit.control.database.begin() as db:
            content_rules.change_rule(db, visit.actor, rule_id, wanted, now=visit.now)
    except UsageError as error:
        return _form(visit, row, error=error, typed=form)
    return visit.go("/rules", f"The content rule {wanted.name} is changed")


@router.post("/{rule_id}/remove")
def remove(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, rule_id: int
) -> Response:
    """Remove one that no set uses; its name must be typed."""
    with visit.control.database.begin() as db:
        row = content_rules.get_rule(db, rule_id)
        if text_of(form, "confirmation") != row.name:
            raise UsageError("the name that was typed is another one", hint="type it exactly as it is shown")
        content_rules.remove_rule(db, visit.actor, rule_id, now=visit.now)
    return visit.go("/rules", f"The content rule {row.name} is removed")


def _lines(form: FormData) -> str:
    value = form.get("text", "")
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""


def _form(
    visit: Visit,
    row: ContentRuleRow | None,
    *,
    error: UsageError | None = None,
    typed: FormData | None = None,
) -> Response:
    with visit.control.database.read() as db:
        using = content_rules.sets_under(db, row) if row is not None else []
        servers = {one.id: one.file_server for one in using}
        machines, _ = fleet.list_file_servers(db, limit=_MOST_CHOICES)
        candidates = [one for one in protection.standings(db, visit.now) if one.newest is not None][:200]
    return visit.page(
        "rule.html",
        here="rules",
        status=422 if error else 200,
        row=row,
        name=text_of(typed, "name") if typed else row.name if row else "",
        comment=text_of(typed, "comment") if typed else row.comment if row else "",
        text=_lines(typed) if typed else row.text if row else "",
        default_rules=text_of(typed, "default_rules") == "true"
        if typed
        else row.default_rules
        if row
        else True,
        error=error,
        using=using,
        servers=servers,
        candidates=[(one.set.id, f"{one.set.file_server.name} / {one.set.name}") for one in candidates],
        first=using[0].id if using else "",
        file_servers=[(one.id, one.name) for one in machines],
        on_server=using[0].file_server_id if using else "",
    )
