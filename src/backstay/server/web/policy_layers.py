"""The values of a policy that one file server, or one backup set, has for itself."""

from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from backstay.domain.errors import UsageError
from backstay.domain.policy import BUILT_IN, PolicyLayer, resolve
from backstay.domain.schedule import next_runs
from backstay.protocol.policy_document import PolicyValues
from backstay.server import backup_sets, fleet, named_policies
from backstay.server.access import Permission
from backstay.server.policies import Draft, layers_of
from backstay.server.tables import BackupSetRow, FileServer
from backstay.server.web import policy_effects, policy_form
from backstay.server.web.policy_words import words_of
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_RUNS = 10


@router.get("/sets/{set_id}/policy")
def show_of_set(visit: Annotated[Visit, Depends(seeing(Permission.EDIT))], set_id: int) -> Response:
    """What a set has for itself, and what it inherits."""
    with visit.control.database.read() as db:
        row = backup_sets.get_backup_set(db, set_id)
        return _set_form(visit, row, PolicyValues.model_validate(row.policy_layer or {}))


@router.post("/sets/{set_id}/policy")
def change_of_set(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, set_id: int
) -> Response:
    """Change what a set has for itself."""
    try:
        wanted = backup_sets.SetChange(policy_layer=policy_form.layer_of(form))
        with visit.control.database.begin() as db:
            row = backup_sets.change_backup_set(db, visit.actor, set_id, wanted, now=visit.now)
            name = row.name
    except UsageError as error:
        with visit.control.database.read() as db:
            row = backup_sets.get_backup_set(db, set_id)
            return _set_form(visit, row, PolicyValues.model_validate(row.policy_layer or {}), error)
    visit.control.wakeups.wake()
    return visit.go(f"/sets/{set_id}", f"The policy of {name} is changed")


@router.post("/sets/{set_id}/policy/preview")
def preview_of_set(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, set_id: int
) -> Response:
    """What the values in the form would do to the set: changes nothing."""
    with visit.control.database.read() as db:
        return _preview(visit, db, form, [backup_sets.get_backup_set(db, set_id)], "backup_set")


@router.get("/file-servers/{server_id}/policy")
def show_of_server(visit: Annotated[Visit, Depends(seeing(Permission.EDIT))], server_id: int) -> Response:
    """What a file server has for all of its sets, and what is left to their policies."""
    with visit.control.database.read() as db:
        server = fleet.get_file_server(db, server_id)
        return _server_form(visit, server, PolicyValues.model_validate(server.policy_layer or {}))


@router.post("/file-servers/{server_id}/policy")
def change_of_server(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, server_id: int
) -> Response:
    """Change what a file server has for all of its sets."""
    try:
        wanted = policy_form.layer_of(form)
        with visit.control.database.begin() as db:
            server = named_policies.change_layer_of_file_server(
                db, visit.actor, server_id, wanted, now=visit.now
            )
            name = server.name
    except UsageError as error:
        with visit.control.database.read() as db:
            server = fleet.get_file_server(db, server_id)
            return _server_form(visit, server, PolicyValues.model_validate(server.policy_layer or {}), error)
    visit.control.wakeups.wake()
    return visit.go(f"/file-servers/{server_id}", f"The policy of all sets of {name} is changed")


@router.post("/file-servers/{server_id}/policy/preview")
def preview_of_server(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, server_id: int
) -> Response:
    """What the values in the form would do to its sets: changes nothing."""
    with visit.control.database.read() as db:
        sets = db.scalars(
            select(BackupSetRow)
            .where(BackupSetRow.file_server_id == server_id, BackupSetRow.removed_at.is_(None))
            .order_by(BackupSetRow.name)
            .limit(policy_effects.MOST_SETS)
        ).all()
        return _preview(visit, db, form, list(sets), "file_server")


def _preview(visit: Visit, db: Session, form: FormData, sets: list[BackupSetRow], layer: str) -> Response:
    try:
        values = policy_form.layer_of(form)
        draft: Draft = {"backup_set": values} if layer == "backup_set" else {"file_server": values}
        found = list(policy_effects.effects(visit, db, sets, draft))
    except UsageError as error:
        return visit.part("layer_preview.html", error=error, sets=[], runs=[], zone="")
    policy = found[0].resolved.policy if layer == "backup_set" else None
    schedules = policy.schedules if policy else ()
    return visit.part(
        "layer_preview.html",
        error=None,
        sets=found,
        runs=next_runs(schedules, visit.now, _RUNS),
        zone=schedules[0].time_zone if schedules else "",
    )


def _set_form(
    visit: Visit, row: BackupSetRow, own: PolicyValues, error: UsageError | None = None
) -> Response:
    return _form(
        visit,
        own,
        layers_of(row, {"backup_set": PolicyValues()}),
        error,
        here="sets",
        title=f"Policy of {row.name}",
        address=f"/sets/{row.id}",
        crumbs=[("Backup sets", "/sets"), (row.name, f"/sets/{row.id}")],
    )


def _server_form(
    visit: Visit, server: FileServer, own: PolicyValues, error: UsageError | None = None
) -> Response:
    return _form(
        visit,
        own,
        [],
        error,
        here="file_servers",
        title=f"Policy of {server.name}",
        address=f"/file-servers/{server.id}",
        crumbs=[("File servers", "/file-servers"), (server.name, f"/file-servers/{server.id}")],
    )


def _form(
    visit: Visit,
    own: PolicyValues,
    below: list[PolicyLayer],
    error: UsageError | None,
    *,
    here: str,
    title: str,
    address: str,
    crumbs: list[tuple[str, str]],
) -> Response:
    """The form: each part with the value that is inherited, where from, and what is set here instead."""
    inherited = resolve(below)
    whole = PolicyValues.of(resolve([*below, own.layer("here")]).policy)
    origins = {
        name: ", ".join(dict.fromkeys(inherited.origins[part] for part in parts)).replace(
            BUILT_IN, "built in"
        )
        for name, parts in policy_form.SECTIONS.items()
    }
    usual = [one.time_zone for one in inherited.policy.schedules]
    zone = policy_form.zone_of(own) or (usual[0] if usual else "")
    return visit.page(
        "layer.html",
        here=here,
        status=422 if error else 200,
        title=title,
        address=address,
        crumbs=crumbs,
        of_set=here == "sets",
        error=error,
        values=whole,
        own=policy_form.own_sections(own),
        origins=origins,
        words=words_of(inherited.policy),
        inherited=PolicyValues.of(inherited.policy),
        zone=zone,
        schedules=policy_form.schedule_fields(whole, zone),
        blank=policy_form.ScheduleFields(),
        form=policy_form,
    )
