"""Backup policies: the list, and one of them with a preview of what it would do."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from backstay.domain.errors import UsageError
from backstay.domain.policy import BackupPolicy
from backstay.domain.retention import PointInTime, plan
from backstay.domain.schedule import next_runs
from backstay.protocol.policy_document import PolicyValues
from backstay.server import catalogue, named_policies
from backstay.server.access import Permission
from backstay.server.tables import BackupSetRow, PolicyRow
from backstay.server.web import policy_form
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/policies")

_RUNS = 10
_SETS_IN_PREVIEW = 5
_POINTS_IN_PREVIEW = 400


@router.get("")
def list_them(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], after: str = "") -> Response:
    """All policies."""
    with visit.control.database.read() as db:
        rows, total = named_policies.list_policies(db, after=after, limit=200)
    shown = [(row, used, words_of(PolicyValues.model_validate(row.values).policy())) for row, used in rows]
    return visit.page("policies.html", here="policies", rows=shown, total=total)


@router.get("/new")
def show_new(visit: Annotated[Visit, Depends(seeing(Permission.EDIT))]) -> Response:
    """An empty form, with the built-in values."""
    values = PolicyValues.of(BackupPolicy()).model_copy(update={"schedules": None})
    return _form(visit, None, values)


@router.post("/new")
def create(visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm) -> Response:
    """Make a policy."""
    try:
        with visit.control.database.begin() as db:
            row = named_policies.create_policy(
                db,
                visit.actor,
                name=text_of(form, "name"),
                values=policy_form.values_of(form),
                comment=text_of(form, "comment"),
                now=visit.now,
            )
    except UsageError as error:
        return _form(visit, None, _as_typed(form), error=error, typed=form)
    return visit.go("/policies", f"The policy {row.name} is there")


@router.post("/preview")
def preview(
    visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], form: SentForm, policy: int = 0
) -> Response:
    """What the policy in the form would do: changes nothing, so it needs no token."""
    try:
        values = policy_form.values_of(form)
    except UsageError as error:
        return visit.part("policy_preview.html", error=error, runs=[], zone="", sets=[])
    made = values.policy()
    with visit.control.database.read() as db:
        row = named_policies.get_policy(db, policy) if policy else None
        using = named_policies.sets_using(db, row, limit=_SETS_IN_PREVIEW) if row else []
        sets = [_retention_of(db, one, made, visit) for one in using]
    return visit.part(
        "policy_preview.html",
        error=None,
        runs=next_runs(made.schedules, visit.now, _RUNS),
        zone=policy_form.zone_of(values) or "UTC",
        sets=sets,
    )


def _retention_of(db: Session, one: BackupSetRow, made: BackupPolicy, visit: Visit) -> dict[str, Any]:
    points = catalogue.points_of_set(db, one.id, limit=_POINTS_IN_PREVIEW)
    decisions = plan(
        [
            PointInTime(
                row.id, one.name, row.committed_at, bool(row.held_by), row.problems == 0 and not row.damaged
            )
            for row in points
        ],
        made.retention,
        visit.now,
    )
    counts = Counter(decision.keep for decision in decisions)
    return {
        "set": one,
        "server": one.file_server,
        "decisions": decisions,
        "stay": counts[True],
        "go": counts[False],
    }


@router.get("/{policy_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], policy_id: int) -> Response:
    """One policy, to be changed by whoever may."""
    with visit.control.database.read() as db:
        row = named_policies.get_policy(db, policy_id)
    return _form(visit, row, PolicyValues.of(PolicyValues.model_validate(row.values).policy()))


@router.post("/{policy_id}")
def change(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, policy_id: int
) -> Response:
    """Change it for every set that uses it."""
    with visit.control.database.read() as db:
        row = named_policies.get_policy(db, policy_id)
    try:
        wanted = named_policies.PolicyChange(
            text_of(form, "name"), text_of(form, "comment"), policy_form.values_of(form)
        )
        with visit.control.database.begin() as db:
            named_policies.change_policy(db, visit.actor, policy_id, wanted, now=visit.now)
    except UsageError as error:
        return _form(visit, row, _as_typed(form), error=error, typed=form)
    visit.control.wakeups.wake()
    return visit.go("/policies", f"The policy {wanted.name} is changed")


@router.post("/{policy_id}/remove")
def remove(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, policy_id: int
) -> Response:
    """Remove one that no set uses; its name must be typed."""
    with visit.control.database.begin() as db:
        row = named_policies.get_policy(db, policy_id)
        if text_of(form, "confirmation") != row.name:
            raise UsageError("the name that was typed is another one", hint="type it exactly as it is shown")
        named_policies.remove_policy(db, visit.actor, policy_id, now=visit.now)
    return visit.go("/policies", f"The policy {row.name} is removed")


def _as_typed(form: FormData) -> PolicyValues:
    """What was typed as far as it makes sense, so that a slip does not lose the rest."""
    try:
        return policy_form.values_of(form)
    except UsageError:
        return PolicyValues.of(BackupPolicy())


def _form(
    visit: Visit,
    row: PolicyRow | None,
    values: PolicyValues,
    *,
    error: UsageError | None = None,
    typed: FormData | None = None,
) -> Response:
    whole = PolicyValues.of(values.policy())
    using: list[BackupSetRow] = []
    if row is not None:
        with visit.control.database.read() as db:
            using = named_policies.sets_using(db, row)
            servers = {one.id: one.file_server for one in using}
    else:
        servers = {}
    schedules = [policy_form.fields_of(one.rule) for one in whole.schedules or ()]
    return visit.page(
        "policy.html",
        here="policies",
        status=422 if error else 200,
        row=row,
        name=text_of(typed, "name") if typed else row.name if row else "",
        comment=text_of(typed, "comment") if typed else row.comment if row else "",
        values=whole,
        zone=policy_form.zone_of(values) if row or typed else "",
        several_zones=policy_form.has_several_zones(values),
        schedules=schedules if row or typed or schedules else [policy_form.ScheduleFields()],
        blank=policy_form.ScheduleFields(),
        form=policy_form,
        error=error,
        using=using,
        servers=servers,
    )


def words_of(policy: BackupPolicy) -> dict[str, str]:
    """A policy in a few words: when, and for how long."""
    spoken = []
    for one in policy.schedules[:3]:
        fields = policy_form.fields_of(one.rule)
        label = dict(policy_form.KINDS)[fields.kind].lower()
        detail = {
            "daily": fields.time,
            "weekdays": fields.time,
            "weekly": f"{fields.weekday.capitalize()} at {fields.time}",
            "monthly": f"{fields.day} at {fields.time}",
            "hourly": fields.minute,
            "custom": one.rule,
        }[fields.kind]
        spoken.append(f"{label} {detail}")
    kept = policy.retention
    lasting = [f"{kept.keep_days} days of every copy"] if kept.keep_days else []
    lasting += [
        f"{count} {unit}"
        for count, unit in (
            (kept.daily, "daily"),
            (kept.weekly, "weekly"),
            (kept.monthly, "monthly"),
            (kept.yearly, "yearly"),
        )
        if count
    ]
    when = "; ".join(spoken) or "by hand only"
    return {"when": f"{when[:1].upper()}{when[1:]}", "keep": ", ".join(lasting)}
