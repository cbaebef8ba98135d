"""What is in a restore point: folders, files and their versions, and what differs from another one."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from backstay.domain.entry import Entry, Grade
from backstay.domain.errors import BackstayError, UsageError
from backstay.repository.compare import Difference
from backstay.repository.content import FileContent
from backstay.server import browsing, catalogue
from backstay.server.access import Permission
from backstay.server.browsing import OpenPoint
from backstay.server.tables import RestorePointRow
from backstay.server.web import byte_paths
from backstay.server.web.display import modified
from backstay.server.web.visit import PageRoute, Visit, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/restore")

_PAGE = 300
_MOST_VERSIONS_FROM = 100
_MOST_DIFFERENCES = 500
TEXT_SHOWN = 128 * 1024
IMAGE_SHOWN = 16 * 1024 * 1024
_IMAGES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


@dataclass(frozen=True)
class Crumb:
    """A folder above the one that is shown."""

    name: bytes
    path: bytes


@dataclass(frozen=True)
class VersionView:
    """One version of a file, in the newest restore point that holds it."""

    entry: Entry
    point: RestorePointRow
    count: int
    grade: str


def open_point(visit: Visit, point_id: str) -> tuple[RestorePointRow, OpenPoint]:
    """The restore point of a page."""
    with visit.control.database.read() as db:
        row = catalogue.get_restore_point(db, point_id)
        _ = row.backup_set.name, row.file_server.name
    return row, browsing.open_point(visit.control, row.repository_id, row.id)


def crumbs_of(path: bytes) -> list[Crumb]:
    """The folders above a path, and itself."""
    names = [name for name in path.split(b"/") if name]
    return [Crumb(name, b"/" + b"/".join(names[: number + 1])) for number, name in enumerate(names)]


def grade_of(entry: Entry) -> str:
    """How good a file version is, in one word."""
    return Grade(entry.grade).name.lower()


@router.get("/{point_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.BROWSE))], point_id: str) -> Response:
    """A folder of a restore point, or a file."""
    row, opened = open_point(visit, point_id)
    path = byte_paths.path_in(visit.request)
    entry = browsing.find_path(opened, path)
    if not entry.is_directory:
        return _file(visit, row, opened, path, entry)
    after = byte_paths.name_in(visit.request, "after")
    page = browsing.list_folder(opened, path, after=after or b"", limit=_PAGE)
    if path == b"/" and after is None:
        # A restore point of /srv/a/b begins with folders that hold nothing else: go to where something is.
        while page.next is None and len(page.entries) == 1 and page.entries[0].is_directory:
            path = byte_paths.below(path, page.entries[0].name)
            page = browsing.list_folder(opened, path, limit=_PAGE)
    return visit.page(
        "browse.html",
        here="restore",
        row=row,
        path=path,
        crumbs=crumbs_of(path),
        folder=page.folder,
        entries=page.entries,
        after=after,
        last=page.next,
        modified=modified,
        grade_of=grade_of,
    )


def _file(visit: Visit, row: RestorePointRow, opened: OpenPoint, path: bytes, entry: Entry) -> Response:
    with visit.control.database.read() as db:
        found = browsing.versions(visit.control, db, row.backup_set_id, path, most_points=_MOST_VERSIONS_FROM)
    views = [VersionView(one.entry, one.points[0], len(one.points), grade_of(one.entry)) for one in found]
    text = image = None
    error: BackstayError | None = None
    if entry.is_regular and entry.has_content and visit.may(Permission.RESTORE):
        try:
            head = FileContent(entry, opened.read).read(0, TEXT_SHOWN)
            image = image_type(head) if entry.size <= IMAGE_SHOWN else None
            text = None if image else text_of_bytes(head)
        except BackstayError as damaged:
            error = damaged
    return visit.page(
        "browse_file.html",
        here="restore",
        row=row,
        path=path,
        crumbs=crumbs_of(path),
        entry=entry,
        versions=views,
        text=text,
        image=image,
        cut=text is not None and entry.size > TEXT_SHOWN,
        error=error,
        modified=modified,
        grade=grade_of(entry),
    )


def image_type(head: bytes) -> str | None:
    """The type of a picture that browsers show, by its first bytes; never SVG, which can hold scripts."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGES if head.startswith(magic)), None)


def text_of_bytes(head: bytes) -> str | None:
    """The beginning of a file as text, or None where it is none."""
    if b"\0" in head:
        return None
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut at the end; anything else is no UTF-8.
        if error.start < len(head) - 4:
            return None
        text = head[: error.start].decode()
    return "".join(
        one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text.replace("\r\n", "\n")
    )


@router.get("/{point_id}/compare")
def compare(
    visit: Annotated[Visit, Depends(seeing(Permission.BROWSE))], request: Request, point_id: str, to: str = ""
) -> Response:
    """What has changed between this restore point and another one of its set."""
    row, _ = open_point(visit, point_id)
    with visit.control.database.read() as db:
        others = [
            one for one in catalogue.points_of_set(db, row.backup_set_id, limit=200) if one.id != row.id
        ]
        earlier = (one for one in others if one.committed_at < row.committed_at)
        other = catalogue.get_restore_point(db, to) if to else next(earlier, next(iter(others), None))
        if other is not None and other.repository_id != row.repository_id:
            raise UsageError(
                "the two restore points are in different repositories", hint="choose another one"
            )
    differences: list[Difference] = []
    before = after = row
    following = None
    if other is not None:
        before, after = sorted((row, other), key=lambda one: one.committed_at)
        older = browsing.open_point(visit.control, before.repository_id, before.id)
        newer = browsing.open_point(visit.control, after.repository_id, after.id)
        differences, following = browsing.differences(older, newer, limit=_MOST_DIFFERENCES)
    return visit.page(
        "browse_compare.html",
        here="restore",
        row=row,
        other=other,
        others=others,
        before=before,
        after=after,
        differences=differences,
        more=following is not None,
    )
