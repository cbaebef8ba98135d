"""Files and folders of a restore point, sent to the browser while they are read."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from backstay.domain.errors import NotFound
from backstay.server import audit, browsing, downloads
from backstay.server.access import Permission
from backstay.server.tables import RestorePointRow
from backstay.server.web import browse, byte_paths
from backstay.server.web.display import shown_name
from backstay.server.web.visit import PageRoute, Visit, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/restore")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}


@router.get("/{point_id}/file")
def file(visit: Annotated[Visit, Depends(seeing(Permission.RESTORE))], point_id: str) -> Response:
    """One file."""
    row, opened = browse.open_point(visit, point_id)
    path = byte_paths.path_in(visit.request)
    entry = browsing.find_path(opened, path)
    content = downloads.content_of(opened, entry)
    _note(visit, row, [path])
    return StreamingResponse(
        downloads.pieces(content, 0, content.size),
        media_type="application/octet-stream",
        headers=_HEADERS
        | {"Content-Length": str(content.size), "Content-Disposition": _attachment(entry.name)},
    )


@router.get("/{point_id}/image")
def image(visit: Annotated[Visit, Depends(seeing(Permission.RESTORE))], point_id: str) -> Response:
    """A picture, to be shown; nothing else is ever sent as what it claims to be."""
    _, opened = browse.open_point(visit, point_id)
    shown = downloads.preview_of(opened, browsing.find_path(opened, byte_paths.path_in(visit.request)))
    if not shown.media_type.startswith("image/"):
        raise NotFound("this is no picture that can be shown", hint="download the file")
    return Response(shown.content, media_type=shown.media_type, headers=_HEADERS)


@router.get("/{point_id}/zip")
def archive(visit: Annotated[Visit, Depends(seeing(Permission.RESTORE))], point_id: str) -> Response:
    """Folders and files as one ZIP archive."""
    row, opened = browse.open_point(visit, point_id)
    paths = byte_paths.paths_in(visit.request) or [b"/"]
    chosen = [(path, browsing.find_path(opened, path)) for path in paths]
    _note(visit, row, paths)
    name = chosen[0][1].name if len(chosen) == 1 else b""
    return StreamingResponse(
        downloads.zip_of_chosen(opened, chosen),
        media_type="application/zip",
        headers=_HEADERS
        | {"Content-Disposition": _attachment((name or row.backup_set.name.encode()) + b".zip")},
    )


def _attachment(name: bytes) -> str:
    """RFC 6266: a name for every browser, and the bytes for those that know more."""
    plain = "".join(
        one if (one.isalnum() and one.isascii()) or one in "._- " else "_" for one in shown_name(name)
    )
    return f"attachment; filename=\"{plain or 'file'}\"; filename*=UTF-8''{quote(name)}"


def _note(visit: Visit, row: RestorePointRow, paths: list[bytes]) -> None:
    """Who takes data out leaves a trace."""
    after = {"restore_point": row.id, "paths": [shown_name(path) for path in paths[:100]]}
    with visit.control.database.begin() as db:
        audit.record(db, visit.actor, "restore.download", row.file_server.name, now=visit.now, after=after)
