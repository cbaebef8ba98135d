"""Backup policies: the list, and one of them with a preview of what it would do."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.datastructures import FormData
from starlette.responses import Response

from backstay.domain.errors import UsageError
from backstay.domain.policy import BackupPolicy
from backstay.domain.schedule import next_runs
from backstay.protocol.policy_document import PolicyValues
from backstay.server import named_policies
from backstay.server.access import Permission
from backstay.server.tables import BackupSetRow, PolicyRow
from backstay.server.web import policy_effects, policy_form
from backstay.server.web.policy_words import words_of
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/policies")

_RUNS = 10


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
        using = named_policies.sets_using(db, row, limit=policy_effects.MOST_SETS) if row else []
        found = list(policy_effects.effects(visit, db, using, {"policy": values}))
    return visit.part(
        "policy_preview.html",
        error=None,
        runs=next_runs(made.schedules, visit.now, _RUNS),
        zone=policy_form.zone_of(values) or "UTC",
        sets=found,
    )


@router.get("/{policy_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], policy_id: int) -> Response:
    """One policy, to be changed by whoever may."""
    with visit.control.database.read() as db:
        row = named_policies.get_policy(db, policy_id)
    return _form(visit, row, PolicyValues.model_validate(row.values))


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
    schedules = policy_form.schedule_fields(values, policy_form.zone_of(values))
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
