"""File servers: the list, one of them, enrolling, revoking."""

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.responses import Response

from backstay.domain.errors import UsageError
from backstay.protocol.policy_document import PolicyValues
from backstay.server import agent_logs, fleet, jobs
from backstay.server.access import Permission
from backstay.server.coverage import coverage_of
from backstay.server.installing import packages, scripts
from backstay.server.installing.routes import address_of
from backstay.server.protection import standings
from backstay.server.tables import FileServer
from backstay.server.tls import fingerprint_of
from backstay.server.web import job_view, policy_form
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/file-servers")

_PAGE = 50
_LIFETIMES = {"3600": "1 hour", "86400": "1 day", "604800": "1 week", "2592000": "30 days"}


def state_of(visit: Visit, server: FileServer) -> str:
    """connected, silent, never or revoked."""
    if server.agent_key_hash is None:
        return "revoked" if server.enrolled_at else "never"
    if server.last_seen_at is None:
        return "never"
    return "connected" if fleet.is_connected(server, visit.now) else "silent"


@router.get("")
def list_them(
    visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], search: str = "", after: str = ""
) -> Response:
    """All file servers, by name."""
    with visit.control.database.read() as db:
        rows, total = fleet.list_file_servers(db, search=search, limit=_PAGE + 1, after=after)
        _, connected = fleet.count_file_servers(db, visit.now)
        counts = fleet.count_sets(db, [row.id for row in rows])
    more = len(rows) > _PAGE
    rows = rows[:_PAGE]
    return visit.page(
        "file_servers.html",
        here="file_servers",
        rows=[(row, state_of(visit, row), counts.get(row.id, 0)) for row in rows],
        total=total,
        connected=connected,
        search=search,
        first="?" + urlencode({"search": search}) if after else "",
        more="?" + urlencode({"search": search, "after": rows[-1].name}) if more else "",
    )


@router.get("/enrol")
def show_enrol(visit: Annotated[Visit, Depends(seeing(Permission.MANAGE))]) -> Response:
    """How a file server comes to be protected."""
    return visit.page("enrol.html", here="file_servers", made=None, error=None, lifetimes=_LIFETIMES)


@router.post("/enrol")
def make_token(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm) -> Response:
    """Make a token, and show the command that uses it."""
    settings = visit.control.settings
    lifetime, uses = text_of(form, "lifetime", "86400"), text_of(form, "uses", "1")
    try:
        if lifetime not in _LIFETIMES:
            raise UsageError("that is no lifetime of a token", hint="choose one of the list")
        with visit.control.database.begin() as db:
            made = fleet.create_enrolment_token(
                db,
                visit.actor,
                now=visit.now,
                fingerprint=fingerprint_of(settings),
                valid_for=timedelta(seconds=int(lifetime)),
                most_uses=1 if uses == "1" else None,
                comment=text_of(form, "comment")[:1000],
            )
    except UsageError as error:
        return visit.page(
            "enrol.html", here="file_servers", status=422, made=None, error=error, lifetimes=_LIFETIMES
        )
    url = address_of(visit.control, visit.request)
    return visit.page(
        "enrol.html",
        here="file_servers",
        made=made,
        error=None,
        lifetimes=_LIFETIMES,
        url=url,
        many=uses != "1",
        lines=_lines(visit, url, made.token),
        folder=str(packages.folder_of(settings)),
        package=packages.WINDOWS_PACKAGE,
    )


def _lines(visit: Visit, url: str, token: str) -> dict[str, str]:
    """For each system whose agent this server has, the line that installs and enrols it."""
    found = {}
    for system, script, line in (
        ("linux", scripts.LINUX, scripts.line_for_linux),
        ("windows", scripts.WINDOWS, scripts.line_for_windows),
    ):
        text = packages.script_text(visit.control.settings, script, url)
        if text is not None:
            found[system] = line(url, packages.digest_of(text), token)
    return found


@router.get("/{server_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], server_id: int) -> Response:
    """One file server."""
    with visit.control.database.read() as db:
        server = fleet.get_file_server(db, server_id)
        sets = standings(db, visit.now, file_server_id=server_id)
        covered = coverage_of(db, server, visit.now)
        recent, _ = jobs.list_jobs(db, jobs.JobFilter(file_server_id=server_id), limit=10)
        log = agent_logs.lines_of(db, server_id)
    return visit.page(
        "file_server.html",
        here="file_servers",
        server=server,
        state=state_of(visit, server),
        sets=sets,
        jobs=recent,
        view=job_view,
        covered=covered,
        log=log,
        own_values=policy_form.own_sections(PolicyValues.model_validate(server.policy_layer or {})),
        names={one.id: one.name for one in covered.sets},
    )


@router.post("/{server_id}/revoke")
def revoke(
    visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm, server_id: int
) -> Response:
    """Let its agent in no more; the name must be typed."""
    with visit.control.database.begin() as db:
        server = fleet.get_file_server(db, server_id)
        if text_of(form, "confirmation") != server.name:
            raise UsageError("the name that was typed is another one", hint="type it exactly as it is shown")
        fleet.revoke_agent(db, visit.actor, server_id, now=visit.now)
    return visit.go(
        f"/file-servers/{server_id}", f"The agent of {server.name} is shut out. Its backups stay."
    )
