"""Files and folders of a restore point, sent to the browser while they are read."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from backstay.domain.entry import Entry
from backstay.domain.errors import NotFound
from backstay.repository.browse import walk_folder
from backstay.repository.content import FileContent, file_bytes
from backstay.repository.tree import ReadBlob
from backstay.server import audit, browsing
from backstay.server.access import Permission
from backstay.server.tables import RestorePointRow
from backstay.server.web import browse, byte_paths
from backstay.server.web.display import shown_name
from backstay.server.web.visit import PageRoute, Visit, seeing
from backstay.server.zip_stream import zip_of

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
    content = file_bytes(entry, opened.read)
    first = next(content, b"")  # a file without content is refused before anything is sent
    _note(visit, row, [path])

    def pieces() -> Iterator[bytes]:
        yield first
        yield from content

    headers = _HEADERS | {"Content-Length": str(entry.size), "Content-Disposition": _attachment(entry.name)}
    return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)


@router.get("/{point_id}/image")
def image(visit: Annotated[Visit, Depends(seeing(Permission.RESTORE))], point_id: str) -> Response:
    """A picture, to be shown; nothing else is ever sent as what it claims to be."""
    _, opened = browse.open_point(visit, point_id)
    entry = browsing.find_path(opened, byte_paths.path_in(visit.request))
    data = b""
    if entry.is_regular and entry.size <= browse.IMAGE_SHOWN:
        data = FileContent(entry, opened.read).read(0, entry.size)
    kind = browse.image_type(data)
    if kind is None:
        raise NotFound("this is no picture that can be shown", hint="download the file")
    return Response(data, media_type=kind, headers=_HEADERS)


@router.get("/{point_id}/zip")
def archive(visit: Annotated[Visit, Depends(seeing(Permission.RESTORE))], point_id: str) -> Response:
    """Folders and files as one ZIP archive."""
    row, opened = browse.open_point(visit, point_id)
    paths = byte_paths.paths_in(visit.request) or [b"/"]
    tops = [(path, browsing.find_path(opened, path)) for path in paths]
    _note(visit, row, paths)
    name = (
        tops[0][1].name
        if len(tops) == 1 and tops[0][1].name
        else row.backup_set.name.encode("utf-8", "replace")
    )

    def entries() -> Iterator[tuple[bytes, Entry]]:
        for path, top in tops:
            yield from _below(path, top, opened.read)

    return StreamingResponse(
        zip_of(entries(), opened.read),
        media_type="application/zip",
        headers=_HEADERS | {"Content-Disposition": _attachment(name + b".zip")},
    )


def _below(path: bytes, top: Entry, read: ReadBlob) -> Iterator[tuple[bytes, Entry]]:
    if top.name:
        yield top.name, top
    above = len(path.rpartition(b"/")[0]) + 1 if top.name else 1
    for place, entry in walk_folder(top, path, read):
        yield place[above:], entry


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
