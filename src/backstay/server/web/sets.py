"""Backup sets: the list, one of them, making and changing them, and "Back up now"."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from backstay.domain.errors import BackstayError, NotFound, UsageError
from backstay.domain.schedule import next_runs
from backstay.protocol.policy_document import PolicyValues
from backstay.server import backup_sets, browsing, content_rules, fleet, jobs, named_policies
from backstay.server.access import Permission
from backstay.server.policies import policy_of
from backstay.server.protection import Protection, Standing, standings
from backstay.server.set_paths import shown_path
from backstay.server.tables import BackupSetRow
from backstay.server.web import job_view, policy_effects
from backstay.server.web.policy_words import words_of
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of, texts_of

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/sets")

_PAGE = 100
_MOST_CHOICES = 2000
_GROUPS: Mapping[str, tuple[str, frozenset[Protection]]] = {
    "": ("All", frozenset(Protection)),
    "needing": ("Need a look", frozenset(Protection) - {Protection.PROTECTED, Protection.DISABLED}),
    "protected": ("Protected", frozenset({Protection.PROTECTED})),
    "disabled": ("Switched off", frozenset({Protection.DISABLED})),
}


@router.get("")
def list_them(
    visit: Annotated[Visit, Depends(seeing(Permission.VIEW))],
    state: str = "",
    search: str = "",
    page: int = 1,
) -> Response:
    """All backup sets, and how each stands."""
    state = state if state in _GROUPS else ""
    with visit.control.database.read() as db:
        everything = standings(db, visit.now)
    wanted = search.casefold()
    found = [
        one
        for one in everything
        if one.state in _GROUPS[state][1]
        and (not wanted or wanted in f"{one.set.file_server.name}/{one.set.name}".casefold())
    ]
    page = max(1, min(page, 1 + len(found) // _PAGE))
    counts = {
        name: sum(1 for one in everything if one.state in group) for name, (_, group) in _GROUPS.items()
    }
    return visit.page(
        "sets.html",
        here="sets",
        rows=found[(page - 1) * _PAGE : page * _PAGE],
        total=len(found),
        everything=len(everything),
        groups=[(name, words, counts[name]) for name, (words, _) in _GROUPS.items()],
        state=state,
        search=search,
        page=page,
        more=len(found) > page * _PAGE,
    )


@router.get("/new")
def show_new(
    visit: Annotated[Visit, Depends(seeing(Permission.EDIT))], server: int | None = None
) -> Response:
    """An empty form."""
    return _form(visit, None, chosen={"server": server})


@router.post("/new")
def create(visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm) -> Response:
    """Make a backup set, and back it up at once where that is wished."""
    try:
        server = text_of(form, "server")
        if not server.isdecimal():
            raise UsageError(
                "no file server is chosen", hint="choose the one whose folders are to be protected"
            )
        new = backup_sets.NewSet(
            file_server_id=int(server),
            name=text_of(form, "name"),
            paths=texts_of(form, "paths"),
            policy_id=_number(form, "policy"),
            content_rule_id=_number(form, "rule"),
            cross_mounts=text_of(form, "cross_mounts") == "true",
        )
        with visit.control.database.begin() as db:
            row = backup_sets.create_backup_set(db, visit.actor, new, now=visit.now)
    except BackstayError as error:
        return _form(visit, None, error=error, typed=form)
    visit.control.wakeups.wake()
    if text_of(form, "at_once") == "true" and visit.may(Permission.RUN):
        with visit.control.database.begin() as db:
            job = backup_sets.back_up_now(db, visit.actor, row.id, now=visit.now)
        visit.control.wakeups.wake()
        return visit.go(f"/jobs/{job.id}", f"{row.name} is protected from now on")
    return visit.go(f"/sets/{row.id}", f"{row.name} is protected from now on")


@router.get("/{set_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], set_id: int) -> Response:
    """One backup set."""
    with visit.control.database.read() as db:
        standing = _standing(db, visit, set_id)
        row = backup_sets.get_backup_set(db, set_id)
        resolved = policy_of(row)
        _ = row.content_rule
        points = browsing.points_of_set(db, set_id, most=30)
        wanted = jobs.JobFilter(backup_set_id=set_id)
        recent, _ = jobs.list_jobs(db, wanted, limit=8)
    return visit.page(
        "set.html",
        here="sets",
        one=standing,
        set=row,
        server=row.file_server,
        points=points,
        jobs=recent,
        view=job_view,
        policy=resolved.policy,
        origins=resolved.origins,
        words=words_of(resolved.policy),
        runs=next_runs(resolved.policy.schedules, visit.now, 10) if row.enabled else [],
        sizes=_growth(points),
    )


def _standing(db: Session, visit: Visit, set_id: int) -> Standing:
    found = standings(db, visit.now, set_ids=[set_id])
    if not found:
        raise NotFound(f"there is no backup set {set_id}", hint="look for it in the list")
    return found[0]


def _growth(points: Sequence[Any]) -> dict[str, Any] | None:
    ordered = sorted(points, key=lambda point: point.committed_at)
    if len(ordered) < 2:
        return None
    return {
        "times": [int(point.committed_at.timestamp()) for point in ordered],
        "unit": "bytes",
        "series": [{"label": "Protected", "values": [point.bytes for point in ordered]}],
    }


@router.get("/{set_id}/edit")
def show_edit(visit: Annotated[Visit, Depends(seeing(Permission.EDIT))], set_id: int) -> Response:
    """The form of a set."""
    with visit.control.database.read() as db:
        row = backup_sets.get_backup_set(db, set_id)
    return _form(visit, row)


@router.post("/{set_id}/edit")
def change(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, set_id: int
) -> Response:
    """Change a set."""
    with visit.control.database.read() as db:
        row = backup_sets.get_backup_set(db, set_id)
    try:
        wanted = backup_sets.SetChange(
            paths=texts_of(form, "paths"),
            policy_id=_number(form, "policy"),
            content_rule_id=_number(form, "rule"),
            cross_mounts=text_of(form, "cross_mounts") == "true",
            enabled=text_of(form, "enabled") == "true",
        )
        with visit.control.database.begin() as db:
            backup_sets.change_backup_set(db, visit.actor, set_id, wanted, now=visit.now)
    except BackstayError as error:
        return _form(visit, row, error=error, typed=form)
    visit.control.wakeups.wake()
    return visit.go(f"/sets/{set_id}", f"{row.name} is changed")


@router.post("/{set_id}/backup")
def back_up(visit: Annotated[Visit, Depends(changing(Permission.RUN))], set_id: int) -> Response:
    """Back up now."""
    with visit.control.database.begin() as db:
        job = backup_sets.back_up_now(db, visit.actor, set_id, now=visit.now)
    visit.control.wakeups.wake()
    return visit.go(f"/jobs/{job.id}")


@router.post("/{set_id}/remove")
def remove(
    visit: Annotated[Visit, Depends(changing(Permission.EDIT))], form: SentForm, set_id: int
) -> Response:
    """Remove a set; its name must be typed."""
    with visit.control.database.begin() as db:
        row = backup_sets.get_backup_set(db, set_id)
        if text_of(form, "confirmation") != row.name:
            raise UsageError("the name that was typed is another one", hint="type it exactly as it is shown")
        backup_sets.remove_backup_set(db, visit.actor, set_id, now=visit.now)
    visit.control.wakeups.wake()
    return visit.go("/sets", f"{row.name} is not backed up any more. Its restore points stay.")


@router.post("/preview")
def preview(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], form: SentForm) -> Response:
    """What the chosen policy means: changes nothing."""
    number = _number(form, "policy")
    set_id = _number(form, "of_set")
    with visit.control.database.read() as db:
        row = named_policies.get_policy(db, number) if number else None
        chosen = PolicyValues.model_validate(row.values if row else {})
        using = [backup_sets.get_backup_set(db, set_id)] if set_id else []
        found = list(policy_effects.effects(visit, db, using, {"policy": chosen}))
    made = found[0].resolved.policy if found else chosen.policy()
    zone = made.schedules[0].time_zone if made.schedules else "UTC"
    return visit.part(
        "set_preview.html",
        words=words_of(made),
        runs=next_runs(made.schedules, visit.now, 10),
        zone=zone,
        sets=found,
    )


def _number(form: FormData, name: str) -> int | None:
    text = text_of(form, name)
    return int(text) if text.isdecimal() and len(text) < 16 else None


def _form(
    visit: Visit,
    row: BackupSetRow | None,
    *,
    error: BackstayError | None = None,
    typed: FormData | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Response:
    with visit.control.database.read() as db:
        servers, _ = fleet.list_file_servers(db, limit=_MOST_CHOICES)
        policy_rows, _ = named_policies.list_policies(db, limit=_MOST_CHOICES)
        rule_rows, _ = content_rules.list_rules(db, limit=_MOST_CHOICES)
        owner = fleet.get_file_server(db, row.file_server_id) if row is not None else None
    kept: dict[str, Any] = {"name": "", "paths": "", "policy": "", "rule": "", "server": "", "at_once": True}
    kept |= {"cross_mounts": False, "enabled": True}
    if row is not None:
        kept |= {
            "name": row.name,
            "paths": "\n".join(shown_path(path) for path in row.paths),
            "policy": row.policy_id or "",
            "rule": row.content_rule_id or "",
            "cross_mounts": row.cross_mounts,
            "enabled": row.enabled,
        }
    elif len(policy_rows) == 1:
        kept["policy"] = policy_rows[0][0].id
    if len(servers) == 1:
        kept["server"] = servers[0].id
    kept |= {name: value for name, value in (chosen or {}).items() if value}
    if typed is not None:
        kept |= {name: text_of(typed, name) for name in ("name", "paths", "policy", "rule", "server")}
        kept |= {name: text_of(typed, name) == "true" for name in ("cross_mounts", "enabled", "at_once")}
    return visit.page(
        "set_form.html",
        here="sets",
        status=422 if error else 200,
        row=row,
        owner=owner,
        kept=kept,
        error=error,
        servers=[("", "Choose one"), *((one.id, one.name) for one in servers)],
        policies=[("", "None: by hand, built-in values"), *((one.id, one.name) for one, _ in policy_rows)],
        rules=[("", "None: the default rules alone"), *((one.id, one.name) for one, _ in rule_rows)],
    )
