"""What is in restore points: folders, entries, versions, differences, searches, downloads, previews."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from backstay.domain.entry import Entry, Grade
from backstay.domain.errors import NotFound, UsageError
from backstay.server import audit, browsing, downloads, name_search
from backstay.server.access import Actor
from backstay.server.api.dependencies import Browsing, ControlDep, Restorer
from backstay.server.api.fields import Limit, Number, PathView
from backstay.server.api.names import AfterQuery, NameView, PathQuery, name_fields, name_view
from backstay.server.api.restore_points import PointId
from backstay.server.control import Control
from backstay.server.tables import BackupSetRow, RestorePointRow

router = APIRouter(tags=["browse"])

NameQuery = Annotated[
    str, Query(min_length=1, max_length=255, description="part of a name, or with * ? [ ] a pattern")
]

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_HEADERS = {
    "cache-control": "private, no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
}
_KINDS = {
    0o010000: "fifo",
    0o020000: "character device",
    0o040000: "folder",
    0o060000: "block device",
    0o100000: "file",
    0o120000: "link",
    0o140000: "socket",
}


class EntryView(NameView):
    """A file, folder, link or special file."""

    kind: str = Field(description="file, folder, link, fifo, socket, character device, block device")
    size: int = Field(description="bytes; of a folder: of all files below it")
    files: int | None = Field(description="of a folder: how many files are below it")
    modified: datetime | None = Field(description="null where the calendar ends before")
    modified_ns: str = Field(description="nanoseconds since the epoch, as text for its size")
    mode: int = Field(description="permissions, as chmod(2)")
    uid: int
    gid: int
    user: str
    group: str
    grade: str = Field(description="how good this version is: snapshot, stable, changed, unreadable")
    content: bool = Field(description="whether there is content to restore")
    link_target: str | None


class FolderView(BaseModel):
    """A page of a folder's entries, by name."""

    folder: EntryView
    items: list[EntryView]
    next: NameView | None = Field(description="give its name as `after`, or name_base64 as `after_base64`")


class EntryDetails(EntryView):
    """All that is known of an entry."""

    changed_ns: str
    hard_links: int
    flags: int
    attributes: list[NameView] = Field(description="names of extended attributes and ACLs")


class PointReference(BaseModel):
    """A restore point."""

    id: str
    committed_at: datetime
    damaged: bool


class VersionView(BaseModel):
    """One version of a path, and the restore points that have it, the newest first."""

    entry: EntryView
    restore_points: list[PointReference]


class DifferenceView(PathView):
    """An entry that differs."""

    change: str = Field(description="added, removed, changed, metadata")
    before: EntryView | None
    after: EntryView | None


class DifferenceList(BaseModel):
    """What differs, by path."""

    items: list[DifferenceView]
    next: PathView | None = Field(description="give its path as `after`, or path_base64 as `after_base64`")


class FoundView(PathView):
    """A path that was found, in the newest restore point that has it."""

    restore_point: str
    committed_at: datetime
    file_server_id: int
    file_server: str
    backup_set_id: int
    backup_set: str
    is_folder: bool
    size: int
    modified_ns: str


class FoundList(BaseModel):
    """What was found so far, the newest first."""

    items: list[FoundView]
    next: str | None = Field(description="give it as `after` to go on; null when all was searched")
    preparing: bool = Field(description="names are still being collected: ask again in a second with `next`")
    skipped: list[str] = Field(description="restore points that could not be searched, as they are damaged")


def entry_view(entry: Entry) -> EntryView:
    """An entry as the API shows it."""
    return EntryView.model_validate(_fields(entry))


def _fields(entry: Entry) -> dict[str, object]:
    totals = entry.totals
    try:
        modified = datetime.fromtimestamp(entry.mtime_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        modified = None
    link = entry.inline.decode(errors="replace") if entry.is_symlink and entry.inline is not None else None
    return {
        **name_fields(entry.name),
        "kind": _KINDS.get(entry.mode & 0o170000, "file"),
        "size": totals.bytes if totals is not None else entry.size,
        "files": totals.files if totals is not None else None,
        "modified": modified,
        "modified_ns": str(entry.mtime_ns),
        "mode": entry.mode & 0o7777,
        "uid": entry.uid,
        "gid": entry.gid,
        "user": entry.user.decode(errors="replace"),
        "group": entry.group.decode(errors="replace"),
        "grade": Grade(entry.grade).name.lower(),
        "content": entry.is_regular and entry.has_content,
        "link_target": link,
    }


@router.get("/restore-points/{point_id}/folder")
def list_folder(
    control: ControlDep,
    actor: Browsing,
    point_id: PointId,
    path: PathQuery,
    after: AfterQuery,
    limit: Limit = 200,
) -> FolderView:
    """What is in a folder, by name."""
    _, opened = browsing.find_point(control, point_id)
    page = browsing.list_folder(opened, path, after=after, limit=limit)
    following = name_view(page.next) if page.next is not None else None
    return FolderView(
        folder=entry_view(page.folder), items=[entry_view(entry) for entry in page.entries], next=following
    )


@router.get("/restore-points/{point_id}/entry")
def get_entry(control: ControlDep, actor: Browsing, point_id: PointId, path: PathQuery) -> EntryDetails:
    """All that is known of a file or folder."""
    _, opened = browsing.find_point(control, point_id)
    entry = browsing.find_path(opened, path)
    return EntryDetails.model_validate(
        {
            **_fields(entry),
            "changed_ns": str(entry.ctime_ns),
            "hard_links": entry.nlink,
            "flags": entry.flags,
            "attributes": [name_fields(name) for name, _ in entry.xattrs],
        }
    )


@router.get("/backup-sets/{backup_set_id}/versions")
def list_versions(
    control: ControlDep, actor: Browsing, backup_set_id: Number, path: PathQuery
) -> list[VersionView]:
    """All versions of a path in a set's restore points (the newest 500), the newest first."""
    with control.database.read() as db:
        if db.get(BackupSetRow, backup_set_id) is None:
            raise NotFound(f"there is no backup set {backup_set_id}", hint="list them to see their numbers")
        rows = browsing.points_of_set(db, backup_set_id)
    return [
        VersionView(
            entry=entry_view(version.entry),
            restore_points=[
                PointReference(id=row.id, committed_at=row.committed_at, damaged=row.damaged)
                for row in version.points
            ],
        )
        for version in browsing.versions(control, rows, path)
    ]


@router.get("/restore-points/{point_id}/differences")
def list_differences(
    control: ControlDep,
    actor: Browsing,
    point_id: PointId,
    since: Annotated[str, Query(pattern="^[0-9a-f]{4,64}$", description="the older restore point")],
    after: AfterQuery,
    limit: Limit = 200,
) -> DifferenceList:
    """What differs between an older restore point and this one."""
    older_row, older = browsing.find_point(control, since)
    row, opened = browsing.find_point(control, point_id)
    if older_row.repository_id != row.repository_id:
        raise UsageError("the two restore points are in different repositories", hint="compare within one")
    found, following = browsing.differences(older, opened, after_path=after, limit=limit)
    items = [
        DifferenceView(
            **PathView.of(one.path).model_dump(),
            change=one.change.value,
            before=entry_view(one.before) if one.before is not None else None,
            after=entry_view(one.after) if one.after is not None else None,
        )
        for one in found
    ]
    return DifferenceList(items=items, next=PathView.of(following) if following is not None else None)


@router.get("/search")
def search(
    control: ControlDep,
    actor: Browsing,
    name: Annotated[
        str, Query(min_length=1, max_length=255, description="part of a name, or with * ? [ ] a pattern")
    ],
    file_server_id: Number | None = None,
    backup_set_id: Number | None = None,
    after: Annotated[str, Query(max_length=200, description="`next` of the answer before")] = "",
    limit: Limit = 100,
) -> FoundList:
    """Find a name in all restore points, the newest first. An answer takes about two seconds at most."""
    wanted = name_search.Wanted(name, file_server_id=file_server_id, backup_set_id=backup_set_id)
    found = name_search.search(control, wanted, after=after, limit=limit)
    items = [
        FoundView(
            **PathView.of(hit.path).model_dump(),
            restore_point=row.id,
            committed_at=row.committed_at,
            file_server_id=row.file_server_id,
            file_server=row.file_server.name,
            backup_set_id=row.backup_set_id,
            backup_set=row.backup_set.name,
            is_folder=hit.is_folder,
            size=hit.size,
            modified_ns=str(hit.mtime_ns),
        )
        for row, hit in found.items
    ]
    return FoundList(items=items, next=found.next, preparing=found.preparing, skipped=found.skipped)


@router.get(
    "/restore-points/{point_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, 206: {"description": "a range of it"}},
)
def download_file(
    control: ControlDep, actor: Restorer, request: Request, point_id: PointId, path: PathQuery
) -> Response:
    """A file's content; ranges are answered as RFC 9110 has them."""
    row, opened = browsing.find_point(control, point_id)
    entry = browsing.find_path(opened, path)
    content = downloads.content_of(opened, entry)
    wanted = _range(request.headers.get("range", ""), content.size)
    headers = _HEADERS | {"accept-ranges": "bytes", "content-disposition": _attachment(entry.name)}
    if wanted is None:
        headers["content-range"] = f"bytes */{content.size}"
        return Response(status_code=416, headers=headers)
    offset, length, partial = wanted
    headers["content-length"] = str(length)
    if partial:
        headers["content-range"] = f"bytes {offset}-{offset + length - 1}/{content.size}"
    stream = _begun(downloads.pieces(content, offset, length))
    _record(control, actor, row, "download", path)
    return StreamingResponse(
        stream, 206 if partial else 200, headers=headers, media_type="application/octet-stream"
    )


@router.get(
    "/restore-points/{point_id}/archive",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
)
def download_folder(control: ControlDep, actor: Restorer, point_id: PointId, path: PathQuery) -> Response:
    """A folder with all below it, as a ZIP file."""
    row, opened = browsing.find_point(control, point_id)
    entry = browsing.find_path(opened, path)
    if not entry.is_directory:
        raise UsageError("that is no folder", hint="download it as a file")
    name = (entry.name or f"restore-point-{row.id[:10]}".encode()) + b".zip"
    stream = _begun(downloads.zip_of(opened, entry, path))
    _record(control, actor, row, "download", path)
    headers = _HEADERS | {"content-disposition": _attachment(name)}
    return StreamingResponse(stream, headers=headers, media_type="application/zip")


@router.get(
    "/restore-points/{point_id}/preview",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "image/*": {}}}},
)
def preview_file(control: ControlDep, actor: Restorer, point_id: PointId, path: PathQuery) -> Response:
    """The beginning of a text in UTF-8, or an image; nothing that a browser would run."""
    row, opened = browsing.find_point(control, point_id)
    shown = downloads.preview_of(opened, browsing.find_path(opened, path))
    _record(control, actor, row, "preview", path)
    headers = _HEADERS | {"x-backstay-truncated": "true" if shown.truncated else "false"}
    return Response(shown.content, headers=headers, media_type=shown.media_type)


def _record(control: Control, actor: Actor, row: RestorePointRow, verb: str, path: bytes) -> None:
    after = {"restore_point": row.id, "paths": [path.decode(errors="replace")]}
    with control.database.begin() as db:
        audit.record(db, actor, f"restore.{verb}", row.file_server.name, now=control.clock(), after=after)


def _begun(stream: Iterator[bytes]) -> Iterator[bytes]:
    """The stream with its first piece read, so that what fails at once is a problem document."""
    return chain([next(stream, b"")], stream)


def _attachment(name: bytes) -> str:
    """RFC 6266: the name, and for old clients what of it is ASCII."""
    text = name.decode(errors="replace")
    plain = "".join(
        sign if sign.isascii() and sign.isprintable() and sign not in '"\\%' else "_" for sign in text
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"


def _range(header: str, size: int) -> tuple[int, int, bool] | None:
    """Offset, length, and whether that is only a part; None where there is nothing of it."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return 0, size, False
    if match[1]:
        first = int(match[1])
        last = min(int(match[2]) if match[2] else size - 1, size - 1)
        if match[2] and int(match[2]) < first:
            return 0, size, False
    else:
        first, last = max(0, size - int(match[2])), size - 1
    return (first, last - first + 1, True) if first <= last else None
