"""Ordering a restore: where to, what happens to what exists, and first a look at what it would write."""

import base64
from typing import Annotated, get_args

from fastapi import APIRouter, Depends
from starlette.responses import Response

from backstay.domain.errors import BackstayError, Conflict, UsageError
from backstay.domain.job import JobKind
from backstay.server import browsing, fleet, job_queue
from backstay.server.access import Permission
from backstay.server.restores import Existing, RestoreOrder, request_restore
from backstay.server.web import browse, byte_paths
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, text_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MOST_SERVERS = 2000


@router.post("/restore/{point_id}/order")
def order(
    visit: Annotated[Visit, Depends(changing(Permission.RESTORE))], form: SentForm, point_id: str
) -> Response:
    """Where to, and how: the form."""
    return _form(visit, point_id, byte_paths.chosen_paths(form), None, {})


@router.post("/restore/{point_id}/start")
def start(
    visit: Annotated[Visit, Depends(changing(Permission.RESTORE))], form: SentForm, point_id: str
) -> Response:
    """Have the agent restore, or first find out what it would write."""
    paths = byte_paths.chosen_paths(form)
    given = {name: text_of(form, name) for name in ("place", "target", "server", "existing")}
    given |= {name: text_of(form, name) for name in ("with_permissions", "strip")}
    existing = given["existing"]
    try:
        to_original = given["place"] == "original"
        if existing not in get_args(Existing):
            raise UsageError("nothing is said of files that exist", hint="choose what happens to them")
        wanted = RestoreOrder(
            restore_point=point_id,
            target=b"/" if to_original else given["target"].encode("utf-8", "surrogateescape"),
            file_server_id=int(given["server"]) if given["server"].isdecimal() and not to_original else None,
            paths=[path for path in paths if path != b"/"],
            existing=_as_existing(existing),
            with_permissions=given["with_permissions"] == "true",
            strip=given["strip"] == "true" and not to_original,
            dry_run=text_of(form, "do") == "look",
        )
        with visit.control.database.begin() as db:
            job = request_restore(db, visit.actor, wanted, now=visit.now)
    except UsageError as error:
        return _form(visit, point_id, paths, error, given)
    visit.control.wakeups.wake()
    return visit.go(f"/jobs/{job.id}")


@router.post("/jobs/{job_id}/restore")
def restore_now(visit: Annotated[Visit, Depends(changing(Permission.RESTORE))], job_id: int) -> Response:
    """After a look at what it would write: restore."""
    with visit.control.database.begin() as db:
        looked = job_queue.get_job(db, job_id)
        if looked.kind != JobKind.RESTORE.value or looked.restore_point_id is None:
            raise Conflict(f"job {job_id} is no restore", hint="choose files to restore first")
        request = looked.request
        wanted = RestoreOrder(
            restore_point=looked.restore_point_id,
            target=base64.b64decode(request["target"]),
            file_server_id=looked.file_server_id,
            paths=[base64.b64decode(path) for path in request["paths"]],
            existing=request["existing"],
            with_permissions=request["with_permissions"],
            numeric_ids=request["numeric_ids"],
            strip=request["strip"],
        )
        job = request_restore(db, visit.actor, wanted, now=visit.now)
    visit.control.wakeups.wake()
    return visit.go(f"/jobs/{job.id}")


def _as_existing(text: str) -> Existing:
    choices: dict[str, Existing] = {
        "refuse": "refuse",
        "overwrite": "overwrite",
        "skip": "skip",
        "keep-both": "keep-both",
    }
    return choices[text]


def _form(
    visit: Visit, point_id: str, paths: list[bytes], error: BackstayError | None, given: dict[str, str]
) -> Response:
    row, opened = browse.open_point(visit, point_id)
    paths = paths or [b"/"]
    chosen = [(path, browsing.find_path(opened, path)) for path in paths[:2000]]
    files = sum(
        (entry.totals.files if entry.is_directory and entry.totals else int(not entry.is_directory))
        for _, entry in chosen
    )
    size = sum(
        (entry.totals.bytes if entry.is_directory and entry.totals else entry.size) for _, entry in chosen
    )
    with visit.control.database.read() as db:
        servers, _ = fleet.list_file_servers(db, limit=_MOST_SERVERS)
    connected = fleet.is_connected(row.file_server, visit.now)
    return visit.page(
        "restore_order.html",
        here="restore",
        status=422 if error else 200,
        row=row,
        chosen=chosen,
        files=files,
        size=size,
        servers=[
            (one.id, one.name + ("" if fleet.is_connected(one, visit.now) else " (not connected)"))
            for one in servers
        ],
        connected=connected,
        error=error,
        given={
            "place": given.get("place") or "original",
            "target": given.get("target") or "/tmp/restored",
            "server": given.get("server") or str(row.file_server_id),
            "existing": given.get("existing") or "keep-both",
            "with_permissions": given.get("with_permissions", "true") == "true",
            "strip": given.get("strip", "true") == "true",
        },
    )
